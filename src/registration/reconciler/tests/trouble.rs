//! Agents that are slow, several or others, proxies that stop or share an id, clusters that are not there.

use core::time::Duration;

use serde_json::json;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::REGISTER;
use super::bench::{Bench, FakeAgent};
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::registration::agent_call::AgentCall;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registry::response::HttpResponse;
use crate::util::time::Time;

#[test]
fn a_slow_agent_is_registered_with_and_hears_reports_in_time() {
    for (ttl, takes) in [(10, 2_000), (15, 3_000)] {
        let mut bench = Bench::new(&REGISTER.replace("15s", &format!("{ttl}s")));
        bench.takes = Duration::from_millis(takes);
        bench.run(20);
        assert!(bench.keeper.is_in_sync(), "{:?}", bench.notices);
        let mut last = bench.now;
        for _ in 0..100 {
            let before = bench.agent.calls.len();
            bench.run(1);
            if bench.agent.calls[before..].iter().any(|call| call.contains("/check/update/")) {
                last = bench.now;
            }
            let age = bench.now - last;
            assert!(age < Duration::from_secs(ttl), "{age:?} of {ttl} s");
        }
    }
    // So slow that no report could be in time.
    let mut bench = Bench::new(REGISTER);
    bench.takes = Duration::from_secs(12);
    bench.run(180);
    assert!(bench.keeper.is_in_sync(), "{:?}", bench.notices);
}

#[test]
fn an_agent_of_another_datacenter_gets_nothing_where_it_says_so() {
    let register = REGISTER.replace("\"id\"", "\"datacenter\": \"dc2\", \"id\"");
    let mut bench = Bench::new(&register);
    // As Consul 1.8 does: what is registered does not say where it is.
    bench.agent.node = Some("n1");
    bench.run(300);
    assert_eq!(bench.agent.service, None);
    let calls = bench.calls();
    assert!(!calls.iter().any(|call| call.ends_with("/register")), "{calls:?}");
    let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("of datacenter \"dc1\""), "{told:?}");
    let mut bench = Bench::new(&register);
    (bench.agent.node, bench.agent.datacenter) = (Some("n1"), Some("dc2"));
    bench.run(2);
    assert!(bench.keeper.is_in_sync());
}

#[test]
fn several_agents_are_told_of_and_nothing_is_left_at_any() {
    for nodes in [&["n1", "n2"][..], &["n1", "n2", "n3"]] {
        for may_know in [true, false] {
            let mut bench = Bench::new(REGISTER);
            let agents = nodes.iter().map(|node| FakeAgent {
                node: Some(*node).filter(|_| may_know),
                ..FakeAgent::default()
            });
            bench.others = agents.collect();
            bench.agent = bench.others.pop_front().unwrap();
            bench.run(50);
            let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|it| it.contains("several seem to be behind")), "{told:?}");
            let agents = bench.others.iter().chain([&bench.agent]);
            let left: Vec<_> = agents.filter_map(|agent| agent.service.as_ref()).collect();
            // Where nobody may know, it may have come to all of them.
            let stands = bench.keeper.is_in_sync() && !may_know;
            assert_eq!(left.len(), if stands { nodes.len() } else { 0 }, "{nodes:?}: {left:?}");
            let registers = |agent: &FakeAgent| {
                agent.calls.iter().filter(|call| call.ends_with("/register")).count()
            };
            let registered: usize = bench.others.iter().chain([&bench.agent]).map(registers).sum();
            assert!(registered <= if may_know { 0 } else { 3 }, "{registered} registrations");
        }
    }
}

#[test]
fn an_agent_that_was_replaced_is_registered_with_and_no_second_one() {
    let mut bench = Bench::new(REGISTER);
    bench.agent.node = Some("n1");
    bench.run(20);
    bench.agent = FakeAgent { node: Some("n2"), ..FakeAgent::default() };
    bench.run(10);
    assert!(bench.keeper.is_in_sync(), "{:?}", bench.notices);
    assert_eq!(bench.agent.status(), Some("passing"));
    bench.agent = FakeAgent { node: Some("n1"), ..FakeAgent::default() };
    bench.run(10);
    let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("n2 of dc1 and n1 of dc1")), "{told:?}");
    assert_eq!(bench.agent.service, None);
    bench.run(120);
    assert!(bench.keeper.is_in_sync(), "only that one answers any more");
    assert_eq!(bench.agent.status(), Some("passing"));
}

#[test]
fn nothing_passes_after_a_stop_before_it_was_probed_again() {
    for drain in ["\"id\"", r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#] {
        let mut bench = Bench::new(&REGISTER.replace("\"id\"", drain));
        bench.run(7);
        assert_eq!(bench.agent.status(), Some("passing"));
        bench.calls();
        // Envoy stands still for longer than the TTL, and the service has died meanwhile.
        bench.now += Duration::from_secs(20);
        bench.health = 503;
        bench.run(2);
        let calls = bench.calls();
        assert!(calls.iter().any(|call| call.contains("/check/update/")), "{calls:?}");
        assert_eq!(bench.agent.reports.last().map(String::as_str), Some("critical"));
        let after = bench.agent.reports.iter().filter(|it| *it == "passing").count();
        assert_eq!(after, before_stop(&bench), "none after the stop");
    }
}

