//! Registering, registering again, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Backend, Status, wait_until};

use crate::on_both;
use crate::transcript::Transcript;

const REGISTER: &str = "/v1/agent/service/register";

/// Every way of saying, or not, that checks are to be replaced.
const REPLACING: [&str; 5] = [
    "",
    "?replace-existing-checks=true",
    "?replace-existing-checks",
    "?replace-existing-checks=false",
    "?replace-existing-checks=1",
];

fn registered(t: &mut Transcript<'_>, query: &str, body: &Value) {
    let answer = t.put(&format!("{REGISTER}{query}"), &body.to_string());
    assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{body}");
}

#[test]
fn an_instance_is_read_back_as_it_was_registered() {
    on_both("read back", |t| {
        let never = "http://127.0.0.1:1/";
        let body = json!({
            "Name": "web", "ID": "w1", "Address": "10.0.0.1", "Port": 80,
            "Tags": ["b", "a"], "Meta": {"k": "v"}, "EnableTagOverride": true,
            "Weights": {"Passing": 7, "Warning": 2},
            "TaggedAddresses": {
                "lan": {"Address": "10.0.0.9", "Port": 81},
                "virtual": {"Address": "1.2.3.4", "Port": 0},
            },
            "Checks": [
                {"CheckID": "t", "Name": "by hand", "TTL": "1h", "Notes": "a note",
                 "DeregisterCriticalServiceAfter": "90m"},
                {"CheckID": "h", "HTTP": never, "Method": "POST", "Header": {"X-A": ["1", "2"]},
                 "Body": "hello", "Interval": "1h", "Timeout": "1s", "Status": "passing"},
            ],
        });
        registered(t, "", &body);
        let service = t.get("/v1/agent/service/w1").json();
        assert_eq!(service["EnableTagOverride"], true);
        assert!(service.get("Datacenter").is_none() && service.get("Checks").is_none());
        assert_eq!(service["TaggedAddresses"].as_object().map(serde_json::Map::len), Some(4));
        t.get("/v1/agent/services");
        t.get("/v1/agent/checks");
        t.settle("web", &["w1"]);
        t.get("/v1/health/service/web");
    });
}

#[test]
fn an_ip_address_has_further_names_and_a_host_has_none() {
    on_both("names of addresses", |t| {
        for (id, address) in [
            ("v4", "10.0.0.1"),
            ("v4-mapped", "::ffff:0.0.0.0"),
            ("v6", "::1"),
            ("v6-unspecified", "0:0:0:0:0:0:0:0"),
            ("host", "host.test"),
            ("none", ""),
        ] {
            let body = json!({"Name": "web", "ID": id, "Address": address, "Port": 80});
            registered(t, "", &body);
            let service = t.get(&format!("/v1/agent/service/{id}")).json();
            let names = service["TaggedAddresses"].as_object();
            let names: Vec<&str> = names.into_iter().flatten().map(|(key, _)| &**key).collect();
            match id {
                "v4" | "v4-mapped" => assert_eq!(names, ["lan_ipv4", "wan_ipv4"]),
                "v6" | "v6-unspecified" => assert_eq!(names, ["lan_ipv6", "wan_ipv6"]),
                _ => assert!(names.is_empty(), "{names:?}"),
            }
        }
        let own = json!({"lan_ipv4": {"Address": "10.9.9.9", "Port": 9}});
        let body =
            json!({"Name": "web", "ID": "v4", "Address": "10.0.0.2", "TaggedAddresses": own});
        registered(t, "", &body);
        let service = t.get("/v1/agent/service/v4").json();
        assert_eq!(service["TaggedAddresses"]["lan_ipv4"]["Address"], "10.9.9.9");
        assert_eq!(service["TaggedAddresses"]["wan_ipv4"]["Address"], "10.0.0.2");
    });
}

