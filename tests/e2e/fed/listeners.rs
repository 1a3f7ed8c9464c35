//! Listeners that are updated, and an Envoy that takes over from another one, under load.

use std::time::Duration;

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Envoy, Registry, port, wait_until};

use super::hosts;
use crate::dynamic::LISTENERS;
use crate::load::Load;
use crate::testbed::{SOON, Setup, Testbed, instances};

/// Within which subscriptions are answered again.
const AGAIN: Duration = Duration::from_secs(3);

/// Within which questions come by another connection to what was updated: it is 10 s old then, and the
/// last question that was held at the old one has been answered.
pub(super) const MOVED: Duration = Duration::from_secs(10 + 2 + 5);

const NAMES: [&str; 2] = ["web-1", "web-2"];

fn service(name: &str, policy: &str) -> Value {
    let host = format!("{name}.internal");
    json!({"name": name, "hosts": [host], "load_balancing": {"policy": policy}})
}

/// Envoy checks nothing by itself.
fn setup(agent: &Agent, socket: &str, services: &Value) -> Setup {
    Setup::recommended(agent.address())
        .set("services", services.clone())
        .of_clusters("health_checks", Value::Null)
        .edit(|bootstrap| {
            bootstrap.set_socket(socket).expect("a socket");
            bootstrap.plugin().expect("a plugin")["xds"]["hold"] = "2s".into();
        })
}

fn own_socket(what: &str) -> String {
    format!("@consul_resolver/{what}-{}", std::process::id())
}

/// Waits until an instance that has come is a host, and takes it away again.
fn assert_answered_again(agent: &Agent, bed: &Testbed) {
    let more = instances(agent, "web", &["web-3"]);
    let new = more[0].address().to_string();
    let is_known = wait_until(AGAIN, || hosts(bed, "web").contains_key(&new));
    assert!(is_known, "{:?}", hosts(bed, "web"));
    agent.deregister("web-3").expect("deregistered");
    let is_gone = wait_until(AGAIN, || !hosts(bed, "web").contains_key(&new));
    assert!(is_gone, "{:?}", hosts(bed, "web"));
}

/// Waits until it holds so many questions: neither an old VM's nor an old Envoy's are counted any more.
fn await_held(bed: &Testbed, count: u64) {
    let are_held = wait_until(SOON, || bed.held() == count);
    assert!(are_held, "{} are held, not {count}", bed.held());
}

// Promise: R-606
#[test]
fn no_get_fails_when_both_listeners_are_updated() {
    let agent = Agent::start().expect("an agent");
    let web = instances(&agent, "web", &NAMES);
    let api = instances(&agent, "api", &["api-1"]);
    let socket = own_socket("update");
    let before = json!([service("web", "least_request")]);
    // As long as Envoy drains by default: the old listener's connections stay where they are.
    let bed = LISTENERS.start_with(|| setup(&agent, &socket, &before), &["--drain-time-s", "600"]);
    bed.await_routed("web.internal", &NAMES);
    let load = Load::light(bed.ingress, "web.internal");
    load.go_on(100);
    for policy in ["round_robin", "peak_ewma"] {
        let after = json!([service("web", policy), service("api", "random")]);
        LISTENERS.update(&bed, setup(&agent, &socket, &after));
        let took = wait_until(SOON, || {
            let name = "listener_manager.listener_in_place_updated";
            bed.envoy.stat(name).expect("stats") >= 2
        });
        assert!(took, "the update is not taken");
        load.go_on(100);
        assert_answered_again(&agent, &bed);
        // What an update adds is a cluster and a route, once the subscriptions have another connection.
        let has_come = || hosts(&bed, "api").contains_key(&api[0].address().to_string());
        assert!(wait_until(MOVED, has_come), "{:?}", hosts(&bed, "api"));
        bed.await_routed("api.internal", &["api-1"]);
        load.go_on(100);
        assert_answered_again(&agent, &bed);
    }
    assert_eq!(hosts(&bed, "web").len(), web.len());
    // Those for clusters, for routes, and for the endpoints of both services.
    await_held(&bed, 4);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-606
#[test]
fn no_get_fails_and_hosts_follow_when_listeners_drain() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &NAMES);
    let socket = own_socket("drain");
    let services = json!([service("web", "peak_ewma")]);
    let bed = LISTENERS.start(|| setup(&agent, &socket, &services));
    bed.await_routed("web.internal", &NAMES);
    let load = Load::light(bed.ingress, "web.internal");
    load.go_on(40);
    // The listener of subscriptions drains, too.
    bed.envoy.admin_post("/drain_listeners?graceful&skip_exit").expect("drained");
    for _ in 0..2 {
        assert_answered_again(&agent, &bed);
        load.go_on(100);
    }
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-606
#[test]
fn no_get_fails_when_another_envoy_takes_over() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &NAMES);
    let socket = own_socket("restart");
    let port = port::free();
    let id = std::process::id();
    let start = |epoch: u32| -> Testbed {
        let services = json!([service("web", "peak_ewma")]);
        let setup = setup(&agent, &socket, &services);
        let setup = setup.edit(|bootstrap| bootstrap.set_port(port).expect("a listener"));
        let builder = setup.builder().hot_restart(id, epoch);
        let builder = ["--parent-shutdown-time-s", "4", "--drain-time-s", "2"]
            .into_iter()
            .fold(builder, |builder, argument| builder.arg(argument));
        let envoy: Envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
        let ingress = envoy.listener("ingress").expect("the listener ingress");
        Testbed { envoy, ingress }
    };
    let old = start(0);
    old.await_routed("web.internal", &NAMES);
    let load = Load::light(old.ingress, "web.internal");
    load.go_on(100);
    let new = start(1);
    load.go_on(100);
    assert_answered_again(&agent, &new);
    let has_ended = wait_until(SOON, || old.envoy.process().exit_status().is_some());
    assert!(has_ended, "the old one still runs");
    assert_answered_again(&agent, &new);
    await_held(&new, 3);
    load.go_on(200);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    new.assert_no_crash();
}
