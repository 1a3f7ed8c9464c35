//! Detects responses of Consul that are too suspicious to use at once.

use crate::config::ShrinkGuardConfig;
use crate::model::endpoint::Endpoint;
use crate::model::snapshot::Snapshot;
use crate::registry::query_response::{Decoded, QueryResponse};
use crate::telemetry::Doubt;

/// Returns the reason to doubt a response, by the number of instances listed before and by the
/// published endpoints. The `excused` of these are known not to have vanished.
pub fn doubt_of(
    response: &QueryResponse,
    listed_before: u32,
    current: Option<&Snapshot>,
    excused: &Snapshot,
    guard: ShrinkGuardConfig,
) -> Option<Doubt> {
    if guard.is_off() {
        return None;
    }
    let published = current.map_or(0, Snapshot::len);
    let before = listed_before.max(u32::try_from(published).unwrap_or(u32::MAX));
    let left = listed(&response.decoded);
    let lost = before.saturating_sub(left).saturating_sub(missing(response, current, excused));
    let removed = removed(response, current);
    if response.is_partial && removed > 0 && lost > 0 {
        return Some(Doubt::Filtered { removed });
    }
    let Decoded { snapshot, dropped, .. } = &response.decoded;
    if snapshot.is_empty() && published > 0 && dropped.is_nonsense() {
        return Some(Doubt::Unusable(*dropped));
    }
    let is_sharp = u64::from(lost) * 100 > u64::from(before) * u64::from(guard.percent);
    match left {
        0 if lost > 0 => Some(Doubt::Nothing { before }),
        _ if lost >= guard.at_least && is_sharp => Some(Doubt::Shrunk { before, left }),
        _ => None,
    }
}

/// Returns the number of instances that a response lists, usable or not.
pub fn listed(decoded: &Decoded) -> u32 {
    let Decoded { dropped, registered, .. } = decoded;
    let others = dropped.total() + dropped.weightless + dropped.denied.count;
    registered.saturating_add(u32::try_from(others).unwrap_or(u32::MAX))
}

/// Returns true if a filtered response cannot be used. It lists nothing while nothing is published,
/// or it removes endpoints while the guard is off.
pub fn adds_nothing(
    response: &QueryResponse,
    current: Option<&Snapshot>,
    guard: ShrinkGuardConfig,
) -> bool {
    let adds_nothing = listed(&response.decoded) == 0 && current.is_none_or(Snapshot::is_empty);
    response.is_partial && (adds_nothing || (guard.is_off() && removed(response, current) > 0))
}

/// Returns the number of published endpoints that are missing from a response.
fn removed(response: &QueryResponse, current: Option<&Snapshot>) -> usize {
    current.map_or(0, |current| response.decoded.snapshot.since(current).removed)
}

