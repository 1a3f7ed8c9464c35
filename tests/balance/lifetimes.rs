//! What a pool keeps of an endpoint from snapshot to snapshot.

use std::rc::Rc;

use consul_resolver::balancer::pick_context::PickContext;

use crate::fleet::{Fleet, POLICIES, of_version, policy, port, weighing};

#[test]
fn host_keeps_its_statistics_when_its_weight_changes() {
    for name in POLICIES {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&[1, 1, 1]));
        let tickets: Vec<_> = (0..6).map(|_| fleet.pick().unwrap()).collect();
        let before = [1, 2, 3].map(|port| fleet.target(port));
        fleet.install(weighing(&[0, 5, 1, 1]));
        assert!(Rc::ptr_eq(&before[1], &fleet.target(2)));
        assert!(Rc::ptr_eq(&before[2], &fleet.target(3)));
        assert_eq!(fleet.target(2).weight().get(), 5);
        assert_eq!(fleet.target(4).active(), 0);
        let stayed = before[1].active() + before[2].active();
        assert_eq!(fleet.pool.in_flight(), u64::from(stayed));
        drop(tickets);
        assert_eq!(fleet.pool.in_flight(), 0);
    }
}

#[test]
fn a_new_weight_counts_at_once() {
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&[1, 1]));
        fleet.install(weighing(&[1, 9]));
        let seen = fleet.count(10_000, 2);
        assert!((900..1_100).contains(&seen[0]), "{name}: {seen:?}");
    }
}

#[test]
fn tickets_of_a_removed_endpoint_return_to_zero() {
    let mut fleet = Fleet::new(&policy("random")).of(weighing(&[1]));
    let tickets = [fleet.pick().unwrap(), fleet.pick().unwrap()];
    let removed = fleet.target(1);
    fleet.install(Vec::new());
    fleet.install(weighing(&[1]));
    assert_eq!(removed.active(), 2);
    assert_eq!(fleet.pool.in_flight(), 0, "it came back as another");
    assert!(!Rc::ptr_eq(tickets[0].host(), &fleet.target(1)));
    drop(tickets);
    assert_eq!(removed.active(), 0);
}

#[test]
fn least_request_avoids_a_loaded_endpoint() {
    let mut fleet = Fleet::new(&policy("least_request")).of(weighing(&[0, 1]));
    let load: Vec<_> = (0..10).map(|_| fleet.pick().unwrap()).collect();
    fleet.install(weighing(&[1, 1, 1]));
    assert_eq!(fleet.count(1_000, 3)[1], 0);
    drop(load);
    assert!(fleet.count(1_000, 3)[1] > 0);
}

#[test]
fn a_retry_avoids_a_loaded_endpoint_as_the_first_attempt_does() {
    for name in ["least_request", "peak_ewma"] {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&[1]));
        let _load: Vec<_> = (0..10).map(|_| fleet.pick().unwrap()).collect();
        fleet.install(weighing(&[1, 1, 1, 1]));
        for _ in 0..500 {
            // Of the three that are left for the retry two are drawn, and the better one is taken.
            let attempts = fleet.attempts_for(&PickContext::default(), 1);
            assert!(attempts.len() == 2 && !attempts.contains(&1), "{name}: {attempts:?}");
        }
    }
}

#[test]
fn least_request_and_peak_ewma_load_endpoints_by_their_weight() {
    for name in ["least_request", "peak_ewma"] {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&[1, 1, 2, 4]));
        let load: Vec<_> = (0..800).map(|_| fleet.pick().unwrap()).collect();
        for (n, want) in [100_u32, 100, 200, 400].into_iter().enumerate() {
            let active = load.iter().filter(|ticket| usize::from(port(ticket)) == n + 1).count();
            let active = active as u32;
            assert!(active.abs_diff(want) <= want / 20, "{name}: {active} for {want}");
        }
    }
}

#[test]
fn a_snapshot_like_the_last_leaves_nothing_behind() {
    for name in POLICIES {
        let policy = policy(name);
        let bound = match name {
            "ring_hash" | "maglev" => r#", "hash_balance_factor": 150 }"#,
            _ => " }",
        };
        let service = format!(
            r#"{}{bound}, "versions": {{ "header": "v" }}"#,
            policy.strip_suffix('}').unwrap()
        );
        let endpoints = || (1..=9).map(|port| of_version(port, "1.2.3")).collect();
        let mut fleet = Fleet::new(&service).of(endpoints());
        fleet.install(endpoints());
        let kept = allocation_counter::measure(|| fleet.install(endpoints()));
        assert_eq!((kept.count_current, kept.bytes_current), (0, 0), "{name}");
    }
}
