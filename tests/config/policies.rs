//! Which policy chooses an endpoint, and how. How it is read, and the exact text of each refusal.

use core::time::Duration;

use consul_resolver::config::{HashOn, Hashing, LoadBalancing, Policy, SlowStart};
use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

const BALANCING: &str = "services[0].load_balancing";

/// Reads the load balancing of a service.
fn balancing(value: Value) -> LoadBalancing {
    let config = parse(&with(BALANCING, value)).unwrap();
    config.services[0].load_balancing.clone()
}

#[test]
fn every_policy_is_read_with_its_own_fields() {
    let hash_on = json!({ "header": "X-User" });
    let on = HashOn::Header("x-user".into());
    for (value, policy) in [
        (json!({}), Policy::RoundRobin),
        (json!({ "policy": "round_robin" }), Policy::RoundRobin),
        (json!({ "policy": "random" }), Policy::Random),
        (
            json!({ "policy": "least_request" }),
            Policy::LeastRequest { choice_count: 2, active_request_bias: 1.0 },
        ),
        (
            json!({ "policy": "least_request", "choice_count": 4.0, "active_request_bias": 1.5 }),
            Policy::LeastRequest { choice_count: 4, active_request_bias: 1.5 },
        ),
        (
            json!({ "policy": "peak_ewma" }),
            Policy::PeakEwma { choice_count: 2, decay: Duration::from_secs(10) },
        ),
        (
            json!({ "policy": "peak_ewma", "choice_count": 3, "decay": "5s" }),
            Policy::PeakEwma { choice_count: 3, decay: Duration::from_secs(5) },
        ),
        (
            json!({ "policy": "ring_hash", "hash_on": hash_on }),
            Policy::RingHash {
                hash: Hashing { on: on.clone(), balance_factor: None },
                minimum_ring_size: 1024,
                maximum_ring_size: 8_388_608,
            },
        ),
        (
            json!({
                "policy": "ring_hash",
                "hash_on": hash_on,
                "hash_balance_factor": 150,
                "minimum_ring_size": 512,
                "maximum_ring_size": 512,
            }),
            Policy::RingHash {
                hash: Hashing { on: on.clone(), balance_factor: Some(150) },
                minimum_ring_size: 512,
                maximum_ring_size: 512,
            },
        ),
        (
            json!({ "policy": "maglev", "hash_on": hash_on }),
            Policy::Maglev {
                hash: Hashing { on: on.clone(), balance_factor: None },
                table_size: 65_537,
            },
        ),
        (
            json!({
                "policy": "maglev",
                "hash_on": hash_on,
                "hash_balance_factor": 200,
                "table_size": 251
            }),
            Policy::Maglev { hash: Hashing { on, balance_factor: Some(200) }, table_size: 251 },
        ),
    ] {
        let expected = LoadBalancing { policy, ..LoadBalancing::default() };
        assert_eq!(balancing(value), expected);
    }
}

#[test]
fn everything_that_can_be_hashed_is_read() {
    for (value, on) in [
        (json!({ "header": "X-User" }), HashOn::Header("x-user".into())),
        (json!({ "cookie": "Session" }), HashOn::Cookie("Session".into())),
        (json!({ "query": "user%5B%5D" }), HashOn::Query("user%5B%5D".into())),
        (json!({ "path": true }), HashOn::Path),
        (json!({ "source_address": true }), HashOn::SourceAddress),
    ] {
        let policy = balancing(json!({ "policy": "maglev", "hash_on": value })).policy;
        assert_eq!(policy.hashing(), Some(&Hashing { on, balance_factor: None }));
    }
}

#[test]
fn a_slow_start_is_its_window_or_more() {
    let window = Duration::from_secs(30);
    let expected = SlowStart { window, aggression: 1.0, min_weight_percent: 10 };
    for value in [json!("30s"), json!({ "window": "30s" })] {
        assert_eq!(balancing(json!({ "slow_start": value })).slow_start, Some(expected));
    }
}

