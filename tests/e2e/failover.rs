//! Instances that die without Consul knowing, under `envoy/headers.yaml`.

use std::time::Duration;

use stack::{Backend, BackendProcess, Consul, Registry, Service, Status, wait_until};

use crate::load::Load;
use crate::testbed::{SOON, Setup, Testbed, instances};
use crate::wire::{Connection, RawAnswer};

/// An instance that can be killed.
fn process(consul: &Consul, name: &str) -> BackendProcess {
    let process = BackendProcess::start(name).expect("a backend");
    let instance = Service::new("web", name).at(process.address());
    let instance = instance.with_status(Status::Passing);
    consul.register(&instance).expect("registered");
    process
}

const PAUSE: Duration = Duration::from_millis(1);

// Promise: R-806
#[test]
fn no_request_fails_when_an_instance_is_killed_under_load() {
    let Some(consul) = Consul::start_or_skip("kill -9 under load") else {
        return;
    };
    let names = ["web-1", "web-2", "web-3"];
    let processes = names.map(|name| process(&consul, name));
    consul.await_passing("web", &names).expect("passing");
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &names);
    let load = Load::start(bed.ingress, "any", 6, PAUSE);
    load.go_on(500);
    processes[1].kill();
    // Consul still lists it: every third pick is a dead one.
    load.go_on(1_000);
    load.end_without_failure(&names);
    assert!(bed.envoy.stat("cluster.consul_resolver.upstream_rq_retry").expect("stats") > 0);
    bed.assert_no_crash();
}

#[test]
fn no_request_fails_when_an_instance_refuses_connections() {
    let Some(consul) = Consul::start_or_skip("a port that refuses") else {
        return;
    };
    let _live = instances(&consul, "web", &["web-1", "web-2"]);
    let nobody = ([127, 0, 0, 1], stack::port::free()).into();
    let dead = Service::new("web", "web-3").at(nobody);
    consul.register(&dead.with_status(Status::Passing)).expect("registered");
    consul.await_passing("web", &["web-1", "web-2", "web-3"]).expect("passing");
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::start(bed.ingress, "any", 4, PAUSE);
    load.go_on(600);
    load.end_without_failure(&["web-1", "web-2"]);
    assert!(bed.envoy.stat("cluster.consul_resolver.upstream_rq_retry").expect("stats") > 0);
    bed.assert_no_crash();
}

/// Requests that are at an instance for a second.
const SLOW: usize = 12;

/// Sends slow requests, kills an instance while all are at one, and gives the answers, and how
/// many were at the survivor at that moment.
fn kill_while_asked(
    bed: &Testbed,
    method: &str,
    victim: &BackendProcess,
    survivor: &Backend,
) -> (Vec<RawAnswer>, u64) {
    let open = |_| Connection::open(bed.ingress).expect("a connection");
    let mut connections: Vec<Connection> = (0..SLOW).map(open).collect();
    let head = format!("{method} /slow?ms=1000 HTTP/1.1\r\nhost: any\r\ncontent-length: 0\r\n\r\n");
    for connection in &mut connections {
        connection.send(head.as_bytes()).expect("sent");
    }
    let active = || bed.envoy.stat("cluster.consul_resolver.upstream_rq_active").expect("stats");
    let all = wait_until(SOON, || active() == SLOW as u64);
    assert!(all, "not all of {SLOW} requests are at an instance");
    let at_survivor = survivor.in_flight();
    victim.kill();
    let answers = connections.iter_mut();
    let answers = answers.map(|connection| connection.answer().expect("an answer"));
    (answers.collect(), at_survivor)
}

// Promise: R-806
#[test]
fn only_safe_requests_are_retried_when_an_instance_dies() {
    let Some(consul) = Consul::start_or_skip("requests at an instance that dies") else {
        return;
    };
    let survivor = &instances(&consul, "web", &["web-1"])[0];
    let victims = ["web-2", "web-3"].map(|name| process(&consul, name));
    let names = ["web-1", "web-2", "web-3"];
    consul.await_passing("web", &names).expect("passing");
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &names);

    let (answers, _) = kill_while_asked(&bed, "GET", &victims[0], survivor);
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.who());
    }

    consul.deregister("web-2").expect("deregistered");
    bed.await_routed("any", &["web-1", "web-3"]);
    survivor.reset_counts();
    let (answers, at_survivor) = kill_while_asked(&bed, "POST", &victims[1], survivor);
    let ok = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(ok < SLOW, "nobody was at the instance that died");
    assert_eq!((ok as u64, survivor.requests()), (at_survivor, at_survivor));
    bed.assert_no_crash();
}
