//! Peak EWMA: what latencies and failures do to the shares of endpoints.

use std::time::Duration;

use consul_resolver::balance::outlier::outcome::Outcome;

use crate::fleet::{DETECTS, Fleet, policy, port, weighing};

const STEP: Duration = Duration::from_millis(1);

fn fleet(endpoints: usize) -> Fleet {
    Fleet::new(&policy("peak_ewma")).of(weighing(&vec![1; endpoints]))
}

/// Sends a request every millisecond, each of which ends before the next, as `answer` says for
/// its port; ticks now and then.
fn serve(
    fleet: &mut Fleet,
    requests: u32,
    answer: impl Fn(u16) -> (Outcome, Duration),
) -> Vec<u32> {
    let mut seen = vec![0; fleet.pool.len()];
    for n in 1..=requests {
        fleet.now = fleet.now + STEP;
        let ticket = fleet.pick().unwrap();
        let at = port(&ticket);
        seen[usize::from(at) - 1] += 1;
        let (outcome, latency) = answer(at);
        fleet.end_after(ticket, outcome, Some(latency));
        if n % 250 == 0 {
            fleet.tick();
        }
    }
    seen
}

fn well(_: u16) -> (Outcome, Duration) {
    (Outcome::Success, STEP)
}

#[test]
fn a_slow_endpoint_is_avoided_and_tried_again() {
    let mut fleet = fleet(5);
    let slow = |port| (Outcome::Success, if port == 3 { STEP * 100 } else { STEP });
    let seen = serve(&mut fleet, 20_000, slow);
    assert!((1..100).contains(&seen[2]), "{seen:?}");
    // What was slow once is found out about again: after a while it has a fair share.
    serve(&mut fleet, 150_000, well);
    let seen = serve(&mut fleet, 10_000, well);
    assert!(seen[2] > 1_000, "{seen:?}");
}

#[test]
fn an_endpoint_that_fails_at_once_does_not_look_fast() {
    let mut fleet = fleet(5);
    let refused = |port| match port {
        3 => (Outcome::LocalOrigin, Duration::ZERO),
        _ => well(port),
    };
    let seen = serve(&mut fleet, 20_000, refused);
    assert!((1..200).contains(&seen[2]), "a few find out whether it still fails: {seen:?}");
}

#[test]
fn an_endpoint_that_never_answered_but_with_failures_is_avoided_too() {
    let mut fleet = fleet(2);
    let refused = |port| match port {
        1 => (Outcome::ServerError, Duration::ZERO),
        _ => well(port),
    };
    let seen = serve(&mut fleet, 1_000, refused);
    assert!(seen[0] < 100, "{seen:?}");
}

#[test]
fn while_all_fail_nothing_runs_away_and_all_are_used() {
    let mut fleet = fleet(4);
    serve(&mut fleet, 1_000, well);
    // A minute: each failure must not be measured by the ones before it. With one request at a
    // time the latencies before it decide, however little they differ; but an endpoint's penalty
    // fades by a tenth in a second, so each is asked about once a second at least.
    let seen = serve(&mut fleet, 60_000, |_| (Outcome::GatewayFailure, STEP));
    assert!(seen.iter().all(|&seen| seen > 30), "{seen:?}");
    serve(&mut fleet, 50_000, well);
    let seen = serve(&mut fleet, 4_000, well);
    assert!(seen.iter().all(|&seen| seen > 500), "{seen:?}");
}

#[test]
fn new_endpoints_start_at_the_usual_latency() {
    for usual in [Duration::from_micros(50), Duration::from_millis(1), Duration::from_secs(10)] {
        let mut fleet = fleet(4);
        let answer = |_| (Outcome::Success, usual);
        serve(&mut fleet, 5_000, answer);
        fleet.install(weighing(&[1; 5]));
        // Until it has answered it is neither slower nor faster than others.
        let waiting: Vec<_> = (0..100).map(|_| fleet.pick().unwrap()).collect();
        let new = waiting.iter().filter(|ticket| port(ticket) == 5).count();
        assert!((12..=28).contains(&new), "{usual:?}: {new} of 100 among five");
    }
}

#[test]
fn the_first_to_answer_is_not_flooded() {
    // Nobody has answered, then one has: before the next tick too it has its share only.
    let mut fleet = fleet(4);
    let ticket = fleet.pick().unwrap();
    fleet.end_after(ticket, Outcome::Success, Some(STEP));
    let waiting: Vec<_> = (0..400).map(|_| fleet.pick().unwrap()).collect();
    for at in 1..=4 {
        let count = waiting.iter().filter(|ticket| port(ticket) == at).count();
        assert!((80..=120).contains(&count), "{count} at {at}");
    }
}

#[test]
fn an_ejected_endpoint_that_was_slow_is_probed_all_the_same() {
    let service = format!("{}, {DETECTS}", policy("peak_ewma"));
    let mut fleet = Fleet::new(&service).of(weighing(&[1; 3]));
    let broken = |port| match port {
        1 => (Outcome::LocalOrigin, STEP * 5_000),
        _ => well(port),
    };
    let mut served = 0;
    while !fleet.target(1).monitor().is_ejected() {
        serve(&mut fleet, 1_000, broken);
        served += 1;
        assert!(served < 200, "it is never ejected");
    }
    serve(&mut fleet, 60_000, well);
    assert!(fleet.target(1).monitor().is_active());
}

#[test]
fn latencies_that_are_not_wanted_are_not_kept() {
    let mut fleet = Fleet::new(&policy("least_request")).of(weighing(&[1]));
    let ticket = fleet.pick().unwrap();
    fleet.end_after(ticket, Outcome::Success, Some(STEP));
    assert_eq!(fleet.target(1).latency(), None);
}

#[test]
fn a_probe_is_sent_however_bad_the_endpoint_seems() {
    // Its failures count for a long time, and nobody else is ever busy.
    let service =
        format!(r#""load_balancing": {{ "policy": "peak_ewma", "decay": "60s" }}, {DETECTS}"#);
    let mut fleet = Fleet::new(&service).of(weighing(&[1; 3]));
    serve(&mut fleet, 10, |_| (Outcome::Success, STEP));
    fleet.eject(&[1]);
    fleet.wait(Duration::from_secs(30));
    serve(&mut fleet, 100, well);
    assert!(fleet.target(1).monitor().is_active());
}
