//! Listeners are updated while they serve.

use std::time::{Duration, Instant};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Registry, wait_until};

use crate::dynamic::{DRAIN_SECONDS, LISTENERS};
use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{Setup, Testbed, instances};

fn setup(agent: &Agent, services: &Value) -> Setup {
    Setup::headers(agent.address()).set("services", services.clone())
}

fn service(name: &str, policy: &str) -> Value {
    let host = format!("{name}.test");
    json!({"name": name, "hosts": [host], "load_balancing": {"policy": policy}})
}

/// Waits until Envoy has taken an update of the listener, or has refused it.
fn await_update(bed: &Testbed, counter: &str, count: u64) {
    let name = format!("listener_manager.{counter}");
    let counted =
        wait_until(Duration::from_secs(10), || bed.envoy.stat(&name).expect("stats") >= count);
    assert!(counted, "{name} is not {count}");
}

/// Waits until the old filter chains are gone, and with them the old configuration.
fn await_drained(bed: &Testbed) {
    let name = "listener_manager.total_filter_chains_draining";
    let drained = wait_until(Duration::from_secs(3 * DRAIN_SECONDS), || {
        bed.envoy.stat(name).expect("stats") == 0
    });
    assert!(drained, "old filter chains are still there");
}

// Promise: R-605
#[test]
fn no_request_fails_when_services_change_by_an_update() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let _api = instances(&agent, "api", &["api-1"]);
    let _old = instances(&agent, "old", &["old-1"]);
    let _new = instances(&agent, "new", &["new-1"]);
    let before = json!([
        service("web", "least_request"),
        service("api", "least_request"),
        service("old", "least_request"),
    ]);
    // `web` stays, `api` is balanced otherwise, `old` goes, `new` comes.
    let after = json!([
        service("new", "least_request"),
        service("web", "least_request"),
        service("api", "random"),
    ]);
    let bed = LISTENERS.start(|| setup(&agent, &before));
    for (name, instances) in
        [("web", ["web-1", "web-2"].as_slice()), ("api", &["api-1"]), ("old", &["old-1"])]
    {
        bed.await_routed(&format!("{name}.test"), instances);
        let one = wait_until(Duration::from_secs(10), || agent.outstanding(name) == 1);
        assert!(one, "{name} is watched");
    }
    let loads = ["web.test", "api.test"].map(|host| Load::light(bed.ingress, host));
    loads[0].go_on(40);
    agent.forget_requests();

    LISTENERS.update(&bed, setup(&agent, &after));
    await_update(&bed, "listener_in_place_updated", 1);
    // The first requests of the new configuration, on both workers.
    let asked = Instant::now();
    for _ in 0..10 {
        for host in ["web.test", "api.test", "new.test"] {
            assert_eq!(bed.get("/", host).status, 200, "{host}");
        }
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "requests waited");
    await_drained(&bed);
    let released = wait_until(Duration::from_secs(10), || agent.outstanding("old") == 0);
    assert!(released, "nobody needs `old` any more");
    assert_eq!(bed.get("/", "old.test").header("x-instance"), None);

    // The old contexts have given their leases away; longer than one would last otherwise.
    for load in &loads {
        load.go_on(40);
    }
    std::thread::sleep(Duration::from_secs(5));
    for name in ["web", "api", "new"] {
        assert_eq!(agent.outstanding(name), 1, "{name}");
        assert_eq!(agent.most_outstanding(name), 1, "{name}");
    }
    assert!(!bed.envoy.log().contains("is silent"), "a lease had to expire");
    agent.deregister("web-1").expect("deregistered");
    bed.await_routed("web.test", &["web-2"]);
    for load in loads {
        load.end_without_failure(&["web-1", "web-2", "api-1"]);
    }
    assert_eq!(bed.stat("local_replies.not_resolved_yet"), 0);
    assert_eq!(bed.stat("local_replies.no_healthy_endpoints"), 0);
    bed.assert_no_crash();
}

