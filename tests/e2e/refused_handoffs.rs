//! Envoy refuses what a request needs of it: its way is its service's, or none.

use serde_json::json;
use stack::{Backend, Consul, Registry};

use crate::capabilities::all_but;
use crate::testbed::{Setup, instances, who};

// Promise: R-902
#[test]
fn request_is_answered_500_when_envoy_refuses_its_handoff() {
    let Some(consul) = Consul::start_or_skip("refused handoffs") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let trap = Backend::start("trap").expect("a backend");
    let bed = Setup::dynamic_forward_proxy(consul.address())
        .edit(all_but("proxy_call_foreign_function"))
        .access_log("%RESPONSE_CODE_DETAILS%")
        .start();
    // Without a handoff the dynamic forward proxy would go where the client says.
    let host = trap.address().to_string();
    for _ in 0..6 {
        assert_eq!(who(&bed.get("/", &host)), r#"500 {"error":"handoff_refused"}"#);
    }
    bed.await_logged("consul_resolver.handoff_refused");
    assert_eq!(trap.connections(), 0);
    assert_eq!(bed.stat("local_replies.handoff_refused"), 6);
    assert_eq!(bed.stat("service.web.picks"), 0);
    bed.assert_no_crash();
}

#[test]
fn request_is_answered_500_when_envoy_refuses_its_headers() {
    let Some(consul) = Consul::start_or_skip("refused headers") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let bed =
        Setup::headers(consul.address()).edit(all_but("proxy_replace_header_map_value")).start();
    // The client's own header would be believed.
    for _ in 0..6 {
        assert_eq!(who(&bed.get("/", "web.test")), r#"500 {"error":"handoff_refused"}"#);
    }
    assert_eq!(web[0].requests(), 0);
    bed.assert_no_crash();
}

// Promise: R-902
#[test]
fn host_decides_nothing_when_envoy_hides_the_route() {
    let Some(consul) = Consul::start_or_skip("hidden routes") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let services = json!([{"name": "web", "hosts": ["web.test"]}]);
    let bed = Setup::headers(consul.address())
        .set("services", services)
        .set("route_metadata", json!(true))
        .set("unmatched", json!("reject"))
        .edit(all_but("proxy_get_property"))
        .start();
    for _ in 0..6 {
        assert_eq!(who(&bed.get("/", "web.test")), r#"404 {"error":"unknown_service"}"#);
    }
    assert_eq!(web[0].requests(), 0);
    bed.assert_no_crash();
}
