//! Registrations at the agent: how they misbehave, and how they are seen.

use std::time::Duration;

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::{Value, json};
use stack::client::{Answer, put};
use stack::{Check, Consul, Registry, Service, Status, wait_until};

const REGISTER: &str = "/v1/agent/service/register";

fn register(agent: &Agent, body: &Value) -> Answer {
    put(agent.address(), REGISTER, body.to_string()).expect("an answer")
}

fn update(agent: &Agent, check: &str) -> Answer {
    let path = format!("/v1/agent/check/update/{check}");
    put(agent.address(), &path, r#"{"Status":"passing"}"#).expect("an answer")
}

fn two_checks(port: u16) -> Value {
    json!({"Name": "web", "ID": "w1", "Address": "10.0.0.1", "Port": port, "Checks": [
        {"CheckID": "a", "TTL": "1h"}, {"CheckID": "b", "TTL": "1h"},
    ]})
}

fn check_ids(agent: &Agent) -> Vec<String> {
    agent.local_checks("w1").expect("checks").into_keys().collect()
}

#[test]
fn a_registration_loses_its_checks_where_it_is_told_to() {
    let agent = Agent::start().expect("agent");
    let without_checks = || {
        agent.misbehave(Scope::Path(REGISTER.into()), Fault::WithoutChecks, Times::Next(1));
    };
    without_checks();
    assert_eq!(register(&agent, &two_checks(80)).status, 200);
    assert!(agent.local_service("w1").expect("answered").is_some());
    assert!(check_ids(&agent).is_empty());
    register(&agent, &two_checks(80));
    assert_eq!(check_ids(&agent), ["a", "b"]);
    without_checks();
    register(&agent, &two_checks(80));
    assert!(check_ids(&agent).is_empty(), "those that were there have gone too");
}

#[test]
fn what_is_answered_with_an_error_is_not_done() {
    let agent = Agent::start().expect("agent");
    let refuse = |path: &str, status, text: &str| {
        let fault = Fault::Status(status, text.to_owned());
        agent.misbehave(Scope::Path(path.into()), fault, Times::Next(1));
    };
    refuse(REGISTER, 500, "no");
    assert_eq!(register(&agent, &two_checks(80)).text(), "no");
    assert_eq!(agent.local_service("w1").expect("answered"), None);
    register(&agent, &two_checks(80));
    for (status, text) in [(500, "rpc error"), (404, r#"Unknown check ID "a"."#)] {
        refuse("/v1/agent/check/update/a", status, text);
        let answer = update(&agent, "a");
        assert_eq!((answer.status, answer.text().as_str()), (status, text));
        assert_eq!(agent.local_checks("w1").expect("checks")["a"].status, Status::Critical);
    }
    assert_eq!(update(&agent, "b").status, 200, "another check");
    assert_eq!(update(&agent, "a").status, 200);
    agent.await_state("web", "w1", Some(Status::Passing)).expect("passing");
}

#[test]
fn calls_are_remembered_with_their_bodies() {
    let agent = Agent::start().expect("agent");
    for port in [80, 81] {
        register(&agent, &two_checks(port));
    }
    update(&agent, "a");
    agent.local_service("w1").expect("answered");
    let registrations = agent.requests_to("PUT", "/v1/agent/service/");
    let ports: Vec<Value> = registrations.iter().map(|call| call.json()["Port"].clone()).collect();
    assert_eq!(ports, [80, 81]);
    let reports = agent.requests_to("PUT", "/v1/agent/check/");
    assert_eq!((reports.len(), reports[0].json()), (1, json!({"Status": "passing"})));
    assert_eq!(agent.requests_to("GET", "/v1/agent/service/").len(), 1);
}

#[test]
fn an_agent_that_begins_anew_or_loses_a_check_knows_it_no_more() {
    let agent = Agent::start().expect("agent");
    register(&agent, &two_checks(80));
    agent.deregister_check("a").expect("gone");
    assert_eq!(check_ids(&agent), ["b"]);
    assert_eq!(update(&agent, "a").status, 500);
    agent.restart(true).expect("fresh");
    assert_eq!(agent.local_service("w1").expect("answered"), None);
    assert!(check_ids(&agent).is_empty());
    assert_eq!(update(&agent, "b").status, 500);
}

#[test]
fn an_instance_that_stays_critical_is_removed_by_the_agent() {
    let agent = Agent::start().expect("agent");
    let after = Duration::from_millis(150);
    let check = Check::ttl(Duration::from_millis(50)).deregister_after(after);
    agent.register(&Service::new("web", "w1").check(check)).expect("registered");
    agent.await_state("web", "w1", None).expect("gone");
    let is_gone = || agent.local_service("w1").expect("answered").is_none();
    assert!(wait_until(Duration::from_secs(1), is_gone));
}

#[test]
fn states_are_awaited_at_either_registry() {
    let agent = Agent::start().expect("agent");
    let consul = Consul::start_or_skip("states awaited");
    let registries = [Some(&agent as &dyn Registry), consul.as_ref().map(|c| c as &dyn Registry)];
    for registry in registries.into_iter().flatten() {
        let check = Check::ttl(Duration::from_secs(3_600)).id("w1 \"a\"");
        registry.register(&Service::new("web", "w1").check(check)).expect("registered");
        registry.await_state("web", "w1", Some(Status::Critical)).expect("critical");
        for status in [Status::Passing, Status::Warning] {
            registry.set_check("w1 \"a\"", status).expect("set");
            registry.await_state("web", "w1", Some(status)).expect("seen");
            assert_eq!(registry.local_checks("w1").expect("checks")["w1 \"a\""].status, status);
        }
        assert!(registry.local_service("w1").expect("answered").is_some());
        registry.deregister("w1").expect("gone");
        registry.await_state("web", "w1", None).expect("seen no more");
        assert_eq!(registry.local_service("w1").expect("answered"), None);
        assert!(registry.local_checks("w1").expect("checks").is_empty());
    }
}

#[test]
fn checks_that_only_consul_runs_are_refused() {
    let agent = Agent::start().expect("agent");
    for check in [json!({"TCP": "127.0.0.1:1"}), json!({"GRPC": "127.0.0.1:1"})] {
        let mut body = json!({"Name": "web", "Check": check});
        body["Check"]["Interval"] = json!("1h");
        let answer = register(&agent, &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().contains("use the real one"), "{}", answer.text());
    }
}
