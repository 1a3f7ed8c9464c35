//! However many workers and listeners there are, Consul is asked once.

use std::time::Duration;

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Bootstrap, Registry, wait_until};

use crate::load::Load;
use crate::log::{LogMark, thread_of};
use crate::plugin;
use crate::testbed::{Setup, Testbed, instances, yaml};

/// Longer than a lease: who wanted to take over would have done so.
const HOLD: Duration = Duration::from_secs(4);

/// Adds a listener that is a copy of `ingress`, on a port of its own, but for its plugin.
fn add_listener(bootstrap: &mut Bootstrap, edit: impl FnOnce(&mut serde_yaml_ng::Value)) {
    let mut copy = bootstrap.ingress().expect("a listener").clone();
    copy["name"] = "second".into();
    edit(plugin::of_listener(&mut copy));
    let listeners = &mut bootstrap.config()["static_resources"]["listeners"];
    listeners.as_sequence_mut().expect("a list").push(copy);
}

/// Waits until exactly one blocking query for each service is out, and sees that it stays so,
/// that nothing else is asked meanwhile, and that it is the main thread that asks.
fn assert_one_query_each(agent: &Agent, bed: &Testbed, services: &[&str]) {
    let is_one = |service: &&str| agent.outstanding(service) == 1;
    let settled = wait_until(Duration::from_secs(10), || services.iter().all(is_one));
    assert!(settled, "no query, or more than one: {:?}", agent.requests());
    // While the lease settles each VM may have asked once, without waiting for an answer.
    let asked = agent.request_count();
    let most = 4 * u64::try_from(services.len()).expect("a few");
    assert!(asked <= most, "{asked} calls until one was left");

    agent.forget_requests();
    std::thread::sleep(HOLD);
    for service in services {
        assert_eq!(agent.outstanding(service), 1, "{service}");
        assert_eq!(agent.most_outstanding(service), 1, "{service}");
        let elections = format!("service {service}: this VM asks Consul");
        let elections = LogMark::START.lines(&bed.envoy, &elections);
        let fetcher = elections.last().and_then(|line| thread_of(line));
        let main = bed.envoy.process().pid();
        assert_eq!(fetcher, Some(main), "{elections:#?}");
    }
    assert_eq!(agent.request_count(), 0, "{:?}", agent.requests());
}

// Promise: R-401
#[test]
fn two_workers_and_two_listeners_of_one_configuration_ask_once() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    agent.forget_requests();
    let bed =
        Setup::headers(agent.address()).edit(|bootstrap| add_listener(bootstrap, |_| {})).start();
    assert_one_query_each(&agent, &bed, &["web"]);
    bed.await_routed("any", &["web-1", "web-2"]);
    bed.assert_no_crash();
}

// Promise: R-401
#[test]
fn query_is_shared_when_two_configurations_have_one_service() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    let _other = instances(&agent, "api", &["api-1"]);
    agent.forget_requests();
    let services = json!([
        {"name": "api", "hosts": ["api.test"]},
        {"name": "web", "hosts": ["web.test"], "load_balancing": {"policy": "random"}},
    ]);
    let bed = Setup::headers(agent.address())
        .edit(|bootstrap| {
            add_listener(bootstrap, |plugin| {
                plugin["name"] = "another".into();
                plugin["configuration"]["value"]["services"] = yaml(services);
            });
        })
        .start();
    assert_one_query_each(&agent, &bed, &["web", "api"]);
    let second = bed.envoy.listener("second").expect("a listener");
    bed.await_routed("any", &["web-1", "web-2"]);
    let bed = Testbed { ingress: second, ..bed };
    bed.await_routed("web.test", &["web-1", "web-2"]);
    bed.await_routed("api.test", &["api-1"]);

    // A change reaches the pools of both.
    agent.deregister("web-1").expect("deregistered");
    bed.await_routed("web.test", &["web-2"]);
    let first = bed.envoy.listener("ingress").expect("a listener");
    let bed = Testbed { ingress: first, ..bed };
    bed.await_routed("any", &["web-2"]);
    bed.assert_no_crash();
}

// Promise: R-401
#[test]
fn workers_that_serve_traffic_do_not_fetch() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    agent.forget_requests();
    let bed = Setup::headers(agent.address()).start();
    let load = Load::light(bed.ingress, "any");
    assert_one_query_each(&agent, &bed, &["web"]);
    let log = LogMark::START.lines(&bed.envoy, "service web: this VM asks Consul");
    let elections = log.len();
    load.go_on(40);
    // Changes are published by the main thread, and no worker takes the lease for them.
    agent.deregister("web-1").expect("deregistered");
    bed.await_routed("any", &["web-2"]);
    load.end_without_failure(&["web-1", "web-2"]);
    let log = LogMark::START.lines(&bed.envoy, "service web: this VM asks Consul");
    assert_eq!(log.len(), elections, "{log:#?}");
    assert!(matches!(
        agent.requests().as_slice(),
        [after_change] if after_change.query_value("index").is_some()
    ));
    bed.assert_no_crash();
}

// Promise: R-406
#[test]
fn service_is_asked_for_rarely_when_it_is_not_registered() {
    let agent = Agent::start().expect("an agent");
    let bed = Setup::headers(agent.address())
        .set("services", json!([{"name": "ghost"}]))
        .set("warmup_timeout", Value::from("100ms"))
        .start();
    bed.await_reply("any", "no_healthy_endpoints");
    agent.forget_requests();
    // A query for an unknown service is woken by every service's change.
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        agent.wake();
        std::thread::sleep(Duration::from_millis(20));
    }
    let calls = agent.request_count();
    assert!(calls <= 12, "{calls} calls in 3 s");
    assert!(agent.most_outstanding("ghost") <= 1);
    bed.assert_no_crash();
}
