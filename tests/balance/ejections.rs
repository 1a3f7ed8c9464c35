//! Endpoints that are ejected, probed, and return.

use std::rc::Rc;
use std::time::Duration;

use consul_resolver::balance::hints::Hints;
use consul_resolver::balance::outlier::outcome::Outcome;
use consul_resolver::balance::outlier::transition::{Cause, Transition};
use consul_resolver::balance::pool::PoolEvent;

use crate::fleet::{DETECTS, Fleet, POLICIES, any, at, policy, port, weighing};

const BASE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(250);

fn fleet(name: &str, endpoints: u16) -> Fleet {
    let service = format!("{}, {DETECTS}", policy(name));
    Fleet::new(&service).of((1..=endpoints).map(at).collect())
}

#[test]
fn an_ejected_endpoint_has_no_request_before_the_next_tick_nor_after_it() {
    for name in POLICIES {
        let mut fleet = fleet(name, 4);
        fleet.eject(&[2]);
        assert_eq!(fleet.count_for(1_000, 4, |n| any(n.into()))[1], 0, "{name}, before");
        fleet.wait(SHORT);
        assert_eq!(fleet.count_for(1_000, 4, |n| any(n.into()))[1], 0, "{name}, after");
    }
}

#[test]
fn it_is_reached_by_one_probe_at_a_time_and_its_answer_decides() {
    for name in POLICIES {
        let mut fleet = fleet(name, 4);
        fleet.eject(&[2]);
        fleet.wait(BASE);
        let tickets: Vec<_> = (0..400).map(|n| fleet.pick_for(&any(n)).unwrap()).collect();
        let (mut probes, others): (Vec<_>, Vec<_>) =
            tickets.into_iter().partition(|ticket| port(ticket) == 2);
        assert_eq!(probes.len(), 1, "{name}");
        fleet.end(probes.remove(0), Outcome::Success);
        drop(others);
        fleet.tick();
        assert!(fleet.target(2).monitor().is_active(), "{name}");
        assert!(fleet.count_for(1_000, 4, |n| any(n.into()))[1] > 100, "{name}");
    }
}

#[test]
fn a_probe_that_fails_ejects_it_again_for_longer() {
    for name in POLICIES {
        let mut fleet = fleet(name, 4);
        fleet.eject(&[2]);
        fleet.wait(BASE);
        fleet.pool.take_events();
        fleet.answer(2, Outcome::LocalOrigin, 1);
        let ejected = Transition::Ejected(Cause::Probe);
        let address = fleet.target(2).address().clone();
        assert_eq!(fleet.pool.take_events(), [PoolEvent::Endpoint(address, ejected)], "{name}");
        fleet.wait(BASE * 2 - SHORT);
        assert_eq!(fleet.count_for(500, 4, |n| any(n.into()))[1], 0, "{name}");
        fleet.wait(SHORT);
        fleet.answer(2, Outcome::Success, 1);
        assert!(fleet.target(2).monitor().is_active(), "{name}");
    }
}

#[test]
fn a_probe_that_ends_without_an_answer_is_followed_by_another() {
    let mut fleet = fleet("round_robin", 4);
    fleet.eject(&[2]);
    fleet.wait(BASE);
    for _ in 0..3 {
        assert!((0..100).any(|_| fleet.port_for(&Hints::default()) == Some(2)));
        assert!(fleet.target(2).monitor().is_ejected());
    }
}

#[test]
fn retries_never_go_to_an_ejected_endpoint_nor_do_they_probe() {
    for name in POLICIES {
        let mut fleet = fleet(name, 4);
        fleet.eject(&[2]);
        for _ in 0..2 {
            for n in 0..100 {
                let mut attempts = fleet.attempts_for(&any(n), 3);
                assert!(!attempts[1..].contains(&2), "{name}");
                attempts.retain(|&port| port != 2);
                attempts.sort_unstable();
                assert_eq!(attempts, [1, 3, 4], "{name}");
            }
            fleet.wait(SHORT);
        }
    }
}

#[test]
fn with_too_few_left_all_are_used_until_enough_return() {
    for name in POLICIES {
        let mut fleet = fleet(name, 4);
        fleet.eject(&[1, 2]);
        fleet.tick();
        assert!(fleet.panics().is_empty(), "{name}: half is not less than half");
        fleet.eject(&[3]);
        assert_eq!(fleet.count_for(400, 4, |n| any(n.into())), [0, 0, 0, 400], "{name}");
        fleet.tick();
        assert_eq!(fleet.panics(), [true], "{name}");
        let seen = fleet.count_for(4_000, 4, |n| any(n.into()));
        assert!(seen.iter().all(|&seen| seen > 500), "{name}: {seen:?}");
        let attempts = fleet.attempts_for(&any(1), 3);
        assert_eq!(attempts.len(), 4, "{name}: retries too");

        // Their time over, requests in the panic are their probes.
        fleet.wait(BASE);
        fleet.answer(1, Outcome::Success, 1);
        fleet.answer(2, Outcome::Success, 1);
        fleet.tick();
        assert_eq!(fleet.panics(), [false], "{name}");
    }
}

#[test]
fn in_a_panic_too_one_request_at_a_time_is_a_probe() {
    let mut fleet = fleet("random", 2);
    fleet.eject(&[1, 2]);
    fleet.wait(BASE);
    assert_eq!(fleet.panics(), [true]);
    let to_first = |fleet: &mut Fleet| loop {
        let ticket = fleet.pick().unwrap();
        if port(&ticket) == 1 {
            return ticket;
        }
    };
    let probe = to_first(&mut fleet);
    let other = to_first(&mut fleet);
    fleet.end(other, Outcome::ServerError);
    assert!(!fleet.target(1).monitor().admits(), "it says nothing");
    fleet.end(probe, Outcome::Success);
    assert!(fleet.target(1).monitor().is_active());
}

