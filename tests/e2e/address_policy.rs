//! Addresses that no request may go to, whatever the registry says.

use std::net::{Ipv4Addr, SocketAddr};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Backend, Consul, Node, Registry, Service, Status, wait_until};

use crate::log::{LogMark, assert_told_once};
use crate::testbed::{SOON, Setup, Testbed, instances};

/// A backend that would answer, were it ever asked.
fn trap(ip: Ipv4Addr) -> Backend {
    Backend::start_on("trap", SocketAddr::from((ip, 0))).expect("a backend")
}

/// Registers an instance past the agent, which refuses some of these addresses; the catalog
/// takes them all.
fn register(consul: &dyn Registry, id: &str, address: &str, port: u16) {
    let instance = Service::new("web", id).address(address).port(port.into());
    let instance = instance.with_status(Status::Passing).on(Node::new("elsewhere"));
    consul.register(&instance).expect("registered");
}

fn start(consul: &Consul, endpoints: Option<Value>) -> Testbed {
    let setup = Setup::headers(consul.address());
    match endpoints {
        Some(endpoints) => setup.set("endpoints", endpoints).start(),
        None => setup.start(),
    }
}

fn await_denied(bed: &Testbed, denied: usize) {
    let denied = denied as u64;
    let reached = wait_until(SOON, || bed.stat("service.web.denied_instances") == denied);
    assert!(reached, "{} are denied", bed.stat("service.web.denied_instances"));
}

/// What Consul 1.8.7 takes for an address of a service, and is none to send a request to.
const NEVER_USED: [&str; 6] = [
    // Unspecified, though Consul does not see it.
    "::ffff:0.0.0.0",
    "0:0:0:0:0:0:0:0",
    "169.254.169.254",
    "fe80::1",
    "224.0.0.1",
    "ff02::1",
];

fn none_is_ever_used(consul: &dyn Registry, addresses: &[&str]) {
    let _live = instances(consul, "web", &["web-1", "web-2"]);
    // Linux takes the unspecified address for this machine: it would answer.
    let trap = trap(Ipv4Addr::LOCALHOST);
    for address in addresses {
        register(consul, &format!("at {address}"), address, trap.address().port());
    }
    let denied = addresses.len();
    let health = || consul.health("web", "").expect("health");
    assert!(wait_until(SOON, || health().entries.len() == denied + 2), "{:?}", health());
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(consul.address()).start();
        bed.await_routed("any", &["web-1", "web-2"]);
        await_denied(&bed, denied);
        assert_eq!(bed.seen("any", 100).len(), 2);
        assert_eq!(bed.stat("service.web.endpoints"), 2);
        assert_eq!(bed.stat("service.web.faulty_instances"), 0);
        let example = "such as 0.0.0.0";
        let told =
            format!("left out of the answer: {denied} denied by the address policy, {example}");
        assert_told_once(&bed.envoy, &told);
        bed.assert_no_crash();
    }
    assert_eq!(trap.requests(), 0);
}

#[test]
fn link_local_unspecified_and_multicast_addresses_get_nothing() {
    let Some(consul) = Consul::start_or_skip("addresses that are never used") else {
        return;
    };
    none_is_ever_used(&consul, &NEVER_USED);
}

#[test]
fn unusable_addresses_get_nothing_when_an_agent_lists_them() {
    let agent = Agent::start().expect("an agent");
    none_is_ever_used(&agent, &[&NEVER_USED[..], &["0.0.0.0", "::"]].concat());
}

// Promise: R-909
#[test]
fn a_request_never_goes_to_a_denied_address_and_it_is_told_once() {
    let Some(consul) = Consul::start_or_skip("denied addresses") else {
        return;
    };
    let _live = instances(&consul, "web", &["web-1", "web-2"]);
    let trap = trap(Ipv4Addr::new(127, 0, 0, 9));
    register(&consul, "denied", "127.0.0.9", trap.address().port());
    consul.await_passing("web", &["web-1", "web-2", "denied"]).expect("passing");
    let bed = start(&consul, Some(json!({"deny": ["127.0.0.8/31"]})));
    bed.await_routed("any", &["web-1", "web-2"]);
    await_denied(&bed, 1);
    let mark = LogMark::now(&bed.envoy);
    // More answers of Consul with the same instance say nothing new.
    for name in ["web-3", "web-4"] {
        let _backend = instances(&consul, "web", &[name]);
        let seen = || bed.seen("any", 20).contains_key(name);
        assert!(wait_until(SOON, seen), "{name} is not routed to");
        consul.deregister(name).expect("deregistered");
    }
    bed.await_routed("any", &["web-1", "web-2"]);
    assert_eq!(mark.lines(&bed.envoy, "left out of the answer"), [""; 0]);
    let told = "left out of the answer: 1 denied by the address policy, such as 127.0.0.9";
    assert_told_once(&bed.envoy, told);
    assert_eq!(trap.requests(), 0);

    consul.deregister_at("elsewhere", "denied").expect("deregistered");
    await_denied(&bed, 0);
    bed.assert_no_crash();
}

// Promise: R-909
#[test]
fn only_allowed_addresses_are_used_when_some_are_named() {
    let Some(consul) = Consul::start_or_skip("allowed addresses") else {
        return;
    };
    let _live = instances(&consul, "web", &["web-1"]);
    let trap = trap(Ipv4Addr::new(127, 0, 0, 9));
    register(&consul, "other", "127.0.0.9", trap.address().port());
    consul.await_passing("web", &["web-1", "other"]).expect("passing");
    let bed = start(&consul, Some(json!({"allow": ["127.0.0.1/32"]})));
    bed.await_routed("any", &["web-1"]);
    await_denied(&bed, 1);
    assert_eq!(trap.requests(), 0);

    // Without the ranges it is an instance like any other.
    start(&consul, None).await_routed("any", &["trap", "web-1"]);
    bed.assert_no_crash();
}