#[test]
fn a_field_of_another_policy_is_refused() {
    assert_refused([
        (
            BALANCING,
            json!({ "policy": "ring_hash", "hash_on": { "path": true }, "choice_count": 2 }),
            "services[0].load_balancing.choice_count: ring_hash does not use it, only \
             least_request and peak_ewma; leave it out",
        ),
        (
            BALANCING,
            json!({ "hash_on": { "path": true } }),
            "services[0].load_balancing.hash_on: round_robin does not use it, only ring_hash \
             and maglev; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "random", "hash_balance_factor": 150 }),
            "services[0].load_balancing.hash_balance_factor: random does not use it, only \
             ring_hash and maglev; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "peak_ewma", "active_request_bias": 1 }),
            "services[0].load_balancing.active_request_bias: peak_ewma does not use it, only \
             least_request; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "least_request", "decay": "1s" }),
            "services[0].load_balancing.decay: least_request does not use it, only peak_ewma; \
             leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "maglev", "hash_on": { "path": true }, "minimum_ring_size": 1 }),
            "services[0].load_balancing.minimum_ring_size: maglev does not use it, only \
             ring_hash; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "maglev", "hash_on": { "path": true }, "maximum_ring_size": 1 }),
            "services[0].load_balancing.maximum_ring_size: maglev does not use it, only \
             ring_hash; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "ring_hash", "hash_on": { "path": true }, "table_size": 7 }),
            "services[0].load_balancing.table_size: ring_hash does not use it, only maglev; \
             leave it out",
        ),
    ]);
}

#[test]
fn a_policy_that_could_not_work_is_refused() {
    let on = json!({ "path": true });
    assert_refused([
        (
            BALANCING,
            json!({ "policy": "peak_ewma", "choice_count": 1 }),
            "services[0].load_balancing.choice_count: 1 is out of range; expected 2 to 16",
        ),
        (
            BALANCING,
            json!({ "policy": "least_request", "active_request_bias": -0.5 }),
            "services[0].load_balancing.active_request_bias: -0.5 is out of range; expected 0 to \
             10",
        ),
        (
            BALANCING,
            json!({ "policy": "least_request", "active_request_bias": "1" }),
            "services[0].load_balancing.active_request_bias: expected a number, found the string \
             \"1\"",
        ),
        (
            BALANCING,
            json!({ "policy": "peak_ewma", "decay": "50ms" }),
            "services[0].load_balancing.decay: 50ms is out of range; expected 100ms to 10m",
        ),
        (
            BALANCING,
            json!({ "policy": "maglev", "hash_on": on, "hash_balance_factor": 99 }),
            "services[0].load_balancing.hash_balance_factor: 99 is out of range; expected 100 to \
             10000",
        ),
        (
            BALANCING,
            json!({ "policy": "maglev", "hash_on": on, "table_size": 65_536 }),
            "services[0].load_balancing.table_size: 65536 is no prime; the next one is 65537",
        ),
        (
            BALANCING,
            json!({ "policy": "maglev", "hash_on": on, "table_size": 5_000_012 }),
            "services[0].load_balancing.table_size: 5000012 is out of range; expected 2 to \
             5000011",
        ),
        (
            BALANCING,
            json!({ "policy": "ring_hash", "hash_on": on, "minimum_ring_size": 0 }),
            "services[0].load_balancing.minimum_ring_size: 0 is out of range; expected 1 to \
             8388608",
        ),
        (
            BALANCING,
            json!({ "policy": "ring_hash", "hash_on": on, "maximum_ring_size": 512 }),
            "services[0].load_balancing.minimum_ring_size: 1024 is above maximum_ring_size, \
             which is 512; lower it, or raise that one",
        ),
        (
            BALANCING,
            json!({ "slow_start": "0s" }),
            "services[0].load_balancing.slow_start: 0s is out of range; expected 100ms to 1h",
        ),
        (
            BALANCING,
            json!({ "slow_start": {} }),
            "services[0].load_balancing.slow_start.window: missing; expected how long it takes",
        ),
        (
            BALANCING,
            json!({ "slow_start": { "window": "30s", "aggression": 0.0 } }),
            "services[0].load_balancing.slow_start.aggression: the aggression is 0; expected more",
        ),
        (
            BALANCING,
            json!({ "slow_start": { "window": "30s", "min_weight_percent": 0 } }),
            "services[0].load_balancing.slow_start.min_weight_percent: 0 is out of range; \
             expected 1 to 100",
        ),
    ]);
}
