//! A configuration that sets every field.

use core::time::Duration;

use consul_resolver::config::*;
use consul_resolver::model::service::ServiceId;
use consul_resolver::model::version_pattern::VersionPattern;
use log::LevelFilter;
use serde_json::{Value, json};

use crate::parse;

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
            breaker: BreakerConfig {
                consecutive_failures: 9,
                failure_percent: 80,
                minimum_calls: 5,
                base_open_time: Duration::from_millis(500),
                max_open_time: Duration::from_secs(60),
            },
            retry_budget: RetryBudgetConfig { percent: 10, min_per_second: 2 },
            max_watches: 150,
            resync: Duration::from_secs(300),
        },
        discover: None,
        dns_names: None,
        registrations: vec![],
        services: vec![
            Service {
                name: "web".into(),
                service: Some("team/web".into()),
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
                    policy: Policy::PeakEwma { choice_count: 3, decay: Duration::from_secs(5) },
                    slow_start: Some(SlowStart {
                        window: Duration::from_secs(30),
                        aggression: 1.5,
                        min_weight_percent: 20,
                    }),
                },
                versions: Some(Versions {
                    key: VersionKey::TagPrefix("v=".into()),
                    header: Some("x-version".into()),
                    split: vec![share("1.x", 95), share("2.x", 5), share("blue", 0)],
                    hash_on: Some(HashOn::Cookie("Session".into())),
                    fallback: VersionFallback::None,
                }),
                shrink_guard: ShrinkGuardConfig {
                    percent: 30,
                    at_least: 5,
                    hold: Duration::from_secs(60),
                },
                staleness: Some(Staleness {
                    max_age: Duration::from_secs(600),
                    on_stale: OnStale::Fail,
                }),
                fallback: vec!["10.0.0.7:8080".parse().unwrap()],
                dependencies: Some(Dependencies {
                    services: vec![ServiceId::nth(1)],
                    on_down: OnDependencyDown::Fail,
                }),
                endpoint_metadata: vec!["az".into(), "team".into()],
                cluster: fields(json!({ "connect_timeout": "2s" })),
            },
            Service {
                hosts: vec![HostPattern::Exact("[::1]".into())],
                load_balancing: LoadBalancing {
                    policy: Policy::LeastRequest { choice_count: 2, active_request_bias: 0.5 },
                    ..LoadBalancing::default()
                },
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
        xds: Some(Xds {
            cluster: "subscriptions".into(),
            address: "@consul_resolver/edge".into(),
            hold: Duration::from_secs(120),
            clusters: Some(ClustersConfig {
                name: "from-{service}-consul".into(),
                template: fields(json!({ "outlier_detection": { "max_ejection_percent": 50 } })),
            }),
            routes: Some(RoutesConfig {
                name: "services".into(),
                template: fields(json!({ "retry_policy": { "num_retries": 2 } })),
            }),
        }),
        handoff: Handoff::StatefulSession,
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
                "name": "web", "service": "team/web",
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
                    "policy": "peak_ewma",
                    "choice_count": 3.0,
                    "decay": "5s",
                    "slow_start": { "window": "30s", "aggression": 1.5, "min_weight_percent": 20 }
                },
                "versions": {
                    "tag_prefix": "v=",
                    "header": "X-Version",
                    "split": { "2.x": 5, "blue": 0, "1.x": 95 },
                    "hash_on": { "cookie": "Session" },
                    "fallback": "none"
                },
                "shrink_guard": { "percent": 30, "at_least": 5, "hold": "1m" },
                "max_age": "10m",
                "on_stale": "fail",
                "fallback": ["10.0.0.7:8080"],
                "depends_on": ["Api"],
                "on_dependency_down": "fail",
                "endpoint_metadata": ["team", "az"],
                "cluster": { "connect_timeout": "2s" }
            },
            {
                "name": "api",
                "hosts": ["[::1]"],
                "query": "geo-api",
                "near": "_agent",
                "limit": 10,
                "load_balancing": { "policy": "least_request", "active_request_bias": 0.5 }
            }
        ],
        "locality": { "zone": "eu-1a", "key": "rack", "min_cluster_size": 3 },
        "endpoints": { "allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16", "::1"] },
        "xds": {
            "cluster": "subscriptions",
            "address": "@consul_resolver/edge",
            "hold": "2m",
            "clusters": {
                "name": "from-{service}-consul",
                "template": { "outlier_detection": { "max_ejection_percent": 50.0 } }
            },
            "routes": {
                "name": "services",
                "template": { "retry_policy": { "num_retries": 2.0 } }
            }
        },
        "handoff": { "via": "stateful_session" },
        "route_metadata": true,
        "unmatched": "reject",
        "warmup_timeout": "1.5s",
        "log_level": "debug"
    })
}

fn fields(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn share(name: &str, weight: u32) -> Share {
    Share { name: name.into(), pattern: VersionPattern::parse(name).unwrap(), weight }
}
