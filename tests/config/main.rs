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
mod hashing;
mod input;
mod learning;
mod places;
mod policies;
mod properties;
mod schema;
mod shape;
mod staleness;
mod trust;
mod versions;

use core::error::Error as _;
use core::time::Duration;

use consul_resolver::config::{
    AddressChoice, AddressPolicy, Breaker, Config, ConfigError, Consistency, Consul, Fallback,
    Handoff, HashOn, HealthThreshold, HostPattern, LoadBalancing, Locality, OnStale,
    OutlierDetection, Policy, PreparedQuery, Protocol, RetryBudget, Service, Share, ShrinkGuard,
    SlowStart, Staleness, Sticky, Unmatched, VersionKey, Versions,
};
use consul_resolver::version::VersionRange;
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
fn a_configuration_that_sets_every_field_is_read() {
    let config = parse(&full()).unwrap();
    let expected = Config {
        consul: Consul {
            cluster: "consul".into(),
            authority: "consul.internal".into(),
            datacenter: Some("dc1".into()),
            namespace: Some("team-a".into()),
            partition: Some("part_1".into()),
            consistency: Consistency::Stale { max_stale: Some(Duration::from_secs(5)) },
            wait: Duration::from_secs(30),
            token_env: Some("CONSUL_HTTP_TOKEN".into()),
            breaker: Breaker {
                consecutive_failures: 9,
                failure_percent: 80,
                minimum_calls: 5,
                base_open_time: Duration::from_millis(500),
                max_open_time: Duration::from_secs(60),
            },
            retry_budget: RetryBudget { percent: 10, min_per_second: 2 },
            max_watches: 150,
            resync: Duration::from_secs(300),
        },
        services: vec![
            Service {
                name: "web".into(),
                hosts: vec![
                    HostPattern::Exact("web.test".into()),
                    HostPattern::Suffix(".web.internal".into()),
                ],
                query: None,
                namespace: Some("team-b".into()),
                partition: Some("part_2".into()),
                peer: Some("east".into()),
                connect: true,
                tags: vec!["primary".into()],
                node_meta: vec![("env".into(), "prod".into()), ("rack".into(), "7:a".into())],
                merge_central_config: true,
                filter: Some(r#"Service.Meta.env == "prod""#.into()),
                health: HealthThreshold::Warning,
                address: AddressChoice::Tagged("wan".into()),
                datacenters: vec!["dc1".into(), "dc2".into()],
                resolve_names: false,
                protocol: Protocol::Grpc,
                load_balancing: LoadBalancing {
                    policy: Policy::LeastRequest { choice_count: 3, active_request_bias: 0.5 },
                    slow_start: Some(SlowStart {
                        window: Duration::from_secs(30),
                        aggression: 1.5,
                        min_weight_percent: 20,
                    }),
                    panic_threshold: 0,
                },
                outlier_detection: Some(OutlierDetection {
                    consecutive_5xx: 3,
                    max_ejection_percent: 50,
                    ..OutlierDetection::default()
                }),
                sticky: Some(Sticky { cookie: "pin".into(), ttl: Duration::ZERO }),
                versions: Some(Versions {
                    key: VersionKey::TagPrefix("v=".into()),
                    header: Some("x-version".into()),
                    split: vec![share("1.x", 95), share("2.x", 5), share("blue", 0)],
                    hash_on: Some(HashOn::Cookie("Session".into())),
                    fallback: Fallback::None,
                }),
                retry_budget: Some(RetryBudget { percent: 10, min_per_second: 0 }),
                shrink_guard: ShrinkGuard {
                    percent: 30,
                    at_least: 5,
                    hold: Duration::from_secs(60),
                },
                staleness: Some(Staleness {
                    max_age: Duration::from_secs(600),
                    on_stale: OnStale::Fail,
                }),
                fallback: vec!["10.0.0.7:8080".parse().unwrap()],
            },
            Service {
                hosts: vec![HostPattern::Exact("[::1]".into())],
                load_balancing: LoadBalancing {
                    policy: Policy::Random,
                    ..LoadBalancing::default()
                },
                resolve_names: true,
                query: Some(PreparedQuery {
                    name: "geo-api".into(),
                    near: Some("_agent".into()),
                    limit: Some(10),
                }),
                ..Service::new("api")
            },
        ],
        locality: Some(Locality {
            zone: Some("eu-1a".into()),
            key: "rack".into(),
            min_cluster_size: 3,
        }),
        endpoints: AddressPolicy {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            deny: vec!["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()],
        },
        handoff: Handoff::Headers { attempts: 3 },
        route_metadata: true,
        unmatched: Unmatched::Reject,
        warmup_timeout: Duration::from_millis(1500),
        log_level: LevelFilter::Debug,
    };
    assert_eq!(config, expected);
}

fn full() -> Value {
    json!({
        "consul": {
            "cluster": "consul",
            "authority": "consul.internal",
            "datacenter": "dc1",
            "namespace": "team-a",
            "partition": "part_1",
            "consistency": "stale",
            "max_stale": "5s",
            "wait": "30s",
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
        "services": [
            {
                "name": "web",
                "hosts": ["Web.Test", "*.web.internal"],
                "namespace": "team-b",
                "partition": "part_2",
                "peer": "east",
                "connect": true,
                "tags": ["primary"],
                "node_meta": { "rack": "7:a", "env": "prod" },
                "merge_central_config": true,
                "filter": "Service.Meta.env == \"prod\"",
                "health": "warning",
                "address": "wan",
                "datacenters": ["dc1", "dc2"],
                "protocol": "grpc",
                "load_balancing": {
                    "policy": "least_request",
                    "choice_count": 3,
                    "active_request_bias": 0.5,
                    "slow_start": { "window": "30s", "aggression": 1.5, "min_weight_percent": 20 },
                    "panic_threshold": 0
                },
                "outlier_detection": { "consecutive_5xx": 3, "max_ejection_percent": 50.0 },
                "sticky": { "cookie": "pin", "ttl": "0s" },
                "versions": {
                    "tag_prefix": "v=",
                    "header": "X-Version",
                    "split": { "2.x": 5, "blue": 0, "1.x": 95 },
                    "hash_on": { "cookie": "Session" },
                    "fallback": "none"
                },
                "retry_budget": { "percent": 10, "min_per_second": 0 },
                "shrink_guard": { "percent": 30, "at_least": 5, "hold": "1m" },
                "max_age": "10m",
                "on_stale": "fail",
                "fallback": ["10.0.0.7:8080"]
            },
            {
                "name": "api",
                "hosts": ["[::1]"],
                "query": "geo-api",
                "near": "_agent",
                "limit": 10,
                "resolve_names": true,
                "load_balancing": { "policy": "random" }
            }
        ],
        "locality": { "zone": "eu-1a", "key": "rack", "min_cluster_size": 3 },
        "endpoints": { "allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16", "::1"] },
        "handoff": { "via": "headers", "attempts": 3 },
        "route_metadata": true,
        "unmatched": "reject",
        "warmup_timeout": "1.5s",
        "log_level": "debug"
    })
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
        ("services[0].load_balancing.panic_threshold", json!(100.0)),
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
        ("services[0].outlier_detection", json!({})),
        ("services[0].sticky", json!({ "ttl": "9600h" })),
        ("services[0].versions", json!({ "header": "x-version" })),
        ("services[0].versions", json!({ "split": { "*": 1_000_000 } })),
        ("locality", json!({})),
        ("endpoints", json!({ "allow": ["0.0.0.0/0", "::/0"], "deny": [] })),
        ("handoff", json!({ "via": "filter_state" })),
        ("handoff", json!({ "via": "headers", "attempts": 1 })),
        ("handoff", json!({ "via": "headers", "attempts": 4.0 })),
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
fn several_services_without_hosts_are_accepted_where_routes_name_them() {
    let mut config = with("services", json!([{ "name": "web" }, { "name": "api" }]));
    assert!(parse(&config).is_err());
    config["route_metadata"] = json!(true);
    assert!(parse(&config).is_ok());
}

fn share(name: &str, weight: u32) -> Share {
    Share { name: name.into(), range: VersionRange::parse(name).unwrap(), weight }
}

fn least_request() -> LoadBalancing {
    let policy = Policy::LeastRequest {
        choice_count: Policy::DEFAULT_CHOICE_COUNT,
        active_request_bias: Policy::DEFAULT_ACTIVE_REQUEST_BIAS,
    };
    LoadBalancing { policy, ..LoadBalancing::default() }
}