#[test]
fn check_keeps_its_state_when_registered_again() {
    on_both("checks again", |t| {
        for (at, query) in REPLACING.into_iter().enumerate() {
            let id = format!("w{at}");
            let with = |checks: Value| json!({"Name": "web", "ID": id, "Checks": checks});
            let (a, b) = (format!("{id}-a"), format!("{id}-b"));
            let both = json!([{"CheckID": a, "TTL": "1h"}, {"CheckID": b, "TTL": "1h"}]);
            registered(t, query, &with(both));
            let report = r#"{"Status":"passing","Output":"fine"}"#;
            t.put(&format!("/v1/agent/check/update/{a}"), report);
            let checks = "/v1/agent/checks";
            for again in [
                json!([{"CheckID": a, "TTL": "2h"}]),
                json!([{"CheckID": a, "TTL": "2h", "Status": "critical"}]),
                json!([{"CheckID": a, "HTTP": "http://127.0.0.1:1/", "Interval": "1h"}]),
            ] {
                registered(t, query, &with(again));
                let checks = t.get(checks).json();
                assert_eq!(checks[&a]["Status"], "passing", "{query}");
                let replaced = query.is_empty() || query.contains("=false") || query.contains("=1");
                assert_eq!(checks.get(&b).is_some(), replaced, "{query}");
            }
            registered(t, query, &json!({"Name": "web", "ID": id}));
            t.get(checks);
        }
    });
}

#[test]
fn checks_that_the_agent_runs_keep_their_state_too() {
    let backend = Backend::start("web-1").expect("backend");
    on_both("probed checks again", |t| {
        let url = format!("http://{}/", backend.address());
        let body = |interval: &str, status: &str| {
            json!({"Name": "web", "ID": "w1", "Checks": [
                {"CheckID": "h", "HTTP": url, "Interval": interval, "Status": status},
                {"CheckID": "g", "HTTP": url, "Interval": interval, "Status": status},
            ]})
        };
        let put = |t: &Transcript<'_>, query: &str, body: &Value| {
            let path = format!("{REGISTER}{query}");
            t.registry.put(&path, &body.to_string()).expect("registered");
        };
        put(t, "", &body("50ms", ""));
        let passing = [("h", "passing"), ("g", "passing")];
        t.settle_local_checks("w1", &passing);
        for query in REPLACING {
            for status in ["", "critical"] {
                put(t, query, &body("1h", status));
                let checks = t.registry.local_checks("w1").expect("checks");
                assert!(
                    checks["h"].output.starts_with(&format!("HTTP GET {url}: 200 OK Output: "))
                );
                assert!(checks.values().all(|check| check.status == Status::Passing), "{query}");
            }
        }
    });
}

#[test]
fn check_belongs_to_the_last_instance_that_registers_it() {
    on_both("other owners", |t| {
        let check = json!({"CheckID": "shared", "TTL": "1h", "Status": "passing"});
        registered(t, "", &json!({"Name": "a", "Check": check}));
        registered(t, "", &json!({"Name": "b", "Check": {"CheckID": "shared", "TTL": "1h"}}));
        assert_eq!(t.get("/v1/agent/checks").json()["shared"]["ServiceID"], "b");
        t.settle_checks("b", "b", &[("shared", "passing")]);
        t.settle_checks("a", "a", &[]);
        t.get("/v1/health/service/a");

        let both = json!([
            {"CheckID": "x", "TTL": "1h", "Status": "passing"},
            {"CheckID": "y", "TTL": "1h", "Status": "warning"},
        ]);
        registered(t, "", &json!({"Name": "one", "ID": "i", "Checks": both}));
        registered(
            t,
            "",
            &json!({"Name": "two", "ID": "i", "Check": {"CheckID": "x", "TTL": "1h"}}),
        );
        let checks = t.get("/v1/agent/checks").json();
        assert_eq!(
            (&checks["x"]["ServiceName"], &checks["x"]["Status"]),
            (&json!("two"), &json!("passing"))
        );
        assert_eq!(checks["y"]["ServiceName"], "one");
        t.settle("one", &[]);
        t.settle_checks("two", "i", &[("x", "passing"), ("y", "warning")]);
    });
}

