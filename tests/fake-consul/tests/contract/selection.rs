//! The instances of a service that a query chooses by their nodes.

use std::collections::BTreeSet;

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
