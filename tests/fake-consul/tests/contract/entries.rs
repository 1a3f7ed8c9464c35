//! What the entries of registered instances look like.

use serde_json::json;

use crate::on_both;

#[test]
fn a_bare_instance_has_consuls_defaults_and_nulls() {
    on_both("bare instance", |t| {
        t.register(&json!({"Name": "web"}), &["web"]);
        let answer = t.get("/v1/health/service/web");
        let entry = &answer.json()[0];
        assert_eq!(entry["Service"]["Address"], "");
        assert_eq!(entry["Service"]["Port"], 0);
        assert!(entry["Service"]["Meta"].is_null());
        assert!(entry["Service"].get("TaggedAddresses").is_none());
        assert_eq!(entry["Service"]["Weights"], json!({"Passing": 1, "Warning": 1}));
        assert_eq!(entry["Checks"][0]["CheckID"], "serfHealth");
        t.get("/v1/agent/service/web");
        t.get("/v1/agent/services");
        t.get("/v1/catalog/services");
    });
}

#[test]
fn a_full_instance_keeps_everything_it_was_registered_with() {
    on_both("full instance", |t| {
        let body = json!({
            "Name": "web", "ID": "w1", "Address": "::1", "Port": 8080,
            "Tags": ["b", "a"], "Meta": {"env": "prod", "x-y": "1"},
            "TaggedAddresses": {"lan": {"Address": "10.0.0.1", "Port": 81}, "wan": {"Address": "192.0.2.1", "Port": 80}},
            "Weights": {"Passing": 7, "Warning": 2},
            "Checks": [
                {"TTL": "1h"},
                {"HTTP": "http://127.0.0.1:1/health", "Interval": "1h", "Timeout": "1s", "Name": "http check"},
                {"TTL": "1h", "CheckID": "mine", "Status": "passing", "Notes": "a note"},
            ],
        });
        t.register(&body, &["w1"]);
        let entry = t.get("/v1/health/service/web").json()[0].clone();
        assert_eq!(entry["Service"]["Weights"]["Passing"], 7);
        assert_eq!(entry["Checks"][1]["CheckID"], "mine");
        assert_eq!(entry["Checks"][2]["Status"], "critical", "a check begins critical");
        t.get("/v1/agent/service/w1");
        t.get("/v1/catalog/services");
    });
}

#[test]
fn nonsense_addresses_and_ports_are_kept_as_they_are() {
    on_both("nonsense addresses", |t| {
        t.register(
            &json!({"Name": "web", "ID": "w1", "Port": 70000, "Address": "10.0.0.1"}),
            &["w1"],
        );
        t.register(
            &json!({"Name": "web", "ID": "w2", "Port": 0, "Address": "host.test"}),
            &["w1", "w2"],
        );
        t.register(&json!({"Name": "web", "ID": "w3", "Port": null, "Tags": null, "Meta": null, "Weights": {"Passing": 3}}), &["w1", "w2", "w3"]);
        let entries = t.get("/v1/health/service/web").json();
        assert_eq!(entries[0]["Service"]["Port"], 70000);
        assert_eq!(entries[1]["Service"]["Address"], "host.test");
        assert_eq!(entries[2]["Service"]["Weights"]["Warning"], 0);
    });
}

#[test]
fn passing_leaves_out_warning_and_critical() {
    on_both("passing", |t| {
        let all = ["w1", "w2", "w3"];
        for (at, (id, status)) in
            all.into_iter().zip(["passing", "warning", "critical"]).enumerate()
        {
            let body = json!({"Name": "web", "ID": id, "Check": {"TTL": "1h", "Status": status}});
            t.register(&body, &all[..=at]);
        }
        assert_eq!(t.get("/v1/health/service/web").json().as_array().map(Vec::len), Some(3));
        for query in ["passing", "passing=1", "passing=true"] {
            let answer = t.get(&format!("/v1/health/service/web?{query}"));
            assert_eq!(answer.json()[0]["Service"]["ID"], "w1");
            assert_eq!(answer.json().as_array().map(Vec::len), Some(1));
        }
        t.get("/v1/health/service/web?passing=false");
    });
}

#[test]
fn tags_choose_instances() {
    on_both("tags", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Tags": ["Blue", "big"], "Meta": {"env": "prod"}, "Port": 80}), &["w1"]);
        t.register(
            &json!({"Name": "web", "ID": "w2", "Tags": ["blue"], "Port": 81}),
            &["w1", "w2"],
        );
        for (query, expected) in [("tag=blue", 2), ("tag=blue&tag=big", 1), ("tag=none", 0)] {
            let answer = t.get(&format!("/v1/health/service/web?{query}"));
            assert_eq!(answer.json().as_array().map(Vec::len), Some(expected), "{query}");
        }
    });
}

#[test]
fn names_are_looked_up_in_any_case_and_decoded() {
    on_both("names", |t| {
        t.register(&json!({"Name": "Web api", "ID": "w/1"}), &["w/1"]);
        assert_eq!(t.get("/v1/health/service/wEB%20API").json().as_array().map(Vec::len), Some(1));
        assert_eq!(t.put("/v1/agent/service/deregister/w%2F1", "").status, 200);
        t.settle("Web api", &[]);
    });
}

