//! Whether what Consul has said of a service is too long ago.

use core::time::Duration;

use crate::config::{OnStale, Staleness};
use crate::util::time::Time;

/// When the endpoints of a service become stale: so long after Consul last confirmed them, in
/// whatever datacenter. Where it is not known when that was, what is here may be of any age.
#[derive(Debug)]
pub(super) struct Freshness {
    staleness: Option<Staleness>,
    stale_at: Option<Time>,
    is_stale: bool,
}

impl Freshness {
    /// Nothing is confirmed yet. Without `staleness` nothing ever becomes stale.
    pub(super) const fn new(staleness: Option<Staleness>) -> Self {
        Self { staleness, stale_at: None, is_stale: false }
    }

    /// Learns that Consul has confirmed the endpoints so long ago.
    pub(super) fn on_confirmed(&mut self, age: Duration, now: Time) {
        if let Some(Staleness { max_age, .. }) = self.staleness {
            self.stale_at = self.stale_at.max(Some(now + max_age.saturating_sub(age)));
        }
    }

    /// Lets time pass; tells whether they are stale now if that has changed.
    pub(super) fn on_tick(&mut self, now: Time) -> Option<bool> {
        let is_stale = self.stale_at.is_some_and(|at| now >= at);
        let is_other = core::mem::replace(&mut self.is_stale, is_stale) != is_stale;
        is_other.then_some(is_stale)
    }

    /// Whether it must be known when Consul has confirmed them, and is not.
    pub(super) fn is_pending(&self) -> bool {
        self.stale_at.is_none() && self.staleness.is_some_and(|it| it.on_stale == OnStale::Fail)
    }

    /// Whether requests are not to go to them.
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
        let mut confirmation = failing_after(60);
        assert_eq!(confirmation.on_tick(at(1_000)), None, "nothing was ever confirmed");
        assert!(confirmation.is_pending());
        confirmation.on_confirmed(seconds(10), at(1_000));
        assert!(!confirmation.is_pending());
        assert_eq!(confirmation.on_tick(at(1_049)), None);
        confirmation.on_confirmed(seconds(40), at(1_020));
        assert_eq!(confirmation.on_tick(at(1_049)), None, "an older one changes nothing");
        assert_eq!(confirmation.on_tick(at(1_050)), Some(true));
        assert_eq!(confirmation.on_tick(at(1_051)), None, "it is told once");
        assert!(confirmation.fails());
        confirmation.on_confirmed(seconds(0), at(1_052));
        assert_eq!(confirmation.on_tick(at(1_052)), Some(false));
        assert!(!confirmation.fails());
    }

    #[test]
    fn what_is_older_than_it_may_be_is_stale_at_once() {
        let mut confirmation = failing_after(60);
        confirmation.on_confirmed(seconds(3_600), at(5));
        assert_eq!(confirmation.on_tick(at(5)), Some(true));
    }

    #[test]
    fn stale_endpoints_serve_unless_they_are_to_fail_and_for_ever_where_no_age_is_given() {
        let serve = Staleness { max_age: seconds(1), on_stale: OnStale::Serve };
        for (staleness, becomes_stale) in [(Some(serve), true), (None, false)] {
            let mut confirmation = Freshness::new(staleness);
            assert!(!confirmation.is_pending());
            confirmation.on_confirmed(seconds(0), at(0));
            assert_eq!(confirmation.on_tick(at(1 << 40)), becomes_stale.then_some(true));
            assert!(!confirmation.fails());
        }
    }
}
