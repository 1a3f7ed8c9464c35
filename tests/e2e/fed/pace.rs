//! Many changes a second, for ten seconds; for a whole minute with
//! `PACE_SECONDS=60 cargo test --test e2e fed::pace`.

use std::time::{Duration, Instant};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Backend, Registry, Service, Status};

use super::{await_hosts, plain};
use crate::load::Load;
use crate::testbed::Setup;

/// Those that stay all the time, and those that come and go.
const STAY: usize = 4;
const ALL: usize = 24;
const CHANGES_A_SECOND: usize = 300;
const PAUSE: Duration = Duration::from_micros(3_333);

fn changes() -> usize {
    let seconds = std::env::var("PACE_SECONDS").ok();
    let seconds = seconds.map_or(10, |it| it.parse().expect("PACE_SECONDS: seconds"));
    seconds * CHANGES_A_SECOND
}

// Promise: R-202
#[test]
fn hosts_are_the_newest_after_300_changes_a_second() {
    let agent = Agent::start().expect("an agent");
    let backends: Vec<_> =
        (0..ALL).map(|n| Backend::start(format!("web-{n}")).expect("a backend")).collect();
    let register = |backend: &Backend| {
        let service = Service::new("web", backend.name()).at(backend.address());
        agent.register(&service.with_status(Status::Passing)).expect("registered");
    };
    backends[..STAY].iter().for_each(register);
    let bed = Setup::recommended(agent.address())
        .set("services", json!([{"name": "web", "hosts": ["web.internal"]}]))
        .of_clusters("health_checks", Value::Null)
        .start();
    let names: Vec<_> = backends.iter().map(Backend::name).collect();
    bed.await_routed("web.internal", &names[..STAY]);
    let told = bed.stat("xds.responses");
    let load = Load::light(bed.ingress, "web.internal");
    let mut there = [false; ALL];
    let begin = Instant::now();
    let changes = changes();
    for change in 0..changes {
        let n = STAY + change * 7 % (ALL - STAY);
        match there[n] {
            true => agent.deregister(backends[n].name()).expect("deregistered"),
            false => register(&backends[n]),
        }
        there[n] = !there[n];
        let due = PAUSE * u32::try_from(change + 1).expect("a few");
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    let took = begin.elapsed();
    let left = backends.iter().enumerate().filter(|(n, _)| *n < STAY || there[*n]);
    await_hosts(&bed, "web", left.map(|(_, backend)| plain(backend.address())));
    load.end_without_failure(&names);
    // Envoy pauses for 20 to 40 ms after each answer.
    let told = bed.stat("xds.responses") - told;
    let most = u64::try_from(took.as_millis()).expect("seconds") / 20;
    eprintln!("{changes} changes in {took:?}: {told} answers");
    assert!(told > 20 && told <= most, "{told} answers in {took:?}");
    bed.assert_no_crash();
}
