//! The VM that holds Envoy's questions traps.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as Name, UnixStream};
use std::time::Instant;

use fake_consul::Agent;
use serde_json::Value;
use stack::fetch::EnvoyRelease;
use stack::{Registry, wait_until};

use super::hosts;
use crate::load::Load;
use crate::testbed::{SOON, Setup, Testbed, instances};

/// What Envoy asks for at least: its clusters, its routes, and the endpoints of a service.
const QUESTIONS: u64 = 3;

/// Leaves Envoy's own health checks out, and the wait for them.
fn unchecked(setup: Setup) -> Setup {
    setup.of_clusters("health_checks", Value::Null)
}

/// Starts a file with one worker, which all questions come to; with the name of its socket.
fn start(setup: Setup, release: EnvoyRelease) -> (Testbed, String) {
    let mut socket = None;
    let setup = setup.release(release).workers(1).trapping();
    let setup = setup.edit(|it| socket = it.socket().expect("a plugin"));
    (setup.start(), socket.expect("an address"))
}

/// Makes the VM trap that answers at the socket.
fn trap(socket: &str) {
    let name = socket.strip_prefix('@').expect("an abstract name");
    let name = Name::from_abstract_name(name).expect("a name");
    let mut stream = UnixStream::connect_addr(&name).expect("the socket");
    let request = "GET / HTTP/1.1\r\nhost: xds\r\nconnection: close\r\nx-trap: here\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
}

/// Lets the VM trap while it holds so many questions. Envoy keeps its hosts, and soon has one that Consul was
/// told of after that: in less than a second if the machine is quiet, and long before the questions would
/// have been given up (40 s).
fn assert_followed(agent: &Agent, bed: &Testbed, socket: &str, service: &str, questions: u64) {
    let are_held = || bed.held() >= questions;
    assert!(wait_until(SOON, are_held), "{} are held", bed.held());
    trap(socket);
    let since = Instant::now();
    let more = instances(agent, service, &["new"]);
    let new = more[0].address().to_string();
    let mut last = hosts(bed, service);
    let is_known = wait_until(SOON, || {
        last = hosts(bed, service);
        assert!(last.len() >= 2, "Envoy is left with {last:?}");
        last.contains_key(&new)
    });
    let took = since.elapsed();
    eprintln!("followed after {took:?}");
    assert!(is_known, "{last:?} after {took:?}");
    assert!(bed.reloads() >= 1);
    bed.await_routed("web.internal", &["one", "two", "new"]);
}

// Promise: R-311
#[test]
fn native_yaml_follows_when_the_answering_vm_has_trapped() {
    for release in EnvoyRelease::ALL {
        eprintln!("Envoy {}", release.version());
        let agent = Agent::start().expect("an agent");
        let _web = instances(&agent, "web", &["one", "two"]);
        let (bed, socket) = start(unchecked(Setup::native(agent.address())), release);
        bed.await_routed("web.internal", &["one", "two"]);
        // No request passes the filter.
        let load = Load::light(bed.ingress, "web.internal");
        assert_followed(&agent, &bed, &socket, "web", QUESTIONS);
        load.end_without_failure(&["one", "two", "new"]);
    }
}

// Promise: R-311
#[test]
fn envoy_yaml_follows_when_the_answering_vm_has_trapped() {
    for release in EnvoyRelease::ALL {
        eprintln!("Envoy {}", release.version());
        let agent = Agent::start().expect("an agent");
        let _web = instances(&agent, "web", &["one", "two"]);
        let (bed, socket) = start(unchecked(Setup::recommended(agent.address())), release);
        bed.await_routed("web.internal", &["one", "two"]);
        assert_followed(&agent, &bed, &socket, "web", QUESTIONS);
    }
}

// Promise: R-311
#[test]
fn tcp_yaml_follows_when_the_answering_vm_has_trapped() {
    for release in EnvoyRelease::ALL {
        eprintln!("Envoy {}", release.version());
        let agent = Agent::start().expect("an agent");
        let _db = instances(&agent, "db", &["one", "two"]);
        let (bed, socket) = start(Setup::tcp(agent.address()), release);
        bed.await_routed("any", &["one", "two"]);
        let load = Load::light(bed.ingress, "any");
        assert_followed(&agent, &bed, &socket, "db", 1);
        load.end_without_failure(&["one", "two", "new"]);
    }
}
