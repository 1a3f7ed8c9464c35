//! What becomes of endpoints that Consul confirms no more, and of a start without Consul.

use std::time::Duration;

use serde_json::json;
use stack::{Consul, Registry, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup, instances, who};

// Promise: R-113
#[test]
fn stale_endpoints_fail_until_consul_confirms_them_again() {
    let Some(consul) = Consul::start_or_skip("endpoints that become stale") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let bed = Setup::headers(consul.address())
        .set("consul", json!({ "cluster": "consul", "wait": "1s" }))
        .set("services", json!([{ "name": "web", "max_age": "7s", "on_stale": "fail" }]))
        .access_log("%RESPONSE_CODE_DETAILS%")
        .start();
    bed.await_routed("any", &["web-1"]);
    let mark = LogMark::now(&bed.envoy);

    consul.stop();
    mark.await_line(&bed.envoy, "consul has not confirmed the endpoints for max_age");
    let refused = r#"503 {"error":"stale_endpoints","service":"web"}"#;
    assert!(
        wait_until(SOON, || who(&bed.get("/", "any")) == refused),
        "{}",
        who(&bed.get("/", "any"))
    );
    bed.await_logged("consul_resolver.stale_endpoints");
    assert!(bed.stat("service.web.stale") >= 1);
    assert!(bed.stat("local_replies.stale_endpoints") >= 1);

    consul.cont();
    bed.await_routed("any", &["web-1"]);
    mark.await_line(&bed.envoy, "consul has confirmed the endpoints again");
    bed.assert_no_crash();
}

// Promise: R-114
#[test]
fn fallback_serves_when_consul_is_away_at_the_start() {
    let Some(consul) = Consul::start_or_skip("a fallback") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1", "web-2"]);
    let fallback = web[1].address().to_string();
    consul.deregister("web-2").expect("deregistered");
    consul.stop();
    let bed = Setup::headers(consul.address())
        .set("consul", json!({ "cluster": "consul", "wait": "1s" }))
        .set("services", json!([{ "name": "web", "fallback": [fallback] }]))
        .set("warmup_timeout", json!("500ms"))
        .start();
    assert_eq!(who(&bed.get("/", "any")), "web-2", "after the warm-up");
    assert!(bed.stat("service.web.fallbacks") >= 1);

    consul.cont();
    let resolved = wait_until(Duration::from_secs(20), || who(&bed.get("/", "any")) == "web-1");
    assert!(resolved, "{}", who(&bed.get("/", "any")));
    bed.assert_no_crash();
}