/// Returns the number of published endpoints that are missing from a response and are excused.
fn missing(response: &QueryResponse, current: Option<&Snapshot>, excused: &Snapshot) -> u32 {
    let endpoints = current.map_or(&[][..], Snapshot::endpoints).iter();
    let is_excused =
        |it: &&Endpoint| excused.has(&it.address) && !response.decoded.snapshot.has(&it.address);
    u32::try_from(endpoints.filter(is_excused).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::consul::index::ConsulIndex;
    use crate::registry::rejected_instances::{Denied, RejectedInstances, Unhealthy};
    use crate::registry::resume::Resume;
    use core::net::SocketAddr;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const OFF: ShrinkGuardConfig =
        ShrinkGuardConfig { percent: 50, at_least: 3, hold: Duration::ZERO };

    fn snapshot(ports: core::ops::Range<u16>) -> Snapshot {
        let endpoint = |port| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
        Snapshot::new(ports.map(endpoint).collect())
    }

    /// A response with these endpoints and that many critical instances.
    fn response(ports: core::ops::Range<u16>, critical: u32) -> QueryResponse {
        let snapshot = snapshot(ports);
        let unhealthy = Unhealthy { critical: critical as usize, ..Unhealthy::default() };
        let registered = u32::try_from(snapshot.len()).unwrap() + critical;
        let dropped = RejectedInstances { unhealthy, ..RejectedInstances::default() };
        let decoded = Decoded { snapshot, dropped, registered, ..Decoded::default() };
        QueryResponse::new(Resume::Consul(ConsulIndex::ONE), decoded)
    }

    fn doubt(response: &QueryResponse, before: u32, current: &Snapshot) -> Option<Doubt> {
        let none = Snapshot::default();
        doubt_of(response, before, Some(current), &none, ShrinkGuardConfig::default())
    }

    #[test]
    fn empty_response_is_doubted_when_something_was_listed() {
        let nothing = response(1..1, 0);
        assert_eq!(doubt(&nothing, 1, &snapshot(1..2)), Some(Doubt::Nothing { before: 1 }));
        assert_eq!(doubt(&nothing, 2, &snapshot(1..1)), Some(Doubt::Nothing { before: 2 }));
        assert_eq!(doubt(&nothing, 0, &snapshot(1..1)), None);
        let none = Snapshot::default();
        assert_eq!(doubt_of(&nothing, 0, None, &none, ShrinkGuardConfig::default()), None);
    }

    #[test]
    fn shrunk_response_is_doubted_when_both_limits_are_exceeded() {
        let ten = snapshot(1..11);
        let shrunk = Some(Doubt::Shrunk { before: 10, left: 4 });
        assert_eq!(doubt(&response(1..5, 0), 10, &ten), shrunk);
        assert_eq!(doubt(&response(1..6, 0), 10, &ten), None, "half");
        assert_eq!(doubt(&response(1..2, 0), 3, &snapshot(1..4)), None, "two fewer");
        assert_eq!(doubt(&response(1..5, 0), 0, &ten), shrunk, "what is published was listed");
    }

    #[test]
    fn instance_has_not_vanished_when_it_is_listed_as_unusable() {
        let ten = snapshot(1..11);
        assert_eq!(doubt(&response(1..1, 10), 10, &ten), None, "all of them critical");
        let mut drained = response(1..1, 0);
        drained.decoded.dropped.weightless = 5;
        drained.decoded.dropped.denied = Denied { count: 3, least: None };
        drained.decoded.dropped.bad_port = 2;
        assert_eq!(doubt(&drained, 10, &ten), None);
        assert_eq!(listed(&drained.decoded), 10);
    }

    #[test]
    fn filtered_response_is_doubted_when_endpoints_are_missing() {
        let filtered = |ports| QueryResponse { is_partial: true, ..response(ports, 0) };
        let ten = snapshot(1..11);
        assert_eq!(doubt(&filtered(1..10), 10, &ten), Some(Doubt::Filtered { removed: 1 }));
        assert_eq!(doubt(&filtered(1..12), 10, &ten), None);
        let guard = ShrinkGuardConfig::default();
        assert!(!adds_nothing(&filtered(1..10), Some(&ten), guard));
        assert!(adds_nothing(&filtered(1..10), Some(&ten), OFF), "nobody may doubt it");
        assert!(
            adds_nothing(&filtered(1..1), None, guard) && adds_nothing(&filtered(1..1), None, OFF)
        );
        assert!(adds_nothing(&filtered(1..1), Some(&snapshot(1..1)), guard));
        assert!(
            !adds_nothing(&filtered(1..2), None, guard)
                && !adds_nothing(&response(1..1, 0), None, guard)
        );
    }

    #[test]
    fn unusable_instances_are_doubted_when_no_endpoint_is_left() {
        let mut nonsense = response(1..1, 0);
        nonsense.decoded.dropped.hostname = 10;
        let unusable = Doubt::Unusable(nonsense.decoded.dropped);
        assert_eq!(doubt(&nonsense, 10, &snapshot(1..11)), Some(unusable));
        assert!(unusable.to_string().contains("10 with a name"), "{unusable}");
        assert_eq!(doubt(&nonsense, 10, &snapshot(1..1)), None, "there is nothing to lose");
        nonsense.decoded.dropped.unhealthy.critical = 1;
        assert_eq!(doubt(&nonsense, 10, &snapshot(1..11)), None, "that is understood");
    }

    #[test]
    fn excused_instance_has_not_vanished() {
        let (ten, guard) = (snapshot(1..11), ShrinkGuardConfig::default());
        let doubt = |response: &QueryResponse, excused| {
            doubt_of(response, 10, Some(&ten), &snapshot(excused), guard)
        };
        assert_eq!(doubt(&response(1..1, 0), 1..11), None);
        assert_eq!(doubt(&response(1..1, 0), 2..11), Some(Doubt::Nothing { before: 10 }));
        assert_eq!(doubt(&response(1..2, 0), 6..11), None, "four are left unexplained");
        let shrunk = Some(Doubt::Shrunk { before: 10, left: 1 });
        assert_eq!(doubt(&response(1..2, 0), 8..30), shrunk);
    }

    #[test]
    fn nothing_is_doubted_when_the_hold_is_zero() {
        let (ten, none) = (snapshot(1..11), Snapshot::default());
        assert_eq!(doubt_of(&response(1..1, 0), 10, Some(&ten), &none, OFF), None);
    }
}
