//! What may be registered.

use consul_resolver::config::{
    Check, CheckKind, CheckTarget, HealthCheck, Probe, Registration, RunByConsul, TaggedAddress,
    Weights,
};
use core::time::Duration;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::{assert_refused, parse, with};

fn registered(value: &Value) -> Registration {
    let mut config = parse(&with("register", json!([value]))).unwrap();
    config.registrations.remove(0)
}

fn check(value: Value) -> Check {
    registered(&json!({"name": "edge", "checks": [value]})).checks.remove(0)
}

#[test]
fn the_least_registration_has_the_documented_defaults() {
    assert_eq!(
        registered(&json!({"name": "edge"})),
        Registration {
            name: "edge".into(),
            id: String::new(),
            address: String::new(),
            port: 0,
            tags: vec![],
            meta: vec![],
            weights: Weights { passing: 1, warning: 1 },
            enable_tag_override: false,
            tagged_addresses: vec![],
            datacenter: None,
            namespace: None,
            partition: None,
            checks: vec![],
            drain: None,
            depends_on: vec![],
        }
    );
}

#[test]
fn a_registration_that_sets_every_field_is_read() {
    let found = registered(&json!({
        "name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 8080, "version": "1.4.2",
        "tags": ["envoy"], "meta": {"team": "a"}, "weights": {"passing": 10, "warning": 0},
        "enable_tag_override": true,
        "tagged_addresses": {"wan": {"address": "wan.test", "port": 80}},
        "datacenter": "dc1", "namespace": "team", "partition": "part",
        "checks": [{"ttl": "15s"}],
        "drain": {"cluster": "admin", "path": "/ready"},
        "depends_on": ["web"],
    }));
    let meta = [("team", "a"), ("version", "1.4.2")];
    let every_second = Duration::from_secs(1);
    let drain = HealthCheck {
        path: "/ready".into(),
        interval: every_second,
        unhealthy_interval: every_second,
        unhealthy_threshold: 1,
        ..HealthCheck::default()
    };
    assert_eq!(
        found,
        Registration {
            name: "edge".into(),
            id: "edge-1".into(),
            address: "10.0.0.5".into(),
            port: 8080,
            tags: vec!["envoy".into()],
            meta: meta.map(|(key, value)| (key.into(), value.into())).to_vec(),
            weights: Weights { passing: 10, warning: 0 },
            enable_tag_override: true,
            tagged_addresses: vec![TaggedAddress {
                name: "wan".into(),
                address: "wan.test".into(),
                port: 80,
            }],
            datacenter: Some("dc1".into()),
            namespace: Some("team".into()),
            partition: Some("part".into()),
            checks: vec![Check {
                name: None,
                kind: CheckKind::Ttl { ttl: Duration::from_secs(15), probe: None },
                deregister_after: Some(Duration::from_secs(600)),
            }],
            drain: Some(Probe { cluster: "admin".into(), check: drain }),
            depends_on: vec!["web".into()],
        }
    );
}

#[test]
fn every_kind_of_check_is_read() {
    let run = |target| {
        CheckKind::Run(RunByConsul {
            target,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            success_before_passing: 0,
            failures_before_critical: 0,
        })
    };
    let url = "https://10.0.0.5/live";
    assert_eq!(
        check(json!({
            "http": url, "method": "POST", "headers": {"X-A": "b"}, "body": "ping",
            "tls_skip_verify": true, "deregister_critical_service_after": "0s", "name": "live",
        })),
        Check {
            name: Some("live".into()),
            kind: run(CheckTarget::Http {
                url: url.into(),
                method: "POST",
                headers: vec![("x-a".into(), "b".into())],
                body: Some("ping".into()),
                tls_skip_verify: true,
            }),
            deregister_after: None,
        }
    );
    let tcp = check(json!({"tcp": "db.test:5432"}));
    assert_eq!(tcp.kind, run(CheckTarget::Tcp("db.test:5432".into())));
    let grpc = check(json!({"grpc": "10.0.0.5:9090/edge", "grpc_use_tls": true}));
    let (target, tls) = ("10.0.0.5:9090/edge".into(), true);
    assert_eq!(grpc.kind, run(CheckTarget::Grpc { target, tls, tls_skip_verify: false }));
    let often = check(json!({
        "tcp": "[::1]:1", "interval": "1s", "timeout": "100ms",
        "success_before_passing": 2, "failures_before_critical": 3,
    }));
    let CheckKind::Run(often) = often.kind else { panic!("{often:?}") };
    assert_eq!(
        (often.interval, often.timeout),
        (Duration::from_secs(1), Duration::from_millis(100))
    );
    assert_eq!((often.success_before_passing, often.failures_before_critical), (2, 3));
}

