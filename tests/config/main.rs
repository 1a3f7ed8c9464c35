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
mod input;
mod properties;
mod schema;
mod shape;

use core::error::Error as _;
use core::time::Duration;

use consul_resolver::config::{
    AddressChoice, Config, ConfigError, Consistency, Consul, Handoff, HealthThreshold, HostPattern,
    Policy, Service, Unmatched,
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
        },
        services: vec![Service {
            name: "web".into(),
            hosts: vec![],
            tags: vec![],
            filter: None,
            health: HealthThreshold::Passing,
            address: AddressChoice::Service,
            policy: Policy::RoundRobin,
        }],
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
            "token_env": "CONSUL_HTTP_TOKEN"
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
    assert_eq!(config.unwrap().services[0].policy, Policy::LeastRequest);
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
            consistency: Consistency::Stale,
            wait: Duration::from_secs(30),
            token_env: Some("CONSUL_HTTP_TOKEN".into()),
        },
        services: vec![
            Service {
                name: "web".into(),
                hosts: vec![
                    HostPattern::Exact("web.test".into()),
                    HostPattern::Suffix(".web.internal".into()),
                ],
                tags: vec!["primary".into()],
                filter: Some(r#"Service.Meta.env == "prod""#.into()),
                health: HealthThreshold::Warning,
                address: AddressChoice::Tagged("wan".into()),
                policy: Policy::LeastRequest,
            },
            Service {
                hosts: vec![HostPattern::Exact("[::1]".into())],
                policy: Policy::Random,
                ..Service::new("api")
            },
        ],
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
            "wait": "30s",
            "token_env": "CONSUL_HTTP_TOKEN"
        },
        "services": [
            {
                "name": "web",
                "hosts": ["Web.Test", "*.web.internal"],
                "tags": ["primary"],
                "filter": "Service.Meta.env == \"prod\"",
                "health": "warning",
                "address": "wan",
                "load_balancing": { "policy": "least_request" }
            },
            { "name": "api", "hosts": ["[::1]"], "load_balancing": { "policy": "random" } }
        ],
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
        ("consul.authority", json!("[::1]:8500")),
        ("consul.token_env", json!("_")),
        ("consul.cluster", json!("c".repeat(255))),
        ("services[0].name", json!("n".repeat(255))),
        ("services[0].name", json!("...")),
        ("services[0].tags", json!([])),
        ("services[0].tags", json!(vec!["t"; 64])),
        ("services[0].filter", json!("a == b\n\tand c == d\n")),
        ("services[0].hosts", json!(hosts(1024))),
        ("services[0].load_balancing", json!({})),
        ("services[0].address", json!("service")),
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
