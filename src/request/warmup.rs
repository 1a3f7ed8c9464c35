//! The wait of requests until Envoy's own cluster has endpoints.

use core::time::Duration;

use crate::model::service::ServiceId;
use crate::model::slot_map::SecondaryMap;
use crate::shared::acknowledged::Acknowledged;
use crate::util::time::Time;

/// The services whose requests wait until Envoy has acknowledged their endpoints, for `warmup_timeout` after the
/// first request at most.
///
/// A ready service never waits again, whatever becomes of its endpoints: Envoy's cluster is then at most a little
/// behind, and its own policy covers that.
///
/// If Envoy has acknowledged nothing at all within the timeout, no other service waits until it does. This is so
/// after a hot restart: the old process responds to the subscriptions of the new one until it ends, and keeps
/// the acknowledgements to itself.
#[derive(Debug)]
pub struct Warmup {
    /// The key of the acknowledged services in shared data.
    key: String,
    timeout: Duration,
    /// The services whose requests need not wait.
    ready: SecondaryMap<ServiceId, ()>,
    awaited: Vec<Awaited>,
    /// True if a wait has timed out, and Envoy has acknowledged nothing at all.
    is_in_vain: bool,
}

/// A service whose requests wait.
#[derive(Debug)]
struct Awaited {
    service: ServiceId,
    hash: u64,
    until: Time,
}

impl Warmup {
    /// Returns a warm-up without services. Envoy subscribes at `address`.
    pub fn new(address: &str, timeout: Duration) -> Self {
        Self {
            key: Acknowledged::key(address),
            timeout,
            ready: SecondaryMap::new(),
            awaited: Vec::new(),
            is_in_vain: false,
        }
    }

    /// Returns true if the requests of a service need not wait. A service that was not looked up yet is not
    /// ready.
    pub fn is_ready(&self, service: ServiceId) -> bool {
        self.ready.get(service).is_some()
    }

    /// Looks up a service that is not ready, and returns true if it is ready now. `load` reads the acknowledged
    /// services by their key (`None`: there never were any), and is called the first time only.
    pub fn look_up(
        &mut self,
        service: ServiceId,
        name: &str,
        now: Time,
        load: impl FnOnce(&str) -> Option<Acknowledged>,
    ) -> bool {
        if self.awaited.iter().any(|awaited| awaited.service == service) {
            return false;
        }
        let hash = Acknowledged::hash(name);
        let is_ready = self.timeout.is_zero() || {
            let acknowledged = load(&self.key);
            self.is_in_vain &= acknowledged.is_none();
            self.is_in_vain || acknowledged.is_some_and(|all| all.contains(hash))
        };
        if is_ready {
            self.ready.insert(service, ());
        } else {
            self.awaited.push(Awaited { service, hash, until: now + self.timeout });
        }
        is_ready
    }

