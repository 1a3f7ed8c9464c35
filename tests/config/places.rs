//! Where endpoints are: datacenters, zones and addresses. How it is read, and the exact text of each refusal.

use consul_resolver::config::{Config, Source};
use consul_resolver::model::service::ServiceId;
use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

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
        (ServiceId::nth(0), "web", Some("dc2"), 0),
        (ServiceId::nth(0), "web", Some("dc1"), 1),
        (ServiceId::nth(1), "api", None, 0),
        (ServiceId::nth(2), "db", Some("dc3"), 0),
    ];
    assert_eq!(listed(&parsed), expected);
    config["consul"]["datacenter"] = json!("dc9");
    let parsed = parse(&config).unwrap();
    assert_eq!(listed(&parsed)[2], (ServiceId::nth(1), "api", Some("dc9"), 0));
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
