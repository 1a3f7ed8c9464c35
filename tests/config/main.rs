//! The configuration contract: what is accepted, and the exact text of every refusal.

#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

mod content;
mod dependencies;
mod every_field;
mod finding;
mod hashing;
mod input;
mod learning;
mod places;
mod policies;
mod properties;
mod reference;
mod registration;
mod schema;
mod selection;
mod shape;
mod staleness;
mod trust;
mod versions;
mod xds;

use core::error::Error as _;
use core::time::Duration;

use consul_resolver::config::{
    AddressChoice, AddressPolicy, Config, ConfigError, Consistency, Consul, DnsNames, Handoff,
    HealthThreshold, LoadBalancing, Policy, Protocol, Service, Unmatched,
};
use log::LevelFilter;
use serde_json::{Value, json};

fn parse(value: &Value) -> Result<Config, ConfigError> {
    Config::parse(value.to_string().as_bytes())
}

/// The least configuration, with one field of it (`a.b[0].c`) set to a value.
fn with(place: &str, value: Value) -> Value {
    let mut config = json!({ "consul": { "cluster": "consul" }, "services": [{ "name": "web" }] });
    let pointer = format!("/{}", place.replace('[', "/").replace(']', "").replace('.', "/"));
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let mut object = &mut config;
    for step in parent.split('/').skip(1) {
        object = match step.parse::<usize>() {
            Ok(index) => &mut object[index],
            Err(_) => &mut object[step],
        };
    }
    match field.parse::<usize>() {
        Ok(index) => object[index] = value,
        Err(_) => object[field] = value,
    }
    config
}

/// Sets each value at its place and expects the message, to the letter.
fn assert_refused<const N: usize>(cases: [(&str, Value, &str); N]) {
    for (place, value, message) in cases {
        let error = parse(&with(place, value)).expect_err(message);
        assert_eq!(error.to_string(), message);
        assert!(error.source().is_none(), "{error}");
    }
}

/// The least `xds`, with these fields besides.
fn xds(fields: Value) -> Value {
    let mut xds = json!({ "cluster": "xds", "address": "/run/envoy/xds.sock" });
    for (name, value) in fields.as_object().unwrap() {
        xds[name] = value.clone();
    }
    xds
}

fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("h{n}.test")).collect()
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config =
        Config::parse(br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#)
            .unwrap();
    let expected = Config {
        consul: Consul {
            cluster: "consul".into(),
            authority: "consul".into(),
            datacenter: None,
            namespace: None,
            partition: None,
            consistency: Consistency::Default,
            wait: Duration::from_secs(55),
            token_env: None,
            ..Consul::new("consul")
        },
        discover: None,
        dns_names: None,
        registrations: vec![],
        services: vec![Service {
            name: "web".into(),
            hosts: vec![],
            tags: vec![],
            filter: None,
            health: HealthThreshold::Passing,
            address: AddressChoice::Service,
            ..Service::new("web")
        }],
        locality: None,
        endpoints: AddressPolicy::default(),
        xds: None,
        handoff: Handoff::FilterState,
        route_metadata: false,
        unmatched: Unmatched::Pass,
        warmup_timeout: Duration::from_secs(2),
        log_level: LevelFilter::Info,
    };
    assert_eq!(config, expected);
    assert_eq!(config.consul, Consul::new("consul"));
    assert_eq!(config.services, [Service::new("web")]);
}

#[test]
fn the_example_of_the_reference_is_read() {
    let config = parse(&json!({
        "consul": {
            "cluster": "consul",
            "authority": "consul.internal",
            "datacenter": "dc1",
            "consistency": "stale",
            "wait": "55s",
            "token_env": "CONSUL_HTTP_TOKEN",
            "breaker": {
                "consecutive_failures": 9,
                "failure_percent": 80,
                "minimum_calls": 5.0,
                "base_open_time": "500ms",
                "max_open_time": "1m"
            },
            "retry_budget": { "percent": 10, "min_per_second": 2 },
            "max_watches": 150,
            "resync": "5m"
        },
        "services": [{
            "name": "web",
            "hosts": ["web.test", "*.web.internal"],
            "tags": ["primary"],
            "filter": "Service.Meta.env == \"prod\"",
            "health": "passing",
            "address": "service",
            "load_balancing": { "policy": "least_request" }
        }],
        "handoff": { "via": "headers", "attempts": 2 },
        "route_metadata": false,
        "unmatched": "pass",
        "warmup_timeout": "2s"
    }));
    assert_eq!(config.unwrap().services[0].load_balancing, least_request());
}

