//! Slow, replaced and several agents, standstills, shared ids and missing clusters.

use core::time::Duration;

use serde_json::json;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::REGISTER;
use super::script::{FakeAgent, Script};
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::registration::agent_call::AgentCall;

#[test]
fn slow_agent_gets_the_registration_and_reports_in_time() {
    for (ttl, takes) in [(10, 2_000), (15, 3_000)] {
        let mut script = Script::new(&REGISTER.replace("15s", &format!("{ttl}s")));
        script.latency = Duration::from_millis(takes);
        script.run(20);
        assert!(script.reconciler.is_in_sync(), "{:?}", script.events);
        let mut last = script.now;
        for _ in 0..100 {
            let before = script.agent.calls.len();
            script.run(1);
            if script.agent.calls[before..].iter().any(|call| call.contains("/check/update/")) {
                last = script.now;
            }
            let age = script.now - last;
            assert!(age < Duration::from_secs(ttl), "{age:?} of {ttl} s");
        }
    }
    // No report can be in time.
    let mut script = Script::new(REGISTER);
    script.latency = Duration::from_secs(12);
    script.run(180);
    assert!(script.reconciler.is_in_sync(), "{:?}", script.events);
}

#[test]
fn nothing_is_registered_when_the_agent_is_elsewhere() {
    let register = REGISTER.replace("\"id\"", "\"datacenter\": \"dc2\", \"id\"");
    let mut script = Script::new(&register);
    // As with Consul 1.8, the service does not name its datacenter.
    script.agent.node = Some("n1");
    script.run(300);
    assert_eq!(script.agent.service, None);
    assert_eq!(script.agent.registrations(), 0);
    let texts = script.texts();
    assert!(texts.len() == 1 && texts[0].contains("of datacenter \"dc1\""), "{texts:?}");
    let mut script = Script::new(&register);
    (script.agent.node, script.agent.datacenter) = (Some("n1"), Some("dc2"));
    script.run(2);
    assert!(script.reconciler.is_in_sync());
}

#[test]
fn several_agents_are_reported_and_none_keeps_the_service() {
    for nodes in [&["n1", "n2"][..], &["n1", "n2", "n3"]] {
        for may_know in [true, false] {
            let mut script = Script::new(REGISTER);
            let agents = nodes.iter().map(|node| FakeAgent {
                node: Some(*node).filter(|_| may_know),
                ..FakeAgent::default()
            });
            script.others = agents.collect();
            script.agent = script.others.pop_front().unwrap();
            script.run(50);
            let texts = script.texts();
            assert!(texts.iter().any(|it| it.contains("several seem to be behind")), "{texts:?}");
            let agents = script.others.iter().chain([&script.agent]);
            let left: Vec<_> = agents.filter_map(|agent| agent.service.as_ref()).collect();
            // All agents may have it if the token may not read their identities.
            let stands = script.reconciler.is_in_sync() && !may_know;
            assert_eq!(left.len(), if stands { nodes.len() } else { 0 }, "{nodes:?}: {left:?}");
            let agents = script.others.iter().chain([&script.agent]);
            let registered: usize = agents.map(FakeAgent::registrations).sum();
            assert!(registered <= if may_know { 0 } else { 3 }, "{registered} registrations");
        }
    }
}

#[test]
fn replaced_agent_gets_the_service_but_no_second_agent() {
    let mut script = Script::new(REGISTER);
    script.agent.node = Some("n1");
    script.run(20);
    script.agent = FakeAgent { node: Some("n2"), ..FakeAgent::default() };
    script.run(10);
    assert!(script.reconciler.is_in_sync(), "{:?}", script.events);
    assert_eq!(script.agent.status(), Some("passing"));
    script.agent = FakeAgent { node: Some("n1"), ..FakeAgent::default() };
    script.run(10);
    let texts = script.texts();
    assert!(texts.iter().any(|it| it.contains("n2 of dc1 and n1 of dc1")), "{texts:?}");
    assert_eq!(script.agent.service, None);
    script.run(120);
    assert!(script.reconciler.is_in_sync(), "only that one answers any more");
    assert_eq!(script.agent.status(), Some("passing"));
}

#[test]
fn no_check_passes_after_a_standstill_before_a_probe() {
    for drain in ["\"id\"", r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#] {
        let mut script = Script::new(&REGISTER.replace("\"id\"", drain));
        script.run(7);
        assert_eq!(script.agent.status(), Some("passing"));
        script.calls();
        // Envoy stands still for longer than the TTL, and the service dies meanwhile.
        script.now += Duration::from_secs(20);
        script.health = 503;
        script.run(2);
        let calls = script.calls();
        assert!(calls.iter().any(|call| call.contains("/check/update/")), "{calls:?}");
        assert_eq!(script.agent.reports.last().map(String::as_str), Some("critical"));
        let after = script.agent.reports.iter().filter(|it| *it == "passing").count();
        assert_eq!(after, passing_before_critical(&script), "none after the stop");
    }
}

