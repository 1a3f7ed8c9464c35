//! Envoy refuses to send what we ask of it: its cluster for Consul has gone, or is full.

use std::time::Duration;

use fake_consul::Agent;
use serde_json::json;
use stack::{Bootstrap, Registry, wait_until};

use crate::dynamic::CLUSTERS;
use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{Setup, Testbed, instances, yaml};

fn setup(agent: &Agent) -> Setup {
    Setup::headers(agent.address()).edit(|bootstrap| {
        // The listener is static and so comes before the clusters.
        let manager = bootstrap.connection_manager().expect("a manager");
        manager["route_config"]["validate_clusters"] = false.into();
    })
}

fn failed_calls(bed: &Testbed) -> u64 {
    let kinds = ["refused", "unreachable"];
    let calls = kinds.map(|kind| bed.stat(&format!("consul_calls.{kind}")));
    calls.iter().sum()
}

/// Breaks the cluster `consul`, sees that calls fail and nothing else does, and mends it.
fn go_through(bed: &Testbed, agent: &Agent, says: &str, break_it: impl FnOnce(&mut Bootstrap)) {
    let (mark, before) = (LogMark::now(&bed.envoy), failed_calls(bed));
    CLUSTERS.update(bed, setup(agent).edit(break_it));
    let failed = wait_until(Duration::from_secs(10), || {
        agent.wake();
        failed_calls(bed) >= before + 3
    });
    assert!(failed, "{says}: {} calls have failed", failed_calls(bed));
    mark.await_line(&bed.envoy, says);
    bed.await_routed("any", &["web-1", "web-2"]);
    // Each way to fail is told when it begins: the query that was out is cut off with its
    // cluster, and a full cluster does not always refuse at once.
    let failing = mark.lines(&bed.envoy, "the endpoints stay as they are");
    let told = |line: &String| line.split("service web: ").nth(1).map(str::to_owned);
    let mut told: Vec<_> = failing.iter().map(told).collect();
    told.dedup();
    assert_eq!(told.len(), failing.len(), "{says}: {failing:#?}");

    CLUSTERS.update(bed, setup(agent));
    mark.await_line(&bed.envoy, "consul answers again");
    agent.maintenance("web-2", true).expect("maintenance");
    bed.await_routed("any", &["web-1"]);
    agent.maintenance("web-2", false).expect("maintenance");
    bed.await_routed("any", &["web-1", "web-2"]);
}

#[test]
fn next_call_succeeds_when_envoy_has_refused_one() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = CLUSTERS.start(|| setup(&agent));
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    go_through(&bed, &agent, "envoy has no cluster \"consul\"", |bootstrap| {
        bootstrap.cluster("consul").expect("a cluster")["name"] = "elsewhere".into();
    });
    go_through(&bed, &agent, "has no host or no free request", |bootstrap| {
        let cluster = bootstrap.cluster("consul").expect("a cluster");
        cluster["load_assignment"]["endpoints"] = yaml(json!([]));
    });
    go_through(&bed, &agent, "has no host or no free request", |bootstrap| {
        let none = json!([{"max_connections": 0, "max_pending_requests": 0, "max_requests": 0}]);
        let cluster = bootstrap.cluster("consul").expect("a cluster");
        cluster["circuit_breakers"] = yaml(json!({"thresholds": none}));
    });
    go_through(&bed, &agent, "could not reach consul (503", |bootstrap| {
        let none = json!([{"max_requests": 0}]);
        let cluster = bootstrap.cluster("consul").expect("a cluster");
        cluster["circuit_breakers"] = yaml(json!({"thresholds": none}));
    });
    load.end_without_failure(&["web-1", "web-2"]);
    assert!(bed.stat("consul_calls.refused") >= 6);
    bed.assert_no_crash();
}

#[test]
fn a_cluster_that_comes_after_the_start_is_found() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = CLUSTERS.start(|| {
        setup(&agent).set("warmup_timeout", json!("100ms")).edit(|bootstrap| {
            bootstrap.cluster("consul").expect("a cluster")["name"] = "elsewhere".into();
        })
    });
    bed.await_reply("any", "not_resolved_yet");
    CLUSTERS.update(&bed, setup(&agent));
    bed.await_routed("any", &["web-1", "web-2"]);
    bed.assert_no_crash();
}
