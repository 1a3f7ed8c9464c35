//! What may go wrong between Envoy and Consul, and in Envoy, under load.

use std::time::{Duration, Instant};

use serde_json::json;
use stack::{Backend, Condition, Consul, Registry, Relay, Service, Status, open_files, wait_until};

use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instances, who};

/// The longest pause between two attempts to reach Consul, and what the attempt itself takes.
const RECOVERY: Duration = Duration::from_secs(60);
/// Two lease periods of three seconds, and the ticks between.
const TWO_LEASES: Duration = Duration::from_secs(7);

// Promise: R-103
#[test]
fn no_request_fails_when_the_way_to_consul_is_cut_or_slow() {
    let Some(consul) = Consul::start_or_skip("a bad way to consul") else {
        return;
    };
    let names = ["web-1", "web-2", "web-3"];
    let _backends = instances(&consul, "web", &names);
    let relay = Relay::start(consul.address()).expect("a relay");
    let bed = Setup::headers(relay.address())
        .set("consul", json!({ "cluster": "consul", "wait": "1s" }))
        .start();
    bed.await_routed("any", &names);
    let load = Load::light(bed.ingress, "any");
    for condition in [
        Condition::Cut,
        Condition::Silent,
        Condition::Dripping(Duration::from_millis(20)),
        Condition::Slow(Duration::from_secs(2)),
    ] {
        relay.set(condition);
        load.go_on(400);
        relay.set(Condition::Clear);
        // What has changed meanwhile is seen, whatever was out when the way became good again.
        consul.maintenance("web-3", true).expect("maintenance");
        let seen = wait_until(RECOVERY, || bed.stat("service.web.endpoints") == 2);
        assert!(seen, "after {condition:?}");
        consul.maintenance("web-3", false).expect("maintenance");
        let seen = wait_until(SOON, || bed.stat("service.web.endpoints") == 3);
        assert!(seen, "after {condition:?}");
    }
    load.end_without_failure(&names);
    bed.assert_no_crash();
}

// Promise: R-102
#[test]
fn a_consul_that_is_restarted_with_its_data_costs_no_request() {
    if Consul::start_or_skip("a restarted consul").is_none() {
        return;
    }
    let consul = Consul::start_durable().expect("a consul that keeps its data");
    let _backends = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    load.go_on(40);
    consul.kill();
    load.go_on(200);
    consul.restart(false).expect("the same consul");
    load.go_on(40);
    let _third = instances(&consul, "web", &["web-1", "web-2", "web-3"]);
    let seen = wait_until(RECOVERY, || bed.stat("service.web.endpoints") == 3);
    assert!(seen, "what comes after the restart is seen");
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-210
#[test]
fn no_request_fails_when_a_thousand_instances_come_and_go() {
    let Some(consul) = Consul::start_or_skip("instances that come and go") else {
        return;
    };
    const INSTANCES: usize = 1_000;
    const MINUTE: Duration = Duration::from_secs(60);
    // A socket that listens for each, and those of Envoy's connections.
    open_files::allow(4_096).expect("open files");
    let backends: Vec<_> =
        (0..INSTANCES).map(|n| Backend::start(format!("web-{n}")).expect("a backend")).collect();
    let register = |backend: &Backend| {
        let service = Service::new("web", backend.name()).at(backend.address());
        consul.register(&service.with_status(Status::Passing)).expect("registered");
    };
    // Some are there all the time, so that there is always one to go to.
    backends.iter().take(10).for_each(register);
    let bed = Setup::headers(consul.address()).start();
    let there = wait_until(SOON, || bed.stat("service.web.endpoints") == 10);
    assert!(there, "the first ten");
    let load = Load::light(bed.ingress, "any");
    let mut registered = vec![false; backends.len()];
    let begin = Instant::now();
    // Each comes and goes once at least, however slow this machine is.
    let least = 2 * (INSTANCES - 10);
    for change in (0..).take_while(|change| *change < least || begin.elapsed() < MINUTE) {
        // In steps that have no divisor in common with the number, so that all have their turn.
        let n = 10 + change * 37 % (INSTANCES - 10);
        match registered[n] {
            true => consul.deregister(backends[n].name()).expect("deregistered"),
            false => register(&backends[n]),
        }
        registered[n] = !registered[n];
    }
    let left = 10 + registered.iter().filter(|is| **is).count();
    let seen = wait_until(RECOVERY, || {
        bed.stat("service.web.endpoints") == u64::try_from(left).expect("a few")
    });
    assert!(seen, "{} endpoints, not {left}", bed.stat("service.web.endpoints"));
    let names: Vec<_> = backends.iter().map(Backend::name).collect();
    load.end_without_failure(&names);
    bed.assert_no_crash();
}

/// Asks a VM to trap; only a module that was built for it does.
fn trap(bed: &Testbed, whose: &str) -> String {
    who(&bed.request("GET", "/", "any").header("x-trap", whose).send().expect("an answer"))
}

// Promise: R-601
#[test]
fn worker_leads_and_no_request_fails_when_the_leader_traps() {
    let Some(consul) = Consul::start_or_skip("a fetcher that traps") else {
        return;
    };
    let _backends = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = Setup::headers(consul.address()).trapping().start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    load.go_on(40);
    let mark = LogMark::now(&bed.envoy);

    trap(&bed, "fetcher");
    let taken_over = wait_until(TWO_LEASES, || {
        !mark.lines(&bed.envoy, "the VM that asked Consul is silent; taking over").is_empty()
    });
    assert!(taken_over, "{}", bed.envoy.log());
    let _third = instances(&consul, "web", &["web-1", "web-2", "web-3"]);
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
}

// Promise: R-602
#[test]
fn a_worker_that_traps_is_reloaded_and_routes_as_before() {
    let Some(consul) = Consul::start_or_skip("a worker that traps") else {
        return;
    };
    let _backends = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = Setup::headers(consul.address()).trapping().start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let answer = trap(&bed, "here");
    assert!(answer.starts_with("503"), "the request that trapped: {answer}");
    // The VM is made anew by the next request to its worker.
    let reloaded = wait_until(SOON, || {
        bed.get("/", "any");
        bed.reloads() >= 1
    });
    assert!(reloaded, "{}", bed.envoy.log());
    bed.await_routed("any", &["web-1", "web-2"]);
    let _third = instances(&consul, "web", &["web-1", "web-2", "web-3"]);
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
}
