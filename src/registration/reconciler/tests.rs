use super::*;
use crate::config::Config;
use crate::health_check::verdict::ProbeReason;
use crate::registry::consul::registration::{CheckStatus, Definition, Drift};
use serde_json::json;
use std::collections::BTreeMap;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use self::script::Script;

mod orphans;
mod script;
mod trouble;

/// A configuration with one TTL check that probes, and one that Consul runs.
const REGISTER: &str = r#"{
    "name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 8080, "tags": ["envoy"],
    "meta": {"team": "a"}, "version": "1.4.2",
    "checks": [
        {"ttl": "15s", "probe": {"cluster": "app", "path": "/health"}},
        {"http": "http://10.0.0.5:8080/live"}
    ]
}"#;

#[test]
fn service_is_read_registered_read_back_and_reported_on() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    assert_eq!(
        script.calls(),
        [
            "GET /v1/agent/service/edge-1",
            "GET /v1/agent/self",
            "PUT /v1/agent/service/register",
            "GET /v1/agent/service/edge-1",
            "GET /v1/agent/checks",
            "PUT /v1/agent/check/update/service%3Aedge-1%3A1",
        ]
    );
    assert!(script.reconciler.is_in_sync());
    assert_eq!(script.agent.status(), Some("passing"));
    let meta = &script.agent.service.as_ref().unwrap()["Meta"];
    assert_eq!(*meta, json!({"team": "a", "version": "1.4.2"}));
    let texts = script.texts();
    assert_eq!(
        texts,
        [
            "registered",
            "check service:edge-1:1 is passing: GET /health of app: status 200",
            "passing"
        ]
    );
}

#[test]
fn check_is_reported_thrice_a_ttl_and_read_every_minute() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.calls();
    script.run(600);
    let calls = script.calls();
    let reports = calls.iter().filter(|call| call.contains("/check/update/")).count();
    let looks = calls.iter().filter(|call| call.contains("GET /v1/agent/service/")).count();
    assert!((105..=130).contains(&reports), "{reports}");
    assert!((9..=11).contains(&looks), "{looks}");
    assert_eq!(calls.len(), reports + 2 * looks, "{calls:?}");
    assert_eq!(script.events.len(), 3, "nothing more is reported");
}

#[test]
fn check_is_critical_while_the_service_fails() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.health = 503;
    script.run(10);
    assert_eq!(script.agent.status(), Some("critical"));
    let output = &script.agent.checks["service:edge-1:1"]["Output"];
    assert_eq!(*output, "GET /health of app: status 503");
    script.health = 200;
    script.run(6);
    assert_eq!(script.agent.status(), Some("passing"));
}

#[test]
fn service_is_registered_anew_when_the_agent_has_lost_it() {
    let mut script = Script::new(REGISTER);
    script.run(20);
    (script.agent.service, script.agent.checks) = (None, BTreeMap::new());
    script.run(6);
    assert!(script.reconciler.is_in_sync());
    assert_eq!(script.agent.status(), Some("passing"));
    assert!(
        script.events.iter().any(|it| matches!(it, RegistrationEvent::Drifted(Drift::Check(_))))
    );
}

// Promise: R-702
#[test]
fn foreign_changes_are_undone_except_tags_others_may_set() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    for (field, value) in
        [("Port", json!(9)), ("Tags", json!(["x"])), ("Meta", json!({})), ("Address", json!("::1"))]
    {
        script.agent.service.as_mut().unwrap()[field] = value.clone();
        script.run(67);
        assert_ne!(script.agent.service.as_ref().unwrap()[field], value, "{field}");
    }
    script.agent.checks.remove("service:edge-1:2");
    script.run(67);
    assert!(script.agent.checks.contains_key("service:edge-1:2"));

    let mut script =
        Script::new(&REGISTER.replace("\"id\"", "\"enable_tag_override\": true, \"id\""));
    script.run(1);
    script.agent.service.as_mut().unwrap()["Tags"] = json!(["theirs"]);
    script.agent.service.as_mut().unwrap()["Port"] = json!(9);
    script.run(67);
    let service = script.agent.service.as_ref().unwrap();
    assert_eq!((&service["Tags"], &service["Port"]), (&json!(["theirs"]), &json!(8080)));
}

#[test]
fn partial_registration_is_retried_and_then_rolled_back() {
    let mut script = Script::new(REGISTER);
    script.agent.drops_checks = true;
    script.run(30);
    assert_eq!(script.agent.service, None, "it does not stay as it is");
    assert!(!script.reconciler.is_in_sync());
    let tries = script.agent.registrations();
    assert_eq!(tries, 3);
    let texts = script.texts().pop().unwrap();
    assert!(texts.contains("only in part (its check \"service:edge-1:1\" is missing)"), "{texts}");
    script.agent.drops_checks = false;
    script.run(70);
    assert!(script.reconciler.is_in_sync());
    assert_eq!(script.agent.status(), Some("passing"));
}

