//! What answers decide: ejections, sticky clients and retries. How it is read, and the exact text of each refusal.

use core::time::Duration;

use consul_resolver::config::{OutlierDetection, RetryBudget, Sticky};
use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

#[test]
fn every_field_of_outlier_detection_is_read() {
    let least = OutlierDetection::default();
    let read = |field: &str, value: &Value| {
        let config = with("services[0].outlier_detection", json!({ field: value }));
        parse(&config).map(|config| config.services[0].outlier_detection.unwrap())
    };
    for field in OutlierDetection::FIELDS {
        let fits = [json!(7), json!("400s"), json!(true)]
            .iter()
            .filter_map(|value| read(field, value).ok())
            .collect::<Vec<_>>();
        let [found] = fits[..] else { panic!("{field} takes a value of one type") };
        assert_ne!(found, least, "{field}");
    }
}

#[test]
fn outlier_detection_that_could_not_work_is_refused() {
    let place = "services[0].outlier_detection";
    assert_refused([
        (
            place,
            json!({ "consecutive_5xx": 0 }),
            "services[0].outlier_detection.consecutive_5xx: 0 is out of range; expected 1 to \
             1000000",
        ),
        (
            place,
            json!({ "max_ejection_percent": 100.5 }),
            "services[0].outlier_detection.max_ejection_percent: expected a whole number, found \
             the number 100.5",
        ),
        (
            place,
            json!({ "interval": "0s" }),
            "services[0].outlier_detection.interval: 0s is out of range; expected 100ms to 24h",
        ),
        (
            place,
            json!({ "base_ejection_time": "2m", "max_ejection_time": "1m" }),
            "services[0].outlier_detection.base_ejection_time: 2m is above max_ejection_time, \
             which is 1m; lower it, or raise that one",
        ),
        (
            place,
            json!({ "consecutive5xx": 3 }),
            "services[0].outlier_detection.consecutive5xx: unknown field; did you mean \
             consecutive_5xx? known here: consecutive_5xx, enforcing_consecutive_5xx, \
             consecutive_gateway_failure, enforcing_consecutive_gateway_failure, \
             split_external_local_origin_errors, consecutive_local_origin_failure, \
             enforcing_consecutive_local_origin_failure, interval, success_rate_minimum_hosts, \
             success_rate_request_volume, success_rate_stdev_factor, enforcing_success_rate, \
             failure_percentage_threshold, failure_percentage_minimum_hosts, \
             failure_percentage_request_volume, enforcing_failure_percentage, \
             base_ejection_time, max_ejection_time, max_ejection_time_jitter, \
             max_ejection_percent, always_eject_one_host",
        ),
    ]);
}

#[test]
fn the_longest_ejection_is_never_below_the_base() {
    let config = with("services[0].outlier_detection", json!({ "base_ejection_time": "10m" }));
    let found = parse(&config).unwrap().services[0].outlier_detection.unwrap();
    assert_eq!(found.max_ejection_time, Duration::from_secs(600));
}

#[test]
fn a_cookie_is_read_and_refused_beside_a_hash() {
    let sticky =
        |value| parse(&with("services[0].sticky", value)).unwrap().services[0].sticky.clone();
    let ttl = Duration::from_secs(3600);
    let expected = Sticky { cookie: "consul_resolver".into(), ttl };
    assert_eq!(sticky(json!({})), Some(expected));
    let expected = Sticky { cookie: "Pin".into(), ttl: Duration::ZERO };
    assert_eq!(sticky(json!({ "cookie": "Pin", "ttl": "0s" })), Some(expected));
    assert_refused([
        (
            "services[0].sticky",
            json!({ "cookie": "a;b" }),
            "services[0].sticky.cookie: ';' is not allowed; expected only ASCII letters, digits \
             and !#$%&'*+-.^_`|~",
        ),
        (
            "services[0].sticky",
            json!({ "ttl": "9601h" }),
            "services[0].sticky.ttl: 9601h is out of range; expected 0s to 9600h",
        ),
        (
            "services[0].sticky",
            json!({ "ttl": "999ms" }),
            "services[0].sticky.ttl: 999ms is out of range; expected 1s to 9600h",
        ),
        (
            "services",
            json!([{
                "name": "web",
                "load_balancing": { "policy": "maglev", "hash_on": { "path": true } },
                "sticky": {}
            }]),
            "services[0].sticky: maglev already decides by the request where it goes; leave \
             sticky out or choose another policy",
        ),
    ]);
}

#[test]
fn a_retry_budget_needs_something_to_retry() {
    let config = |handoff: Value| {
        let mut config = with("services[0].retry_budget", json!({ "percent": 10.0 }));
        config["handoff"] = handoff;
        parse(&config)
    };
    let found = config(json!({ "via": "headers" })).unwrap().services[0].retry_budget;
    assert_eq!(found, Some(RetryBudget { percent: 10, min_per_second: 3 }));
    for handoff in [json!({ "via": "filter_state" }), json!({ "via": "headers", "attempts": 1 })] {
        assert_eq!(
            config(handoff).unwrap_err().to_string(),
            "services[0].retry_budget: each request is handed over with a single endpoint, so \
             there is nothing to retry; leave it out, or set handoff to headers with at least 2 \
             attempts and resolve_names to false"
        );
    }
    let mut named = with("services[0].retry_budget", json!({}));
    named["handoff"] = json!({ "via": "headers" });
    named["services"][0]["resolve_names"] = json!(true);
    let error = parse(&named).unwrap_err().to_string();
    assert!(error.contains("is handed over with a single endpoint"), "{error}");
    assert_refused([
        (
            "services[0].retry_budget",
            json!({ "percent": 101 }),
            "services[0].retry_budget.percent: 101 is out of range; expected 0 to 100",
        ),
        (
            "services[0].retry_budget",
            json!({ "min_per_second": -1 }),
            "services[0].retry_budget.min_per_second: -1 is out of range; expected 0 to 100000",
        ),
    ]);
}