#[test]
fn who_registers_again_in_time_keeps_a_ttl_from_running_out() {
    on_both("ttl begins anew", |t| {
        let body = json!({"Name": "web", "ID": "w1", "Check": {"TTL": "800ms"}}).to_string();
        let register = || t.registry.put(REGISTER, &body).expect("registered");
        let status = || t.registry.local_checks("w1").expect("checks")["service:w1"].clone();
        register();
        t.registry.set_check("service:w1", Status::Passing).expect("set");
        let expired = wait_until(Duration::from_secs(2), || {
            register();
            status().status != Status::Passing
        });
        assert!(!expired, "it has run out");
        t.settle_local_checks("w1", &[("service:w1", "critical")]);
        assert_eq!(status().output, "TTL expired");
    });
}

#[test]
fn an_instance_that_is_deregistered_takes_its_checks_along() {
    on_both("deregistered", |t| {
        let body = json!({"Name": "web", "ID": "w/1 ä", "Checks": [
            {"TTL": "1h", "Status": "passing"}, {"TTL": "1h", "Status": "passing"},
        ]});
        registered(t, "", &body);
        let id = "w%2F1%20%C3%A4";
        assert_eq!(t.get(&format!("/v1/agent/service/{id}")).json()["ID"], "w/1 ä");
        let checks = t.get("/v1/agent/checks").json();
        assert_eq!(checks.as_object().map(serde_json::Map::len), Some(2));
        assert_eq!(t.put(&format!("/v1/agent/service/deregister/{id}"), "").text(), "");
        assert_eq!(t.get(&format!("/v1/agent/service/{id}")).status, 404);
        assert_eq!(t.get("/v1/agent/checks").json(), json!({}));
        assert_eq!(t.put(&format!("/v1/agent/service/deregister/{id}"), "").status, 200);
        t.settle("web", &[]);
        // What begins anew knows nothing of before.
        registered(t, "", &json!({"Name": "web", "ID": "w/1 ä", "Check": {"TTL": "1h"}}));
        t.get("/v1/agent/checks");
    });
}

#[test]
fn registrations_are_refused_with_a_reason() {
    on_both("reasons", |t| {
        let long = "x".repeat(513);
        let many: serde_json::Map<String, Value> =
            (0..65).map(|at| (format!("k{at}"), json!("v"))).collect();
        for (body, reason) in [
            (json!(null), "Missing service name"),
            (json!({"ID": "x"}), "Missing service name"),
            (json!({"Name": ""}), "Missing service name"),
            (json!({"Name": "a", "Address": "0.0.0.0"}), "Invalid service address"),
            (json!({"Name": "a", "Address": "[::]"}), "Invalid service address"),
            (json!({"Name": "a", "Weights": {}}), "Invalid Weights: Passing"),
            (
                json!({"Name": "a", "Weights": {"Passing": 1, "Warning": -1}}),
                "Invalid Weights: Warn",
            ),
            (json!({"Name": "a", "Weights": {"Passing": 65536}}), "Invalid Weights: DNS Weight"),
            (json!({"Name": "a", "Meta": {"": "v"}}), "Invalid Service Meta: "),
            (json!({"Name": "a", "Meta": {"a b": "v"}}), "Invalid Service Meta: "),
            (json!({"Name": "a", "Meta": {long.clone(): "v"}}), "Invalid Service Meta: "),
            (json!({"Name": "a", "Meta": {"k": long}}), "Invalid Service Meta: "),
            (json!({"Name": "a", "Meta": {"consul-k": "v"}}), "Invalid Service Meta: "),
            (json!({"Name": "a", "Meta": many}), "Invalid Service Meta: "),
            (json!({"Name": "a", "Checks": [{}]}), "Invalid check: TTL must be > 0"),
            (json!({"Name": "a", "Check": {"Interval": "1h"}}), "Invalid check: TTL must be > 0"),
            (
                json!({"Name": "a", "Check": {"TTL": "1h", "Interval": "1h"}}),
                "Invalid check: Interval and TTL",
            ),
            (
                json!({"Name": "a", "Check": {"TTL": "1h", "HTTP": "http://x:1"}}),
                "Invalid check: Interval must be > 0",
            ),
            (
                json!({"Name": "a", "Check": {"TTL": "1h", "Status": "Passing"}}),
                "Status for checks must",
            ),
            (json!({"Name": "a", "Bogus": 1}), "Request decode failed: json: unknown field"),
            (
                json!({"Name": "a", "Check": {"TTL": "1h", "FailuresBeforeWarning": 1}}),
                "Request decode failed: json: unknown field",
            ),
            (
                json!({"Name": "a", "Checks": [{"TTL": "1h", "check_id": "x"}]}),
                "Request decode failed: json: unknown field",
            ),
        ] {
            let answer = t.put(REGISTER, &body.to_string());
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.text().starts_with(reason), "{body}: {}", answer.text());
        }
        assert_eq!(t.get("/v1/agent/services").json(), json!({}));
    });
}

