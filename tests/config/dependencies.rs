//! What services depend on.

use consul_resolver::config::{Dependencies, OnDependencyDown, Service};
use consul_resolver::model::service::ServiceId;
use serde_json::{Value, json};

use crate::{assert_refused, parse};

/// Services of these names, each with what it depends on.
fn list(services: &[(&str, &[&str])]) -> Value {
    let service = |(name, on): &(&str, &[&str])| {
        let host = format!("{}.test", name.replace(' ', "-"));
        match on {
            [] => json!({ "name": name, "hosts": [host] }),
            _ => json!({ "name": name, "hosts": [host], "depends_on": on }),
        }
    };
    services.iter().map(service).collect()
}

/// The service `web` with these fields beside, and one that it may depend on.
fn web(fields: Value) -> Value {
    let mut web = json!({ "name": "web", "hosts": ["web.test"] });
    web.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!([web, { "name": "db", "hosts": ["db.test"], "datacenters": ["dc3"] }])
}

fn services(services: Value) -> Vec<Service> {
    parse(&json!({ "consul": { "cluster": "consul" }, "services": services })).unwrap().services
}

#[test]
fn dependencies_are_found_by_their_names_in_any_case_and_order() {
    let services = services(list(&[("web", &["DB", "Cache"]), ("cache", &["db"]), ("Db", &[])]));
    let on = |service: &Service| service.dependencies.as_ref().map(|it| it.services.clone());
    let [cache, db] = [1, 2].map(ServiceId::nth);
    let expected = [Some(vec![db, cache]), Some(vec![db]), None];
    assert_eq!(services.iter().map(on).collect::<Vec<_>>(), expected);
    let web = services[0].dependencies.as_ref().unwrap();
    assert_eq!(web.on_down, OnDependencyDown::Serve);
}

#[test]
fn each_reaction_is_read() {
    for (name, expected) in OnDependencyDown::CHOICES {
        let fields = json!({ "depends_on": ["db"], "on_dependency_down": name });
        let services = services(web(fields));
        let found = services[0].dependencies.as_ref().unwrap();
        assert_eq!(found.on_down, *expected, "{name}");
    }
}

#[test]
fn a_dependency_that_is_none_is_refused_where_it_stands() {
    assert_refused([
        (
            "services",
            list(&[("web", &["db", "dbb"]), ("db", &[])]),
            "services[0].depends_on[1]: unknown service \"dbb\"; did you mean \"db\"? expected the \
             name of another service of the list",
        ),
        (
            "services",
            list(&[("db", &[]), ("web", &["mongo\n"])]),
            "services[1].depends_on[0]: '\\n' is not allowed; expected no control characters",
        ),
        (
            "services",
            list(&[("db", &[]), ("web", &["mongo"])]),
            "services[1].depends_on[0]: unknown service \"mongo\"; expected the name of another \
             service of the list",
        ),
        (
            "services",
            list(&[("db", &[]), ("web", &["db", "Web"])]),
            "services[1].depends_on[1]: a service cannot depend on itself; leave it out",
        ),
        (
            "services",
            list(&[("db", &[]), ("web", &["db", "DB"])]),
            "services[1].depends_on[1]: \"DB\" is already given at services[1].depends_on[0]",
        ),
        (
            "services",
            web(json!({ "depends_on": [] })),
            "services[0].depends_on: empty; expected a service, or no depends_on field at all",
        ),
        (
            "services",
            web(json!({ "depends_on": "db" })),
            "services[0].depends_on: expected an array, found the string \"db\"",
        ),
        (
            "services",
            web(json!({ "depends_on": vec!["db"; 17] })),
            "services[0].depends_on: too many with 17 items; at most 16 are allowed",
        ),
        (
            "services",
            web(json!({ "depends_on": ["d".repeat(256)] })),
            "services[0].depends_on[0]: too long with 256 bytes; at most 255 are allowed",
        ),
    ]);
}

#[test]
fn a_cycle_is_named_from_its_beginning_to_its_end() {
    assert_refused([
        (
            "services",
            list(&[("web", &["db"]), ("db", &["Web"])]),
            "services[1].depends_on[0]: web → db → web is a cycle; leave one of them out",
        ),
        (
            "services",
            list(&[
                ("front", &["web"]),
                ("web", &["auth", "cache"]),
                ("auth", &[]),
                ("cache", &["auth", "a b"]),
                ("a b", &["auth", "web"]),
            ]),
            "services[4].depends_on[1]: web → cache → \"a b\" → web is a cycle; leave one of them \
             out",
        ),
    ]);
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let ring: Value = (0..100)
        .map(|n| json!({ "name": names[n], "hosts": [names[n]], "depends_on": [names[(n + 1) % 100]] }))
        .collect();
    let error = parse(&json!({ "consul": { "cluster": "consul" }, "services": ring })).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("services[99].depends_on[0]: s0 → s1 → "), "{error}");
    assert!(error.ends_with(" → s31 → … is a cycle; leave one of them out"), "{error}");
}

#[test]
fn reaction_is_refused_when_unknown_or_without_dependencies() {
    assert_refused([
        (
            "services",
            web(json!({ "on_dependency_down": "serve" })),
            "services[0].on_dependency_down: it does nothing without depends_on; give that too, or \
             leave it out",
        ),
        (
            "services",
            web(json!({ "depends_on": ["db"], "on_dependency_down": "wait" })),
            "services[0].on_dependency_down: unknown reaction \"wait\"; expected one of serve, \
             fail",
        ),
        (
            "services",
            web(json!({ "depends_on": ["db"], "on_dependency_down": "prefer_other_datacenter" })),
            "services[0].on_dependency_down: \"prefer_other_datacenter\" was removed; write serve \
             (the default) or fail",
        ),
    ]);
}

#[test]
fn services_that_are_found_depend_on_none_of_these() {
    for (field, host) in [("discover", Some("{service}.a")), ("dns_names", None)] {
        for unknown in ["depends_on", "on_dependency_down"] {
            let mut found = json!({ "service": { unknown: ["web"] } });
            if let Some(host) = host {
                found["host"] = json!(host);
            }
            let config = json!({ "consul": { "cluster": "consul" }, field: found });
            let error = parse(&config).unwrap_err().to_string();
            let expected = format!("{field}.service.{unknown}: unknown field; ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}

#[test]
fn order_has_each_service_behind_its_dependencies() {
    const COUNT: u16 = 20_000;
    let on = |services| Dependencies { services, on_down: OnDependencyDown::Fail };
    let mut services: Vec<Service> = (0..COUNT).map(|n| Service::new(n.to_string())).collect();
    for (service, next) in services.iter_mut().zip(1..COUNT) {
        service.dependencies = Some(on(vec![ServiceId::nth(COUNT - 1), ServiceId::nth(next)]));
    }
    // The last but one names the last twice, as no configuration can: it is in the order once.
    let order = Dependencies::order(&services).unwrap();
    assert!(order.iter().copied().eq((0..COUNT).rev().map(ServiceId::nth)));
    let last = services.last_mut().unwrap();
    last.dependencies = Some(on(vec![ServiceId::nth(7)]));
    assert!(Dependencies::order(&services).is_err());
}
