//! Refusals of what would select no instances, with their exact text.

use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

#[test]
fn a_selection_that_consul_would_not_understand_is_refused() {
    let (long, shown) = ("k".repeat(129), "k".repeat(64));
    assert_refused([
        (
            "services[0].peer",
            json!("a.b"),
            "services[0].peer: '.' is not allowed; expected only ASCII letters, digits, \"-\" and \
             \"_\"",
        ),
        (
            "services[0].node_meta",
            json!({ "a:b": "c" }),
            "services[0].node_meta[\"a:b\"]: ':' is not allowed; expected only ASCII letters, \
             digits, \"-\" and \"_\" in a key",
        ),
        (
            "services[0].node_meta",
            json!({ "": "c" }),
            "services[0].node_meta[\"\"]: empty; expected a key",
        ),
        (
            "services[0].node_meta",
            json!({ long.as_str(): "c" }),
            &format!(
                "services[0].node_meta[\"{shown}\"…]: too long with 129 bytes; at most 128 are allowed"
            ),
        ),
        (
            "services[0].node_meta",
            json!({ "a": "v".repeat(513) }),
            "services[0].node_meta.a: too long with 513 bytes; at most 512 are allowed",
        ),
        (
            "services[0].node_meta",
            (0..65).map(|n| (format!("k{n}"), json!("v"))).collect(),
            "services[0].node_meta: too many with 65 items; at most 64 are allowed",
        ),
        (
            "services[0].connect",
            json!("yes"),
            "services[0].connect: expected true or false, found the string \"yes\"",
        ),
    ]);
}

#[test]
fn prepared_query_replaces_the_selection_by_name() {
    let service =
        |field: &str, value: Value| json!([{ "name": "web", "query": "geo", field: value }]);
    for (field, value) in [
        ("service", json!("web")),
        ("tags", json!(["a"])),
        ("filter", json!("Service.Port == 80")),
        ("node_meta", json!({ "a": "b" })),
        ("namespace", json!("a")),
        ("partition", json!("a")),
        ("peer", json!("a")),
        ("merge_central_config", json!(true)),
        ("health", json!("any")),
    ] {
        let message = format!("services[0].{field}: query is given too; leave one of them out");
        assert_refused([("services", service(field, value), &message)]);
    }
    assert_refused([
        (
            "services[0].query",
            json!("a/"),
            "services[0].query: nothing, \".\" or \"..\" cannot be asked for over HTTP, alone or \
             beside a \"/\"; expected another name",
        ),
        (
            "services[0].limit",
            json!(2),
            "services[0].limit: it does nothing without a prepared query; give that too, or leave \
             it out",
        ),
        (
            "services[0].near",
            json!("_agent"),
            "services[0].near: it does nothing without a prepared query; give that too, or leave \
             it out",
        ),
        (
            "services",
            service("near", json!("_agent")),
            "services[0].near: it does nothing without a limit; give that too, or leave it out",
        ),
        (
            "services",
            service("limit", json!(0)),
            "services[0].limit: 0 is out of range; expected 1 to 65536",
        ),
    ]);
}

#[test]
fn services_of_one_name_in_consul_have_names_of_their_own() {
    let services = json!([
        { "name": "web-v1", "service": "web", "hosts": ["v1.test"], "tags": ["v1"] },
        { "name": "web-v2", "service": "web", "hosts": ["v2.test"], "filter": "Service.Port == 80" },
        { "name": "web-too", "service": "web", "hosts": ["too.test"], "filter": "Service.Port == 80" },
        { "name": "team/web", "hosts": ["web.test"] },
        { "name": "web", "service": "team/web", "hosts": ["other.test"] },
    ]);
    let config = parse(&with("services", services)).unwrap();
    let names: Vec<_> =
        config.services.iter().map(|it| (it.name.as_str(), it.name_in_consul())).collect();
    let expected = [
        ("web-v1", "web"),
        ("web-v2", "web"),
        ("web-too", "web"),
        ("team/web", "team/web"),
        ("web", "team/web"),
    ];
    assert_eq!(names, expected);
    let twice = json!([{ "name": "web", "service": "a" }, { "name": "WEB", "service": "b" }]);
    let error = parse(&with("services", twice)).unwrap_err().to_string();
    assert!(error.starts_with("services[1].name: "), "{error}");
}

#[test]
fn values_of_metadata_may_be_empty() {
    let services = json!([{ "name": "web", "node_meta": { "env": "" } }]);
    let config = parse(&with("services", services)).unwrap();
    assert_eq!(config.services[0].node_meta, [("env".to_owned(), String::new())]);
    let register = json!([{ "name": "edge", "meta": { "team": "" } }]);
    let config = parse(&with("register", register)).unwrap();
    assert_eq!(config.registrations[0].meta, [("team".to_owned(), String::new())]);
}
