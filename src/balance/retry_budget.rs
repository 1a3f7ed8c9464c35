//! How many retries there may be beside so many requests.

use crate::config::RetryBudget;
use crate::time::Time;
use crate::window::Window;

/// A budget of retries: a share of the requests of the last ten seconds, and a few a second
/// besides.
///
/// When endpoints fail because there is too much to do, retries make it more. A limit by
/// percentage lets single failures be retried and keeps a failing service from being asked
/// twice as often. The shape and the units are those of Finagle's [`RetryBudget`] (a percentage
/// of deposits that expire after ten seconds, and a reserve of `min_per_second` × ten seconds);
/// Envoy's `retry_budget` of a cluster has the percentage too, of the requests in flight.
///
/// A request is given its further candidates when it begins, all of them or none, and only at its
/// end is it known how many it took. Until then they are *reserved*: counted as if they were taken.
/// All or none, because Envoy's router can be told a number of retries, but not that it is a limit
/// only: a number between would raise that of a route which wants fewer.
///
/// [`RetryBudget`]: https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/service/RetryBudget.scala
#[derive(Debug, Clone)]
pub struct Budget {
    settings: RetryBudget,
    requests: Window<{ Budget::SECONDS }>,
    retries: Window<{ Budget::SECONDS }>,
    reserved: u32,
}

impl Budget {
    /// The length of the window.
    pub const SECONDS: usize = 10;

    /// Starts with an empty window.
    pub const fn new(settings: RetryBudget) -> Self {
        Self { settings, requests: Window::new(), retries: Window::new(), reserved: 0 }
    }

    /// Counts a request that begins, and tells whether the retries that it may want are within
    /// the budget: they are reserved then. Gives their number, or 0.
    ///
    /// With them, the retries of the window and all that are reserved are at most `percent` of
    /// the window's requests and `min_per_second` for each of its seconds.
    pub fn admit(&mut self, wanted: u32, now: Time) -> u32 {
        self.requests.add(1, now);
        let share = self.requests.sum(now) * u64::from(self.settings.percent) / 100;
        let reserve = u64::from(self.settings.min_per_second) * Self::SECONDS as u64;
        let spent = self.retries.sum(now) + u64::from(self.reserved);
        let left = (share + reserve).saturating_sub(spent).min(u64::from(u32::MAX - self.reserved));
        let granted = if u64::from(wanted) <= left { wanted } else { 0 };
        self.reserved += granted;
        granted
    }

    /// Settles a request that is answered: of the retries that it was `granted` it took so many,
    /// and the others are free again.
    pub fn settle(&mut self, granted: u32, taken: u32, now: Time) {
        self.release(granted);
        self.retries.add(taken.min(granted), now);
    }

    /// Frees the retries that a request was `granted` which ended without an answer.
    pub const fn release(&mut self, granted: u32) {
        self.reserved = self.reserved.saturating_sub(granted);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn budget(percent: u8, min_per_second: u32) -> Budget {
        Budget::new(RetryBudget { percent, min_per_second })
    }

    /// Of so many requests that each want a retry and take it, how many may.
    fn retried(budget: &mut Budget, requests: u32, second: u64) -> u32 {
        let mut taken = 0;
        for _ in 0..requests {
            let granted = budget.admit(1, at(second));
            budget.settle(granted, granted, at(second));
            taken += granted;
        }
        taken
    }

    #[test]
    fn a_share_of_the_requests_may_be_retried() {
        assert_eq!(retried(&mut budget(20, 0), 1_000, 5), 200);
        assert_eq!(retried(&mut budget(100, 0), 1_000, 5), 1_000);
    }

    #[test]
    fn a_few_may_be_whatever_the_share() {
        assert_eq!(retried(&mut budget(0, 3), 1_000, 5), 30);
        assert_eq!(retried(&mut budget(20, 3), 1_000, 5), 230);
        assert_eq!(retried(&mut budget(0, 0), 1_000, 5), 0);
    }

    #[test]
    fn what_is_out_of_the_window_counts_no_more() {
        let mut budget = budget(0, 3);
        assert_eq!(retried(&mut budget, 100, 100), 30);
        assert_eq!(retried(&mut budget, 100, 109), 0);
        assert_eq!(retried(&mut budget, 100, 110), 30);
        assert_eq!(retried(&mut budget, 100, 1_000_000), 30);
    }

    #[test]
    fn a_retry_is_reserved_until_the_request_is_over() {
        let mut budget = budget(0, 1);
        assert_eq!(budget.admit(6, at(1)), 6);
        assert_eq!(budget.admit(5, at(50)), 0, "four are left: they are still in flight");
        budget.settle(6, 2, at(50));
        assert_eq!(budget.admit(9, at(50)), 0, "ten without those taken");
        assert_eq!(budget.admit(8, at(50)), 8);
    }

    #[test]
    fn the_end_of_an_old_request_does_not_empty_the_window() {
        let mut budget = budget(0, 1);
        let granted = budget.admit(1, at(80));
        assert_eq!(retried(&mut budget, 100, 100), 9);
        // It was never answered.
        budget.release(granted);
        assert_eq!(retried(&mut budget, 100, 100), 1, "what it held, and no more");
    }

    #[test]
    fn a_clock_that_is_set_back_neither_empties_the_window_nor_stops_it() {
        let mut budget = budget(0, 3);
        assert_eq!(retried(&mut budget, 100, 1_000), 30);
        assert_eq!(retried(&mut budget, 100, 10), 0);
        assert_eq!(retried(&mut budget, 100, 20), 30);
    }
}
