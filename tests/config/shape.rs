//! Refusals for the shape of a value, with their exact text.

use serde_json::json;

use crate::{assert_refused, parse, with};

#[test]
fn a_value_of_another_type_is_refused() {
    assert_refused([
        ("consul", json!("consul"), "consul: expected an object, found the string \"consul\""),
        ("services", json!({}), "services: expected an array, found an object"),
        ("services", json!(null), "services: expected an array, found null"),
        ("services[0]", json!("web"), "services[0]: expected an object, found the string \"web\""),
        ("services[0].name", json!(5), "services[0].name: expected a string, found the number 5"),
        (
            "services[0].tags",
            json!("primary"),
            "services[0].tags: expected an array, found the string \"primary\"",
        ),
        (
            "services[0].tags",
            json!(["primary", 1.5]),
            "services[0].tags[1]: expected a string, found the number 1.5",
        ),
        ("services[0].filter", json!(false), "services[0].filter: expected a string, found false"),
        (
            "services[0].load_balancing",
            json!([]),
            "services[0].load_balancing: expected an object, found an array",
        ),
        (
            "route_metadata",
            json!("true"),
            "route_metadata: expected true or false, found the string \"true\"",
        ),
        ("unmatched", json!(true), "unmatched: expected a string, found true"),
        ("handoff", json!("headers"), "handoff: expected an object, found the string \"headers\""),
    ]);
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let consul = "cluster, authority, datacenter, namespace, partition, consistency, max_stale, \
                  cached, wait, token_env, breaker, retry_budget, max_watches, resync";
    let service = "name, service, hosts, query, limit, near, namespace, partition, peer, connect, \
                   tags, node_meta, filter, merge_central_config, health, address, datacenters, \
                   resolve_names, protocol, load_balancing, versions, shrink_guard, max_age, \
                   on_stale, fallback, depends_on, on_dependency_down, endpoint_metadata, cluster";
    assert_refused([
        (
            "servces",
            json!([]),
            "servces: unknown field; did you mean services? known here: consul, services, discover, dns_names, \
             register, locality, endpoints, xds, handoff, route_metadata, unmatched, warmup_timeout, log_level",
        ),
        (
            "consul.token",
            json!("secret"),
            &format!("consul.token: unknown field; did you mean token_env? known here: {consul}"),
        ),
        (
            "consul",
            json!({ "cluster": "consul", "a.b": 1 }),
            &format!("consul[\"a.b\"]: unknown field; known here: {consul}"),
        ),
        (
            "services[0].weight",
            json!(1),
            &format!("services[0].weight: unknown field; known here: {service}"),
        ),
        (
            "services[0].loadBalancing",
            json!({}),
            &format!(
                "services[0].loadBalancing: unknown field; did you mean load_balancing? known \
                 here: {service}"
            ),
        ),
        (
            "services[0].load_balancing",
            json!({ "weights": {} }),
            "services[0].load_balancing.weights: unknown field; known here: policy, hash_on, \
             hash_balance_factor, choice_count, active_request_bias, decay, minimum_ring_size, \
             maximum_ring_size, table_size, slow_start",
        ),
        ("handoff.retries", json!(2), "handoff.retries: unknown field; known here: via, attempts"),
        (
            "consul",
            json!({}),
            "consul.cluster: missing; expected the name of Consul's cluster in Envoy",
        ),
        ("services[0]", json!({}), "services[0].name: missing; expected the service's name"),
        (
            "handoff",
            json!({}),
            "handoff.via: missing; expected filter_state, headers or stateful_session",
        ),
    ]);
}

#[test]
fn a_name_that_is_not_on_its_list_is_refused() {
    assert_refused([
        (
            "services[0].load_balancing.policy",
            json!("fastest"),
            "services[0].load_balancing.policy: unknown policy \"fastest\"; expected one of \
             round_robin, random, least_request, peak_ewma, ring_hash, maglev",
        ),
        (
            "consul.consistency",
            json!("Stale"),
            "consul.consistency: unknown consistency \"Stale\"; expected one of default, stale, \
             consistent, cached",
        ),
        (
            "services[0].health",
            json!("critical"),
            "services[0].health: unknown health \"critical\"; expected one of passing, warning, any",
        ),
        (
            "handoff.via",
            json!("cookie"),
            "handoff.via: unknown handoff \"cookie\"; expected one of filter_state, headers, \
             stateful_session",
        ),
        (
            "unmatched",
            json!("drop"),
            "unmatched: unknown reaction \"drop\"; expected one of pass, reject",
        ),
        (
            "log_level",
            json!("verbose"),
            "log_level: unknown log level \"verbose\"; expected one of off, error, warn, info, \
             debug, trace",
        ),
    ]);
}