#[test]
fn reports_move_a_check_and_are_seen_with_their_output() {
    on_both("reports", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Check": {"TTL": "1h"}}), &["w1"]);
        for (call, body, state) in [
            ("pass/service:w1?note=fine", "", "passing"),
            ("warn/service:w1?note=so+so", "", "warning"),
            ("fail/service:w1?note=bad", "", "critical"),
            ("update/service:w1", r#"{"Status":"passing","Output":"by hand"}"#, "passing"),
        ] {
            assert_eq!(t.put(&format!("/v1/agent/check/{call}"), body).status, 200);
            t.settle_checks("web", "w1", &[("service:w1", state)]);
            t.get("/v1/health/service/web");
        }
    });
}

#[test]
fn a_ttl_that_runs_out_is_critical() {
    on_both("ttl", |t| {
        t.register(
            &json!({"Name": "web", "ID": "w1", "Check": {"TTL": "300ms", "Status": "passing"}}),
            &["w1"],
        );
        t.settle_checks("web", "w1", &[("service:w1", "critical")]);
        let answer = t.get("/v1/health/service/web");
        assert!(
            answer.json()[0]["Checks"][1]["Output"]
                .as_str()
                .is_some_and(|s| s.contains("TTL expired"))
        );
    });
}

#[test]
fn http_checks_are_really_run() {
    let backend = stack::Backend::start("web-1").expect("backend");
    on_both("http checks", |t| {
        let url = format!("http://{}", backend.address());
        backend.set_healthy(true);
        backend.set_status(429);
        let check = |path: &str| json!({"HTTP": format!("{url}{path}"), "Interval": "50ms", "Timeout": "1s"});
        let body =
            json!({"Name": "web", "ID": "w1", "Checks": [check("/health"), check("/other")]});
        let answer = stack::client::put(
            t.registry.address(),
            "/v1/agent/service/register",
            body.to_string(),
        );
        assert_eq!(answer.expect("an answer").status, 200);
        t.settle_checks("web", "w1", &[("service:w1:1", "passing"), ("service:w1:2", "warning")]);
        t.get("/v1/health/service/web");
        backend.set_healthy(false);
        t.settle_checks("web", "w1", &[("service:w1:1", "critical"), ("service:w1:2", "warning")]);
    });
}

#[test]
fn maintenance_is_a_critical_check_of_instance_or_node() {
    on_both("maintenance", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Tags": ["a"]}), &["w1"]);
        t.register(&json!({"Name": "web", "ID": "w2"}), &["w1", "w2"]);
        assert_eq!(
            t.put("/v1/agent/service/maintenance/w1?enable=true&reason=repair", "").status,
            200
        );
        t.settle_checks("web", "w1", &[("_service_maintenance:w1", "critical")]);
        t.get("/v1/health/service/web");
        t.get("/v1/health/service/web?passing");
        assert_eq!(t.put("/v1/agent/service/maintenance/w1?enable=false", "").status, 200);
        t.settle_checks("web", "w1", &[]);
        assert_eq!(t.put("/v1/agent/maintenance?enable=true", "").status, 200);
        t.settle_checks("web", "w2", &[("_node_maintenance", "critical")]);
        t.get("/v1/health/service/web");
        assert_eq!(t.put("/v1/agent/maintenance?enable=false", "").status, 200);
        t.settle_checks("web", "w2", &[]);
        assert_eq!(t.put("/v1/agent/service/maintenance/w2?enable=true", "").status, 200);
        t.settle_checks("web", "w2", &[("_service_maintenance:w2", "critical")]);
        t.get("/v1/health/service/web");
    });
}

#[test]
fn instance_keeps_check_states_when_registered_again() {
    on_both("registering again", |t| {
        t.register(&json!({"Name": "web", "ID": "w1", "Port": 1, "Check": {"TTL": "1h"}}), &["w1"]);
        t.put("/v1/agent/check/pass/service:w1?note=up", "");
        t.settle_checks("web", "w1", &[("service:w1", "passing")]);
        let again = json!({"Name": "web", "ID": "w1", "Port": 2, "Check": {"TTL": "1h"}});
        t.register(&again, &["w1"]);
        let moved =
            || t.registry.health("web", "").is_ok_and(|h| h.entries[0]["Service"]["Port"] == 2);
        assert!(stack::wait_until(std::time::Duration::from_secs(10), moved));
        t.get("/v1/health/service/web");
        // Another check beside it, then only another one.
        let more = json!({"Name": "web", "ID": "w1", "Port": 2, "Check": {"CheckID": "other", "TTL": "1h"}});
        t.register(&more, &["w1"]);
        t.settle_checks("web", "w1", &[("other", "critical"), ("service:w1", "passing")]);
        t.put("/v1/agent/service/register?replace-existing-checks=true", &more.to_string());
        t.settle_checks("web", "w1", &[("other", "critical")]);
        t.get("/v1/health/service/web");
    });
}

#[test]
fn deregistering_leaves_the_others() {
    on_both("deregistering", |t| {
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        t.register(&json!({"Name": "web", "ID": "w2"}), &["w1", "w2"]);
        t.put("/v1/agent/service/deregister/w1", "");
        t.settle("web", &["w2"]);
        t.get("/v1/health/service/web");
        t.put("/v1/agent/service/deregister/w2", "");
        t.settle("web", &[]);
        let answer = t.get("/v1/health/service/web");
        assert_eq!((answer.status, answer.text().trim()), (200, "[]"));
        t.get("/v1/agent/services");
    });
}
