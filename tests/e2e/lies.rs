//! Consul answers well, and what it says is not so: instances vanish from an answer.

use std::time::Duration;

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::json;
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instances, who};

const NAMES: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

/// What is logged when an answer is doubted, and when it is not.
const DOUBTED: &str = "until a fresh, consistent read confirms it";
const REFUTED: &str = "lists more instances than the answer that was doubted";
const EXPIRED: &str = "shrink_guard.hold is over";

/// Starts Envoy with answers held back for so long, and waits until a query blocks.
fn start(agent: &Agent, hold: &str) -> Testbed {
    let service = json!([{ "name": "web", "shrink_guard": { "hold": hold } }]);
    let bed = Setup::headers(agent.address()).set("services", service).start();
    bed.await_routed("any", &NAMES);
    let watched = wait_until(Duration::from_secs(10), || agent.outstanding("web") == 1);
    assert!(watched, "no blocking query is out");
    bed
}

/// The next so many answers are not so.
fn lie(agent: &Agent, faults: &[Fault], times: Times) {
    for fault in faults {
        agent.misbehave(Scope::Service("web".into()), fault.clone(), times);
    }
    agent.wake();
}

fn partial() -> Fault {
    Fault::Header("X-Consul-Results-Filtered-By-ACLs".to_owned(), "true".to_owned())
}

// Promise: R-107
#[test]
fn a_lie_costs_no_endpoint_and_is_refuted_by_a_fresh_read() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &NAMES);
    let bed = start(&agent, "30s");
    let load = Load::light(bed.ingress, "any");
    for (told, faults) in [(1, vec![Fault::Empty]), (2, vec![Fault::Empty, partial()])] {
        let mark = LogMark::now(&bed.envoy);
        lie(&agent, &faults, Times::Next(1));
        mark.await_line(&bed.envoy, REFUTED);
        assert_eq!(mark.lines(&bed.envoy, DOUBTED).len(), 1);
        assert_eq!(bed.stat("service.web.doubted_answers"), told);
        assert_eq!(bed.stat("service.web.refuted_answers"), told);
        assert_eq!(bed.stat("service.web.held_answers"), 0);
        bed.await_routed("any", &NAMES);
    }
    load.end_without_failure(&NAMES);
    bed.assert_no_crash();
}

// Promise: R-107
#[test]
fn empty_response_is_accepted_when_its_hold_is_over() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &NAMES);
    let bed = start(&agent, "7s");
    let mark = LogMark::now(&bed.envoy);
    agent.forget_requests();
    lie(&agent, &[Fault::Empty], Times::Always);
    mark.await_line(&bed.envoy, DOUBTED);
    assert_eq!(bed.stat("service.web.held_answers"), 1);
    let load = Load::light(bed.ingress, "any");
    std::thread::sleep(Duration::from_secs(4));
    load.end_without_failure(&NAMES);
    bed.await_reply("any", "no_healthy_endpoints");
    assert_eq!(mark.lines(&bed.envoy, EXPIRED).len(), 1);
    assert_eq!(bed.stat("service.web.held_answers"), 0);
    assert_eq!(bed.stat("service.web.refuted_answers"), 0);
    let asked = agent.request_count();
    assert!((3..=20).contains(&asked), "{asked} requests");

    agent.behave();
    agent.wake();
    bed.await_routed("any", &NAMES);
    bed.assert_no_crash();
}

// Promise: R-107
#[test]
fn instances_leave_within_moments_when_critical_or_gone() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &NAMES);
    let bed = start(&agent, "30s");
    let mark = LogMark::now(&bed.envoy);
    for name in &NAMES[1..] {
        agent.maintenance(name, true).expect("maintenance");
    }
    bed.await_routed("any", &["web-1"]);
    assert_eq!(bed.stat("service.web.doubted_answers"), 0);
    assert_eq!(mark.lines(&bed.envoy, DOUBTED).len(), 0);
    for name in &NAMES[1..] {
        agent.deregister(name).expect("deregistered");
    }
    bed.await_routed("any", &["web-1"]);
    bed.assert_no_crash();
}

// Promise: R-108
#[test]
fn next_instance_is_used_in_a_second_when_the_only_one_went() {
    let Some(consul) = Consul::start_or_skip("an instance that replaces the only one") else {
        return;
    };
    let _first = instances(&consul, "web", &["web-1"]);
    let second = Backend::start("web-2").expect("a backend");
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &["web-1"]);
    // By then its query blocks.
    std::thread::sleep(Duration::from_secs(1));

    consul.deregister("web-1").expect("deregistered");
    std::thread::sleep(Duration::from_millis(50));
    let next = Service::new("web", "web-2").at(second.address()).with_status(Status::Passing);
    consul.register(&next).expect("registered");
    let is_used = || who(&bed.get("/", "any")) == "web-2";
    assert!(wait_until(Duration::from_secs(1), is_used), "{}", who(&bed.get("/", "any")));
    bed.await_routed("any", &["web-2"]);

    // With a host name nobody can reach it; its next registration is used as soon.
    let named = Service::new("web", "web-2").address("web.internal").port(80);
    consul.register(&named.with_status(Status::Passing)).expect("registered");
    let is_doubted = wait_until(SOON, || bed.stat("service.web.held_answers") == 1);
    assert!(is_doubted, "it is believed at once");
    assert!(is_used(), "what was there before stays for a while");
    consul.register(&next).expect("registered");
    let is_over = wait_until(Duration::from_secs(1), || bed.stat("service.web.held_answers") == 0);
    assert!(is_over && is_used());
    bed.assert_no_crash();
}