#[test]
fn service_is_rolled_back_when_the_agent_is_elsewhere() {
    let register = REGISTER.replace("\"id\"", "\"datacenter\": \"dc2\", \"id\"");
    let mut script = Script::new(&register);
    script.run(1);
    assert!(script.reconciler.is_in_sync(), "an agent that does not say of which it is");

    let mut script = Script::new(&register);
    script.agent.datacenter = Some("dc1");
    script.run(300);
    assert_eq!(script.agent.service, None);
    let texts = script.texts().pop().unwrap();
    assert!(texts.contains("of datacenter \"dc1\""), "{texts}");
    let tries = script.agent.registrations();
    assert_eq!(tries, 1, "it does not come and go");

    // A service of somebody else stays there.
    let mut script = Script::new(&register);
    let theirs = json!({"Service": "edge", "Datacenter": "dc1"});
    script.agent.service = Some(theirs.clone());
    script.run(300);
    assert_eq!(script.agent.service, Some(theirs));
}

#[test]
fn settings_that_cannot_be_read_back_are_registered_once() {
    let mut first = Script::new(REGISTER);
    first.run(1);
    // The same service, with another interval of its check.
    let mut second = Script::new(&REGISTER.replace("15s", "600s"));
    second.agent = first.agent;
    second.calls();
    second.run(200);
    let registered = second.agent.registrations();
    assert_eq!(registered, 1);
    assert_eq!(second.agent.checks["service:edge-1:1"]["TTL"], "600000ms");
}

#[test]
fn maintenance_stays_when_the_service_is_registered_anew() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    let maintenance = json!({"CheckID": "_service_maintenance:edge-1", "Status": "critical"});
    script.agent.checks.insert("_service_maintenance:edge-1".to_owned(), maintenance);
    script.run(67);
    script.agent.service.as_mut().unwrap()["Port"] = json!(9);
    script.run(67);
    assert_eq!(script.agent.service.as_ref().unwrap()["Port"], 8080);
    assert!(script.agent.checks.contains_key("_service_maintenance:edge-1"));
}

#[test]
fn calls_stay_rare_when_the_agent_never_knows_a_check() {
    let mut script = Script::new(REGISTER);
    script.agent.knows_no_check = true;
    script.run(600);
    let calls = script.calls().len();
    assert!(calls < 100, "{calls}");
    let texts = script.texts();
    assert!(texts.iter().any(|it| it.contains("only in part")), "{texts:?}");
}

#[test]
fn reports_go_on_when_the_service_cannot_be_registered() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.agent.service.as_mut().unwrap()["Tags"] = json!(["theirs"]);
    script.agent.takes_no_registration = true;
    script.run(120);
    script.calls();
    script.run(60);
    let reports = script.calls().iter().filter(|call| call.contains("/check/update/")).count();
    assert!(reports >= 10, "{reports}");
}

#[test]
fn lost_report_is_repeated_within_the_ttl() {
    for ttl in [10, 15, 30] {
        let mut script = Script::new(&REGISTER.replace("15s", &format!("{ttl}s")));
        script.run(1);
        script.events.clear();
        let mut last = script.now;
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            let before = script.agent.calls.len();
            script.run(1);
            if script.agent.calls[before..].iter().any(|call| call.contains("/check/update/")) {
                longest = longest.max(script.now - last);
                last = script.now;
                script.loses_next = true;
            }
        }
        assert!(longest < Duration::from_secs(ttl), "{longest:?} of {ttl} s");
    }
}

#[test]
fn refusal_is_reported_once_and_retried_with_backoff() {
    let mut script = Script::new(REGISTER);
    script.agent.refuses = Some((403, "Permission denied"));
    script.run(120);
    let calls = script.calls().len();
    assert!((6..12).contains(&calls), "{calls}");
    script.run(3_600);
    let calls = script.calls().len();
    assert!((15..=30).contains(&calls), "{calls} in an hour");
    let texts = script.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("needs service:write for \"edge\""), "{texts:?}");
    script.agent.refuses = None;
    script.run(240);
    assert!(script.reconciler.is_in_sync());
    assert_eq!(script.events[1], RegistrationEvent::Standing);
}

#[test]
fn service_is_only_read_when_an_outage_has_lost_nothing() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.agent.refuses = Some((500, "No cluster leader"));
    script.run(30);
    script.agent.refuses = None;
    script.calls();
    script.run(11);
    let calls = script.calls();
    assert!(calls.contains(&"GET /v1/agent/service/edge-1".to_owned()), "{calls:?}");
    assert!(!calls.iter().any(|call| call.ends_with("/register")), "{calls:?}");
    assert_eq!(script.events.last(), Some(&RegistrationEvent::Standing));
}

