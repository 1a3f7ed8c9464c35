//! Peak EWMA: what latencies and failures do to the shares of endpoints.

use std::time::Duration;

use std::collections::VecDeque;

use consul_resolver::balancer::ticket::RequestOutcome;

use crate::fleet::{Fleet, policy, port, weighing};

const STEP: Duration = Duration::from_millis(1);

fn fleet(endpoints: usize) -> Fleet {
    Fleet::new(&policy("peak_ewma")).of(weighing(&vec![1; endpoints]))
}

/// Sends a request every millisecond, each of which ends before the next, as `answer` says for
/// its port; ticks now and then.
fn serve(fleet: &mut Fleet, requests: u32, answer: impl Fn(u16) -> RequestOutcome) -> Vec<u32> {
    let mut seen = vec![0; fleet.pool.len()];
    for n in 1..=requests {
        fleet.now = fleet.now + STEP;
        let ticket = fleet.pick().unwrap();
        let at = port(&ticket);
        seen[usize::from(at) - 1] += 1;
        fleet.end(ticket, answer(at));
        if n % 250 == 0 {
            fleet.tick();
        }
    }
    seen
}

fn well(_: u16) -> RequestOutcome {
    RequestOutcome::Success(Some(STEP))
}

#[test]
fn a_slow_endpoint_is_avoided_and_tried_again() {
    let mut fleet = fleet(5);
    let slow = |port| RequestOutcome::Success(Some(if port == 3 { STEP * 100 } else { STEP }));
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
        3 => RequestOutcome::Failure,
        _ => well(port),
    };
    let seen = serve(&mut fleet, 20_000, refused);
    assert!((1..200).contains(&seen[2]), "a few find out whether it still fails: {seen:?}");
}

#[test]
fn host_is_avoided_when_all_its_responses_are_failures() {
    let mut fleet = fleet(2);
    let refused = |port| match port {
        1 => RequestOutcome::Failure,
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
    let seen = serve(&mut fleet, 60_000, |_| RequestOutcome::Failure);
    assert!(seen.iter().all(|&seen| seen > 30), "{seen:?}");
    serve(&mut fleet, 50_000, well);
    let seen = serve(&mut fleet, 4_000, well);
    assert!(seen.iter().all(|&seen| seen > 500), "{seen:?}");
}

/// How many of the requests of so many clients, one at a time each, go to port 2, which refuses
/// all at once, where port 1 takes its time. Both were well before.
fn refused_of(requests: u32, clients: usize) -> u32 {
    let mut fleet = fleet(2);
    serve(&mut fleet, 1_000, well);
    let (mut refused, mut busy) = (0, VecDeque::new());
    for n in 0..requests {
        fleet.now = fleet.now + STEP;
        if n % 250 == 0 {
            fleet.tick();
        }
        let ticket = fleet.pick().unwrap();
        match port(&ticket) {
            1 => busy.push_back(ticket),
            _ => {
                refused += 1;
                fleet.end(ticket, RequestOutcome::Failure);
            }
        }
        if busy.len() >= clients {
            let ticket = busy.pop_front().unwrap();
            fleet.end(ticket, RequestOutcome::Success(Some(STEP * clients as u32)));
        }
    }
    refused
}

#[test]
fn an_endpoint_that_refuses_at_once_draws_no_traffic() {
    for clients in [1, 8, 64] {
        // For a while, and until all that was learned of it before is forgotten.
        for requests in [400, 60_000] {
            let refused = refused_of(requests, clients);
            let all = format!("{refused} of {requests}, {clients} clients");
            assert!(refused * 2 < requests, "{all}");
            assert!(refused > 0, "{all}");
        }
    }
}

#[test]
fn a_single_refusal_costs_an_endpoint_little() {
    // Any client may ask for what is not there.
    let mut fleet = fleet(4);
    serve(&mut fleet, 5_000, well);
    for at in 1..=3 {
        fleet.answer(at, RequestOutcome::Failure);
    }
    let seen = serve(&mut fleet, 8_000, well);
    assert!(seen.iter().all(|&seen| seen > 300), "{seen:?}");
}

#[test]
fn endpoints_that_refuse_alike_are_told_apart_by_latency() {
    let mut fleet = fleet(3);
    let mut seen = [0_u32; 3];
    for n in 1..=20_000_u32 {
        fleet.now = fleet.now + STEP;
        let ticket = fleet.pick().unwrap();
        let at = usize::from(port(&ticket)) - 1;
        seen[at] += 1;
        // One of ten, wherever it goes.
        let latency = if at == 2 { STEP * 30 } else { STEP };
        let refuses = n % 10 == 0;
        fleet.end(
            ticket,
            if refuses { RequestOutcome::Failure } else { RequestOutcome::Success(Some(latency)) },
        );
        if n % 250 == 0 {
            fleet.tick();
        }
    }
    assert!(seen[2] < 500 && seen[0].min(seen[1]) > 4_000, "{seen:?}");
}

#[test]
fn an_endpoint_that_hangs_is_avoided_when_clients_leave() {
    let mut fleet = fleet(3);
    serve(&mut fleet, 3_000, well);
    fleet.tick();
    let mut left = 0;
    for _ in 0..1_000 {
        fleet.now = fleet.now + STEP * 100;
        let ticket = fleet.pick().unwrap();
        if port(&ticket) == 2 {
            left += 1;
            let target = std::rc::Rc::clone(ticket.host());
            fleet.pool.on_silence(&target, STEP * 100, fleet.now);
        } else {
            fleet.end(ticket, well(0));
        }
        fleet.tick();
    }
    assert!((1..20).contains(&left), "{left} of 1,000 in 100 s");
}

#[test]
fn a_client_that_leaves_early_makes_no_endpoint_faster() {
    let mut fleet = fleet(2);
    serve(&mut fleet, 1_000, well);
    let target = fleet.target(1);
    let before = target.latency();
    fleet.pool.on_silence(&target, Duration::ZERO, fleet.now);
    assert_eq!(target.latency(), before);
    fleet.install(weighing(&[1; 3]));
    fleet.tick();
    fleet.pool.on_silence(&fleet.target(3), Duration::ZERO, fleet.now);
    assert_eq!(fleet.target(3).latency(), None, "it has not answered yet");
    fleet.pool.on_silence(&fleet.target(3), STEP * 9, fleet.now);
    assert!(fleet.target(3).latency().is_some());
}

#[test]
fn new_endpoints_start_at_the_usual_latency() {
    for usual in [Duration::from_micros(50), Duration::from_millis(1), Duration::from_secs(10)] {
        let mut fleet = fleet(4);
        let answer = |_| RequestOutcome::Success(Some(usual));
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
    fleet.end(ticket, well(0));
    let waiting: Vec<_> = (0..400).map(|_| fleet.pick().unwrap()).collect();
    for at in 1..=4 {
        let count = waiting.iter().filter(|ticket| port(ticket) == at).count();
        assert!((80..=120).contains(&count), "{count} at {at}");
    }
}

#[test]
fn latencies_that_are_not_wanted_are_not_kept() {
    let mut fleet = Fleet::new(&policy("least_request")).of(weighing(&[1]));
    let ticket = fleet.pick().unwrap();
    fleet.end(ticket, well(0));
    assert_eq!(fleet.target(1).latency(), None);
}
