//! The age of the endpoints of a service.

use core::time::Duration;

use crate::config::{OnStale, Staleness};
use crate::util::time::Time;

/// The time at which the endpoints of a service become stale: `max_age` after Consul last confirmed them, in any
/// datacenter. Before the first confirmation, endpoints may be of any age.
#[derive(Debug)]
pub(super) struct Freshness {
    staleness: Option<Staleness>,
    stale_at: Option<Time>,
    is_stale: bool,
}

impl Freshness {
    /// Returns the state before any confirmation. Without `staleness` nothing ever becomes stale.
    pub(super) const fn new(staleness: Option<Staleness>) -> Self {
        Self { staleness, stale_at: None, is_stale: false }
    }

    /// Takes a confirmation of that age.
    pub(super) fn on_confirmed(&mut self, age: Duration, now: Time) {
        if let Some(Staleness { max_age, .. }) = self.staleness {
            self.stale_at = self.stale_at.max(Some(now + max_age.saturating_sub(age)));
        }
    }

    /// Advances time. Returns true if the endpoints have become stale, and false if they no longer are.
    pub(super) fn on_tick(&mut self, now: Time) -> Option<bool> {
        let is_stale = self.stale_at.is_some_and(|at| now >= at);
        let has_changed = core::mem::replace(&mut self.is_stale, is_stale) != is_stale;
        has_changed.then_some(is_stale)
    }

    /// Returns true if the age must be known, and is not.
    pub(super) fn is_pending(&self) -> bool {
        self.stale_at.is_none() && self.staleness.is_some_and(|it| it.on_stale == OnStale::Fail)
    }

    /// Returns true if requests must not go to the endpoints.
    pub(super) fn fails(&self) -> bool {
        self.is_stale && self.staleness.is_some_and(|it| it.on_stale == OnStale::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(second: u64) -> Time {
        Time::from_start(seconds(second))
    }

    fn failing_after(max_age: u64) -> Freshness {
        Freshness::new(Some(Staleness { max_age: seconds(max_age), on_stale: OnStale::Fail }))
    }

    #[test]
    fn endpoints_are_stale_so_long_after_the_latest_confirmation() {
        let mut freshness = failing_after(60);
        assert_eq!(freshness.on_tick(at(1_000)), None, "nothing was ever confirmed");
        assert!(freshness.is_pending());
        freshness.on_confirmed(seconds(10), at(1_000));
        assert!(!freshness.is_pending());
        assert_eq!(freshness.on_tick(at(1_049)), None);
        freshness.on_confirmed(seconds(40), at(1_020));
        assert_eq!(freshness.on_tick(at(1_049)), None, "an older one changes nothing");
        assert_eq!(freshness.on_tick(at(1_050)), Some(true));
        assert_eq!(freshness.on_tick(at(1_051)), None, "it is told once");
        assert!(freshness.fails());
        freshness.on_confirmed(seconds(0), at(1_052));
        assert_eq!(freshness.on_tick(at(1_052)), Some(false));
        assert!(!freshness.fails());
    }

    #[test]
    fn what_is_older_than_it_may_be_is_stale_at_once() {
        let mut freshness = failing_after(60);
        freshness.on_confirmed(seconds(3_600), at(5));
        assert_eq!(freshness.on_tick(at(5)), Some(true));
    }

    #[test]
    fn stale_endpoints_serve_when_they_may_or_no_age_is_given() {
        let serve = Staleness { max_age: seconds(1), on_stale: OnStale::Serve };
        for (staleness, becomes_stale) in [(Some(serve), true), (None, false)] {
            let mut freshness = Freshness::new(staleness);
            assert!(!freshness.is_pending());
            freshness.on_confirmed(seconds(0), at(0));
            assert_eq!(freshness.on_tick(at(1 << 40)), becomes_stale.then_some(true));
            assert!(!freshness.fails());
        }
    }
}
