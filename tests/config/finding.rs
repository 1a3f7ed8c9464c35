//! Services that are found while running: `discover` and `dns_names`.

use super::*;

/// The least configuration with one of the two fields, and no services.
fn finding(field: &str, value: Value) -> Value {
    json!({ "consul": { "cluster": "consul" }, field: value })
}

fn refusal(config: &Value) -> String {
    parse(config).unwrap_err().to_string()
}

#[test]
fn discover_has_the_documented_defaults() {
    let config = finding("discover", json!({ "host": "{service}.internal" }));
    let config = parse(&config).unwrap();
    assert!(config.services.is_empty() && !config.is_static());
    let discover = config.discover.unwrap();
    let found = (discover.tags, discover.exclude, discover.max_services, discover.service);
    assert_eq!(found, (vec![], vec!["consul".to_owned()], 1_000, Service::new("")));
    assert_eq!(discover.host.host_of("Web").as_deref(), Some("web.internal"));
}

#[test]
fn dns_names_have_the_documented_defaults() {
    let config = parse(&finding("dns_names", json!({}))).unwrap();
    let expected = DnsNames {
        domain: "consul".into(),
        idle_timeout: Duration::from_secs(600),
        max_services: 256,
        max_waiting: 1_000,
        service: Service::new(""),
    };
    assert_eq!(config.dns_names, Some(expected));
}

#[test]
fn every_field_of_both_is_read() {
    let config = json!({
        "consul": { "cluster": "consul" },
        "services": [],
        "discover": {
            "tags": ["Envoy"], "exclude": ["Vault", "nomad"], "host": "{service}.mesh",
            "max_services": 7, "service": { "datacenters": ["dc1", "dc2"], "health": "warning" }
        },
        "dns_names": {
            "domain": "Consul.Example", "idle_timeout": "30s", "max_services": 3, "max_waiting": 0,
            "service": {
                "tags": ["public"], "protocol": "grpc", "load_balancing": { "policy": "peak_ewma" }
            }
        }
    });
    let config = parse(&config).unwrap();
    let discover = config.discover.unwrap();
    assert_eq!((discover.tags, discover.max_services), (vec!["envoy".to_owned()], 7));
    assert_eq!(discover.exclude, ["vault", "nomad"]);
    assert_eq!(discover.service.datacenters, ["dc1", "dc2"]);
    assert_eq!(discover.service.health, HealthThreshold::Warning);
    let names = config.dns_names.unwrap();
    assert_eq!(
        (names.domain.as_str(), names.max_services, names.max_waiting),
        ("consul.example", 3, 0)
    );
    assert_eq!(names.idle_timeout, Duration::from_secs(30));
    assert_eq!(
        (names.service.tags, names.service.protocol),
        (vec!["public".to_owned()], Protocol::Grpc)
    );
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    for (field, value, message) in [
        (
            "discover",
            json!({}),
            "discover.host: missing; expected a host such as \"{service}.internal\"",
        ),
        (
            "discover",
            json!({ "host": "internal" }),
            "discover.host: expected a host with \"{service}\" in one place, such as \"{service}.internal\"",
        ),
        (
            "discover",
            json!({ "host": "{service}:80" }),
            "discover.host: \"{service}:80\" is no host pattern: the port of a request is ignored; leave it off",
        ),
        (
            "discover",
            json!({ "host": "{service}.a", "max_services": 0 }),
            "discover.max_services: 0 is out of range; expected 1 to 10000",
        ),
        (
            "discover",
            json!({ "host": "{service}.a", "service": { "max_age": "1s" } }),
            "discover.service.max_age: 1s is too short: while nothing changes, consul.wait lets so \
             long go by between two answers; expected at least 64s",
        ),
        (
            "discover",
            json!({
                "host": "{service}.a", "max_services": 10_000,
                "service": { "datacenters": ["1", "2", "3", "4", "5", "6", "7"] }
            }),
            "discover: 70001 pairs of a service and a datacenter; at most 65535 are allowed",
        ),
        (
            "dns_names",
            json!({ "domain": "*.consul" }),
            "dns_names.domain: expected a domain, such as \"consul\"",
        ),
        (
            "dns_names",
            json!({ "idle_timeout": "1s" }),
            "dns_names.idle_timeout: 1s is out of range; expected 10s to 24h",
        ),
    ] {
        assert_eq!(refusal(&finding(field, value)), message);
    }
    for (field, fields) in [("discover", ["name", "hosts"]), ("dns_names", ["name", "datacenters"])]
    {
        for unknown in fields {
            let config = json!({ "host": "{service}.a", "service": { unknown: "x" } });
            let config =
                if field == "discover" { config } else { json!({ "service": { unknown: "x" } }) };
            let message = refusal(&finding(field, config));
            assert!(
                message.starts_with(&format!("{field}.service.{unknown}: unknown field")),
                "{message}"
            );
        }
    }
}

#[test]
fn only_service_needs_hosts_when_others_are_found() {
    let mut config = with("dns_names", json!({}));
    assert!(refusal(&config).starts_with("services[0].hosts: missing"), "{}", refusal(&config));
    config["services"][0]["hosts"] = json!(["web.test"]);
    assert!(parse(&config).is_ok());
}

#[test]
fn no_services_at_all_are_refused_as_before() {
    let none = json!({ "consul": { "cluster": "consul" } });
    assert!(refusal(&none).starts_with("services: missing"), "{}", refusal(&none));
    let empty = json!({ "consul": { "cluster": "consul" }, "services": [] });
    assert!(refusal(&empty).starts_with("services: empty"), "{}", refusal(&empty));
}
