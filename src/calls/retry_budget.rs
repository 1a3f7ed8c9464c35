//! A limit on the calls that follow failures.

use crate::config::RetryBudgetConfig;
use crate::util::time::Time;
use crate::util::window::Window;

/// A budget of calls after failures: a share of the good calls of the last ten seconds, and a few a
/// second besides.
///
/// Backoff makes each caller patient, but a thousand patient callers are still a storm. This budget
/// is shared by all of them: if most calls succeed, failed calls are soon retried. If none
/// succeeds, only the minimum is left, whatever the number of callers. Callers that fail habitually
/// may use half of the budget, so that a first failure is always retried soon.
#[derive(Debug)]
pub struct RetryBudget {
    settings: RetryBudgetConfig,
    good: Window<{ RetryBudget::SECONDS }>,
    spent: Window<{ RetryBudget::SECONDS }>,
    /// The part that was spent by habitual failures.
    habitual: Window<{ RetryBudget::SECONDS }>,
}

impl RetryBudget {
    /// The length of the window in seconds.
    pub const SECONDS: usize = 10;

    /// Starts with an empty window.
    pub const fn new(settings: RetryBudgetConfig) -> Self {
        Self { settings, good: Window::new(), spent: Window::new(), habitual: Window::new() }
    }

    /// Counts a good call.
    pub fn on_good_call(&mut self, now: Time) {
        self.good.add(1, now);
    }

    /// Returns true if there is room for one more call.
    pub fn has_room(&mut self, is_habitual: bool, now: Time) -> bool {
        let share = self.good.sum(now) * u64::from(self.settings.percent) / 100;
        let reserve = u64::from(self.settings.min_per_second) * Self::SECONDS as u64;
        let most = share + reserve;
        let may_spend = !is_habitual || self.habitual.sum(now) < most / 2;
        may_spend && self.spent.sum(now) < most
    }

    /// Counts one more call if there is room for it. Returns true if there was.
    pub fn spend(&mut self, is_habitual: bool, now: Time) -> bool {
        let has_room = self.has_room(is_habitual, now);
        self.spent.add(has_room.into(), now);
        self.habitual.add((has_room && is_habitual).into(), now);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn spent(budget: &mut RetryBudget, second: u64) -> u32 {
        let mut spent = 0;
        while spent < 1_000 && budget.spend(false, at(second)) {
            spent += 1;
        }
        assert!(!budget.has_room(false, at(second)));
        spent
    }

    // Promise: R-404
    #[test]
    fn budget_is_the_minimum_when_no_call_succeeds() {
        let mut budget = RetryBudget::new(RetryBudgetConfig { percent: 20, min_per_second: 3 });
        assert_eq!(spent(&mut budget, 100), 30);
        assert_eq!(spent(&mut budget, 109), 0);
        assert_eq!(spent(&mut budget, 110), 30);
    }

    #[test]
    fn budget_grows_by_a_share_of_good_calls() {
        let mut budget = RetryBudget::new(RetryBudgetConfig { percent: 20, min_per_second: 1 });
        (0..100).for_each(|_| budget.on_good_call(at(100)));
        assert_eq!(spent(&mut budget, 100), 30);
        assert_eq!(spent(&mut budget, 110), 10, "they are out of the window");
    }
}