    /// Looks up the services whose requests wait. `load` is called only if there are any. Returns the services that
    /// have timed out: they are ready too, since more time would make no difference.
    pub fn on_tick(
        &mut self,
        now: Time,
        load: impl FnOnce(&str) -> Option<Acknowledged>,
    ) -> Vec<ServiceId> {
        if self.awaited.is_empty() {
            return Vec::new();
        }
        let acknowledged = load(&self.key);
        let is_over = |awaited: &Awaited| now >= awaited.until;
        let is_in_vain = acknowledged.is_none() && self.awaited.iter().any(is_over);
        self.is_in_vain = is_in_vain;
        let acknowledged = acknowledged.unwrap_or_default();
        let ready = self.awaited.extract_if(.., |awaited| {
            is_in_vain || is_over(awaited) || acknowledged.contains(awaited.hash)
        });
        let mut timed_out = Vec::new();
        for Awaited { service, hash, .. } in ready {
            self.ready.insert(service, ());
            if !acknowledged.contains(hash) {
                timed_out.push(service);
            }
        }
        timed_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const WEB: ServiceId = ServiceId::nth(0);
    const API: ServiceId = ServiceId::nth(1);

    fn at(millis: u64) -> Time {
        Time::from_start(Duration::from_millis(millis))
    }

    fn acknowledged(names: &[&str]) -> Option<Acknowledged> {
        let mut all = Acknowledged::default();
        names.iter().for_each(|name| assert!(all.add(Acknowledged::hash(name))));
        Some(all)
    }

    fn never(_: &str) -> Option<Acknowledged> {
        panic!("nobody needs to look")
    }

    #[test]
    fn service_waits_until_its_first_response_is_acknowledged() {
        let mut warmup = Warmup::new("/sock", TIMEOUT);
        assert!(!warmup.look_up(WEB, "web", at(0), |_| acknowledged(&["api"])));
        assert!(!warmup.look_up(WEB, "web", at(1), never));
        assert!(warmup.on_tick(at(20), |_| acknowledged(&["api"])).is_empty());
        assert!(!warmup.is_ready(WEB));
        assert!(warmup.on_tick(at(40), |_| acknowledged(&["api", "web"])).is_empty());
        assert!(warmup.is_ready(WEB));
    }

    #[test]
    fn a_service_that_is_ready_is_never_looked_up_again() {
        let mut warmup = Warmup::new("/sock", TIMEOUT);
        assert!(warmup.look_up(WEB, "web", at(0), |_| acknowledged(&["web"])));
        assert!(warmup.is_ready(WEB));
        assert!(warmup.on_tick(at(9_000), never).is_empty());
    }

    // Promise: R-312
    #[test]
    fn a_service_is_given_up_once_when_nobody_subscribes() {
        let mut warmup = Warmup::new("/sock", TIMEOUT);
        let none = |_: &str| None;
        assert!(!warmup.look_up(WEB, "web", at(0), none));
        assert!(!warmup.look_up(API, "api", at(3_000), none));
        assert!(warmup.on_tick(at(4_999), none).is_empty());
        assert_eq!(warmup.on_tick(at(5_000), none), [WEB, API], "nobody will answer for it either");
        assert!(warmup.is_ready(WEB) && warmup.is_ready(API));
        assert!(warmup.on_tick(at(9_000), never).is_empty());
    }

    #[test]
    fn a_service_is_waited_for_again_when_somebody_subscribes() {
        let mut warmup = Warmup::new("/sock", TIMEOUT);
        let none = |_: &str| None;
        assert!(!warmup.look_up(WEB, "web", at(0), none));
        assert_eq!(warmup.on_tick(at(5_000), none), [WEB]);
        assert!(warmup.look_up(API, "api", at(5_000), none), "in vain, too");
        let db = ServiceId::nth(2);
        assert!(!warmup.look_up(db, "db", at(6_000), |_| acknowledged(&["web"])));
        assert!(warmup.on_tick(at(6_020), |_| acknowledged(&["db", "web"])).is_empty());
        assert!(warmup.is_ready(db));
    }

    #[test]
    fn service_that_is_back_is_waited_for_when_the_first_timed_out() {
        let mut warmup = Warmup::new("/sock", TIMEOUT);
        assert!(!warmup.look_up(WEB, "web", at(0), |_| None));
        assert_eq!(warmup.on_tick(at(5_000), |_| None), [WEB]);
        // It was acknowledged then, has gone, and is a new one.
        let again = ServiceId::nth(2);
        assert!(!warmup.look_up(again, "web", at(60_000), |_| acknowledged(&[])));
        assert!(warmup.on_tick(at(60_020), |_| acknowledged(&["web"])).is_empty());
        assert!(warmup.is_ready(again));
    }

    #[test]
    fn a_service_is_given_up_alone_when_others_are_acknowledged() {
        let mut warmup = Warmup::new("/sock", TIMEOUT);
        let web = |_: &str| acknowledged(&["db"]);
        assert!(!warmup.look_up(WEB, "web", at(0), web));
        assert!(!warmup.look_up(API, "api", at(3_000), web));
        assert_eq!(warmup.on_tick(at(5_000), web), [WEB]);
        assert!(!warmup.is_ready(API));
        assert_eq!(warmup.on_tick(at(8_000), web), [API]);
    }

    #[test]
    fn those_are_looked_up_that_envoy_knows_by_its_own_address() {
        let mut warmup = Warmup::new("/other", TIMEOUT);
        warmup.look_up(WEB, "web", at(0), |key| {
            assert_eq!(key, Acknowledged::key("/other"));
            acknowledged(&["web"])
        });
        assert!(warmup.is_ready(WEB));
    }

    #[test]
    fn nothing_waits_without_a_timeout() {
        let mut warmup = Warmup::new("/sock", Duration::ZERO);
        assert!(warmup.look_up(WEB, "web", at(0), never));
    }
}
