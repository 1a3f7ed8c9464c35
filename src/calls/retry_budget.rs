//! How many calls to Consul may follow failures.

use crate::config::RetryBudgetConfig;
use crate::util::time::Time;
use crate::util::window::Window;

/// A budget of the calls that follow a failure: a share of the good calls of the last ten seconds,
/// and a few a second besides.
///
/// Backoff makes each service patient, and a thousand patient services are a storm all the same.
/// The budget is one for all of them: where most calls go well, those that fail are soon tried
/// again; where none does, only the floor is left, whatever the number of services. Those who have failed so often that this is likely to go on may have half of
/// it: a first failure is followed by a call whatever the number of the others.
#[derive(Debug)]
pub struct RetryBudget {
    settings: RetryBudgetConfig,
    good: Window<{ RetryBudget::SECONDS }>,
    spent: Window<{ RetryBudget::SECONDS }>,
    /// What of it was spent by habitual failures.
    habitual: Window<{ RetryBudget::SECONDS }>,
}

impl RetryBudget {
    /// The length of the window.
    pub const SECONDS: usize = 10;

    /// Starts with an empty window.
    pub const fn new(settings: RetryBudgetConfig) -> Self {
        Self { settings, good: Window::new(), spent: Window::new(), habitual: Window::new() }
    }

    /// Counts a good call.
    pub fn on_good_call(&mut self, now: Time) {
        self.good.add(1, now);
    }

    /// Whether there is room for one more.
    pub fn has_room(&mut self, is_habitual: bool, now: Time) -> bool {
        let share = self.good.sum(now) * u64::from(self.settings.percent) / 100;
        let reserve = u64::from(self.settings.min_per_second) * Self::SECONDS as u64;
        let most = share + reserve;
        let may_spend = !is_habitual || self.habitual.sum(now) < most / 2;
        may_spend && self.spent.sum(now) < most
    }

    /// Counts one more that is made, if there is room for it; tells whether there was.
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
    fn where_no_call_is_good_there_is_the_floor_and_no_more() {
        let mut budget = RetryBudget::new(RetryBudgetConfig { percent: 20, min_per_second: 3 });
        assert_eq!(spent(&mut budget, 100), 30);
        assert_eq!(spent(&mut budget, 109), 0);
        assert_eq!(spent(&mut budget, 110), 30);
    }

    #[test]
    fn good_calls_make_room_for_their_share() {
        let mut budget = RetryBudget::new(RetryBudgetConfig { percent: 20, min_per_second: 1 });
        (0..100).for_each(|_| budget.on_good_call(at(100)));
        assert_eq!(spent(&mut budget, 100), 30);
        assert_eq!(spent(&mut budget, 110), 10, "they are out of the window");
    }
}
