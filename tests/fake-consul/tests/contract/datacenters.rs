//! Several datacenters, and nodes other than the agent's own.

use std::time::Duration;

use serde_json::json;
use stack::{Consul, Node, Registry, Service, Status};

use crate::{on_both, on_both_federations};

#[test]
fn another_datacenter_is_asked_by_its_name() {
    on_both_federations("datacenters", |t, other| {
        t.register(&json!({"Name": "web", "ID": "near"}), &["near"]);
        other.register(&Service::new("web", "far").with_status(Status::Passing)).expect("far");
        other.await_passing("web", &["far"]).expect("far");
        let own = t.registry.health("web", "dc=dc1").expect("health");
        assert_eq!(own.ids(), ["near".to_owned()].into());
        let answer = t.registry_answer("/v1/health/service/web?dc=dc2");
        let entry = &answer.json()[0];
        assert_eq!(entry["Service"]["ID"], "far");
        assert_eq!(entry["Node"]["Datacenter"], "dc2");
        let answer = t.get("/v1/health/service/web?dc=nowhere");
        assert_eq!((answer.status, answer.text().as_str()), (500, "No path to datacenter"));
        assert_eq!(answer.header("x-consul-index"), Some("1"));
    });
}

#[test]
fn a_query_for_another_datacenter_blocks_on_that_ones_index() {
    on_both_federations("blocking over datacenters", |t, other| {
        let far = Service::new("web", "far").with_status(Status::Passing);
        other.register(&far).expect("registered");
        other.await_passing("web", &["far"]).expect("far");
        let index = t.registry.health("web", "dc=dc2").expect("health").index;
        let answer = t.block(&format!("/v1/health/service/web?dc=dc2&index={index}&wait=30s"));
        // A change at home wakes nobody who asks for elsewhere.
        t.register(&json!({"Name": "web", "ID": "near"}), &["near"]);
        other.register(&far.meta("version", "2")).expect("registered again");
        let (answer, took) = answer();
        assert_eq!(answer.json()[0]["Service"]["Meta"]["version"], "2");
        assert!(took < Duration::from_secs(20), "{took:?}");
    });
}

#[test]
fn an_instance_on_a_node_without_an_agent_is_told_of_by_the_catalog() {
    on_both("nodes without agents", |t| {
        let node = Node::new("node-b").meta("zone", "eu-1b");
        let service = Service::new("web", "b1").at("10.0.0.2:80".parse().expect("address"));
        let service = service.tag("blue").meta("version", "1.2.0").weights(3, 1).on(node);
        let passing = service.clone().with_status(Status::Passing);
        t.registry.register(&passing).expect("registered");
        t.registry.await_passing("web", &["b1"]).expect("passing");
        let answer = t.get("/v1/health/service/web");
        assert_eq!(answer.json()[0]["Node"]["Meta"], json!({"zone": "eu-1b"}));
        assert_eq!(answer.json()[0]["Checks"].as_array().map(Vec::len), Some(1), "no serfHealth");
        t.registry.register(&service.with_status(Status::Critical)).expect("registered");
        t.registry.await_passing("web", &[]).expect("critical");
        t.get("/v1/health/service/web");
        t.registry.deregister_at("node-b", "b1").expect("gone");
        t.settle("web", &[]);
    });
}

#[test]
fn the_agents_node_has_the_metadata_it_was_started_with() {
    let Some(consul) = Consul::builder().node_meta("zone", "eu-1a").start_or_skip("node meta")
    else {
        return;
    };
    consul.register(&Service::new("web", "w1")).expect("registered");
    consul.await_passing("web", &["w1"]).expect("passing");
    let health = consul.health("web", "").expect("health");
    assert_eq!(health.entries[0]["Node"]["Meta"]["zone"], "eu-1a");
}
