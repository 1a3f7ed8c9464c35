//! What answers teach: instances that fail are left out, and come back.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Backend, Consul, Registry, Trouble, wait_until};

use crate::testbed::{SOON, Setup, Testbed, instances, who};

const NAMES: [&str; 3] = ["web-1", "web-2", "web-3"];

/// One worker, so that each request is seen by the one that judges.
fn start(consul: &Consul, outlier_detection: Value) -> Testbed {
    let service = json!([{"name": "web", "outlier_detection": outlier_detection}]);
    let bed = Setup::recommended(consul.address()).set("services", service).workers(1).start();
    bed.await_routed("any", &NAMES);
    bed
}

/// Requests until the metric has reached that value.
fn request_until(bed: &Testbed, metric: &str, value: u64) {
    let name = format!("service.web.{metric}");
    let reached = wait_until(SOON, || {
        bed.seen("any", 10);
        bed.stat(&name) >= value
    });
    assert!(reached, "{name} is {}", bed.stat(&name));
}

/// Waits until all that was counted is shown: for two ticks, in which requests are counted too.
fn await_counted(bed: &Testbed) {
    for _ in 0..2 {
        let picks = bed.stat("service.web.picks");
        bed.get("/", "any");
        assert!(wait_until(SOON, || bed.stat("service.web.picks") > picks));
    }
}

#[test]
fn an_instance_that_fails_is_left_out_and_comes_back_when_a_probe_succeeds() {
    let Some(consul) = Consul::start_or_skip("ejection and return") else {
        return;
    };
    let backends = instances(&consul, "web", &NAMES);
    let bed = start(&consul, json!({"max_ejection_percent": 50, "base_ejection_time": "1s"}));
    backends[1].set_trouble(Trouble::always(503));
    request_until(&bed, "ejections", 1);
    // A probe fails every now and then: nobody else gets there.
    let asked = backends[1].requests();
    let mut failed = 0;
    for _ in 0..200 {
        failed += u64::from(bed.get("/", "any").status != 200);
    }
    let probes = backends[1].requests() - asked;
    assert_eq!(failed, probes, "every request that got there has failed");
    assert!(probes <= 3, "{probes} of 200 requests went to an ejected instance");

    backends[1].set_trouble(Trouble::none());
    request_until(&bed, "returns", 1);
    bed.await_routed("any", &NAMES);
    assert!(bed.stat("service.web.failures") >= 5);
    bed.assert_no_crash();
}

#[test]
fn an_instance_that_a_retry_has_saved_requests_from_is_left_out_too() {
    let Some(consul) = Consul::start_or_skip("failures behind retries") else {
        return;
    };
    let backends = instances(&consul, "web", &NAMES);
    let settings = json!({
        "max_ejection_percent": 50, "consecutive_gateway_failure": 3,
        "enforcing_consecutive_gateway_failure": 100,
    });
    let bed = start(&consul, settings);
    // Consul still lists it; its port refuses.
    backends[2].stop();
    request_until(&bed, "ejections", 1);
    assert_eq!(bed.seen("any", 60).keys().collect::<Vec<_>>(), ["web-1", "web-2"]);
    let retries = || bed.envoy.stat("cluster.consul_resolver.upstream_rq_retry").expect("stats");
    let before = retries();
    assert!(before >= 3, "the attempt count is what told");
    bed.seen("any", 60);
    assert!(retries() <= before + 1, "requests still go there first");
    bed.assert_no_crash();
}

#[test]
fn when_too_many_fail_all_are_used_again() {
    let Some(consul) = Consul::start_or_skip("panic") else {
        return;
    };
    let backends = instances(&consul, "web", &NAMES);
    let bed = start(&consul, json!({"max_ejection_percent": 100}));
    for backend in &backends[..2] {
        backend.set_trouble(Trouble::always(500));
    }
    request_until(&bed, "panics", 1);
    let seen = |name: &'static str| {
        wait_until(SOON, || (0..30).any(|_| bed.get("/", "any").header("x-instance") == Some(name)))
    };
    assert!(NAMES.iter().all(|name| seen(name)));
    bed.assert_no_crash();
}

#[test]
fn an_answer_of_another_filter_is_not_held_against_the_instance() {
    let Some(consul) = Consul::start_or_skip("another filter's answer") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let fault = json!({
        "name": "envoy.filters.http.fault",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": {"header_abort": {}, "percentage": {"numerator": 100}},
        },
    });
    let settings = json!({"consecutive_5xx": 1, "max_ejection_percent": 100});
    let service = json!([{"name": "web", "outlier_detection": settings}]);
    let bed = Setup::recommended(consul.address())
        .set("services", service)
        .workers(1)
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            let filters = manager["http_filters"].as_sequence_mut().expect("filters");
            let router = filters.len() - 1;
            filters.insert(router, crate::testbed::yaml(fault));
        })
        .start();
    bed.await_routed("any", &NAMES);
    for _ in 0..10 {
        let answer = bed.request("GET", "/", "any").header("x-envoy-fault-abort-request", "503");
        assert_eq!(answer.send().expect("an answer").status, 503);
    }
    await_counted(&bed);
    assert_eq!((bed.stat("service.web.ejections"), bed.stat("service.web.failures")), (0, 0));
    bed.assert_no_crash();
}

#[test]
fn an_answer_from_elsewhere_is_not_held_against_the_instance() {
    let Some(consul) = Consul::start_or_skip("answers from elsewhere") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let elsewhere = Backend::start("elsewhere").expect("a backend");
    elsewhere.set_trouble(Trouble::always(503));
    let direct = json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 503}});
    let settings = json!({"consecutive_5xx": 1, "max_ejection_percent": 100});
    let service = json!([{"name": "web", "outlier_detection": settings}]);
    let bed = Setup::recommended(consul.address())
        .set("services", service)
        .workers(1)
        .static_route("/elsewhere", elsewhere.address())
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
            routes.as_sequence_mut().expect("routes").insert(0, crate::testbed::yaml(direct));
        })
        .start();
    bed.await_routed("any", &NAMES);
    for path in ["/elsewhere", "/direct"] {
        for _ in 0..10 {
            assert_eq!(bed.get(path, "any").status, 503);
        }
    }
    await_counted(&bed);
    assert_eq!((bed.stat("service.web.ejections"), bed.stat("service.web.failures")), (0, 0));
    bed.assert_no_crash();
}

#[test]
fn where_envoy_shows_no_answers_the_log_says_what_to_add() {
    let Some(consul) = Consul::start_or_skip("answers that are not shown") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    let bed = Setup::recommended(consul.address())
        .workers(1)
        .edit(|bootstrap| {
            let listener = bootstrap.ingress().expect("a listener");
            let plugin = crate::plugin::of_listener(listener);
            let restriction = &mut plugin["vm_config"]["capability_restriction_config"];
            let allowed = restriction["allowed_capabilities"].as_mapping_mut().expect("a map");
            allowed.remove("proxy_on_response_headers").expect("it was allowed");
        })
        .start();
    bed.await_routed("any", &NAMES);
    let told = wait_until(Duration::from_secs(20), || {
        assert!(NAMES.contains(&who(&bed.get("/", "any")).as_str()));
        bed.envoy.log().contains("add proxy_on_response_headers")
    });
    assert!(told, "{}", bed.envoy.log());
    bed.assert_no_crash();
}
