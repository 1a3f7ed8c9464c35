//! Several datacenters.

use consul_resolver::balancer::pick_context::PickContext;
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
fn pool_is_resolved_when_one_datacenter_has_hosts() {
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
fn empty_service_is_resolved_when_all_datacenters_are() {
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

#[test]
fn service_is_down_when_no_datacenter_has_an_endpoint() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2"]"#);
    assert!(!fleet.pool.is_down(), "both are unknown");
    fleet.install_in(1, empty());
    assert!(!fleet.pool.is_down(), "the first is unknown");
    fleet.install(vec![at(1)]);
    assert!(!fleet.pool.is_down(), "the first has an endpoint");
    fleet.install(Vec::new());
    assert!(fleet.pool.is_down());
    fleet.pool.forget(0);
    assert!(!fleet.pool.is_down(), "the first is unknown again");
}
