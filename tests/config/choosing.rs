//! What decides which endpoint is chosen: how it is read, and the exact text of each refusal.

use core::time::Duration;

use consul_resolver::config::{
    Config, HashOn, Hashing, LoadBalancing, OutlierDetection, Policy, RetryBudget, SlowStart,
    Source, Sticky, VersionKey,
};
use consul_resolver::model::service::ServiceId;
use consul_resolver::router::handoff::HANDOFF_HEADERS;
use consul_resolver::version::VersionRange;
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
            json!({ "policy": "maglev", "minimum_ring_size": 1 }),
            "services[0].load_balancing.minimum_ring_size: maglev does not use it, only \
             ring_hash; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "maglev", "maximum_ring_size": 1 }),
            "services[0].load_balancing.maximum_ring_size: maglev does not use it, only \
             ring_hash; leave it out",
        ),
        (
            BALANCING,
            json!({ "policy": "ring_hash", "table_size": 7 }),
            "services[0].load_balancing.table_size: ring_hash does not use it, only maglev; \
             leave it out",
        ),
    ]);
}

#[test]
fn a_hash_of_nothing_or_of_several_things_is_refused() {
    let one_of = "expected exactly one of header, cookie, query, path, source_address";
    let place = "services[0].load_balancing.hash_on";
    for (value, message) in [
        (json!({}), format!("{place}: {one_of}, found 0")),
        (
            json!({ "header": "a", "cookie": "b", "path": true }),
            format!("{place}: {one_of}, found 3"),
        ),
        (json!("path"), format!("{place}: expected an object, found the string \"path\"")),
        (json!({ "path": false }), format!("{place}.path: expected true, found false")),
        (
            json!({ "source_address": 1 }),
            format!("{place}.source_address: expected true, found the number 1"),
        ),
        (
            json!({ "header": ":path" }),
            format!(
                "{place}.header: ':' is not allowed; expected only ASCII letters, digits and \
                 !#$%&'*+-.^_`|~"
            ),
        ),
        (
            json!({ "header": "X-Consul-Endpoint-0" }),
            format!(
                "{place}.header: \"x-consul-endpoint-0\" is what the handoff is made by; expected \
                 another header"
            ),
        ),
        (
            json!({ "header": "Host" }),
            format!(
                "{place}.header: Envoy knows the host as :authority, by which the service was \
                 found; expected another header"
            ),
        ),
        (
            json!({ "cookie": "a=b" }),
            format!(
                "{place}.cookie: '=' is not allowed; expected only ASCII letters, digits and \
                 !#$%&'*+-.^_`|~"
            ),
        ),
        (
            json!({ "query": "a&b" }),
            format!(
                "{place}.query: '&' is not allowed; expected only what a URL has before the \"=\" \
                 of a parameter"
            ),
        ),
    ] {
        let config = with(BALANCING, json!({ "policy": "maglev", "hash_on": value }));
        assert_eq!(parse(&config).unwrap_err().to_string(), message);
    }
    for policy in ["ring_hash", "maglev"] {
        assert_refused([(
            BALANCING,
            json!({ "policy": policy }),
            "services[0].load_balancing.hash_on: missing; expected what the policy hashes, such \
             as {\"header\": \"x-user\"}",
        )]);
    }
}