#[test]
fn registration_and_health_stay_when_another_vm_takes_over() {
    let mut first = Script::new(REGISTER);
    first.run(1);
    let mut second = Script::taking_over(REGISTER, first);
    second.health = 503;
    second.run(3);
    let calls = second.calls();
    assert!(!calls.iter().any(|call| call.ends_with("/register")), "{calls:?}");
    assert_eq!(second.agent.status(), Some("passing"), "one failure of two");
    second.run(5);
    assert_eq!(second.agent.status(), Some("critical"));
}

#[test]
fn status_of_an_earlier_envoy_says_nothing() {
    let mut first = Script::new(REGISTER);
    first.run(1);
    let mut second = Script::new(REGISTER);
    second.agent = first.agent;
    second.health = 503;
    assert_eq!(second.agent.status(), Some("passing"));
    second.run(1);
    assert_eq!(second.agent.status(), Some("critical"), "by its first answer");
}

#[test]
fn unsent_probes_make_a_check_critical_only_after_a_ttl() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.unsent = Some(ProbeReason::NoCapacity);
    script.run(12);
    assert_eq!(script.agent.status(), Some("passing"), "not for a TTL yet");
    script.unsent = None;
    script.run(6);
    script.unsent = Some(ProbeReason::UnknownCluster);
    script.run(22);
    assert_eq!(script.agent.status(), Some("critical"));
    let output = &script.agent.checks["service:edge-1:1"]["Output"];
    assert_eq!(*output, "GET /health of app could not be sent: Envoy has no such cluster");
    script.unsent = None;
    script.run(6);
    assert_eq!(script.agent.status(), Some("passing"));
}

#[test]
fn checks_are_critical_when_envoy_drains() {
    let drain = r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#;
    let mut script = Script::new(&REGISTER.replace("\"id\"", drain));
    script.run(2);
    assert_eq!(script.agent.status(), Some("passing"));
    script.ready = 503;
    script.run(2);
    assert_eq!(script.agent.status(), Some("critical"));
    assert_eq!(script.agent.checks["service:edge-1:1"]["Output"], "Envoy drains");
    script.ready = 200;
    script.run(2);
    assert_eq!(script.agent.status(), Some("passing"));
}

#[test]
fn silent_administration_interface_changes_no_check() {
    let drain = r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#;
    let mut script = Script::new(&REGISTER.replace("\"id\"", drain));
    script.is_admin_silent = true;
    script.run(10);
    assert_eq!(script.agent.status(), Some("passing"), "where it was never said");
    (script.is_admin_silent, script.ready) = (false, 503);
    script.run(10);
    assert_eq!(script.agent.status(), Some("critical"));
    script.is_admin_silent = true;
    script.run(60);
    assert_eq!(script.agent.status(), Some("critical"), "it was said last");
}

#[test]
fn checks_warn_when_a_dependency_is_down() {
    let mut script = Script::new(REGISTER);
    script.run(1);
    script.reconciler.on_dependencies_down(&["db".to_owned(), "cache".to_owned()]);
    script.run(1);
    assert_eq!(script.agent.status(), Some("warning"));
    let output = &script.agent.checks["service:edge-1:1"]["Output"];
    assert_eq!(*output, "no healthy endpoint of db, cache");
    script.reconciler.on_dependencies_down(&[]);
    script.run(1);
    assert_eq!(script.agent.status(), Some("passing"));
}

#[test]
fn service_without_ttl_checks_is_read_every_ten_seconds() {
    let mut script =
        Script::new(r#"{"name": "edge", "id": "edge-1", "address": "a.test", "port": 1}"#);
    script.run(1);
    assert!(script.reconciler.is_in_sync());
    script.agent.service = None;
    script.run(12);
    assert!(script.agent.service.is_some());
}

#[test]
fn lost_call_is_given_up_a_second_after_its_timeout() {
    let mut script = Script::new(REGISTER);
    let sent = script.start().unwrap();
    let lost = (0..=9).find_map(|seconds| {
        script.now = Duration::from_secs(seconds);
        Some((seconds, script.give_up_lost()?))
    });
    assert_eq!(lost, Some((6, (sent.id, Err(ErrorKind::Timeout)))));
    assert!(!script.respond(sent.id, 200, "{}"), "too late");
    script.now = Duration::from_secs(20);
    assert!(script.start().is_some());
}

#[test]
fn dependency_is_down_when_it_was_down_before_the_term() {
    let config = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "db"}],
        "register": [{"name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 80,
            "checks": [{"ttl": "15s"}], "depends_on": ["db"]}]}"#;
    let config = Config::parse(config).unwrap();
    let definition = Definition::new(&config.consul, &config.registrations[0]);
    let mut desired = DesiredState::present(definition);
    desired.review_dependencies(<[String]>::to_vec, Time::ZERO, &mut Rng::new(1));
    let later = Time::from_start(Duration::from_secs(8));
    let mut reconciler = Reconciler::new(&desired, Term(1), false, later);
    let report = AgentCall::Report { check: 0, status: CheckStatus::Warning };
    let (_, request) = reconciler.start(report, later);
    assert!(request.body.contains("no healthy endpoint of db"), "{}", request.body);
}
