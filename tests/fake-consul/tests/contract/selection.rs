//! What of a service's instances is meant: those of the mesh, those on certain nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use stack::{Node, Service};

use crate::on_both;
use crate::transcript::Transcript;

fn ids(t: &Transcript<'_>, path: &str) -> BTreeSet<String> {
    let entries = t.registry_answer(path).json();
    let entries = entries.as_array().expect("a list").iter();
    entries.map(|entry| entry["Service"]["ID"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn the_mesh_leads_to_sidecars_and_to_what_speaks_connect_itself() {
    on_both("connect", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Port": 80}), &["w1"]);
        let answer = t.get("/v1/health/connect/web");
        assert_eq!(answer.text().trim(), "[]", "it has no sidecar yet");
        t.register(
            &json!({
                "Name": "web-sidecar-proxy", "ID": "p1", "Port": 21000, "Kind": "connect-proxy",
                "Proxy": {
                    "DestinationServiceName": "web", "DestinationServiceID": "w1",
                    "LocalServicePort": 80,
                },
            }),
            &["p1"],
        );
        t.register(
            &json!({"Name": "web", "ID": "w2", "Port": 81, "Connect": {"Native": true}}),
            &["w1", "w2"],
        );
        assert_eq!(ids(t, "/v1/health/connect/web"), ["p1", "w2"].map(str::to_owned).into());
        t.get("/v1/health/connect/WEB?stale");
        t.get("/v1/health/service/web-sidecar-proxy");
        assert_eq!(t.get("/v1/health/connect/nope").text().trim(), "[]");
        assert_eq!(t.call("POST", "/v1/health/connect/web", "").status, 405);
    });
}

#[test]
fn a_query_of_the_mesh_is_woken_by_a_sidecar() {
    on_both("connect blocks", |t| {
        let sidecar = |port: u16| {
            json!({
                "Name": "web-sidecar-proxy", "ID": "p1", "Port": port, "Kind": "connect-proxy",
                "Proxy": {"DestinationServiceName": "web"},
            })
        };
        t.register(&sidecar(21000), &["p1"]);
        let index = t.registry_answer("/v1/health/connect/web");
        let index = index.header("x-consul-index").expect("an index").to_owned();
        let answer = t.block(&format!("/v1/health/connect/web?index={index}&wait=30s"));
        t.register(&sidecar(21001), &["p1"]);
        let (answer, took) = answer();
        assert_eq!(answer.json()[0]["Service"]["Port"], 21001);
        assert!(took < Duration::from_secs(20), "{took:?}");
    });
}

#[test]
fn instances_are_chosen_by_the_metadata_of_their_nodes() {
    on_both("node metadata", |t| {
        let on = |id: &str, rack: &str| {
            let node = Node::new(format!("node-{id}")).meta("rack", rack).meta("env", "a:b");
            let service = Service::new("web", id).at("10.0.0.2:80".parse().expect("address"));
            service.meta("version", "1").on(node)
        };
        for (id, rack) in [("b1", "7"), ("b2", "8")] {
            t.registry.register(&on(id, rack)).expect("registered");
        }
        t.settle("web", &["b1", "b2"]);
        for (query, found) in [
            ("node-meta=rack:7", vec!["b1"]),
            ("node-meta=env:a:b", vec!["b1", "b2"]),
            ("node-meta=env:a:b&node-meta=rack:8", vec!["b2"]),
            ("node-meta=rack:7&node-meta=rack:8", vec!["b2"]),
            ("node-meta=rack", vec![]),
            ("node-meta=rack:9", vec![]),
        ] {
            let path = format!("/v1/health/service/web?{query}");
            let found: BTreeSet<String> = found.into_iter().map(str::to_owned).collect();
            assert_eq!(ids(t, &path), found, "{query}");
        }
        t.get("/v1/health/service/web?node-meta=rack%3A7");
    });
}

#[test]
fn what_consul_1_8_does_not_know_is_passed_over() {
    on_both("unknown parameters", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Port": 80}), &["w1"]);
        t.get("/v1/health/service/web?leader&merge-central-config");
        t.get("/v1/health/service/web?near=_agent");
    });
}

#[test]
fn a_cache_of_services_takes_ages_and_refuses_what_is_none() {
    on_both("cached with ages", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Port": 80}), &["w1"]);
        t.get_cached("/v1/health/service/web?cached", "max-age=30, stale-if-error=60");
        t.get_cached("/v1/health/service/web?cached", "max-age=30, stale-if-error=60");
        let refused = t.get_cached("/v1/health/service/web?cached", "max-age=soon");
        assert_eq!(refused.status, 400);
    });
}