#[test]
fn values_at_the_edge_of_what_is_allowed_are_accepted() {
    for (place, value) in [
        ("consul.wait", json!("1s")),
        ("consul.wait", json!("10m")),
        ("consul", json!({ "cluster": "c", "consistency": "cached", "cached": {} })),
        (
            "consul",
            json!({
                "cluster": "c",
                "consistency": "cached",
                "cached": { "max_age": "0s", "stale_if_error": "720h" }
            }),
        ),
        ("consul", json!({ "cluster": "c", "consistency": "stale", "max_stale": "100ms" })),
        ("services[0].node_meta", json!({ "k".repeat(128): "v".repeat(512) })),
        ("services[0].peer", json!("cluster-02")),
        ("services[0].query", json!("8f246b77-f3e1-ff88-5b48-8ec93abf3e05")),
        ("consul.authority", json!("[::1]:8500")),
        ("consul.token_env", json!("_")),
        ("consul.breaker", json!({})),
        ("consul.breaker", json!({ "consecutive_failures": 0, "failure_percent": 0 })),
        ("consul.retry_budget", json!({ "percent": 0, "min_per_second": 1 })),
        ("consul.max_watches", json!(65_535.0)),
        ("consul.resync", json!("0s")),
        ("consul.resync", json!("24h")),
        ("services[0].shrink_guard", json!({ "hold": "0s" })),
        ("services[0].shrink_guard", json!({ "percent": 0, "at_least": 65_536 })),
        ("consul.cluster", json!("c".repeat(255))),
        ("services[0].name", json!("n".repeat(255))),
        ("services[0].name", json!("...")),
        ("services[0].tags", json!([])),
        ("services[0].tags", json!(vec!["t"; 64])),
        ("services[0].filter", json!("a == b\n\tand c == d\n")),
        ("services[0].hosts", json!(hosts(1024))),
        ("services[0].load_balancing", json!({})),
        ("services[0].address", json!("service")),
        ("services[0].datacenters", json!((0..16).map(|n| format!("dc{n}")).collect::<Vec<_>>())),
        ("services[0].load_balancing.slow_start", json!("100ms")),
        ("services[0].load_balancing.slow_start", json!({ "window": "1h", "aggression": 0.01 })),
        ("services[0].load_balancing", json!({ "policy": "least_request", "choice_count": 16 })),
        (
            "services[0].load_balancing",
            json!({ "policy": "least_request", "active_request_bias": 0 }),
        ),
        ("services[0].load_balancing", json!({ "policy": "peak_ewma", "decay": "100ms" })),
        (
            "services[0].load_balancing",
            json!({ "policy": "maglev", "hash_on": { "path": true }, "table_size": 5_000_011 }),
        ),
        (
            "services[0].load_balancing",
            json!({
                "policy": "ring_hash",
                "hash_on": { "path": true },
                "hash_balance_factor": 100,
                "minimum_ring_size": 8_388_608
            }),
        ),
        ("services[0].versions", json!({ "header": "x-version" })),
        ("services[0].versions", json!({ "split": { "*": 1_000_000 } })),
        ("locality", json!({})),
        ("endpoints", json!({ "allow": ["0.0.0.0/0", "::/0"], "deny": [] })),
        ("handoff", json!({ "via": "filter_state" })),
        ("handoff", json!({ "via": "headers", "attempts": 1 })),
        ("handoff", json!({ "via": "headers", "attempts": 4.0 })),
        ("services[0].health", json!("any")),
        ("xds", xds(json!({ "hold": "1s" }))),
        ("xds", xds(json!({ "hold": "10m" }))),
        ("xds", xds(json!({ "address": format!("/{}", "a".repeat(106)) }))),
        ("xds", xds(json!({ "address": "@consul_resolver/proxy-1" }))),
        ("xds", xds(json!({ "address": "127.0.0.1:65535" }))),
        ("xds", xds(json!({ "address": "127.255.0.9:1" }))),
        ("xds", xds(json!({ "address": "[::1]:18000" }))),
        ("xds", xds(json!({ "clusters": {}, "routes": {} }))),
        ("xds", xds(json!({ "clusters": { "name": "{service}", "template": {} } }))),
        ("warmup_timeout", json!("0s")),
        ("warmup_timeout", json!("1m")),
    ] {
        let config = with(place, value);
        assert!(parse(&config).is_ok(), "{config}: {:?}", parse(&config));
    }
    let handoff = parse(&with("handoff", json!({ "via": "headers" }))).unwrap().handoff;
    assert_eq!(handoff, Handoff::Headers { attempts: 2 });
}

#[test]
fn services_need_no_hosts_when_routes_name_them() {
    let mut config = with("services", json!([{ "name": "web" }, { "name": "api" }]));
    assert!(parse(&config).is_err());
    config["route_metadata"] = json!(true);
    assert!(parse(&config).is_ok());
}

fn least_request() -> LoadBalancing {
    let policy = Policy::LeastRequest {
        choice_count: Policy::DEFAULT_CHOICE_COUNT,
        active_request_bias: Policy::DEFAULT_ACTIVE_REQUEST_BIAS,
    };
    LoadBalancing { policy, ..LoadBalancing::default() }
}