#[test]
fn bodies_of_the_wrong_form_are_refused() {
    on_both("wrong forms", |t| {
        for body in [
            "{bad",
            "",
            r#"{"Name":1}"#,
            r#"{"Name":"a","Port":"80"}"#,
            r#"{"Name":"a","Port":1.5}"#,
            r#"{"Name":"a","Tags":"x"}"#,
            r#"{"Name":"a","Tags":[1]}"#,
            r#"{"Name":"a","Meta":{"k":1}}"#,
            r#"{"Name":"a","TaggedAddresses":{"lan":"x"}}"#,
            r#"{"Name":"a","EnableTagOverride":"yes"}"#,
            r#"{"Name":"a","Checks":{}}"#,
            r#"{"Name":"a","Check":{"TTL":"soon"}}"#,
            r#"{"Name":"a","Check":{"HTTP":"http://x","Interval":"soon"}}"#,
            r#"{"Name":"a","Check":{"HTTP":"http://x","Interval":"1h","Timeout":"soon"}}"#,
            r#"{"Name":"a","Check":{"HTTP":"http://x","Interval":"1h","Header":{"a":"b"}}}"#,
            r#"{"Name":"a","Check":{"TTL":"1h","DeregisterCriticalServiceAfter":"soon"}}"#,
        ] {
            let answer = t.call_without_body("PUT", REGISTER, body);
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.text().starts_with("Request decode failed: "), "{}", answer.text());
        }
    });
}

#[test]
fn what_makes_little_sense_is_taken() {
    on_both("little sense", |t| {
        for body in [
            json!({"Name": "a", "Port": -1}),
            json!({"name": "a", "PORT": 1, "tagged_addresses": {"x": {"address": "h", "port": 5}}}),
            json!({"Name": "a", "Check": {}}),
            json!({"Name": "a", "Check": {"TTL": "0s"}}),
            json!({"Name": "a", "Check": {"TTL": 3_600_000_000_000_u64}}),
            json!({"Name": "a", "Check": {"HTTP": "x", "Interval": "1h", "Timeout": "2h"}}),
            json!({"Name": "a", "Checks": [
                {"CheckID": "c", "TTL": "1h"}, {"CheckID": "c", "TTL": "2h"},
            ]}),
            json!({"Name": "a", "Check": {"TTL": "1h", "DeregisterCriticalServiceAfter": "1s"}}),
        ] {
            registered(t, "?replace-existing-checks", &body);
            t.get("/v1/agent/service/a");
            t.get("/v1/agent/checks");
        }
    });
}