// Promise: R-605
#[test]
fn unchanged_services_route_when_an_update_comes_in_an_outage() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = LISTENERS.start(|| setup(&agent, &json!([service("web", "least_request")])));
    bed.await_routed("web.test", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "web.test");
    agent.stop();
    let changed = json!([service("web", "round_robin"), service("api", "random")]);
    LISTENERS.update(&bed, setup(&agent, &changed));
    await_update(&bed, "listener_in_place_updated", 1);
    bed.await_routed("web.test", &["web-1", "web-2"]);
    await_drained(&bed);
    load.go_on(40);
    bed.await_routed("web.test", &["web-1", "web-2"]);
    load.end_without_failure(&["web-1", "web-2"]);
    assert_eq!(bed.stat("local_replies.not_resolved_yet"), 0);

    agent.restart(false).expect("the agent");
    agent.deregister("web-1").expect("deregistered");
    bed.await_routed("web.test", &["web-2"]);
    bed.assert_no_crash();
}

// Promise: R-605
#[test]
fn a_bad_update_is_refused_and_the_old_configuration_serves_on() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let good = json!([service("web", "least_request")]);
    let bed = LISTENERS.start(|| setup(&agent, &good));
    bed.await_routed("web.test", &["web-1", "web-2"]);
    bed.assert_no_crash();
    let (mark, load) = (LogMark::now(&bed.envoy), Load::light(bed.ingress, "web.test"));
    LISTENERS.update(&bed, setup(&agent, &json!([service("web", "fastest")])));
    let refused = wait_until(Duration::from_secs(10), || {
        bed.envoy.stat("listener_manager.lds.update_rejected").expect("stats") == 1
    });
    assert!(refused, "the update is not refused");
    mark.await_line(&bed.envoy, "services[0].load_balancing.policy: unknown");
    load.go_on(40);
    agent.deregister("web-1").expect("deregistered");
    bed.await_routed("web.test", &["web-2"]);

    // A good one after it is taken.
    let more = json!([service("web", "random"), service("api", "random")]);
    LISTENERS.update(&bed, setup(&agent, &more));
    await_update(&bed, "listener_in_place_updated", 1);
    await_drained(&bed);
    bed.await_routed("web.test", &["web-2"]);
    load.end_without_failure(&["web-1", "web-2"]);
    let one = wait_until(Duration::from_secs(10), || agent.outstanding("web") == 1);
    assert!(one, "{} queries for `web`", agent.outstanding("web"));
    // Envoy calls the refusal a failure of the VM; nothing worse may have happened.
    assert!(mark.lines(&bed.envoy, "panicked").is_empty());
}

// Promise: R-605
#[test]
fn changes_arrive_when_the_last_listener_comes_back() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let one = json!([service("web", "least_request")]);
    let bed = LISTENERS.start(|| setup(&agent, &one));
    bed.await_routed("web.test", &["web-1", "web-2"]);
    LISTENERS.remove_all(&bed);
    let gone = wait_until(Duration::from_secs(10), || {
        let removed = bed.envoy.stat("listener_manager.listener_removed").expect("stats") == 1;
        let active = bed.envoy.stat("listener_manager.total_listeners_active").expect("stats");
        let draining = bed.envoy.stat("listener_manager.total_listeners_draining");
        removed && active == 0 && draining.expect("stats") == 0
    });
    assert!(gone, "the listener is still there");
    let released = wait_until(Duration::from_secs(10), || agent.outstanding("web") == 0);
    assert!(released, "nobody is there who could need an answer");

    // What has changed meanwhile is seen by those who come.
    agent.deregister("web-1").expect("deregistered");
    LISTENERS.update(&bed, setup(&agent, &one));
    await_update(&bed, "total_listeners_active", 1);
    let ingress = bed.envoy.listener("ingress").expect("the listener");
    let bed = Testbed { ingress, ..bed };
    bed.await_routed("web.test", &["web-2"]);
    let _third = instances(&agent, "web", &["web-2", "web-3"]);
    bed.await_routed("web.test", &["web-2", "web-3"]);
    let watched = wait_until(Duration::from_secs(10), || agent.outstanding("web") == 1);
    assert!(watched, "{} queries for `web`", agent.outstanding("web"));
    bed.assert_no_crash();
}

// Promise: R-605
#[test]
fn a_graceful_drain_fails_no_request() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = LISTENERS.start(|| setup(&agent, &json!([service("web", "least_request")])));
    bed.await_routed("web.test", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "web.test");
    load.go_on(40);
    bed.envoy.admin_post("/drain_listeners?graceful&skip_exit").expect("drained");
    // For the time of the drain the listener takes connections and ends them one by one.
    std::thread::sleep(Duration::from_secs(DRAIN_SECONDS) / 2);
    load.end_without_failure(&["web-1", "web-2"]);
    bed.assert_no_crash();
}
