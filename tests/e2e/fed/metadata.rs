//! Metadata of a registration is that of Envoy's host, and its subsets go by it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use super::A_SECOND;
use crate::testbed::{SOON, Setup, Testbed, instance, who, yaml};

/// The most bytes of a value.
const MOST: usize = 256;

/// As many keys as there may be.
fn keys() -> Vec<String> {
    let others = (3..=16).map(|n| format!("key-{n}"));
    ["team".into(), "long".into()].into_iter().chain(others).collect()
}

/// An instance's registration: its team, its version, a value of this length, and all other keys.
fn tell(web: Service, team: &str, version: &str, long: usize) -> Service {
    let web = web.meta("team", team).meta("version", version).meta("long", "x".repeat(long));
    let web = web.meta("untold", "untold");
    keys()[2..].iter().fold(web, |web, key| web.meta(key, format!("{key} of {team}")))
}

/// A route for requests that ask for it, to the hosts of a cluster that have this metadata.
fn route(wanted: &str, service: &str, metadata: &Value) -> Value {
    json!({
        "match": {"prefix": "/", "headers": [{"name": "x-wanted", "string_match": {"exact": wanted}}]},
        "route": {
            "cluster": format!("consul/{service}"),
            "metadata_match": {"filter_metadata": {"envoy.lb": metadata}},
        },
    })
}

fn routes() -> Vec<Value> {
    [
        route("blue", "teams", &json!({"team": "blue"})),
        route("red", "teams", &json!({"team": "red"})),
        route("long", "teams", &json!({"long": "x".repeat(MOST)})),
        route("too long", "teams", &json!({"long": "x".repeat(MOST + 1)})),
        route("last", "teams", &json!({"key-16": "key-16 of red"})),
        route("1.0.0", "web", &json!({"version": "1.0.0"})),
        route("2.0.0", "web", &json!({"version": "2.0.0"})),
        route("3.0.0", "web", &json!({"version": "3.0.0"})),
    ]
    .into()
}

/// `native.yaml` with routes of its own to the clusters that are fed.
fn start(consul: &Consul) -> Testbed {
    let selectors = ["team", "long", "key-16"].map(|key| json!({"keys": [key]}));
    let subsets = json!({"fallback_policy": "NO_FALLBACK", "subset_selectors": selectors});
    let services = json!([
        {"name": "web", "versions": {"header": "x-version", "fallback": "none"}},
        {
            "name": "teams",
            "service": "web",
            "endpoint_metadata": keys(),
            "cluster": {"lb_subset_config": subsets},
        },
        {"name": "edge"},
    ]);
    Setup::native(consul.address())
        .set("services", services)
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            manager.as_mapping_mut().expect("fields").remove("rds");
            manager["route_config"] = yaml(json!({
                "validate_clusters": false,
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes()}],
            }));
        })
        .start()
}

/// Waits until those who ask for this get exactly these.
fn await_wanted(bed: &Testbed, wanted: &str, expected: &[&str]) {
    let mut seen = BTreeSet::new();
    let is_so = wait_until(A_SECOND, || {
        let ask = || bed.request("GET", "/", "web.internal").header("x-wanted", wanted);
        seen = (0..20).map(|_| who(&ask().send().expect("an answer"))).collect();
        seen.iter().eq(expected)
    });
    assert!(is_so, "{wanted} is answered by {seen:?}, not {expected:?}");
}

const NOBODY: &[&str] = &["503 no healthy upstream"];

/// The metadata of a host for subsets.
fn metadata(bed: &Testbed, service: &str, instance: &Backend) -> Value {
    let dump = bed.envoy.admin("/config_dump?include_eds").expect("a dump").json();
    let all = dump["configs"].as_array().expect("configs").iter();
    let assignments = all.flat_map(|it| it["dynamic_endpoint_configs"].as_array()).flatten();
    let mut hosts = assignments
        .map(|it| &it["endpoint_config"])
        .filter(|it| it["cluster_name"] == service)
        .flat_map(|it| it["endpoints"].as_array())
        .flatten()
        .flat_map(|it| it["lb_endpoints"].as_array())
        .flatten();
    let port = instance.address().port();
    let address = |host: &Value| host["endpoint"]["address"]["socket_address"].clone();
    let host = hosts.find(|host| address(host)["port_value"] == port);
    host.map_or(Value::Null, |it| it["metadata"]["filter_metadata"]["envoy.lb"].clone())
}

// Promise: R-309
#[test]
fn subsets_of_envoy_go_by_the_metadata_of_registrations() {
    let Some(consul) = Consul::start_or_skip("metadata of hosts") else { return };
    let start_as = |name: &str, team: &str, version: &str, long: usize| {
        instance(&consul, "web", name, |web| tell(web, team, version, long))
    };
    let blue = start_as("blue-1", "blue", "1.0.0", MOST);
    let other = start_as("blue-2", "blue", "2.0.0", 1);
    let red = start_as("red-1", "red", "1.0.0", MOST + 1);
    consul.await_passing("web", &["blue-1", "blue-2", "red-1"]).expect("passing");
    let bed = start(&consul);
    let both = ["teams", "web"];
    let are_there = || both.iter().all(|service| super::hosts(&bed, service).len() == 3);
    assert!(wait_until(SOON, are_there), "{:?}", super::hosts(&bed, "teams"));

    await_wanted(&bed, "blue", &["blue-1", "blue-2"]);
    await_wanted(&bed, "red", &["red-1"]);
    await_wanted(&bed, "last", &["red-1"]);
    await_wanted(&bed, "long", &["blue-1"]);
    await_wanted(&bed, "too long", NOBODY);
    await_wanted(&bed, "1.0.0", &["blue-1", "red-1"]);
    await_wanted(&bed, "2.0.0", &["blue-2"]);
    await_wanted(&bed, "3.0.0", NOBODY);
    let told = |instance, team: &str, long: Option<usize>| {
        let found = metadata(&bed, "teams", instance);
        let found = found.as_object().expect("metadata");
        let mut expected = keys();
        expected.retain(|key| key != "long" || long.is_some());
        expected.sort();
        assert!(found.keys().eq(&expected), "{found:?}");
        assert_eq!(found["team"], team);
        assert_eq!(found.get("long").map(|it| it.as_str().map(str::len)), long.map(Some));
    };
    told(&blue, "blue", Some(MOST));
    told(&red, "red", None);
    assert_eq!(metadata(&bed, "web", &other), json!({"version": "2.0.0"}));

    // Another team and another version, at the same address.
    let changed = Service::new("web", "blue-2").at(other.address());
    let changed = tell(changed, "red", "3.0.0", 1).with_status(Status::Passing);
    consul.register(&changed).expect("registered");
    let is_shown = || {
        let health = consul.health("web", "").expect("health");
        health.entry("blue-2").is_some_and(|it| it["Service"]["Meta"]["version"] == "3.0.0")
    };
    assert!(wait_until(SOON, is_shown), "Consul does not show the change");
    await_wanted(&bed, "red", &["blue-2", "red-1"]);
    await_wanted(&bed, "blue", &["blue-1"]);
    await_wanted(&bed, "3.0.0", &["blue-2"]);
    await_wanted(&bed, "2.0.0", NOBODY);
    bed.assert_no_crash();
}
