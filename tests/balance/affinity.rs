//! Keys that stay with their endpoint.

use std::collections::BTreeMap;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::util::rng::Rng;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fleet::{Fleet, SEED, at, hashed, of_version, policy, port, weighing};

const HASHING: [&str; 2] = ["ring_hash", "maglev"];

fn keys(count: u64) -> impl Iterator<Item = u64> {
    let mut rng = Rng::new(SEED);
    (0..count).map(move |_| rng.next_u64())
}

/// The owner of each key.
fn owners(fleet: &mut Fleet, count: u64) -> BTreeMap<u64, u16> {
    keys(count).map(|key| (key, fleet.port_for(&hashed(key)).unwrap())).collect()
}

#[test]
fn a_key_has_one_owner_in_every_worker() {
    for name in HASHING {
        let of_worker =
            |seed| owners(&mut Fleet::seeded(&policy(name), seed).of(weighing(&[1; 7])), 500);
        assert_eq!(of_worker(1), of_worker(2), "{name}");
    }
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    for name in HASHING {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&[1; 7]));
        assert!(fleet.count(700, 7).iter().all(|&seen| seen > 50), "{name}");
    }
}

#[test]
fn retries_of_a_key_are_always_the_same_in_the_same_order() {
    for name in HASHING {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&[1; 6]));
        let mut orders = std::collections::BTreeSet::new();
        for key in keys(100) {
            let attempts = fleet.attempts_for(&hashed(key), 2);
            assert!((0..3).all(|_| fleet.attempts_for(&hashed(key), 2) == attempts), "{name}");
            orders.insert(attempts);
        }
        assert!(orders.len() > 30, "{name}: retries of different keys spread");
    }
}

fn bounded(name: &str, factor: u32) -> String {
    let policy = policy(name);
    let policy = policy.strip_suffix('}').unwrap();
    format!(r#"{policy}, "hash_balance_factor": {factor} }}"#)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nobody_is_above_its_bound_while_another_has_room(
        name in select(HASHING.to_vec()),
        factor in prop_oneof![Just(100_u32), 101..300_u32],
        weights in prop::collection::vec(1..10_u16, 1..40),
        hot in 1..4_u64,
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..100),
    ) {
        let mut fleet = Fleet::new(&bounded(name, factor)).of(weighing(&weights));
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut tickets = Vec::new();
        for n in 0..300_u64 {
            let ticket = fleet.pick_for(&hashed(n % hot)).unwrap();
            tickets.push(ticket);
            let target = tickets.last().unwrap().host();
            let share = u64::from(target.weight().get()) * tickets.len() as u64;
            let most = (share * u64::from(factor)).div_ceil(100 * total);
            prop_assert!(u64::from(target.active()) <= most, "{} above {}", target.active(), most);
            if let Some(end) = ends.get(n as usize) {
                drop(tickets.swap_remove(end.index(tickets.len())));
            }
        }
    }
}

#[test]
fn a_bound_leaves_keys_where_they_are_while_there_is_room() {
    for name in HASHING {
        let mut bounded = Fleet::new(&bounded(name, 150)).of(weighing(&[1; 5]));
        let mut free = Fleet::new(&policy(name)).of(weighing(&[1; 5]));
        assert_eq!(owners(&mut bounded, 500), owners(&mut free, 500), "{name}");
    }
}

