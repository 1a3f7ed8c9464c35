//! How far Consul is trusted and spared: how it is read, and the exact text of each refusal.

use core::time::Duration;

use consul_resolver::config::{BreakerConfig, RetryBudgetConfig, ShrinkGuardConfig};
use serde_json::json;

use crate::{assert_refused, parse, with};

#[test]
fn defaults_protect_consul_and_the_endpoints() {
    let config = parse(&with("consul.cluster", json!("consul"))).unwrap();
    let consul = &config.consul;
    let breaker = BreakerConfig {
        consecutive_failures: 5,
        failure_percent: 50,
        minimum_calls: 20,
        base_open_time: Duration::from_secs(1),
        max_open_time: Duration::from_secs(30),
    };
    assert_eq!(consul.breaker, breaker);
    assert_eq!(consul.retry_budget, RetryBudgetConfig { percent: 20, min_per_second: 10 });
    assert_eq!((consul.max_watches, consul.resync), (100, Duration::from_secs(600)));
    let guard = ShrinkGuardConfig { percent: 50, at_least: 3, hold: Duration::from_secs(30) };
    assert_eq!(config.services[0].shrink_guard, guard);
}

#[test]
fn what_could_not_work_is_refused() {
    assert_refused([
        (
            "consul.breaker",
            json!({ "base_open_time": "2m", "max_open_time": "1m" }),
            "consul.breaker.base_open_time: 2m is above max_open_time, which is 1m; lower it, or \
             raise that one",
        ),
        (
            "consul.breaker",
            json!({ "minimum_calls": 0 }),
            "consul.breaker.minimum_calls: 0 is out of range; expected 1 to 1000000",
        ),
        (
            "consul.breaker",
            json!({ "base_open_time": "10ms" }),
            "consul.breaker.base_open_time: 10ms is out of range; expected 100ms to 10m",
        ),
        (
            "consul.breaker",
            json!({ "open_time": "1s" }),
            "consul.breaker.open_time: unknown field; did you mean max_open_time? known here: \
             consecutive_failures, failure_percent, minimum_calls, base_open_time, max_open_time",
        ),
        (
            "consul.retry_budget",
            json!({ "min_per_second": 0 }),
            "consul.retry_budget.min_per_second: 0 is out of range; expected 1 to 100000",
        ),
        (
            "consul.max_watches",
            json!(0),
            "consul.max_watches: 0 is out of range; expected 1 to 65535",
        ),
        ("consul.resync", json!("5s"), "consul.resync: 5s is out of range; expected 10s to 24h"),
        (
            "services[0].shrink_guard",
            json!({ "percent": 101 }),
            "services[0].shrink_guard.percent: 101 is out of range; expected 0 to 100",
        ),
        (
            "services[0].shrink_guard",
            json!({ "at_least": 0 }),
            "services[0].shrink_guard.at_least: 0 is out of range; expected 1 to 65536",
        ),
        (
            "services[0].shrink_guard",
            json!({ "hold": "11m" }),
            "services[0].shrink_guard.hold: 11m is out of range; expected 0s to 10m",
        ),
    ]);
}

#[test]
fn the_longest_open_time_is_never_below_the_base() {
    let config = with("consul.breaker", json!({ "base_open_time": "2m" }));
    let found = parse(&config).unwrap().consul.breaker;
    assert_eq!(found.max_open_time, Duration::from_secs(120));
}