#[test]
fn no_header_of_the_handoff_can_be_hashed() {
    for header in HANDOFF_HEADERS {
        let hash_on = json!({ "header": header });
        let config = with(BALANCING, json!({ "policy": "maglev", "hash_on": hash_on }));
        let error = parse(&config).unwrap_err().to_string();
        assert!(error.contains("is what the handoff is made by"), "{error}");
    }
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
            json!({ "panic_threshold": 101 }),
            "services[0].load_balancing.panic_threshold: 101 is out of range; expected 0 to 100",
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
fn a_version_is_asked_of_the_metadata_where_nothing_else_is_said() {
    let key = |value| {
        parse(&with("services[0].versions", value)).unwrap().services[0]
            .versions
            .clone()
            .unwrap()
            .key
    };
    assert_eq!(key(json!({ "header": "v" })), VersionKey::Meta("version".into()));
    assert_eq!(key(json!({ "header": "v", "key": "rev" })), VersionKey::Meta("rev".into()));
    assert_eq!(
        key(json!({ "header": "v", "tag_prefix": "v=" })),
        VersionKey::TagPrefix("v=".into())
    );
}

#[test]
fn whether_a_version_is_in_a_range_is_told_without_allocating() {
    for range in ["1.x", ">=1.2.3-beta.2 <2", "blue"] {
        let range = VersionRange::parse(range).unwrap();
        for version in ["1.2.3", "v1.2.3-beta.11+build", "blue"] {
            let allocations = allocation_counter::measure(|| {
                std::hint::black_box(range.contains(version));
            });
            assert_eq!(allocations.count_total, 0, "{version} in {range:?}");
        }
    }
}

#[test]
fn versions_that_decide_nothing_are_refused() {
    let place = "services[0].versions";
    assert_refused([
        (
            place,
            json!({ "key": "version" }),
            "services[0].versions: missing; expected header or split, by which a request comes to \
             a version",
        ),
        (
            place,
            json!({ "key": "version", "tag_prefix": "v=", "header": "x-version" }),
            "services[0].versions.tag_prefix: key is given too; leave one of them out",
        ),
        (
            place,
            json!({ "header": "x-version", "hash_on": { "path": true } }),
            "services[0].versions.hash_on: it makes a client stay with its share; give split, or \
             leave it out",
        ),
        (
            place,
            json!({ "header": "x-consul-endpoint-7" }),
            "services[0].versions.header: \"x-consul-endpoint-7\" is what the handoff is made by; \
             expected another header",
        ),
        (
            place,
            json!({ "split": {} }),
            "services[0].versions.split: the sum of the weights is 0; expected more",
        ),
        (
            place,
            json!({ "split": { "1.x": 0, "2.x": 0 } }),
            "services[0].versions.split: the sum of the weights is 0; expected more",
        ),
        (
            place,
            json!({ "split": [] }),
            "services[0].versions.split: expected an object, found an array",
        ),
        (
            place,
            json!({ "split": { "1.x": 0.5 } }),
            "services[0].versions.split[\"1.x\"]: expected a whole number, found the number 0.5",
        ),
        (
            place,
            json!({ "split": { "1.x": 1_000_001 } }),
            "services[0].versions.split[\"1.x\"]: 1000001 is out of range; expected 0 to 1000000",
        ),
        (
            place,
            json!({ "split": { "1 || 2": 1 } }),
            "services[0].versions.split[\"1 || 2\"]: \"1 || 2\" is neither a version nor a range \
             of them: expected comparisons such as 1.x, 1.2.3, ^1.2, ~1.2.3 or >=1.2 <2, or a \
             text without blanks and operators, such as blue",
        ),
        (
            place,
            json!({ "split": { ">2 <1": 1 } }),
            "services[0].versions.split[\">2 <1\"]: \">2 <1\" is neither a version nor a range of \
             them: no version meets all of its comparisons",
        ),
        (
            place,
            json!({ "split": { "": 1 } }),
            "services[0].versions.split[\"\"]: \"\" is neither a version nor a range of them: \
             expected a range such as 1.x, or a text such as blue",
        ),
        (
            place,
            json!({ "split": (0..65).map(|n| (n.to_string(), json!(1))).collect::<Value>() }),
            "services[0].versions.split: too many with 65 items; at most 64 are allowed",
        ),
        (
            place,
            json!({ "header": "x-version", "fallback": "all" }),
            "services[0].versions.fallback: unknown fallback \"all\"; expected one of any, none",
        ),
    ]);
    let long = "1".repeat(256);
    let error = parse(&with(place, json!({ "split": { long: 1 } }))).unwrap_err().to_string();
    assert!(error.ends_with("it has 256 bytes; at most 255 are allowed"), "{error}");
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

#[test]
fn datacenters_that_could_not_be_asked_for_are_refused() {
    let place = "services[0].datacenters";
    assert_refused([
        (
            place,
            json!([]),
            "services[0].datacenters: empty; expected a datacenter, or no datacenters field at \
             all",
        ),
        (
            place,
            json!(["dc1", "dc2", "DC1"]),
            "services[0].datacenters[2]: \"DC1\" is already given at services[0].datacenters[0]",
        ),
        (
            place,
            json!(["dc 1"]),
            "services[0].datacenters[0]: ' ' is not allowed; expected only ASCII letters, digits, \
             \"-\" and \"_\"",
        ),
        (
            place,
            json!((0..17).map(|n| format!("dc{n}")).collect::<Vec<_>>()),
            "services[0].datacenters: too many with 17 items; at most 16 are allowed",
        ),
        (
            "services[0].protocol",
            json!("http2"),
            "services[0].protocol: unknown protocol \"http2\"; expected one of http, grpc",
        ),
        (
            "services[0].resolve_names",
            json!("yes"),
            "services[0].resolve_names: expected true or false, found the string \"yes\"",
        ),
    ]);
}

#[test]
fn sources_are_listed_service_by_service_in_order_of_preference() {
    let mut config = with(
        "services",
        json!([
            { "name": "web", "hosts": ["a"], "datacenters": ["dc2", "dc1"] },
            { "name": "api", "hosts": ["b"] },
            { "name": "db", "hosts": ["c"], "datacenters": ["dc3"] }
        ]),
    );
    fn listed<'a>(config: &'a Config) -> Vec<(ServiceId, &'a str, Option<&'a str>, u8)> {
        let fields = |s: Source<'a>| (s.id, s.service.name.as_str(), s.datacenter, s.preference);
        config.sources().map(fields).collect()
    }
    let parsed = parse(&config).unwrap();
    let expected = [
        (ServiceId(0), "web", Some("dc2"), 0),
        (ServiceId(0), "web", Some("dc1"), 1),
        (ServiceId(1), "api", None, 0),
        (ServiceId(2), "db", Some("dc3"), 0),
    ];
    assert_eq!(listed(&parsed), expected);
    config["consul"]["datacenter"] = json!("dc9");
    let parsed = parse(&config).unwrap();
    assert_eq!(listed(&parsed)[2], (ServiceId(1), "api", Some("dc9"), 0));
}

#[test]
fn more_sources_than_ids_are_refused() {
    let all: Vec<String> = (0..16).map(|n| format!("d{n}")).collect();
    let config = |more: usize| {
        let service = |n| json!({ "name": n, "datacenters": all });
        let mut services: Vec<Value> = (0..4095).map(|n| service(n.to_string())).collect();
        let rest = (0..more).map(|n| json!({ "name": format!("x{n}") }));
        services.extend(rest);
        let mut config = with("services", json!(services));
        config["route_metadata"] = json!(true);
        config
    };
    let fits = parse(&config(15)).unwrap();
    assert_eq!(fits.sources().count(), Config::MAX_SOURCES);
    assert_eq!(
        parse(&config(16)).unwrap_err().to_string(),
        "services: 65536 pairs of a service and a datacenter; at most 65535 are allowed"
    );
}

#[test]
fn places_and_ranges_that_mean_nothing_are_refused() {
    assert_refused([
        (
            "locality",
            json!({ "zone": "" }),
            "locality.zone: empty; expected a text that is not blank",
        ),
        (
            "locality",
            json!({ "key": "a\nb" }),
            "locality.key: '\\n' is not allowed; expected no control characters",
        ),
        (
            "locality",
            json!({ "min_cluster_size": 0 }),
            "locality.min_cluster_size: 0 is out of range; expected 1 to 65536",
        ),
        (
            "locality",
            json!({ "region": "eu" }),
            "locality.region: unknown field; known here: zone, key, min_cluster_size",
        ),
        (
            "endpoints",
            json!({ "allow": "10.0.0.0/8" }),
            "endpoints.allow: expected an array, found the string \"10.0.0.0/8\"",
        ),
        (
            "endpoints",
            json!({ "allow": ["10.0.0.0/8", "web"] }),
            "endpoints.allow[1]: \"web\" is no range of addresses: expected an IP address, such \
             as in 10.0.0.0/8",
        ),
        (
            "endpoints",
            json!({ "deny": ["10.0.0.0/33"] }),
            "endpoints.deny[0]: \"10.0.0.0/33\" is no range of addresses: expected a number from \
             0 to 32 after the \"/\"",
        ),
        (
            "endpoints",
            json!({ "deny": ["10.1.2.3/8"] }),
            "endpoints.deny[0]: \"10.1.2.3/8\" is no range of addresses: the address has bits \
             beyond the prefix; the range is 10.0.0.0/8",
        ),
        (
            "endpoints",
            json!({ "deny": vec!["::1"; 257] }),
            "endpoints.deny: too many with 257 items; at most 256 are allowed",
        ),
    ]);
}