#[test]
fn what_was_handed_over_before_a_stop_says_nothing_after_it() {
    let mut first = Bench::new(REGISTER);
    first.run(1);
    let mut second = Bench::new(REGISTER);
    second.keeper = second.keeper.in_term(2, true);
    second.agent = first.agent;
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
fn a_slow_agent_hears_reports_of_all_checks_in_time() {
    let register = r#"{"name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 80,
        "checks": [{"ttl": "10s"}, {"ttl": "10s"}, {"ttl": "10s"}, {"ttl": "10s"}]}"#;
    let mut bench = Bench::new(register);
    bench.takes = Duration::from_secs(2);
    bench.run(30);
    bench.calls();
    bench.run(100);
    let calls = bench.calls();
    for n in 1..=4 {
        let path = format!("/check/update/service%3Aedge-1%3A{n}");
        let reports = calls.iter().filter(|call| call.ends_with(&path)).count();
        assert!(reports >= 10, "check {n}: {reports} reports in 100 s");
    }
}

#[test]
fn a_report_that_comes_too_late_ends_no_removal() {
    let mut bench = Bench::new(REGISTER);
    bench.run(7);
    let now = Time::from_start(bench.now);
    let Bench { keeper, agent, rng, notices, .. } = &mut bench;
    let (report, _) = keeper.start(AgentCall::Report(0), now);
    // Meanwhile the agent is found to be one of several.
    let mut found = agent.service.clone().unwrap();
    found["Port"] = json!(9);
    let of = |node: &str| json!({"Config": {"NodeName": node, "Datacenter": "dc1"}});
    let answers = [
        (AgentCall::Read, found),
        (AgentCall::ReadChecks, json!(agent.checks)),
        (AgentCall::Identify, of("n1")),
        (AgentCall::Identify, of("n2")),
    ];
    fn said(status: u16, body: &str) -> HttpResponse<'_> {
        HttpResponse { status, from_envoy: false, headers: &[], body: body.as_bytes() }
    }
    for (errand, body) in answers {
        let (id, _) = keeper.start(errand, now);
        let body = body.to_string();
        keeper.on_response(id, Ok(said(200, &body)), now, rng, notices);
    }
    assert_eq!(keeper.next_call(now), Some(AgentCall::Deregister));
    let unknown = "CheckID \"service:edge-1:1\" does not have associated TTL";
    keeper.on_response(report, Ok(said(500, unknown)), now, rng, notices);
    assert_eq!(keeper.next_call(now), Some(AgentCall::Deregister));
}

fn before_stop(bench: &Bench) -> usize {
    bench.agent.reports.iter().position(|it| it == "critical").unwrap_or_default()
}

#[test]
fn what_was_asked_before_a_stop_says_nothing_after_it() {
    let mut bench = Bench::new(REGISTER);
    bench.run(7);
    let mut early = None;
    while early.is_none() {
        bench.now += Duration::from_millis(250);
        early = bench.keeper.poll_probe(Time::from_start(bench.now), &mut bench.rng);
    }
    let OutgoingProbe { target, number, .. } = early.unwrap();
    bench.now += Duration::from_secs(20);
    let answer = ProbeResponse { status: 200, from_envoy: false, body: b"" };
    let (now, probed) =
        (Time::from_start(bench.now), ProbeResult { target, number, response: Ok(answer) });
    bench.keeper.on_probed(&probed, now, &mut bench.rng, &mut bench.notices);
    assert!(!matches!(bench.keeper.next_call(now), Some(AgentCall::Report(_))), "nobody knows yet");
    // Nor has a call failed that may have been answered meanwhile.
    let errand = bench.keeper.next_call(now);
    let out = errand.map(|errand| bench.keeper.start(errand, now));
    assert_eq!(bench.keeper.poll_lost(now + Duration::from_secs(60)), None, "{out:?}");
}

#[test]
fn a_cluster_that_envoy_does_not_have_is_told_of_once() {
    let drain = r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#;
    let mut bench = Bench::new(&REGISTER.replace("\"id\"", drain));
    bench.unsent = Some(ProbeReason::UnknownCluster);
    bench.unsent_drain = Some(ProbeReason::UnknownCluster);
    bench.run(1);
    let told = |bench: &Bench| {
        let told = bench.notices.iter().map(ToString::to_string);
        told.filter(|it| it.starts_with("envoy has")).collect::<Vec<_>>()
    };
    let missing = |name: &str| {
        format!(
            "envoy has no cluster \"{name}\", which is to be probed: add it, or mend probe or drain"
        )
    };
    assert_eq!(told(&bench), [missing("admin"), missing("app")]);
    bench.run(60);
    assert_eq!(told(&bench).len(), 2, "once");
    (bench.unsent, bench.unsent_drain) = (None, None);
    bench.run(10);
    let found = |name: &str| format!("envoy has the cluster \"{name}\" now");
    assert_eq!(told(&bench)[2..], [found("admin"), found("app")]);
}

#[test]
fn another_proxy_that_holds_the_id_is_told_of() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.agent.service.as_mut().unwrap()["Address"] = json!("10.0.0.6");
    bench.run(67);
    let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|it| it.contains("another proxy seems to have the same id")),
        "{told:?}"
    );
}