#[test]
fn a_probe_is_read_with_all_that_it_may_say() {
    let found = check(json!({"ttl": "15s", "probe": {
        "cluster": "app", "path": "/health?deep=1", "host": "app.test", "method": "POST",
        "headers": {"authorization": "Basic eA=="}, "expected_statuses": [200, "204-206"],
        "warning_statuses": [429], "expected_body": "ok", "interval": "4s",
        "unhealthy_interval": "2s", "interval_jitter": "500ms", "timeout": "2s",
        "healthy_threshold": 3, "unhealthy_threshold": 4,
    }}));
    let CheckKind::Ttl { probe: Some(probe), .. } = found.kind else { panic!("{found:?}") };
    let seconds = Duration::from_secs;
    assert_eq!(
        probe,
        Probe {
            cluster: "app".into(),
            check: HealthCheck {
                path: "/health?deep=1".into(),
                host: Some("app.test".into()),
                method: "POST",
                headers: vec![("authorization".into(), "Basic eA==".into())],
                expected_statuses: vec![200..=200, 204..=206],
                warning_statuses: vec![429..=429],
                expected_body: Some("ok".into()),
                interval: seconds(4),
                unhealthy_interval: seconds(2),
                interval_jitter: Duration::from_millis(500),
                timeout: seconds(2),
                healthy_threshold: 3,
                unhealthy_threshold: 4,
            },
        }
    );
}

#[test]
fn a_default_timeout_is_not_above_a_short_interval() {
    let found = check(json!({"ttl": "15s", "probe": {"cluster": "app", "interval": "500ms"}}));
    let CheckKind::Ttl { probe: Some(probe), .. } = found.kind else { panic!("{found:?}") };
    assert_eq!(probe.check.timeout, Duration::from_millis(500));
}

#[test]
fn a_configuration_may_only_register() {
    let config = json!({"consul": {"cluster": "consul"}, "register": [{"name": "edge"}]});
    assert_eq!(parse(&config).unwrap().services, []);
}

#[test]
fn what_cannot_be_registered_is_refused_with_its_place() {
    let full: BTreeMap<_, _> = (0..64).map(|key| (format!("k{key}"), "v")).collect();
    assert_refused([
        (
            "register",
            json!([{}]),
            "register[0].name: missing; expected the service's name in Consul",
        ),
        (
            "register",
            json!([{"name": "edge", "id": "a/b"}]),
            "register[0].id: '/' is not allowed; expected only visible ASCII characters, without \
             \"/\", \"`\", \"\\\" and quotes",
        ),
        (
            "register",
            json!([{"name": "edge", "address": "0.0.0.0"}]),
            "register[0].address: \"0.0.0.0\" is not an address at which others reach it, without \
             a port",
        ),
        (
            "register",
            json!([{"name": "edge", "address": "10.0.0.5:80"}]),
            "register[0].address: \"10.0.0.5:80\" is not an address at which others reach it, \
             without a port",
        ),
        (
            "register",
            json!([{"name": "edge", "port": 0}]),
            "register[0].port: 0 is out of range; expected 1 to 65535",
        ),
        (
            "register",
            json!([{"name": "edge", "version": "1", "meta": {"version": "2"}}]),
            "register[0].version: meta.version is given too; leave one of them out",
        ),
        (
            "register",
            json!([{"name": "edge", "checks": [{"ttl": "15s"}], "depends_on": ["wen"]}]),
            "register[0].depends_on[0]: unknown service \"wen\"; did you mean \"web\"? expected the \
             name of another service of the list",
        ),
        (
            "register",
            json!([{"name": "WEB", "checks": [{"ttl": "15s"}], "depends_on": ["web"]}]),
            "register[0].depends_on[0]: a service cannot depend on itself; leave it out",
        ),
        (
            "register",
            json!([{"name": "edge", "meta": {"a b": "c"}}]),
            "register[0].meta[\"a b\"]: ' ' is not allowed; expected only ASCII letters, digits, \
             \"-\" and \"_\" in a key",
        ),
        (
            "register",
            json!([{"name": "edge", "meta": {"a": "1", "consul-a": "2"}}]),
            "register[0].meta.consul-a: \"consul-a\" is not a key for a service: Consul keeps \
             \"consul-\" for its own",
        ),
        (
            "register",
            json!([{"name": "edge", "version": "1", "meta": full}]),
            "register[0].meta: too many with 65 items; at most 64 are allowed",
        ),
    ]);
}