#[test]
fn a_duration_without_unit_or_beyond_its_limits_is_refused() {
    assert_refused([
        (
            "consul.wait",
            json!(55),
            "consul.wait: expected a duration in quotes with its unit, such as \"250ms\", \"5s\" \
             or \"1m\", found the number 55",
        ),
        (
            "consul.wait",
            json!(null),
            "consul.wait: expected a duration in quotes with its unit, such as \"250ms\", \"5s\" \
             or \"1m\", found null",
        ),
        (
            "consul.wait",
            json!("55"),
            "consul.wait: \"55\" has no unit; add ms, s, m or h, such as \"250ms\", \"5s\" or \
             \"1m\"",
        ),
        (
            "consul.wait",
            json!("soon"),
            "consul.wait: \"soon\" is not a duration; expected a number and one of the units ms, \
             s, m and h, such as \"250ms\", \"5s\" or \"1m\"",
        ),
        (
            "consul.wait",
            json!("1m30s"),
            "consul.wait: \"1m30s\" is not a duration; expected a number and one of the units \
             ms, s, m and h, such as \"250ms\", \"5s\" or \"1m\"",
        ),
        (
            "consul.wait",
            json!("-5s"),
            "consul.wait: \"-5s\" is not a duration; expected a number and one of the units ms, \
             s, m and h, such as \"250ms\", \"5s\" or \"1m\"",
        ),
        (
            "consul.wait",
            json!("1.0005s"),
            "consul.wait: \"1.0005s\" is finer than a millisecond; expected whole milliseconds",
        ),
        ("consul.wait", json!("999ms"), "consul.wait: 999ms is out of range; expected 1s to 10m"),
        ("consul.wait", json!("601s"), "consul.wait: 601s is out of range; expected 1s to 10m"),
        ("warmup_timeout", json!("1h"), "warmup_timeout: 1h is out of range; expected 0s to 1m"),
    ]);
}

#[test]
fn all_errors_are_told_each_with_its_place() {
    let config = json!({
        "consul": { "cluster": "consul", "wait": "1h", "max_stale": "5s", "token": "x" },
        "services": [
            { "name": "web", "load_balancing": { "policy": "random", "choice_count": 2 } },
            { "hosts": [] }
        ],
        "handoff": { "via": "cookie", "attempts": 9 },
        "log_level": 1
    });
    let text = parse(&config).unwrap_err().to_string();
    let places: Vec<_> = text.lines().filter_map(|line| line.split(": ").next()).collect();
    let expected = [
        "consul.token",
        "consul.max_stale",
        "consul.wait",
        "services[0].load_balancing.choice_count",
        "services[1].hosts",
        "services[1].name",
        "handoff.via",
        "handoff.attempts",
        "log_level",
    ];
    assert_eq!(places, expected, "{text}");
}

#[test]
fn checks_across_sections_tell_all_errors() {
    let config = json!({
        "consul": { "cluster": "consul" },
        "services": [
            { "name": "web", "hosts": ["web.test"], "max_age": "2s", "fallback": ["0.0.0.0:1"] },
            { "name": "api", "endpoint_metadata": ["team"] }
        ],
        "handoff": { "via": "stateful_session" }
    });
    let text = parse(&config).unwrap_err().to_string();
    let places: Vec<_> = text.lines().filter_map(|line| line.split(": ").next()).collect();
    let expected = [
        "services[1].hosts",
        "services[0].max_age",
        "services[0].fallback[0]",
        "handoff.via",
        "services[1].endpoint_metadata",
    ];
    assert_eq!(places, expected, "{text}");
}

#[test]
fn errors_beyond_the_twentieth_are_counted() {
    let services: Vec<_> = (0..23).map(|n| json!({ "name": n })).collect();
    let text = parse(&with("services", json!(services))).unwrap_err().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[20]), (21, "and 3 more"), "{text}");
    assert!(lines[19].starts_with("services[19].name: "), "{text}");
}
