//! Staying in the own zone.

use consul_resolver::balancer::pick_context::PickContext;

use crate::fleet::{Fleet, any, at, in_zone, policy};

/// So many endpoints in zones `a`, `b` and in none, on ports from 1 on.
fn fleet(service: &str, locality: &str, zones: [u16; 3]) -> Fleet {
    let [a, b, none] = zones;
    let endpoints = (1..=a + b + none).map(|port| match port {
        _ if port <= a => in_zone(port, "a"),
        _ if port <= a + b => in_zone(port, "b"),
        _ => at(port),
    });
    Fleet::located(service, locality).of(endpoints.collect())
}

const IN_A: &str = r#"{ "zone": "a" }"#;

#[test]
fn a_zone_with_enough_endpoints_has_all_requests() {
    let mut fleet = fleet("", IN_A, [3, 3, 0]);
    assert_eq!(fleet.count(1_000, 6)[3..], [0, 0, 0]);
}

#[test]
fn few_endpoints_are_all_used_whatever_their_zone() {
    let mut few = fleet("", IN_A, [3, 2, 0]);
    assert!(few.count(1_000, 5).iter().all(|&seen| seen > 0), "five are fewer than six");
    let locality = r#"{ "zone": "a", "min_cluster_size": 5 }"#;
    assert_eq!(fleet("", locality, [3, 2, 0]).count(1_000, 5)[3..], [0, 0]);
}

#[test]
fn all_zones_are_used_when_the_own_zone_has_no_host() {
    for locality in ["{}", r#"{ "zone": "c" }"#] {
        let mut fleet = fleet("", locality, [2, 4, 2]);
        let seen = fleet.count(8_000, 8);
        assert!(seen.iter().all(|&seen| (850..1_150).contains(&seen)), "{locality}: {seen:?}");
    }
}

#[test]
fn endpoints_without_a_zone_are_as_far_as_those_of_another() {
    let mut enough = fleet("", IN_A, [3, 1, 2]);
    assert_eq!(enough.count(1_000, 6)[3..], [0, 0, 0], "3 of 6, and three zones");
    let mut little = fleet("", IN_A, [1, 0, 5]);
    let seen = little.count(9_000, 6);
    // One of six for half of the proxies: a third stays.
    assert!((2_800..3_200).contains(&seen[0]), "{seen:?}");
    assert!(seen[1..].iter().all(|&seen| seen > 1_000), "{seen:?}");
}

#[test]
fn a_key_belongs_to_the_same_endpoint_in_every_zone() {
    for name in ["ring_hash", "maglev"] {
        let owners = |zone: &str| -> Vec<_> {
            let locality = format!(r#"{{ "zone": "{zone}" }}"#);
            let mut fleet = fleet(&policy(name), &locality, [4, 4, 0]);
            (0..100).map(|n| fleet.port_for(&any(n))).collect()
        };
        assert_eq!(owners("a"), owners("b"), "{name}");
        assert!(owners("a").iter().any(|port| *port > Some(4)), "{name}");
    }
}

#[test]
fn retries_leave_the_zone_where_it_has_no_other_endpoint() {
    let mut fleet = fleet("", r#"{ "zone": "a", "min_cluster_size": 2 }"#, [1, 1, 0]);
    for _ in 0..20 {
        assert_eq!(fleet.attempts_for(&PickContext::default(), 3), [1, 2]);
    }
}
