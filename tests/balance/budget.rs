//! The retries that a router gives to requests.

use std::time::Duration;

use consul_resolver::balance::hints::Hints;
use consul_resolver::config::Config;
use consul_resolver::model::service::{ServiceId, SourceId};
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::router::answer::Attempt;
use consul_resolver::router::decision::{Decision, Forward};
use consul_resolver::time::Time;

use crate::fleet::at;

const WEB: ServiceId = ServiceId::nth(0);

fn router(budget: &str) -> Router {
    let json = format!(
        r#"{{ "consul": {{ "cluster": "consul" }}, "handoff": {{ "via": "headers", "attempts": 4 }},
              "services": [{{ "name": "web" {budget} }}] }}"#
    );
    let config = Config::parse(json.as_bytes()).unwrap();
    let mut router = Router::new(&config, &mut Rng::new(1));
    router.install(SourceId::nth(0), &Snapshot::new((1..=4).map(at).collect()), second(100));
    router
}

fn second(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

fn send(router: &mut Router, at: u64) -> Forward {
    let hints = Hints { now: second(at), ..Hints::default() };
    match router.decide(Some(WEB), &hints) {
        Decision::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// How many endpoints its attempts reach.
fn reach(forward: &Forward) -> usize {
    let mut all: Vec<_> = forward.handoffs().map(|handoff| &handoff.first).collect();
    assert_eq!(all.len(), 4, "every attempt has a handoff");
    all.sort_unstable();
    all.dedup();
    all.len()
}

const THREE_A_SECOND: &str = r#", "retry_budget": { "percent": 0, "min_per_second": 3 }"#;

#[test]
fn without_a_budget_every_request_has_all_retries() {
    let mut router = router("");
    for _ in 0..100 {
        let forward = send(&mut router, 100);
        assert_eq!((reach(&forward), forward.most_retries()), (4, None));
    }
}

#[test]
fn over_the_budget_a_request_has_one_endpoint_and_no_retry() {
    let mut router = router(THREE_A_SECOND);
    let in_flight: Vec<_> = (0..12).map(|_| send(&mut router, 100)).collect();
    for (n, forward) in in_flight.iter().enumerate() {
        // 30 in ten seconds, three for each of them.
        let expected = if n < 10 { (4, None) } else { (1, Some("0")) };
        assert_eq!((reach(forward), forward.most_retries()), expected, "{n}");
    }
}

#[test]
fn a_rest_of_the_budget_that_is_too_small_for_all_retries_is_kept() {
    let mut router = router(r#", "retry_budget": { "percent": 0, "min_per_second": 1 }"#);
    let in_flight: Vec<_> = (0..5).map(|_| send(&mut router, 100)).collect();
    let given: Vec<_> = in_flight.iter().map(|forward| forward.most_retries()).collect();
    assert_eq!(given, [None, None, None, Some("0"), Some("0")]);
    assert_eq!(reach(&in_flight[3]), 1);
}

#[test]
fn what_a_request_did_not_take_is_free_when_it_is_answered() {
    let mut router = router(THREE_A_SECOND);
    let mut in_flight: Vec<_> = (0..10).map(|_| send(&mut router, 100)).collect();
    assert_eq!(send(&mut router, 100).most_retries(), Some("0"));
    for forward in &mut in_flight {
        router.on_attempt(forward, Attempt::new(2), Attempt::new(2), second(100));
    }
    // They are still in flight: their answers may be long. 10 of 30 were taken.
    assert_eq!(send(&mut router, 100).most_retries(), None);
    let more: Vec<_> = (0..7).map(|_| send(&mut router, 100).most_retries()).collect();
    assert_eq!(more, [None; 7], "each gives back what it had");
    drop(in_flight);
    let held: Vec<_> = (0..8).map(|_| send(&mut router, 100)).collect();
    let given: Vec<_> = held.iter().map(|forward| forward.most_retries()).collect();
    assert_eq!(given[5..], [None, Some("0"), Some("0")], "20 are left, three for each");
}

#[test]
fn a_request_that_lasts_long_does_not_empty_the_window() {
    let mut router = router(THREE_A_SECOND);
    let endless = send(&mut router, 100);
    let mut answered = send(&mut router, 100);
    router.on_attempt(&mut answered, Attempt::FIRST, Attempt::FIRST, second(100));
    for _ in 0..10 {
        let mut forward = send(&mut router, 500);
        router.on_attempt(&mut forward, Attempt::new(4), Attempt::new(4), second(500));
    }
    assert_eq!(send(&mut router, 500).most_retries(), Some("0"));
    drop(endless);
    drop(answered);
    let _last = send(&mut router, 501);
    assert_eq!(send(&mut router, 501).most_retries(), Some("0"), "27 were taken a second ago");
    assert_eq!(send(&mut router, 511).most_retries(), None);
}

#[test]
fn a_request_that_nobody_can_take_gives_its_part_back() {
    let mut router = router(THREE_A_SECOND);
    router.install(SourceId::nth(0), &Snapshot::default(), second(100));
    for _ in 0..100 {
        let decision = router.decide(Some(WEB), &Hints { now: second(100), ..Hints::default() });
        assert!(matches!(decision, Decision::Reply(_)));
    }
    router.install(SourceId::nth(0), &Snapshot::new(vec![at(1), at(2)]), second(100));
    assert_eq!(send(&mut router, 100).most_retries(), None);
}
