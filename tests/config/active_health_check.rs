//! How endpoints may be probed.

use consul_resolver::config::{ActiveHealthCheck, ConsulHealth, HealthCheck, Probe};
use core::time::Duration;
use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

const PLACE: &str = "services[0].active_health_check";

fn read(value: Value) -> ActiveHealthCheck {
    let mut config = parse(&with(PLACE, value)).unwrap();
    config.services.remove(0).active_health_check.unwrap()
}

#[test]
fn the_least_check_has_the_documented_defaults() {
    let expected = ActiveHealthCheck {
        probe: Probe { cluster: "probes".into(), check: HealthCheck::default() },
        max_per_second: 100,
        max_concurrent: 50,
        consul_health: ConsulHealth::And,
    };
    assert_eq!(read(json!({"cluster": "probes"})), expected);
    assert!(parse(&with("services[0].resolve_names", json!(true))).is_ok());
}

#[test]
fn a_check_that_sets_every_field_is_read() {
    let found = read(json!({
        "cluster": "probes", "path": "/health?deep=1", "host": "web.internal", "method": "HEAD",
        "headers": {"X-Probe": "envoy"}, "expected_statuses": [200, "202-204"],
        "interval": "10s", "unhealthy_interval": "2s", "interval_jitter": "1s", "timeout": "2s",
        "healthy_threshold": 3, "unhealthy_threshold": 4,
        "max_per_second": 10_000, "max_concurrent": 1_000, "consul_health": "ignore",
    }));
    let check = HealthCheck {
        path: "/health?deep=1".into(),
        host: Some("web.internal".into()),
        method: "HEAD",
        headers: vec![("x-probe".into(), "envoy".into())],
        expected_statuses: vec![200..=200, 202..=204],
        warning_statuses: vec![],
        expected_body: None,
        interval: Duration::from_secs(10),
        unhealthy_interval: Duration::from_secs(2),
        interval_jitter: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        healthy_threshold: 3,
        unhealthy_threshold: 4,
    };
    let expected = ActiveHealthCheck {
        probe: Probe { cluster: "probes".into(), check },
        max_per_second: 10_000,
        max_concurrent: 1_000,
        consul_health: ConsulHealth::Ignore,
    };
    assert_eq!(found, expected);
    let found = read(json!({"cluster": "probes", "expected_body": "ok"}));
    assert_eq!(found.probe.check.expected_body.as_deref(), Some("ok"));
}

#[test]
fn a_check_that_makes_no_sense_is_refused() {
    assert_refused([
        (
            PLACE,
            json!({}),
            "services[0].active_health_check.cluster: missing; expected the name of a cluster in \
             Envoy that goes where a header says",
        ),
        (
            PLACE,
            json!({"cluster": "probes", "max_per_second": 0}),
            "services[0].active_health_check.max_per_second: 0 is out of range; expected 1 to \
             10000",
        ),
        (
            PLACE,
            json!({"cluster": "probes", "max_concurrent": 1_001}),
            "services[0].active_health_check.max_concurrent: 1001 is out of range; expected 1 to \
             1000",
        ),
        (
            PLACE,
            json!({"cluster": "probes", "consul_health": "or"}),
            "services[0].active_health_check.consul_health: unknown role \"or\"; expected one of \
             and, ignore",
        ),
        (
            PLACE,
            json!({"cluster": "probes", "timeout": "6s"}),
            "services[0].active_health_check.timeout: 6s is above interval, which is 5s; lower it, \
             or raise that one",
        ),
        (
            PLACE,
            json!({"cluster": "probes", "headers": {"X-Envoy-Original-Dst-Host": "10.0.0.1:80"}}),
            "services[0].active_health_check.headers: \"x-envoy-original-dst-host\" is not a \
             header to set: it says which endpoint is asked",
        ),
        (
            "services[0]",
            json!({
                "name": "web", "resolve_names": true,
                "active_health_check": {"cluster": "probes"},
            }),
            "services[0].active_health_check: resolve_names is given too; leave one of them out",
        ),
    ]);
    let error = parse(&with(PLACE, json!({"cluster": "probes", "warning_statuses": [429]})));
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("services[0].active_health_check.warning_statuses: unknown field"));
}
