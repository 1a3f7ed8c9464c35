use super::*;
use crate::health_check::verdict::ProbeReason;
use crate::registry::consul::registration::Drift;
use serde_json::json;
use std::collections::BTreeMap;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use self::bench::Bench;

mod bench;
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
fn it_is_looked_for_registered_read_back_and_reported_on() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    assert_eq!(
        bench.calls(),
        [
            "GET /v1/agent/service/edge-1",
            "GET /v1/agent/self",
            "PUT /v1/agent/service/register",
            "GET /v1/agent/service/edge-1",
            "GET /v1/agent/checks",
            "PUT /v1/agent/check/update/service%3Aedge-1%3A1",
        ]
    );
    assert!(bench.keeper.is_in_sync());
    assert_eq!(bench.agent.status(), Some("passing"));
    let meta = &bench.agent.service.as_ref().unwrap()["Meta"];
    assert_eq!(*meta, json!({"team": "a", "version": "1.4.2"}));
    let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "registered",
            "check service:edge-1:1 is passing: GET /health of app: status 200",
            "passing"
        ]
    );
}

#[test]
fn it_is_reported_at_a_third_of_the_ttl_and_compared_every_minute() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.calls();
    bench.run(600);
    let calls = bench.calls();
    let reports = calls.iter().filter(|call| call.contains("/check/update/")).count();
    let looks = calls.iter().filter(|call| call.contains("GET /v1/agent/service/")).count();
    assert!((105..=130).contains(&reports), "{reports}");
    assert!((9..=11).contains(&looks), "{looks}");
    assert_eq!(calls.len(), reports + 2 * looks, "{calls:?}");
    assert_eq!(bench.notices.len(), 3, "nothing more is told");
}

#[test]
fn a_service_that_fails_is_critical_at_once_and_passes_again() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.health = 503;
    bench.run(10);
    assert_eq!(bench.agent.status(), Some("critical"));
    let output = &bench.agent.checks["service:edge-1:1"]["Output"];
    assert_eq!(*output, "GET /health of app: status 503");
    bench.health = 200;
    bench.run(6);
    assert_eq!(bench.agent.status(), Some("passing"));
}

#[test]
fn an_agent_that_has_forgotten_it_has_it_again_within_a_heartbeat() {
    let mut bench = Bench::new(REGISTER);
    bench.run(20);
    (bench.agent.service, bench.agent.checks) = (None, BTreeMap::new());
    bench.run(6);
    assert!(bench.keeper.is_in_sync());
    assert_eq!(bench.agent.status(), Some("passing"));
    assert!(
        bench.notices.iter().any(|it| matches!(it, RegistrationEvent::Drifted(Drift::Check(_))))
    );
}

// Promise: R-702
#[test]
fn what_others_change_is_mended_within_a_minute_but_tags_that_they_may() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    for (field, value) in
        [("Port", json!(9)), ("Tags", json!(["x"])), ("Meta", json!({})), ("Address", json!("::1"))]
    {
        bench.agent.service.as_mut().unwrap()[field] = value.clone();
        bench.run(67);
        assert_ne!(bench.agent.service.as_ref().unwrap()[field], value, "{field}");
    }
    bench.agent.checks.remove("service:edge-1:2");
    bench.run(67);
    assert!(bench.agent.checks.contains_key("service:edge-1:2"));

    let mut bench =
        Bench::new(&REGISTER.replace("\"id\"", "\"enable_tag_override\": true, \"id\""));
    bench.run(1);
    bench.agent.service.as_mut().unwrap()["Tags"] = json!(["theirs"]);
    bench.agent.service.as_mut().unwrap()["Port"] = json!(9);
    bench.run(67);
    let service = bench.agent.service.as_ref().unwrap();
    assert_eq!((&service["Tags"], &service["Port"]), (&json!(["theirs"]), &json!(8080)));
}

#[test]
fn what_is_taken_only_in_part_is_tried_again_and_then_removed() {
    let mut bench = Bench::new(REGISTER);
    bench.agent.drops_checks = true;
    bench.run(30);
    assert_eq!(bench.agent.service, None, "it does not stay as it is");
    assert!(!bench.keeper.is_in_sync());
    let tries = bench.calls().iter().filter(|call| call.ends_with("/register")).count();
    assert_eq!(tries, 3);
    let told = bench.notices.last().unwrap().to_string();
    assert!(told.contains("only in part (its check \"service:edge-1:1\" is missing)"), "{told}");
    bench.agent.drops_checks = false;
    bench.run(70);
    assert!(bench.keeper.is_in_sync());
    assert_eq!(bench.agent.status(), Some("passing"));
}