#[test]
fn a_bound_counts_the_requests_of_all_versions() {
    for name in HASHING {
        let service = format!(r#"{}, "versions": {{ "header": "v" }}"#, bounded(name, 150));
        let endpoints = (1..=10).map(|port| of_version(port, if port > 8 { "2.0" } else { "1.0" }));
        let mut fleet = Fleet::new(&service).of(endpoints.collect());
        let _load: Vec<_> = keys(1_000).map(|key| fleet.pick_for(&hashed(key)).unwrap()).collect();
        // Both of this version have some 100 already; a key still has one owner of them.
        let of_version = |key| PickContext { version: Some(b"2".to_vec()), ..hashed(key) };
        let owner = fleet.port_for(&of_version(7));
        assert!((0..50).all(|_| fleet.port_for(&of_version(7)) == owner), "{name}");
    }
}

#[test]
fn a_bound_is_right_after_a_new_snapshot() {
    for name in HASHING {
        let mut fleet = Fleet::new(&bounded(name, 100)).of(weighing(&[1, 1]));
        let tickets: Vec<_> = (0..100).map(|_| fleet.pick_for(&hashed(1)).unwrap()).collect();
        fleet.install(weighing(&[1, 1, 1]));
        assert_eq!(fleet.target(1).active() + fleet.target(2).active(), 100, "{name}");
        // 100 and one more for three: the two have more than their share.
        let mut more: Vec<_> = (0..50).map(|_| fleet.pick_for(&hashed(1)).unwrap()).collect();
        assert!(more.iter().all(|ticket| port(ticket) == 3), "{name}");
        drop(tickets);
        more.push(fleet.pick_for(&hashed(1)).unwrap());
        assert_ne!(port(&more[50]), 3, "{name}");
    }
}

/// A service of two datacenters, with endpoints on ports 1 to 5 of 10 that are registered, and on
/// ports 6 to 10.
fn half_gone(service: &str) -> Fleet {
    let mut fleet = Fleet::new(&format!(r#""datacenters": ["dc1", "dc2"], {service}"#));
    fleet.install_in(
        0,
        Snapshot::new((1..=5).map(at).collect()).with_unhealthy(crate::fleet::ill(5)),
    );
    fleet.install_in(1, Snapshot::new((6..=10).map(at).collect()));
    fleet
}

#[test]
fn a_key_has_one_owner_when_a_datacenter_fails_over_in_part() {
    for name in HASHING {
        let mut fleet = half_gone(&policy(name));
        let mut in_first = 0;
        for key in keys(2_000) {
            let attempts = fleet.attempts_for(&hashed(key), 2);
            in_first += u32::from(attempts[0] <= 5);
            for _ in 0..5 {
                assert_eq!(fleet.attempts_for(&hashed(key), 2), attempts, "{name}");
            }
        }
        // Five of ten can take 70 %.
        assert!((1_310..1_490).contains(&in_first), "{name}, seed {SEED}: {in_first}");
    }
}

#[test]
fn a_key_stays_in_its_datacenter_when_more_keys_fail_over() {
    for name in HASHING {
        let mut fleet = half_gone(&policy(name));
        let before = owners(&mut fleet, 2_000);
        fleet.install_in(
            0,
            Snapshot::new((1..=5).map(at).collect()).with_unhealthy(crate::fleet::ill(9)),
        );
        for (key, owner) in owners(&mut fleet, 2_000) {
            assert!(owner == before[&key] || before[&key] <= 5 && owner > 5, "{name}");
        }
    }
}

#[test]
fn keys_of_versions_fail_over_alike_when_one_hash_decides_both() {
    for name in HASHING {
        let versions =
            r#""versions": { "split": { "1.x": 50, "2.x": 50 }, "hash_on": { "path": true } }"#;
        let mut fleet =
            Fleet::new(&format!(r#""datacenters": ["dc1", "dc2"], {versions}, {}"#, policy(name)));
        let of_both = |ports: std::ops::RangeInclusive<u16>| {
            let version = |port| if port % 2 == 0 { "2.0" } else { "1.0" };
            Snapshot::new(ports.map(|port| of_version(port, version(port))).collect())
        };
        let ill = of_both(101..=108).endpoints().to_vec();
        fleet.install_in(0, of_both(1..=8).with_unhealthy(ill));
        fleet.install_in(1, of_both(9..=16));
        let mut seen = [[0; 2]; 2];
        for key in keys(2_000) {
            let hints = PickContext { split: Some(key), ..hashed(key) };
            let port = fleet.port_for(&hints).unwrap();
            seen[usize::from(port.is_multiple_of(2))][usize::from(port > 8)] += 1;
        }
        for [stay, go] in seen {
            assert!((640..760).contains(&stay) && (240..360).contains(&go), "{name}: {seen:?}");
        }
    }
}
