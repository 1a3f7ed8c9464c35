//! Requests are spread by the weights that Consul gives.

use serde_json::json;
use stack::{Backend, Consul, Registry, Service, Status};

use crate::load::Tally;
use crate::testbed::{Setup, Testbed};
use crate::wire::Connection;

const REQUESTS: usize = 2_000;
const CONNECTIONS: usize = 8;
const WEIGHTS: [(&str, u32); 3] = [("light", 1), ("middle", 2), ("heavy", 5)];

/// Registers the same backends as instances of one service for each policy.
fn registered(consul: &Consul, backends: &[Backend]) {
    for policy in ["round_robin", "random", "least_request"] {
        let ids: Vec<String> = WEIGHTS.map(|(name, _)| format!("{policy}-{name}")).to_vec();
        for ((backend, (_, weight)), id) in backends.iter().zip(WEIGHTS).zip(&ids) {
            let instance = Service::new(policy, id).at(backend.address());
            let instance = instance.weights(weight, 1).with_status(Status::Passing);
            consul.register(&instance).expect("registered");
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        consul.await_passing(policy, &ids).expect("passing");
    }
}

fn services() -> serde_json::Value {
    let service = |policy: &str| {
        json!({
            "name": policy,
            "hosts": [format!("{policy}.test")],
            "load_balancing": {"policy": policy},
        })
    };
    json!(["round_robin", "random", "least_request"].map(service))
}

/// 2,000 requests, one at a time, in turn over connections that belong to either worker.
fn spread(bed: &Testbed, policy: &str) -> Tally {
    let host = format!("{policy}.test");
    let connect = |_| Connection::open(bed.ingress).expect("a connection");
    let mut connections: Vec<Connection> = (0..CONNECTIONS).map(connect).collect();
    let mut tally = Tally::new();
    for number in 0..REQUESTS {
        let connection = &mut connections[number % CONNECTIONS];
        let answer = connection.get("/", &host).expect("an answer");
        *tally.entry(answer.who()).or_default() += 1;
    }
    tally
}

fn assert_weights(setup: fn(std::net::SocketAddr) -> Setup, test: &str) {
    let Some(consul) = Consul::start_or_skip(test) else {
        return;
    };
    let backends = WEIGHTS.map(|(name, _)| Backend::start(name).expect("a backend"));
    registered(&consul, &backends);
    let bed = setup(consul.address()).set("services", services()).start();
    // Round robin goes in turn: within 5 % of each share. The others draw: within 5 % of all.
    for (policy, tolerance) in [
        ("round_robin", None),
        ("random", Some(REQUESTS / 20)),
        ("least_request", Some(REQUESTS / 20)),
    ] {
        bed.await_routed(&format!("{policy}.test"), &["light", "middle", "heavy"]);
        let tally = spread(&bed, policy);
        assert_eq!(tally.len(), WEIGHTS.len(), "{policy}: {tally:?}");
        for (name, weight) in WEIGHTS {
            let share = REQUESTS * weight as usize / 8;
            let off = tally[name].abs_diff(share);
            assert!(off <= tolerance.unwrap_or(share / 20), "{policy}: {tally:?}");
        }
    }
    bed.assert_no_crash();
}

#[test]
fn weights_hold_for_every_policy_when_headers_carry_the_pick() {
    assert_weights(Setup::headers, "weights, in headers");
}

#[test]
fn weights_hold_for_every_policy_when_filter_state_has_the_pick() {
    assert_weights(Setup::minimal, "weights, in filter state");
}
