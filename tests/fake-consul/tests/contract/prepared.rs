//! Prepared queries.

use serde_json::json;
use stack::{Service, Status};

use crate::transcript::Transcript;
use crate::{on_both, on_both_federations};

/// Registers one instance for each state.
fn register(t: &mut Transcript<'_>) {
    for status in [Status::Passing, Status::Warning, Status::Critical] {
        let service = Service::new("web", status.as_str());
        let service = service.at("10.0.0.1:80".parse().expect("an address")).with_status(status);
        t.registry.register(&service.tag("v1")).expect("registered");
    }
    for status in [Status::Passing, Status::Warning, Status::Critical] {
        let name = status.as_str();
        let check = Service::check_id(name);
        t.settle_checks("web", name, &[(check.as_str(), name)]);
    }
}

fn found(t: &mut Transcript<'_>, path: &str) -> Vec<String> {
    let answer = t.get(path).json();
    let nodes = answer["Nodes"].as_array().expect("nodes").iter();
    let mut ids: Vec<_> =
        nodes.map(|node| node["Service"]["ID"].as_str().expect("an id").to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_prepared_query_finds_all_that_is_not_critical() {
    on_both("prepared queries", |t| {
        register(t);
        t.prepare(&json!({"Name": "geo", "Service": {"Service": "web"}}));
        t.prepare(&json!({"Name": "strict", "Service": {"Service": "web", "OnlyPassing": true}}));
        t.prepare(&json!({"Name": "v1", "Service": {"Service": "web", "Tags": ["v1", "!v2"]}}));
        t.prepare(&json!({"Name": "v2", "Service": {"Service": "web", "Tags": ["!v1"]}}));
        t.prepare(&json!({"Name": "none", "Service": {"Service": "nope"}}));
        assert_eq!(found(t, "/v1/query/geo/execute"), ["passing", "warning"]);
        assert_eq!(found(t, "/v1/query/geo/execute?stale"), ["passing", "warning"]);
        assert_eq!(found(t, "/v1/query/strict/execute?near=_agent&limit=5"), ["passing"]);
        assert_eq!(found(t, "/v1/query/v1/execute").len(), 2);
        assert!(found(t, "/v1/query/v2/execute").is_empty());
        assert!(found(t, "/v1/query/none/execute").is_empty());
        assert!(found(t, "/v1/query/geo/execute?connect=true").is_empty());
        let limited = t.registry_answer("/v1/query/geo/execute?limit=1").json();
        assert_eq!(limited["Nodes"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_prepared_query_never_waits_and_always_has_the_same_index() {
    on_both("prepared queries do not block", |t| {
        register(t);
        t.prepare(&json!({"Name": "geo", "Service": {"Service": "web"}}));
        let answer = t.block("/v1/query/geo/execute?index=1&wait=20s");
        let (answer, took) = answer();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
        assert_eq!(answer.header("x-consul-index"), Some("1"));
    });
}

#[test]
fn a_prepared_query_is_found_by_its_id_until_it_is_deleted() {
    on_both("ids of prepared queries", |t| {
        register(t);
        let id = t.prepare(&json!({"Name": "geo", "Service": {"Service": "web"}}));
        let by_id = t.registry_answer(&format!("/v1/query/{id}/execute"));
        assert_eq!(by_id.json()["Nodes"].as_array().map(Vec::len), Some(2));
        let delete =
            stack::client::Request::new("DELETE", t.registry.address(), &format!("/v1/query/{id}"));
        assert_eq!(delete.send().expect("an answer").status, 200);
        let gone = t.get("/v1/query/geo/execute");
        assert_eq!((gone.status, gone.text().as_str()), (404, "Query not found"));
    });
}

#[test]
fn what_cannot_be_executed_is_refused() {
    on_both("prepared queries refused", |t| {
        register(t);
        t.prepare(&json!({"Name": "geo", "Service": {"Service": "web"}}));
        assert_eq!(t.get("/v1/query/nope/execute").status, 404);
        assert_eq!(t.get("/v1/query/geo/execute?limit=x").status, 500);
        assert_eq!(t.get("/v1/query/geo/execute?dc=nowhere").status, 500);
        assert_eq!(t.get("/v1/query/geo/execute?consistent&cached").status, 400);
        assert_eq!(t.get_cached("/v1/query/geo/execute?cached", "max-age=x").status, 400);
    });
}

#[test]
fn a_cached_prepared_query_is_as_old_as_the_client_admits() {
    on_both("prepared queries cached", |t| {
        register(t);
        t.prepare(&json!({"Name": "geo", "Service": {"Service": "web", "OnlyPassing": true}}));
        let path = "/v1/query/geo/execute?cached";
        let first = t.get_cached(path, "max-age=3600");
        assert_eq!(first.header("x-cache"), Some("MISS"));
        t.registry.deregister("passing").expect("gone");
        t.settle("web", &["warning", "critical"]);
        let old = t.get_cached(path, "max-age=3600");
        assert_eq!(old.header("x-cache"), Some("HIT"));
        assert_eq!(old.json()["Nodes"].as_array().map(Vec::len), Some(1), "as it was");
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        let new = t.get_cached(path, "max-age=1");
        assert_eq!(new.json()["Nodes"].as_array().map(Vec::len), Some(0), "as it is");
    });
}

#[test]
fn a_prepared_query_looks_elsewhere_where_nothing_is_left_at_home() {
    on_both_federations("failover of prepared queries", |t, other| {
        other.register(&Service::new("web", "far").with_status(Status::Passing)).expect("far");
        other.await_passing("web", &["far"]).expect("far");
        t.prepare(&json!({
            "Name": "geo", "Service": {"Service": "web", "Failover": {"Datacenters": ["dc2"]}},
        }));
        let answer = t.registry_answer("/v1/query/geo/execute").json();
        assert_eq!(answer["Nodes"][0]["Service"]["ID"], "far");
        assert_eq!((&answer["Datacenter"], &answer["Failovers"]), (&json!("dc2"), &json!(1)));
        let near = Service::new("web", "near").with_status(Status::Passing);
        t.registry.register(&near).expect("near");
        t.registry.await_passing("web", &["near"]).expect("near");
        let answer = t.registry_answer("/v1/query/geo/execute").json();
        assert_eq!(answer["Nodes"][0]["Service"]["ID"], "near");
        assert_eq!((&answer["Datacenter"], &answer["Failovers"]), (&json!("dc1"), &json!(0)));
    });
}
