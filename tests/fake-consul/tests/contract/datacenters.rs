//! Datacenters and nodes other than the agent's own.

use serde_json::json;
use stack::{Consul, Node, Registry, Service, Status};

use crate::on_both;

#[test]
fn a_datacenter_that_is_not_known_is_an_error() {
    on_both("datacenters", |t| {
        t.register(&json!({"Name": "web", "ID": "near"}), &["near"]);
        let own = t.registry.health("web", "dc=dc1").expect("health");
        assert_eq!(own.ids(), ["near".to_owned()].into());
        let answer = t.get("/v1/health/service/web?dc=nowhere");
        assert_eq!((answer.status, answer.text().as_str()), (500, "No path to datacenter"));
        assert_eq!(answer.header("x-consul-index"), Some("1"));
    });
}

#[test]
fn instance_without_an_agent_is_listed_by_the_catalog() {
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
