//! Checks that a service reports on, and what becomes of them without a report.

use serde_json::{Value, json};

use crate::on_both;
use crate::transcript::Transcript;

fn register(t: &mut Transcript<'_>, check: &Value) {
    let body = json!({"Name": "web", "ID": "w1", "Check": check}).to_string();
    assert_eq!(t.put("/v1/agent/service/register", &body).status, 200);
}

/// What the agent says of the instance's only check.
fn output(t: &Transcript<'_>) -> String {
    t.registry.local_checks("w1").expect("checks")["service:w1"].output.clone()
}

#[test]
fn a_report_sets_state_and_output() {
    on_both("reports", |t| {
        register(t, &json!({"TTL": "1h"}));
        for (call, body, status, said) in [
            ("pass/service:w1?note=all%20fine", "", "passing", "all fine"),
            ("warn/service:w1?note=so+so", "", "warning", "so so"),
            ("fail/service:w1", "", "critical", ""),
            ("update/service%3Aw1", r#"{"status":"warning","output":"x"}"#, "warning", "x"),
            ("update/service:w1", r#"{"Status":"passing"}"#, "passing", ""),
            ("update/service:w1", r#"{"Status":"critical","Output":"é\n"}"#, "critical", "é\n"),
        ] {
            let answer = t.put(&format!("/v1/agent/check/{call}"), body);
            assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{call}");
            let check = t.get("/v1/agent/checks").json()["service:w1"].clone();
            assert_eq!(
                (check["Status"].as_str(), check["Output"].as_str()),
                (Some(status), Some(said))
            );
        }
    });
}

#[test]
fn a_long_report_is_cut() {
    on_both("long reports", |t| {
        register(t, &json!({"TTL": "1h"}));
        for length in [4_096, 4_097, 5_000] {
            let text: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            let report = json!({"Status": "passing", "Output": text}).to_string();
            assert_eq!(t.put("/v1/agent/check/update/service:w1", &report).status, 200);
            assert_eq!(output(t).contains(" ... (captured 4096 of "), length > 4_096);
            t.get("/v1/agent/checks");
        }
    });
}

#[test]
fn a_report_without_sense_is_refused_whatever_it_is_on() {
    on_both("senseless reports", |t| {
        register(t, &json!({"TTL": "1h", "Status": "passing"}));
        for id in ["service:w1", "nope"] {
            let path = format!("/v1/agent/check/update/{id}");
            for (body, reason) in [
                (r#"{"Status":"good"}"#, "Invalid check status: 'good'"),
                (r#"{"Status":"Passing"}"#, "Invalid check status: 'Passing'"),
                ("{}", "Invalid check status: ''"),
                (
                    r#"{"Status":"passing","X":1}"#,
                    r#"Request decode failed: json: unknown field "X""#,
                ),
            ] {
                let answer = t.put(&path, body);
                assert_eq!((answer.status, answer.text().as_str()), (400, reason));
            }
            for body in ["{bad", "", r#"{"Status":1}"#] {
                let answer = t.call_without_body("PUT", &path, body);
                assert_eq!(answer.status, 400);
                assert!(answer.text().starts_with("Request decode failed: "), "{}", answer.text());
            }
            assert_eq!(t.get(&path).status, 405);
        }
        t.get("/v1/agent/checks");
    });
}

#[test]
fn report_is_refused_when_the_check_is_unknown_or_has_no_ttl() {
    on_both("no such check", |t| {
        register(t, &json!({"CheckID": "h", "HTTP": "http://127.0.0.1:1/", "Interval": "1h"}));
        for id in ["nope", "h", ""] {
            let text = format!("CheckID {id:?} does not have associated TTL");
            for call in ["pass", "warn", "fail", "update"] {
                let path = format!("/v1/agent/check/{call}/{id}");
                let answer = t.put(&path, r#"{"Status":"passing"}"#);
                assert_eq!((answer.status, answer.text()), (500, text.clone()), "{path}");
            }
        }
        assert_eq!(t.get("/v1/agent/check/pass/h").status, 405);
    });
}

#[test]
fn a_ttl_runs_out_with_the_last_words_of_the_service() {
    on_both("last words", |t| {
        let critical = [("service:w1", "critical")];
        register(t, &json!({"TTL": "300ms", "Status": "passing"}));
        t.settle_local_checks("w1", &critical);
        assert_eq!(output(t), "TTL expired");
        t.put("/v1/agent/check/pass/service:w1?note=still+here", "");
        t.settle_local_checks("w1", &critical);
        let last = "TTL expired (last output before timeout follows): still here";
        assert_eq!(output(t), last);
        // Registered again it keeps what it said, and then forgets what the service said.
        register(t, &json!({"TTL": "300ms"}));
        t.get("/v1/agent/checks");
        t.put("/v1/agent/check/pass/service:w1", "");
        t.settle_local_checks("w1", &critical);
        assert_eq!(output(t), "TTL expired");
        t.settle_checks("web", "w1", &critical);
        t.get("/v1/health/service/web");
    });
}

#[test]
fn one_check_is_deregistered_without_its_instance() {
    on_both("one check less", |t| {
        let checks = json!([
            {"CheckID": "a", "TTL": "1h", "Status": "passing"},
            {"CheckID": "b", "TTL": "1h", "Status": "critical"},
        ]);
        t.register(&json!({"Name": "web", "ID": "w1", "Checks": checks}), &["w1"]);
        t.settle_checks("web", "w1", &[("a", "passing"), ("b", "critical")]);
        assert_eq!(t.put("/v1/agent/check/deregister/b", "").status, 200);
        t.get("/v1/agent/checks");
        t.settle_checks("web", "w1", &[("a", "passing")]);
        t.get("/v1/health/service/web?passing");
        assert_eq!(t.put("/v1/agent/check/deregister/b", "").status, 200, "it is gone already");
        assert_eq!(t.put("/v1/agent/check/pass/b", "").status, 500);
    });
}
