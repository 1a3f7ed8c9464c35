//! Services that are found while running: in Consul's catalog, and by the names of its DNS.

use std::sync::mpsc;
use std::time::Duration;

use fake_consul::{Agent, Record};
use serde_json::json;
use stack::{Condition, Consul, Registry, Relay, wait_until};

use crate::log::LogMark;
use crate::testbed::{Setup, Testbed, instances, who};

/// The grace of a service that leaves the catalog, and a margin.
const GONE: Duration = Duration::from_secs(45);

// Promise: R-211
#[test]
fn services_of_the_catalog_come_and_go_with_it() {
    let Some(consul) = Consul::start_or_skip("services of the catalog") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = Setup::headers(consul.address())
        .set("services", json!([]))
        .set("discover", json!({ "host": "{service}.internal", "max_services": 2 }))
        .set("unmatched", json!("reject"))
        .start();
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    bed.await_reply("consul.internal", "unknown_service");

    let api = instances(&consul, "api", &["api-1"]);
    bed.await_routed("api.internal", &["api-1"]);
    assert!(wait_until(GONE, || bed.stat("service.api.picks") > 0));
    assert_eq!(bed.stat("catalog.services"), 2);

    // One too many leaves those that are there alone.
    let _admin = instances(&consul, "admin", &["admin-1"]);
    assert!(wait_until(GONE, || bed.stat("catalog.left_out") == 1));
    bed.await_routed("api.internal", &["api-1"]);
    bed.await_reply("admin.internal", "unknown_service");

    consul.deregister("api-1").expect("deregistered");
    drop(api);
    bed.await_routed("admin.internal", &["admin-1"]);
    let is_gone = || bed.get("/", "api.internal").status == 404;
    assert!(wait_until(GONE, is_gone), "{}", who(&bed.get("/", "api.internal")));
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    bed.assert_no_crash();
}

/// Resolves names and has no services.
fn named(agent: &Agent, workers: u32) -> Testbed {
    let bed = Setup::headers(agent.address())
        .set("services", json!([]))
        .set("dns_names", json!({}))
        .workers(workers)
        .start();
    // The VMs have found each other: the list of members is looked at every five seconds.
    std::thread::sleep(Duration::from_secs(6));
    bed
}

// Promise: R-211
#[test]
fn name_is_resolved_by_one_query_when_it_is_first_used() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = named(&agent, 4);
    agent.forget_requests();
    let first = bed.get("/", "web.service.consul");
    assert_eq!(first.status, 200, "{}", first.text());
    bed.await_routed("Web.Service.Consul", &["web-1", "web-2"]);
    let plain =
        |record: &&Record| record.path.contains("/web") && record.query_value("index").is_none();
    let requests = agent.requests();
    assert_eq!(requests.iter().filter(plain).count(), 1, "{requests:?}");
    assert!(wait_until(GONE, || agent.outstanding("web") == 1), "{:?}", agent.requests());
    assert_eq!(agent.most_outstanding("web"), 1);

    bed.await_routed("_web._tcp.service.consul", &["web-1", "web-2"]);
    assert_eq!(agent.requests().iter().filter(plain).count(), 1, "the same query");
    let counted = || bed.stat("dns_names.picks") > 0;
    assert!(wait_until(GONE, counted));
    bed.assert_no_crash();
}

// Promise: R-408
#[test]
fn consul_is_not_flooded_when_clients_make_up_names() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = named(&agent, 2);
    let unknown = bed.get("/", "none.service.consul");
    let expected = r#"{"error":"no_healthy_endpoints","service":"none"}"#;
    assert_eq!((unknown.status, unknown.text().as_str()), (503, expected));

    agent.forget_requests();
    let mut refused = 0;
    for n in 0..300 {
        let answer = bed.get("/", &format!("none{n}.service.consul"));
        assert_eq!(answer.status, 503);
        refused += usize::from(answer.json()["error"] == "too_many_names");
    }
    // Each worker has a burst of 20, and two a second.
    assert!(refused >= 200, "{refused}");
    let names = (0..300).filter(|n| {
        let path = format!("/none{n}");
        agent.requests().iter().any(|record| record.path.contains(&path))
    });
    assert!(names.count() <= 100, "{:?}", agent.request_count());
    assert!(bed.stat("local_replies.too_many_names") >= 200);
    bed.await_routed("web.service.consul", &["web-1"]);
    bed.assert_no_crash();
}

