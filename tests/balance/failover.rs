//! Several datacenters.

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::model::index_set::IndexSet;
use consul_resolver::model::snapshot::Snapshot;

use crate::fleet::{Fleet, any, at, ill, policy};

/// Datacenters on ports 1 to 4, and 5 to 8.
fn fleet(service: &str) -> Fleet {
    let comma = if service.is_empty() { "" } else { "," };
    let mut fleet = Fleet::new(&format!(r#""datacenters": ["dc1", "dc2"]{comma} {service}"#));
    fleet.install((1..=4).map(at).collect());
    fleet.install_in(1, Snapshot::new((5..=8).map(at).collect()));
    fleet
}

fn empty() -> Snapshot {
    Snapshot::new(Vec::new())
}

#[test]
fn the_first_datacenter_has_all_as_long_as_it_can() {
    assert_eq!(fleet("").count(1_000, 8)[4..], [0, 0, 0, 0]);
}

#[test]
fn a_datacenter_that_is_not_resolved_is_none_to_wait_for_if_another_is() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2", "dc3"]"#);
    fleet.install_in(1, empty());
    assert!(!fleet.pool.is_resolved(), "the others may have endpoints");
    fleet.install_in(2, Snapshot::new(vec![at(7)]));
    assert!(fleet.pool.is_resolved());
    assert_eq!(fleet.port_for(&PickContext::default()), Some(7));
    fleet.install_in(0, Snapshot::new(vec![at(1)]));
    assert_eq!(fleet.count(100, 7)[0], 100);
}

#[test]
fn a_service_without_endpoints_anywhere_is_resolved_when_all_have_said_so() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2"]"#);
    for preference in [1, 0] {
        assert!(!fleet.pool.is_resolved());
        fleet.install_in(preference, empty());
        assert!(fleet.pick().is_none());
    }
    assert!(fleet.pool.is_resolved());
}

#[test]
fn an_empty_datacenter_leaves_all_to_the_next_and_takes_it_back() {
    let mut fleet = fleet("");
    fleet.install_in(0, empty());
    assert_eq!(fleet.count(400, 8)[..4], [0, 0, 0, 0]);
    fleet.install((1..=4).map(at).collect());
    assert_eq!(fleet.count(400, 8)[4..], [0, 0, 0, 0]);
}

#[test]
fn a_datacenter_beyond_the_configured_ones_is_ignored() {
    let mut fleet = fleet("");
    fleet.install_in(2, Snapshot::new(vec![at(9)]));
    assert_eq!(fleet.pool.len(), 8);
}

#[test]
fn what_one_datacenter_has_lost_the_next_takes_over() {
    let mut fleet = fleet("");
    fleet.install_in(0, Snapshot::new(vec![at(4)]).with_unhealthy(ill(3)));
    // One of four can take 35 %, and the other datacenter has enough for the rest.
    let seen = fleet.count(10_000, 8);
    assert_eq!(seen[..3], [0, 0, 0]);
    assert!((3_300..3_700).contains(&seen[3]), "{seen:?}");
}

#[test]
fn retries_go_on_to_the_next_datacenter_where_one_has_too_few() {
    let mut fleet = fleet("");
    fleet.install(vec![at(1), at(2)]);
    for _ in 0..20 {
        let attempts = fleet.attempts_for(&PickContext::default(), 3);
        let mut first = attempts[..2].to_vec();
        first.sort_unstable();
        assert_eq!(first, [1, 2]);
        assert!(attempts[2] > 4 && attempts[3] > 4 && attempts[2] != attempts[3], "{attempts:?}");
    }
}

#[test]
fn a_key_that_fails_over_has_an_owner_there_too() {
    for name in ["ring_hash", "maglev"] {
        let mut fleet = fleet(&policy(name));
        fleet.install_in(0, empty());
        for key in 0..50 {
            let hints = any(key);
            let owner = fleet.port_for(&hints);
            assert!((0..5).all(|_| fleet.port_for(&hints) == owner), "{name}");
        }
    }
}

/// Lets the fleet prefer all datacenters to these.
fn avoid(fleet: &mut Fleet, datacenters: &[usize]) {
    fleet.pool.avoid(datacenters.iter().copied().collect(), fleet.now);
}

#[test]
fn an_avoided_datacenter_has_what_the_others_cannot_take_and_all_when_they_have_nothing() {
    let mut fleet = fleet("");
    avoid(&mut fleet, &[0]);
    assert_eq!(fleet.count(1_000, 8)[..4], [0, 0, 0, 0]);
    fleet.install_in(1, Snapshot::new(vec![at(7), at(8)]).with_unhealthy(ill(2)));
    // Two of four can take 70 %.
    let seen = fleet.count(10_000, 8);
    let avoided: u32 = seen[..4].iter().sum();
    assert!((2_700..3_300).contains(&avoided), "{seen:?}");
    fleet.install_in(1, empty());
    assert_eq!(fleet.count(1_000, 8)[4..], [0, 0, 0, 0]);
    fleet.install_in(1, Snapshot::new(vec![at(8)]));
    assert_eq!(fleet.count(1_000, 8)[..7], [0; 7]);
    avoid(&mut fleet, &[]);
    assert_eq!(fleet.count(1_000, 8)[4..], [0, 0, 0, 0]);
}

#[test]
fn datacenters_that_are_avoided_together_keep_their_order() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2", "dc3"]"#);
    for (preference, port) in (0..).zip(1..=3) {
        fleet.install_in(preference, Snapshot::new(vec![at(port)]));
    }
    let seen = |fleet: &mut Fleet| fleet.count(300, 3);
    avoid(&mut fleet, &[0, 1]);
    assert_eq!(seen(&mut fleet), [0, 0, 300]);
    fleet.install_in(2, empty());
    assert_eq!(seen(&mut fleet), [300, 0, 0]);
    avoid(&mut fleet, &[0, 1, 2]);
    assert_eq!(seen(&mut fleet), [300, 0, 0]);
}

#[test]
fn retries_and_what_nobody_else_takes_reach_an_avoided_datacenter_last() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2", "dc3"]"#);
    for (preference, port) in (0..).zip(1..=3) {
        fleet.install_in(preference, Snapshot::new(vec![at(port)]));
    }
    avoid(&mut fleet, &[0]);
    assert_eq!(fleet.attempts_for(&PickContext::default(), 2), [2, 3, 1]);
    fleet.install_in(1, empty());
    assert_eq!(fleet.count(100, 3), [0, 0, 100]);
}

#[test]
fn a_datacenter_is_down_when_it_is_known_to_have_no_endpoint() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2"]"#);
    let down = |fleet: &Fleet| [0, 1].map(|place| fleet.pool.down().contains(place));
    assert_eq!((down(&fleet), fleet.pool.is_down()), ([false, false], false), "unknown");
    fleet.install_in(1, empty());
    assert_eq!((down(&fleet), fleet.pool.is_down()), ([false, true], false));
    fleet.install(vec![at(1)]);
    assert_eq!(down(&fleet), [false, true]);
    fleet.install(Vec::new());
    assert_eq!((down(&fleet), fleet.pool.is_down()), ([true, true], true));
    fleet.pool.forget(0);
    assert_eq!(fleet.pool.down(), IndexSet::from_iter([1]));
}