#[test]
fn when_the_last_one_is_ejected_all_are_used_at_once() {
    for name in POLICIES {
        let mut fleet = fleet(name, 3);
        fleet.eject(&[1, 2, 3]);
        let seen = fleet.count_for(900, 3, |n| any(n.into()));
        assert!(seen.iter().all(|&seen| seen > 100), "{name}: {seen:?}");
        assert_eq!(fleet.panics(), [true], "{name}");
    }
}

#[test]
fn without_a_panic_threshold_ejected_endpoints_are_never_used() {
    for name in POLICIES {
        let policy = policy(name);
        let policy = policy.strip_suffix('}').unwrap();
        let service = format!(r#"{policy}, "panic_threshold": 0 }}, {DETECTS}"#);
        let mut fleet = Fleet::new(&service).of(vec![at(1), at(2)]);
        fleet.eject(&[1, 2]);
        assert!(fleet.pick_for(&any(1)).is_none(), "{name}");
        fleet.wait(SHORT);
        assert!(fleet.pick_for(&any(1)).is_none(), "{name}");
        fleet.wait(BASE);
        let probes: Vec<_> = (0..50).filter_map(|n| fleet.pick_for(&any(n))).collect();
        assert_eq!(probes.len(), 2, "{name}: one for each");
    }
}

#[test]
fn an_ejection_outlives_snapshots() {
    let mut fleet = fleet("random", 4);
    fleet.eject(&[2]);
    fleet.install((1..=5).map(at).collect());
    assert_eq!(fleet.count(1_000, 5)[1], 0);
    fleet.wait(BASE);
    fleet.answer(2, Outcome::Success, 1);
    assert!(fleet.target(2).monitor().is_active());
}

#[test]
fn one_that_leaves_while_it_is_ejected_and_comes_back_still_is() {
    let mut fleet = fleet("random", 4);
    fleet.eject(&[2]);
    let ejected = fleet.target(2);
    fleet.install(weighing(&[1, 0, 1, 1]));
    fleet.wait(Duration::from_secs(10));
    fleet.install(weighing(&[1, 5, 1, 1]));
    assert!(Rc::ptr_eq(&fleet.target(2), &ejected));
    assert_eq!(ejected.weight().get(), 5);
    fleet.wait(Duration::from_secs(20) - SHORT);
    assert_eq!(fleet.count(500, 4)[1], 0);
    fleet.wait(SHORT);
    fleet.answer(2, Outcome::Success, 1);
    assert!(ejected.monitor().is_active());
}

#[test]
fn one_whose_time_ran_out_while_it_was_away_is_probed() {
    let mut fleet = fleet("random", 4);
    fleet.eject(&[2]);
    fleet.install(weighing(&[1, 0, 1, 1]));
    fleet.wait(BASE);
    fleet.install(weighing(&[1, 1, 1, 1]));
    fleet.wait(SHORT);
    let tickets: Vec<_> = (0..100).map(|_| fleet.pick().unwrap()).collect();
    assert_eq!(tickets.iter().filter(|ticket| port(ticket) == 2).count(), 1);
}

#[test]
fn one_that_is_away_for_longer_comes_back_as_new() {
    let mut fleet = fleet("random", 4);
    fleet.eject(&[2]);
    let ejected = fleet.target(2);
    fleet.install(weighing(&[1, 0, 1, 1]));
    fleet.wait(BASE);
    fleet.install(weighing(&[1, 0, 1, 2]));
    fleet.install(weighing(&[1, 1, 1, 2]));
    assert!(!Rc::ptr_eq(&fleet.target(2), &ejected));
    assert!(fleet.target(2).monitor().is_active());
}

#[test]
fn endpoints_that_have_left_do_not_count_for_the_most_that_may_be_ejected() {
    let service = r#""load_balancing": { "policy": "random" },
                     "outlier_detection": { "max_ejection_percent": 25 }"#;
    let mut fleet = Fleet::new(service).of((1..=4).map(at).collect());
    fleet.eject(&[1]);
    fleet.answer(2, Outcome::ServerError, 20);
    assert!(fleet.target(2).monitor().is_active(), "one of four is all");
    fleet.install((2..=5).map(at).collect());
    fleet.eject(&[2]);
}

#[test]
fn requests_to_an_endpoint_that_has_left_say_nothing() {
    let mut fleet = fleet("random", 1);
    let tickets: Vec<_> = (0..5).map(|_| fleet.pick().unwrap()).collect();
    fleet.install(vec![at(2)]);
    fleet.pool.take_events();
    for ticket in tickets {
        fleet.end(ticket, Outcome::LocalOrigin);
    }
    assert_eq!(fleet.pool.take_events(), []);
    assert_eq!(fleet.port_for(&Hints::default()), Some(2));
}

#[test]
fn without_outlier_detection_nothing_ejects() {
    for name in POLICIES {
        let mut fleet = Fleet::new(&policy(name)).of(vec![at(1), at(2)]);
        for n in 0..100 {
            let ticket = fleet.pick_for(&any(n)).unwrap();
            fleet.end(ticket, Outcome::LocalOrigin);
        }
        fleet.wait(BASE);
        assert!(fleet.pool.targets().all(|target| target.monitor().is_active()), "{name}");
        assert_eq!(fleet.pool.take_events(), [], "{name}");
    }
}
