//! Clients and keys that stay with their endpoint.

use std::collections::BTreeMap;

use consul_resolver::balance::hints::Hints;
use consul_resolver::balance::outlier::outcome::Outcome;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::rng::Rng;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fleet::{DETECTS, Fleet, SEED, at, hashed, of_version, policy, port, weighing};

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
fn the_keys_of_an_ejected_endpoint_spread_over_the_others_and_come_back() {
    for name in HASHING {
        let service = format!("{}, {DETECTS}", policy(name));
        let mut fleet = Fleet::new(&service).of(weighing(&[1; 5]));
        let before = owners(&mut fleet, 2_000);
        let key_of = keys(2_000).find(|key| before[key] == 3).unwrap();
        fleet.answer_for(3, Outcome::ServerError, 5, |_| hashed(key_of));
        for _ in 0..2 {
            let meanwhile = owners(&mut fleet, 2_000);
            let mut heirs = BTreeMap::new();
            for (key, owner) in &before {
                if *owner == 3 {
                    *heirs.entry(meanwhile[key]).or_insert(0) += 1;
                } else {
                    assert_eq!(meanwhile[key], *owner, "{name}: the others stay");
                }
            }
            // Some 400 keys for four.
            assert_eq!(heirs.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5], "{name}");
            assert!(heirs.values().all(|&keys| keys > 60), "{name}: {heirs:?}");
            fleet.tick();
        }
        fleet.wait(std::time::Duration::from_secs(30));
        fleet.answer_for(3, Outcome::Success, 1, |_| hashed(key_of));
        fleet.tick();
        assert_eq!(owners(&mut fleet, 2_000), before, "{name}");
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

#[test]
fn the_first_retry_of_a_key_goes_where_it_goes_when_its_owner_is_ejected() {
    for name in HASHING {
        let service = format!("{}, {DETECTS}", policy(name));
        let mut fleet = Fleet::new(&service).of(weighing(&[1; 6]));
        let key = keys(1).next().unwrap();
        let attempts = fleet.attempts_for(&hashed(key), 1);
        fleet.answer_for(attempts[0], Outcome::ServerError, 5, |_| hashed(key));
        assert_eq!(fleet.port_for(&hashed(key)), Some(attempts[1]), "{name}");
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
            let target = tickets.last().unwrap().target();
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
        let of_version = |key| Hints { version: Some(b"2".to_vec()), ..hashed(key) };
        let owner = fleet.port_for(&of_version(7));
        assert!((0..50).all(|_| fleet.port_for(&of_version(7)) == owner), "{name}");
    }
}

#[test]
fn a_bound_is_of_those_that_are_in_use() {
    for name in HASHING {
        let service = format!("{}, {DETECTS}", bounded(name, 120));
        let mut fleet = Fleet::new(&service).of(weighing(&[1; 4]));
        let mut rng = Rng::new(SEED);
        let any = |rng: &mut Rng| hashed(rng.next_u64());
        for port in [1, 2] {
            for _ in 0..10_000 {
                if fleet.target(port).monitor().is_ejected() {
                    break;
                }
                let ticket = fleet.pick_for(&any(&mut rng)).unwrap();
                let is_it = crate::fleet::port(&ticket) == port;
                fleet.end(ticket, if is_it { Outcome::ServerError } else { Outcome::Success });
            }
        }
        fleet.tick();
        let mut tickets = Vec::new();
        for _ in 0..1_000 {
            tickets.push(fleet.pick_for(&any(&mut rng)).unwrap());
        }
        let most = tickets.iter().filter(|ticket| port(ticket) == 3).count();
        assert!((400..=600).contains(&most), "{name}: {most} of 1,000");
        // Two are left, and have 60 % of all at most: their keys are theirs.
        let before = owners(&mut fleet, 200);
        assert_eq!(owners(&mut fleet, 200), before, "{name}");
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
    fleet.install_in(0, Snapshot::new((1..=5).map(at).collect()).registering(10));
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
        fleet.install_in(0, Snapshot::new((1..=5).map(at).collect()).registering(14));
        for (key, owner) in owners(&mut fleet, 2_000) {
            assert!(owner == before[&key] || before[&key] <= 5 && owner > 5, "{name}");
        }
    }
}

#[test]
fn keys_of_each_version_fail_over_alike_when_one_hash_decides_both() {
    for name in HASHING {
        let versions =
            r#""versions": { "split": { "1.x": 50, "2.x": 50 }, "hash_on": { "path": true } }"#;
        let mut fleet =
            Fleet::new(&format!(r#""datacenters": ["dc1", "dc2"], {versions}, {}"#, policy(name)));
        let of_both = |ports: std::ops::RangeInclusive<u16>| {
            let version = |port| if port % 2 == 0 { "2.0" } else { "1.0" };
            Snapshot::new(ports.map(|port| of_version(port, version(port))).collect())
        };
        let ill = [("1.0".into(), 4), ("2.0".into(), 4)];
        fleet.install_in(0, of_both(1..=8).registering(16).lacking(ill));
        fleet.install_in(1, of_both(9..=16));
        let mut seen = [[0; 2]; 2];
        for key in keys(2_000) {
            let hints = Hints { split: Some(key), ..hashed(key) };
            let port = fleet.port_for(&hints).unwrap();
            seen[usize::from(port.is_multiple_of(2))][usize::from(port > 8)] += 1;
        }
        for [stay, go] in seen {
            assert!((640..760).contains(&stay) && (240..360).contains(&go), "{name}: {seen:?}");
        }
    }
}

#[test]
fn a_key_has_one_owner_when_few_endpoints_are_left() {
    // 4 of 100 take requests: three of ten keys meet none of them in all their places.
    for name in HASHING {
        let service = format!(r#""datacenters": ["dc1", "dc2"], {}"#, policy(name));
        let mut fleet = Fleet::new(&service).of(weighing(&[1; 100]));
        fleet.install_in(1, Snapshot::new((101..=200).map(at).collect()));
        fleet.set_unhealthy(0, &(5..=100).collect::<Vec<_>>());
        fleet.tick();
        for key in keys(1_000) {
            let attempts = fleet.attempts_for(&hashed(key), 2);
            assert!((0..3).all(|_| fleet.attempts_for(&hashed(key), 2) == attempts), "{name}");
        }
    }
}

fn pinned(fleet: &Fleet, port: u16) -> Hints {
    Hints { pin: Some(fleet.target(port).pin()), ..Hints::default() }
}

const STICKY: &str = r#""sticky": {}"#;

#[test]
fn a_client_stays_with_the_endpoint_that_its_cookie_names() {
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let mut fleet = Fleet::new(&format!("{}, {STICKY}", policy(name))).of(weighing(&[1; 5]));
        let hints = pinned(&fleet, 4);
        let _load: Vec<_> = (0..50).map(|_| fleet.pick_for(&hints).unwrap()).collect();
        assert_eq!(fleet.target(4).active(), 50, "{name}");
        fleet.install(weighing(&[1; 9]));
        assert_eq!(fleet.port_for(&hints), Some(4), "{name}");
        let attempts = fleet.attempts_for(&hints, 3);
        assert_eq!((attempts[0], attempts.len()), (4, 4), "{name}");
    }
}

#[test]
fn a_pin_of_nobody_counts_for_nothing_and_one_of_a_service_without_cookies_neither() {
    let mut fleet = Fleet::new(STICKY).of(weighing(&[1; 5]));
    let hints = pinned(&fleet, 4);
    fleet.install(weighing(&[1, 1, 1, 0, 1]));
    let seen = fleet.count_for(1_000, 5, |_| hints.clone());
    assert!(seen[3] == 0 && seen.iter().filter(|&&seen| seen > 100).count() == 4, "{seen:?}");

    let mut without = Fleet::new("").of(weighing(&[1; 5]));
    assert!(without.count_for(1_000, 5, |_| hints.clone())[3] < 500);
}

#[test]
fn a_client_of_an_ejected_endpoint_goes_elsewhere_until_it_may_probe_it() {
    let mut fleet = Fleet::new(&format!("{STICKY}, {DETECTS}")).of(weighing(&[1; 5]));
    let hints = pinned(&fleet, 4);
    fleet.answer_for(4, Outcome::ServerError, 5, |_| hints.clone());
    assert_ne!(fleet.port_for(&hints), Some(4));
    fleet.wait(std::time::Duration::from_secs(30));
    let probe = fleet.pick_for(&hints).unwrap();
    assert_eq!(port(&probe), 4);
    assert_ne!(fleet.port_for(&hints), Some(4), "one at a time");
    fleet.end(probe, Outcome::Success);
    assert_eq!(fleet.port_for(&hints), Some(4));
}

#[test]
fn in_a_panic_a_client_stays_even_with_an_ejected_endpoint() {
    let mut fleet = Fleet::new(&format!("{STICKY}, {DETECTS}")).of(weighing(&[1; 3]));
    let hints = pinned(&fleet, 3);
    fleet.eject(&[1, 2]);
    fleet.answer_for(3, Outcome::ServerError, 5, |_| hints.clone());
    fleet.tick();
    assert!((0..20).all(|_| fleet.port_for(&hints) == Some(3)));
}

#[test]
fn a_client_stays_whatever_the_split_but_not_if_it_names_another_version() {
    let service = format!(r#"{STICKY}, "versions": {{ "header": "v", "split": {{ "1.x": 1 }} }}"#);
    let mut fleet = Fleet::new(&service).of(vec![of_version(1, "1.0"), of_version(2, "2.0")]);
    let hints = pinned(&fleet, 2);
    assert!((0..20).all(|_| fleet.port_for(&hints) == Some(2)));
    let named = |name: &str| Hints { version: Some(name.into()), ..hints.clone() };
    assert_eq!(fleet.port_for(&named("2.x")), Some(2));
    assert_eq!(fleet.port_for(&named("1.x")), Some(1));
    assert_eq!(fleet.port_for(&named("3.x")), Some(2), "it falls back to any");
}

#[test]
fn a_client_stays_in_another_datacenter_too() {
    let mut fleet = Fleet::new(&format!(r#"{STICKY}, "datacenters": ["dc1", "dc2"]"#));
    fleet.install(vec![at(1), at(2)]);
    // The second endpoint is registered in both.
    fleet.install_in(1, Snapshot::new(vec![at(2), at(3)]));
    let (second, third) = (pinned(&fleet, 2), pinned(&fleet, 3));
    assert!((0..20).all(|_| fleet.port_for(&third) == Some(3)));
    let ticket = fleet.pick_for(&second).unwrap();
    assert!(ticket.goes_to(&fleet.target(2)), "that of the first datacenter");
}