#[test]
fn a_check_that_could_not_work_is_refused_with_its_place() {
    let one = |check: Value| json!([{"name": "edge", "checks": [check]}]);
    assert_refused([
        (
            "register",
            one(json!({"interval": "1s"})),
            "register[0].checks[0]: expected exactly one of ttl, http, tcp, grpc, found 0",
        ),
        (
            "register",
            one(json!({"ttl": "15s", "tcp": "a:1"})),
            "register[0].checks[0]: expected exactly one of ttl, http, tcp, grpc, found 2",
        ),
        (
            "register",
            one(json!({"ttl": "15s", "interval": "1s"})),
            "register[0].checks[0].interval: it does nothing without http, tcp or grpc; give that \
             too, or leave it out",
        ),
        (
            "register",
            one(json!({"ttl": "5s"})),
            "register[0].checks[0].ttl: 5s is out of range; expected 10s to 24h",
        ),
        (
            "register",
            one(json!({"ttl": "15s", "deregister_critical_service_after": "30s"})),
            "register[0].checks[0].deregister_critical_service_after: 30s is out of range; \
             expected 1m to 720h",
        ),
        (
            "register",
            one(json!({"http": "/live"})),
            "register[0].checks[0].http: \"/live\" is not a URL, such as \
             \"http://10.0.0.5:8080/live\"",
        ),
        (
            "register",
            one(json!({"tcp": "10.0.0.5"})),
            "register[0].checks[0].tcp: \"10.0.0.5\" is not an address with a port, such as \
             \"10.0.0.5:8080\"",
        ),
    ]);
}

#[test]
fn a_probe_that_could_not_work_is_refused_with_its_place() {
    let one = |field: &str, value: Value| {
        let mut probe = json!({"cluster": "app"});
        probe[field] = value;
        json!([{"name": "edge", "checks": [{"ttl": "15s", "probe": probe}]}])
    };
    let headers = json!({"Host": "a"});
    assert_refused([
        (
            "register",
            json!([{"name": "edge", "checks": [{"ttl": "15s", "probe": {}}]}]),
            "register[0].checks[0].probe.cluster: missing; expected the name of a cluster in Envoy",
        ),
        (
            "register",
            one("path", json!("health")),
            "register[0].checks[0].probe.path: \"health\" is not a path: that begins with \"/\"",
        ),
        (
            "register",
            one("timeout", json!("6s")),
            "register[0].checks[0].probe.timeout: 6s is above interval, which is 5s; lower it, or \
             raise that one",
        ),
        (
            "register",
            one("expected_statuses", json!(["2xx"])),
            "register[0].checks[0].probe.expected_statuses[0]: \"2xx\" is not a range of statuses, \
             such as \"200-299\"",
        ),
        (
            "register",
            one("expected_statuses", json!([])),
            "register[0].checks[0].probe.expected_statuses: empty; expected statuses such as 200",
        ),
        (
            "register",
            one("headers", headers),
            "register[0].checks[0].probe.headers.Host: \"host\" is not a header to set: Envoy makes \
             it, that of the host by the field host",
        ),
        (
            "register",
            json!([{"name": "edge", "checks": [{"ttl": "15s", "probe": {
                "cluster": "app", "method": "HEAD", "expected_body": "ok"
            }}]}]),
            "register[0].checks[0].probe.expected_body: it does nothing without a method whose \
             answers have a body; give that too, or leave it out",
        ),
    ]);
}

#[test]
fn what_depends_on_what_is_registered_is_nothing_to_depend_on() {
    let service = |name: &str, on: &[&str]| match on {
        [] => json!({"name": name, "hosts": [name]}),
        on => json!({"name": name, "hosts": [name], "depends_on": on}),
    };
    let services = [
        service("web", &["db", "cache"]),
        service("db", &[]),
        service("cache", &["edge"]),
        service("edge", &["db"]),
    ];
    let depends = |on: &str| {
        json!({
            "consul": {"cluster": "consul"},
            "services": services,
            "register": [{"name": "edge", "checks": [{"ttl": "15s"}], "depends_on": ["db", on]}],
        })
    };
    let error = parse(&depends("web")).unwrap_err().to_string();
    assert_eq!(
        error,
        "register[0].depends_on[1]: edge → web → cache → edge is a cycle; leave one of them out"
    );
    parse(&depends("db")).unwrap();
}

#[test]
fn a_drain_is_asked_for_where_envoy_tells_of_it() {
    let config = json!({"name": "edge", "checks": [{"ttl": "15s"}], "drain": {"cluster": "admin"}});
    let HealthCheck { path, interval, unhealthy_interval, unhealthy_threshold, .. } =
        registered(&config).drain.unwrap().check;
    let second = Duration::from_secs(1);
    assert_eq!(path, "/ready");
    assert_eq!((interval, unhealthy_interval, unhealthy_threshold), (second, second, 1));
}