#[test]
fn queries_that_consul_does_not_know_keep_no_name_out() {
    let Some(consul) = Consul::start_or_skip("unknown queries") else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    consul.await_passing("web", &["web-1"]).expect("passing");
    let bed = Setup::headers(consul.address())
        .set("services", json!([]))
        .set("dns_names", json!({ "max_services": 2 }))
        .workers(1)
        .start();
    for n in 0..6 {
        let unknown = bed.get("/", &format!("q{n}.query.consul"));
        let expected = format!(r#"{{"error":"no_healthy_endpoints","service":"q{n}"}}"#);
        assert_eq!((unknown.status, unknown.text()), (503, expected));
    }
    for host in ["web.service.consul", "_web._tcp.service.consul", "web.service.dc1.consul"] {
        let answer = bed.get("/", host);
        assert_eq!(who(&answer), "web-1", "{host}");
    }
    assert_eq!(bed.stat("local_replies.too_many_names"), 0);
    bed.assert_no_crash();
}

#[test]
fn failed_calls_count_apart_when_clients_make_names_up() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    // Whether such calls count for the breaker is not looked at here.
    let breaker = json!({ "consecutive_failures": 0, "failure_percent": 0 });
    let bed = Setup::headers(agent.address())
        .set("consul", json!({ "cluster": "consul", "breaker": breaker }))
        .set("services", json!([]))
        .set("dns_names", json!({}))
        .start();
    bed.await_routed("web.service.consul", &["web-1"]);
    let reply = bed.get("/", "web.service.nowhere.consul");
    assert_eq!(reply.json()["error"], "not_resolved_yet", "{}", reply.text());
    let failed = || bed.stat("dns_names.consul_calls.failed") > 0;
    assert!(wait_until(GONE, failed), "{}", bed.envoy.log());
    assert_eq!(bed.stat("consul_calls.server_error"), 0);
    let _second = instances(&agent, "web", &["web-2"]);
    bed.await_routed("web.service.consul", &["web-1", "web-2"]);
    assert!(bed.stat("consul_calls.ok") > 0, "those of a name that is there count");
    let told = LogMark::START.lines(&bed.envoy, "No path to datacenter");
    assert!(told.is_empty(), "{told:?}");
    bed.assert_no_crash();
}

// Promise: R-211
#[test]
fn a_name_says_its_datacenter() {
    let Some([near, far]) = Consul::federation_or_skip("names", ["dc1", "dc2"]) else {
        return;
    };
    let _near = instances(&near, "web", &["near-1"]);
    let _far = instances(&far, "web", &["far-1"]);
    let bed = Setup::headers(near.address())
        .set("services", json!([]))
        .set("dns_names", json!({}))
        .start();
    bed.await_routed("web.service.dc2.consul", &["far-1"]);
    bed.await_routed("web.service.consul", &["near-1"]);
    bed.await_routed("web.service.dc1.consul", &["near-1"]);
    bed.assert_no_crash();
}

// Promise: R-211
#[test]
fn a_name_that_nobody_asks_for_is_forgotten_and_found_again() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = Setup::headers(agent.address())
        .set("consul", json!({ "cluster": "consul", "wait": "1s" }))
        .set("services", json!([]))
        .set("dns_names", json!({ "idle_timeout": "10s" }))
        .start();
    bed.await_routed("web.service.consul", &["web-1"]);
    assert!(wait_until(GONE, || agent.outstanding("web") == 1), "{:?}", agent.requests());
    // A query that blocks ends within a second, and another one follows while it is wanted.
    let is_forgotten = wait_until(GONE, || {
        agent.forget_requests();
        std::thread::sleep(Duration::from_secs(3));
        agent.outstanding("web") == 0 && agent.requests().is_empty()
    });
    assert!(is_forgotten, "{:?}", agent.requests());
    bed.await_routed("web.service.consul", &["web-1"]);
    bed.assert_no_crash();
}

// Promise: R-408
#[test]
fn request_is_refused_at_once_when_too_many_wait_for_names() {
    const MAY_WAIT: usize = 2;
    let Some(consul) = Consul::start_or_skip("requests that wait for names") else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    let relay = Relay::start(consul.address()).expect("a relay");
    let bed = Setup::headers(relay.address())
        .set("services", json!([]))
        .set("dns_names", json!({ "max_waiting": MAY_WAIT }))
        .set("warmup_timeout", json!("30s"))
        .workers(1)
        .start();
    relay.set(Condition::Silent);
    let (answered, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            let (bed, answered) = (&bed, answered.clone());
            scope.spawn(move || {
                answered.send(who(&bed.get("/", "web.service.consul"))).expect("a test that waits")
            });
        }
        let next = || answers.recv_timeout(Duration::from_secs(20)).expect("an answer");
        for _ in MAY_WAIT..5 {
            let answer = next();
            assert!(answer.contains("not_resolved_yet"), "{answer}");
        }
        relay.set(Condition::Clear);
        for _ in 0..MAY_WAIT {
            assert_eq!(next(), "web-1");
        }
    });
    bed.assert_no_crash();
}
