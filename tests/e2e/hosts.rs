//! Which service a request belongs to, and what the filter answers by itself.

use serde_json::{Value, json};
use stack::client::Answer;
use stack::{Backend, Bootstrap, Consul, Registry};

use crate::testbed::{Setup, Testbed, instances, who, yaml};

const LOG: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%";

fn services() -> Value {
    json!([
        {"name": "web", "hosts": ["web.test", "*.web.internal"]},
        {"name": "api", "hosts": ["API.test", "v1.web.internal"]},
        {"name": "empty", "hosts": ["empty.test"]},
    ])
}

/// One more, which only a route can name.
fn services_with_named() -> Value {
    let mut services = services();
    let all = services.as_array_mut().expect("a list");
    all.push(json!({"name": "named"}));
    services
}

/// Adds a route below `prefix` whose metadata name a service.
fn name_service(bootstrap: &mut Bootstrap, prefix: &str, service: &str) {
    let manager = bootstrap.connection_manager().expect("a manager");
    let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
    let routes = routes.as_sequence_mut().expect("routes");
    let mut route = routes.last().expect("a route").clone();
    route["match"] = yaml(json!({"prefix": prefix}));
    route["metadata"] = yaml(json!({"filter_metadata": {"consul": {"service": service}}}));
    routes.insert(0, route);
}

/// Envoy's own answer where nobody has picked an endpoint.
const NO_UPSTREAM: &str = "503 no healthy upstream";

fn assert_hosts(bed: &Testbed, unmatched: &str) {
    for (host, expected) in [
        ("web.test", "web-1"),
        ("WEB.Test", "web-1"),
        ("web.test:8080", "web-1"),
        ("web.test.", "web-1"),
        ("a.web.internal", "web-1"),
        ("a.b.WEB.internal:80", "web-1"),
        ("v1.web.internal", "api-1"),
        ("api.test", "api-1"),
        ("api.test:443", "api-1"),
        ("web.internal", unmatched),
        ("web.test.evil", unmatched),
        ("eweb.test", unmatched),
        ("named", unmatched),
        ("127.0.0.1", unmatched),
        ("[::1]:80", unmatched),
    ] {
        // Several connections: both workers.
        for _ in 0..4 {
            assert_eq!(who(&bed.get("/", host)), expected, "{host}");
        }
    }
}

fn assert_reply(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let retry_after = (status == 503).then_some("1");
    assert_eq!(answer.header("retry-after"), retry_after, "{body}");
}

#[test]
fn request_passes_to_its_route_when_no_service_has_its_host() {
    let Some(consul) = Consul::start_or_skip("hosts, unmatched: pass") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let _api = instances(&consul, "api", &["api-1"]);
    let own = Backend::start("static").expect("a backend");
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(consul.address())
            .set("services", services())
            .static_route("/static", own.address())
            .access_log(LOG)
            .start();
        bed.await_routed("web.test", &["web-1"]);
        bed.await_routed("api.test", &["api-1"]);
        assert_hosts(&bed, NO_UPSTREAM);
        bed.await_reply("empty.test", "no_healthy_endpoints");
        assert_eq!(who(&bed.get("/static", "other.test")), "static");
        let answer = bed.get("/none", "empty.test");
        let body = r#"{"error":"no_healthy_endpoints","service":"empty"}"#;
        assert_reply(&answer, 503, body);
        let line = "/none 503 consul_resolver.no_healthy_endpoints";
        bed.await_logged(line);
        bed.assert_no_crash();
    }
    assert!(own.requests() > 0);
}

#[test]
fn unmatched_are_rejected_when_route_metadata_names_none() {
    let Some(consul) = Consul::start_or_skip("hosts, unmatched: reject") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let _api = instances(&consul, "api", &["api-1"]);
    let _named = instances(&consul, "named", &["named-1"]);
    let own = Backend::start("static").expect("a backend");
    let unknown = r#"{"error":"unknown_service"}"#;
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(consul.address())
            .set("services", services_with_named())
            .set("unmatched", json!("reject"))
            .set("route_metadata", json!(true))
            .static_route("/static", own.address())
            .edit(|bootstrap| {
                name_service(bootstrap, "/named", "named");
                name_service(bootstrap, "/api", "Api");
                name_service(bootstrap, "/unknown", "secret");
            })
            .access_log(LOG)
            .start();
        bed.await_routed("web.test", &["web-1"]);
        bed.await_routed("api.test", &["api-1"]);
        assert_hosts(&bed, &format!("404 {unknown}"));
        for _ in 0..8 {
            for host in ["web.test", "other.test"] {
                assert_eq!(who(&bed.get("/named", host)), "named-1");
                assert_eq!(who(&bed.get("/api", host)), "api-1");
                assert_reply(&bed.get("/unknown", host), 404, unknown);
            }
            assert_reply(&bed.get("/static", "other.test"), 404, unknown);
        }
        bed.await_logged("/unknown 404 consul_resolver.unknown_service");
        bed.await_logged("/named 200 via_upstream");
        bed.assert_no_crash();
    }
    assert_eq!(own.requests(), 0);
}