#[test]
fn an_agent_of_another_datacenter_does_not_keep_it() {
    let register = REGISTER.replace("\"id\"", "\"datacenter\": \"dc2\", \"id\"");
    let mut bench = Bench::new(&register);
    bench.run(1);
    assert!(bench.keeper.is_in_sync(), "an agent that does not say of which it is");

    let mut bench = Bench::new(&register);
    bench.agent.datacenter = Some("dc1");
    bench.run(300);
    assert_eq!(bench.agent.service, None);
    let told = bench.notices.last().unwrap().to_string();
    assert!(told.contains("of datacenter \"dc1\""), "{told}");
    let tries = bench.calls().iter().filter(|call| call.ends_with("/register")).count();
    assert_eq!(tries, 1, "it does not come and go");

    // What somebody else has registered there is none of its business.
    let mut bench = Bench::new(&register);
    let theirs = json!({"Service": "edge", "Datacenter": "dc1"});
    bench.agent.service = Some(theirs.clone());
    bench.run(300);
    assert_eq!(bench.agent.service, Some(theirs));
}

#[test]
fn what_cannot_be_read_back_of_a_definition_is_registered_once_in_any_case() {
    let mut first = Bench::new(REGISTER);
    first.run(1);
    // The same service, with another interval of its check.
    let mut second = Bench::new(&REGISTER.replace("15s", "600s"));
    second.agent = first.agent;
    second.calls();
    second.run(200);
    let registered = second.calls().iter().filter(|call| call.ends_with("/register")).count();
    assert_eq!(registered, 1);
    assert_eq!(second.agent.checks["service:edge-1:1"]["TTL"], "600000ms");
}

#[test]
fn who_was_taken_out_of_service_stays_so_when_it_is_registered_anew() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    let maintenance = json!({"CheckID": "_service_maintenance:edge-1", "Status": "critical"});
    bench.agent.checks.insert("_service_maintenance:edge-1".to_owned(), maintenance);
    bench.run(67);
    bench.agent.service.as_mut().unwrap()["Port"] = json!(9);
    bench.run(67);
    assert_eq!(bench.agent.service.as_ref().unwrap()["Port"], 8080);
    assert!(bench.agent.checks.contains_key("_service_maintenance:edge-1"));
}

#[test]
fn a_check_that_is_never_known_makes_no_storm() {
    let mut bench = Bench::new(REGISTER);
    bench.agent.knows_no_check = true;
    bench.run(600);
    let calls = bench.calls().len();
    assert!(calls < 100, "{calls}");
    let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("only in part")), "{told:?}");
}

#[test]
fn reports_go_on_while_it_cannot_be_registered_anew() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.agent.service.as_mut().unwrap()["Tags"] = json!(["theirs"]);
    bench.agent.takes_no_registration = true;
    bench.run(120);
    bench.calls();
    bench.run(60);
    let reports = bench.calls().iter().filter(|call| call.contains("/check/update/")).count();
    assert!(reports >= 10, "{reports}");
}

#[test]
fn a_report_that_is_lost_is_made_up_for_in_time() {
    for ttl in [10, 15, 30] {
        let mut bench = Bench::new(&REGISTER.replace("15s", &format!("{ttl}s")));
        bench.run(1);
        bench.notices.clear();
        let mut last = bench.now;
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            let before = bench.agent.calls.len();
            bench.run(1);
            if bench.agent.calls[before..].iter().any(|call| call.contains("/check/update/")) {
                longest = longest.max(bench.now - last);
                last = bench.now;
                bench.loses_next = true;
            }
        }
        assert!(longest < Duration::from_secs(ttl), "{longest:?} of {ttl} s");
    }
}

#[test]
fn a_refusal_is_told_once_and_tried_again_at_a_growing_distance() {
    let mut bench = Bench::new(REGISTER);
    bench.agent.refuses = Some((403, "Permission denied"));
    bench.run(120);
    let calls = bench.calls().len();
    assert!((6..12).contains(&calls), "{calls}");
    bench.run(3_600);
    let calls = bench.calls().len();
    assert!((15..=30).contains(&calls), "{calls} in an hour");
    let told: Vec<_> = bench.notices.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("needs service:write for \"edge\""), "{told:?}");
    bench.agent.refuses = None;
    bench.run(240);
    assert!(bench.keeper.is_in_sync());
    assert_eq!(bench.notices[1], RegistrationEvent::Standing);
}

#[test]
fn an_outage_leads_to_a_look_and_reports_go_on_where_nothing_is_lost() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.agent.refuses = Some((500, "No cluster leader"));
    bench.run(30);
    bench.agent.refuses = None;
    bench.calls();
    bench.run(11);
    let calls = bench.calls();
    assert!(calls.contains(&"GET /v1/agent/service/edge-1".to_owned()), "{calls:?}");
    assert!(!calls.iter().any(|call| call.ends_with("/register")), "{calls:?}");
    assert_eq!(bench.notices.last(), Some(&RegistrationEvent::Standing));
}