#[test]
fn handed_over_health_is_void_after_a_standstill() {
    let mut first = Script::new(REGISTER);
    first.run(1);
    let mut second = Script::taking_over(REGISTER, first);
    second.run(70);
    // The machine stands still, and the agent with it: by its TTL the check is not critical.
    second.now += Duration::from_secs(70);
    let before = second.agent.reports.len();
    second.unsent = Some(ProbeReason::NoCapacity);
    second.run(3);
    assert_eq!(second.agent.reports.len(), before, "nothing was probed");
    (second.unsent, second.health) = (None, 503);
    second.run(6);
    let after = &second.agent.reports[before..];
    assert!(after.iter().all(|it| it == "critical") && !after.is_empty(), "{after:?}");
}

#[test]
fn slow_agent_gets_reports_of_all_checks_in_time() {
    let register = r#"{"name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 80,
        "checks": [{"ttl": "10s"}, {"ttl": "10s"}, {"ttl": "10s"}, {"ttl": "10s"}]}"#;
    let mut script = Script::new(register);
    script.latency = Duration::from_secs(2);
    script.run(30);
    script.calls();
    script.run(100);
    let calls = script.calls();
    for n in 1..=4 {
        let path = format!("/check/update/service%3Aedge-1%3A{n}");
        let reports = calls.iter().filter(|call| call.ends_with(&path)).count();
        assert!(reports >= 10, "check {n}: {reports} reports in 100 s");
    }
}

#[test]
fn late_report_does_not_end_a_rollback() {
    let mut script = Script::new(REGISTER);
    script.run(7);
    // A report and a read are due, and the agent is one of several.
    script.hold_calls(70);
    let report = script.start().unwrap();
    assert!(matches!(report.call, AgentCall::Report { .. }));
    let mut changed = script.agent.service.clone().unwrap();
    changed["Port"] = json!(9);
    let identity = |node: &str| json!({"Config": {"NodeName": node, "Datacenter": "dc1"}});
    let responses = [
        (AgentCall::Read, changed),
        (AgentCall::ReadChecks, json!(script.agent.checks)),
        (AgentCall::Identify, identity("n1")),
        (AgentCall::Identify, identity("n2")),
    ];
    for (call, body) in responses {
        let sent = script.start().unwrap();
        assert_eq!(sent.call, call);
        script.respond(sent.id, 200, &body.to_string());
    }
    let first = script.start().unwrap();
    assert_eq!(first.call, AgentCall::Deregister);
    let unknown = "CheckID \"service:edge-1:1\" does not have associated TTL";
    assert!(script.respond(report.id, 500, unknown));
    script.respond(first.id, 200, "");
    assert_eq!(script.start().map(|sent| sent.call), Some(AgentCall::Deregister));
}

/// Returns the number of reports before the first critical one.
fn passing_before_critical(script: &Script) -> usize {
    script.agent.reports.iter().position(|it| it == "critical").unwrap_or_default()
}

#[test]
fn earlier_probe_says_nothing_after_a_standstill() {
    let mut script = Script::new(REGISTER);
    script.run(7);
    let mut early = None;
    while early.is_none() {
        script.tick();
        early = script.start_probe();
    }
    script.now += Duration::from_secs(20);
    let response = ProbeResponse { status: 200, from_envoy: false, body: b"" };
    script.respond_to_probe(&early.unwrap(), Ok(response));
    let sent = script.start();
    let is_report = sent.as_ref().is_some_and(|it| matches!(it.call, AgentCall::Report { .. }));
    assert!(!is_report, "the health is unknown");
    // A call that is out has more time, because its response may not have been read yet.
    script.now += Duration::from_secs(60);
    assert_eq!(script.give_up_lost(), None, "{sent:?}");
}

#[test]
fn missing_cluster_is_reported_once() {
    let drain = r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#;
    let mut script = Script::new(&REGISTER.replace("\"id\"", drain));
    script.unsent = Some(ProbeReason::UnknownCluster);
    script.unsent_drain = Some(ProbeReason::UnknownCluster);
    script.run(1);
    let texts = |script: &Script| {
        let texts = script.texts().into_iter();
        texts.filter(|it| it.starts_with("envoy has")).collect::<Vec<_>>()
    };
    let missing = |name: &str| {
        format!(
            "envoy has no cluster \"{name}\", which is to be probed: add it, or mend probe or drain"
        )
    };
    assert_eq!(texts(&script), [missing("admin"), missing("app")]);
    script.run(60);
    assert_eq!(texts(&script).len(), 2, "once");
    (script.unsent, script.unsent_drain) = (None, None);
    script.run(10);
    let found = |name: &str| format!("envoy has the cluster \"{name}\" now");
    assert_eq!(texts(&script)[2..], [found("admin"), found("app")]);
}

#[test]
fn foreign_holder_of_the_id_is_reported() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.agent.service.as_mut().unwrap()["Address"] = json!("10.0.0.6");
    script.run(67);
    let texts = script.texts();
    assert!(
        texts.iter().any(|it| it.contains("another proxy seems to have the same id")),
        "{texts:?}"
    );
}
