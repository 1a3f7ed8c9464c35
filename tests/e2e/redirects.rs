//! Redirects that Envoy follows itself: nothing of the first pick outlives them.

use serde_json::{Value, json};
use stack::client::Answer;
use stack::{Backend, Bootstrap, Consul, Registry};

use crate::log::LogMark;
use crate::testbed::{Setup, Testbed, instances, who, yaml};

/// Makes Envoy follow the redirects of all routes to the cluster that the filter feeds.
fn follow(bootstrap: &mut Bootstrap) {
    let manager = bootstrap.connection_manager().expect("a manager");
    let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
    for route in routes.as_sequence_mut().expect("routes") {
        route["route"]["internal_redirect_policy"] = yaml(json!({"max_internal_redirects": 1}));
    }
}

fn services() -> Value {
    json!([
        {"name": "web", "hosts": ["web.test"]},
        {"name": "api", "hosts": ["api.test"]},
        {"name": "empty", "hosts": ["empty.test"]},
    ])
}

fn redirect(bed: &Testbed, place: &str) -> Answer {
    bed.get(&format!("/redirect?to=http://{place}"), "web.test")
}

fn redirected(bed: &Testbed, place: &str) -> String {
    who(&redirect(bed, place))
}

// Promise: R-902
#[test]
fn no_pick_is_kept_when_envoy_follows_a_redirect() {
    let Some(consul) = Consul::start_or_skip("redirects") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let _api = instances(&consul, "api", &["api-1"]);
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(consul.address()).set("services", services()).edit(follow).start();
        bed.await_routed("web.test", &["web-1"]);
        bed.await_routed("api.test", &["api-1"]);
        bed.await_reply("empty.test", "no_healthy_endpoints");
        let before = web[0].requests();
        // Several connections: both workers.
        for _ in 0..6 {
            assert_eq!(redirected(&bed, "other.test/"), "503 no healthy upstream");
            let api = redirect(&bed, "api.test/headers");
            assert_eq!(who(&api), "api-1");
            let first = web[0].address().to_string();
            assert!(!api.text().contains(&first), "{}", api.text());
            let empty = redirected(&bed, "empty.test/");
            assert!(empty.contains("no_healthy_endpoints"), "{empty}");
        }
        assert_eq!(web[0].requests() - before, 18, "each request, and none that was redirected");
        bed.assert_no_crash();
    }
}

// Promise: R-902
#[test]
fn no_name_is_kept_when_envoy_follows_a_redirect() {
    let Some(consul) = Consul::start_or_skip("redirects, names") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let other = Backend::start("other").expect("a backend");
    let services = json!([{"name": "web", "hosts": ["web.test"], "resolve_names": true}]);
    let bed = Setup::dynamic_forward_proxy(consul.address())
        .set("services", services)
        .set("unmatched", json!("pass"))
        .edit(follow)
        .start();
    bed.await_routed("web.test", &["web-1"]);
    for _ in 0..6 {
        assert_eq!(redirected(&bed, &format!("{}/", other.address())), "other");
    }
    bed.assert_no_crash();
}

#[test]
fn hidden_answers_are_no_missing_answers_when_redirected() {
    let Some(consul) = Consul::start_or_skip("redirects, answers") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let policy = json!({"policy": "peak_ewma"});
    let services = json!([{"name": "web", "hosts": ["web.test"], "load_balancing": policy}]);
    // One worker, so that all is seen by one VM.
    let setup = Setup::headers(consul.address()).workers(1);
    let bed = setup.set("services", services).edit(follow).start();
    for _ in 0..120 {
        assert_eq!(redirected(&bed, "other.test/"), "503 no healthy upstream");
    }
    let told = LogMark::START.lines(&bed.envoy, "learn nothing");
    assert!(told.is_empty(), "{told:?}");
    bed.assert_no_crash();
}
