//! The endpoints of a service before Consul has responded for it.

use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;

use crate::model::endpoint::Endpoint;
use crate::model::snapshot::Snapshot;
use crate::util::time::Time;

/// The endpoints of a service from the end of its warm-up until Consul first responds for it, in any datacenter.
#[derive(Debug)]
pub(super) enum Fallback {
    /// There is no fallback, or Consul has responded.
    Over,
    /// Consul may still respond within the warm-up, which begins with the first tick.
    Ready { snapshot: Rc<Snapshot>, warmup_timeout: Duration, due: Option<Time> },
    /// The fallback is in use.
    InUse,
}

impl Fallback {
    /// The datacenter that the endpoints stand for, by its place in the order of preference.
    pub(super) const PREFERENCE: usize = 0;

    /// Returns the fallback to these addresses.
    pub(super) fn new(addresses: &[SocketAddr], warmup_timeout: Duration) -> Self {
        if addresses.is_empty() {
            return Self::Over;
        }
        let endpoints = addresses.iter().map(|address| Endpoint::new(*address)).collect();
        Self::Ready { snapshot: Rc::new(Snapshot::new(endpoints)), warmup_timeout, due: None }
    }

    /// Returns true if the fallback is in use.
    pub(super) const fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse)
    }

    /// Ends the fallback, since Consul has responded. Returns true if it was in use.
    pub(super) fn on_resolved(&mut self) -> bool {
        matches!(core::mem::replace(self, Self::Over), Self::InUse)
    }

    /// Returns the endpoints once, at the end of the warm-up. They are in use from then on.
    pub(super) fn poll_due(&mut self, now: Time) -> Option<Rc<Snapshot>> {
        let Self::Ready { snapshot, warmup_timeout, due } = self else {
            return None;
        };
        if now < *due.get_or_insert(now + *warmup_timeout) {
            return None;
        }
        let snapshot = core::mem::take(snapshot);
        *self = Self::InUse;
        Some(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn fallback(addresses: &[&str]) -> Fallback {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Fallback::new(&addresses, Duration::from_secs(2))
    }

    #[test]
    fn it_is_due_once_at_the_end_of_the_warm_up() {
        let mut fallback = fallback(&["10.0.0.2:80", "10.0.0.1:80"]);
        assert_eq!(fallback.poll_due(at(500)), None);
        assert_eq!(fallback.poll_due(at(2_499)), None);
        assert_eq!(fallback.poll_due(at(2_500)).map(|snapshot| snapshot.len()), Some(2));
        assert_eq!(fallback.poll_due(at(9_000)), None);
        assert!(fallback.on_resolved(), "it was in use");
        assert!(!fallback.on_resolved(), "it is no more");
    }

    #[test]
    fn fallback_is_never_due_when_it_is_none_or_consul_responded() {
        let mut answered = fallback(&["10.0.0.1:80"]);
        assert_eq!(answered.poll_due(at(0)), None);
        assert!(!answered.on_resolved());
        for mut never in [answered, fallback(&[])] {
            assert_eq!(never.poll_due(at(1 << 40)), None);
        }
    }
}