#[test]
fn another_vm_goes_on_where_the_last_one_has_stopped() {
    let mut first = Bench::new(REGISTER);
    first.run(1);
    let mut second = Bench::new(REGISTER);
    second.keeper = second.keeper.in_term(2, true);
    second.agent = first.agent;
    second.calls();
    second.health = 503;
    second.run(3);
    let calls = second.calls();
    assert!(!calls.iter().any(|call| call.ends_with("/register")), "{calls:?}");
    assert_eq!(second.agent.status(), Some("passing"), "one failure of two");
    second.run(5);
    assert_eq!(second.agent.status(), Some("critical"));
}

#[test]
fn what_an_earlier_envoy_has_left_behind_says_nothing_of_the_service() {
    let mut first = Bench::new(REGISTER);
    first.run(1);
    let mut second = Bench::new(REGISTER);
    second.agent = first.agent;
    second.health = 503;
    assert_eq!(second.agent.status(), Some("passing"));
    second.run(1);
    assert_eq!(second.agent.status(), Some("critical"), "by its first answer");
}

#[test]
fn a_probe_that_envoy_does_not_send_is_no_failure_unless_that_lasts() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.unsent = Some(ProbeReason::NoCapacity);
    bench.run(12);
    assert_eq!(bench.agent.status(), Some("passing"), "not for a TTL yet");
    bench.unsent = None;
    bench.run(6);
    bench.unsent = Some(ProbeReason::UnknownCluster);
    bench.run(22);
    assert_eq!(bench.agent.status(), Some("critical"));
    let output = &bench.agent.checks["service:edge-1:1"]["Output"];
    assert_eq!(*output, "GET /health of app could not be sent: Envoy has no such cluster");
    bench.unsent = None;
    bench.run(6);
    assert_eq!(bench.agent.status(), Some("passing"));
}

#[test]
fn a_proxy_that_drains_is_critical_whatever_its_service_says() {
    let drain = r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#;
    let mut bench = Bench::new(&REGISTER.replace("\"id\"", drain));
    bench.run(2);
    assert_eq!(bench.agent.status(), Some("passing"));
    bench.ready = 503;
    bench.run(2);
    assert_eq!(bench.agent.status(), Some("critical"));
    assert_eq!(bench.agent.checks["service:edge-1:1"]["Output"], "Envoy drains");
    bench.ready = 200;
    bench.run(2);
    assert_eq!(bench.agent.status(), Some("passing"));
}

#[test]
fn that_nobody_says_whether_it_drains_is_no_reason_to_be_critical_nor_to_pass_again() {
    let drain = r#""drain": {"cluster": "admin", "path": "/ready"}, "id""#;
    let mut bench = Bench::new(&REGISTER.replace("\"id\"", drain));
    bench.is_admin_silent = true;
    bench.run(10);
    assert_eq!(bench.agent.status(), Some("passing"), "where it was never said");
    (bench.is_admin_silent, bench.ready) = (false, 503);
    bench.run(10);
    assert_eq!(bench.agent.status(), Some("critical"));
    bench.is_admin_silent = true;
    bench.run(60);
    assert_eq!(bench.agent.status(), Some("critical"), "it was said last");
}

#[test]
fn a_dependency_that_is_down_makes_it_warn() {
    let mut bench = Bench::new(REGISTER);
    bench.run(1);
    bench.keeper.on_dependencies_down(&["db".to_owned(), "cache".to_owned()]);
    bench.run(1);
    assert_eq!(bench.agent.status(), Some("warning"));
    let output = &bench.agent.checks["service:edge-1:1"]["Output"];
    assert_eq!(*output, "no healthy endpoint of db, cache");
    bench.keeper.on_dependencies_down(&[]);
    bench.run(1);
    assert_eq!(bench.agent.status(), Some("passing"));
}

#[test]
fn without_a_check_of_its_own_it_is_looked_at_every_ten_seconds() {
    let mut bench =
        Bench::new(r#"{"name": "edge", "id": "edge-1", "address": "a.test", "port": 1}"#);
    bench.run(1);
    assert!(bench.keeper.is_in_sync());
    bench.agent.service = None;
    bench.run(12);
    assert!(bench.agent.service.is_some());
}

#[test]
fn a_call_that_nobody_hears_of_again_is_given_up() {
    let mut bench = Bench::new(REGISTER);
    let errand = bench.keeper.next_call(Time::ZERO).unwrap();
    let (id, _) = bench.keeper.start(errand, Time::ZERO);
    let at = |seconds| Time::from_start(Duration::from_secs(seconds));
    let mut lost_at = |seconds| (0..=seconds).find_map(|s| bench.keeper.poll_lost(at(s)));
    assert_eq!(lost_at(5), None);
    assert_eq!(lost_at(6), Some(id));
    let Bench { keeper, rng, notices, .. } = &mut bench;
    let called = keeper.on_response(id, Err(CallFailure::Lost), at(7), rng, notices);
    assert_eq!(called, Some(Err(ErrorKind::Timeout)));
    assert_eq!(keeper.on_response(id, Err(CallFailure::Lost), at(7), rng, notices), None);
    assert!(keeper.next_call(at(20)).is_some());
}
