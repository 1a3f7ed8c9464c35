//! Requests that are refused, or that find nothing.

use crate::on_both;

#[test]
fn an_unknown_service_is_200_and_an_empty_list() {
    on_both("unknown service", |t| {
        let answer = t.get("/v1/health/service/nope");
        assert_eq!((answer.status, answer.text().trim()), (200, "[]"));
        assert!(answer.header("x-consul-index").is_some_and(|index| index != "0"));
        t.get("/v1/health/service/nope?passing&stale");
        t.get("/v1/health/service/nope?consistent");
    });
}

#[test]
fn contradicting_or_malformed_queries_are_400() {
    on_both("malformed queries", |t| {
        for query in [
            "index=1&wait=1",
            "wait=1",
            "wait=bogus",
            "index=abc",
            "index=-1",
            "stale&consistent",
            "passing=maybe",
        ] {
            let answer = t.get(&format!("/v1/health/service/nope?{query}"));
            assert_eq!(answer.status, 400, "{query}");
        }
        assert_eq!(t.get("/v1/health/service/").status, 400);
    });
}

#[test]
fn other_methods_and_paths_are_405_and_404() {
    on_both("methods and paths", |t| {
        assert_eq!(t.call("POST", "/v1/health/service/nope", "").status, 405);
        assert_eq!(t.call("GET", "/v1/agent/service/register", "").status, 405);
        assert_eq!(t.call("GET", "/v1/agent/service/deregister/nope", "").status, 405);
        assert_eq!(t.get("/v1/health/bogus").status, 404);
    });
}

#[test]
fn what_is_not_registered_can_not_be_reported_on() {
    on_both("unknown ids", |t| {
        assert_eq!(t.put("/v1/agent/service/deregister/nope", "").status, 200);
        assert_eq!(t.put("/v1/agent/service/deregister/", "").status, 500);
        assert_eq!(t.put("/v1/agent/check/pass/nope", "").status, 500);
        assert_eq!(t.put("/v1/agent/check/update/nope", r#"{"Status":"passing"}"#).status, 500);
        assert_eq!(t.put("/v1/agent/check/update/nope", r#"{"Status":"x"}"#).status, 400);
        assert_eq!(t.put("/v1/agent/service/maintenance/nope?enable=true", "").status, 404);
        assert_eq!(t.put("/v1/agent/service/maintenance/nope", "").status, 400);
        assert_eq!(t.put("/v1/agent/maintenance", "").status, 400);
        assert_eq!(t.put("/v1/agent/maintenance?enable=bogus", "").status, 400);
        assert_eq!(t.get("/v1/agent/service/nope").status, 404);
    });
}

#[test]
fn registrations_that_make_no_sense_are_400() {
    on_both("registrations refused", |t| {
        for body in [
            r#"{"ID":"x"}"#,
            r#"{"Name":"a","Check":{"HTTP":"http://127.0.0.1:1"}}"#,
            r#"{"Name":"a","Weights":{"Passing":0,"Warning":1}}"#,
            r#"{"Name":"a","Weights":{"Passing":70000,"Warning":1}}"#,
        ] {
            assert_eq!(t.put("/v1/agent/service/register", body).status, 400, "{body}");
        }
        let answer = t.call_without_body("PUT", "/v1/agent/service/register", "{bad");
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with("Request decode failed"));
    });
}
