//! A retry budget holds back what Envoy's route would retry.

use serde_json::{Value, json};
use stack::{Consul, Registry, Service, Status, wait_until};

use crate::testbed::{SOON, Setup, instances, who};

const REQUESTS: u64 = 100;

/// How many of some requests were retried, and how many have failed, where one of two instances
/// refuses; at most as many as the answers say.
fn retried_and_failed(consul: &Consul, budget: Value) -> (u64, u64) {
    let service = json!([{"name": "web", "retry_budget": budget}]);
    let bed = Setup::recommended(consul.address()).set("services", service).workers(1).start();
    let retries = || bed.envoy.stat("cluster.consul_resolver.upstream_rq_retry").expect("stats");
    let failed = (0..REQUESTS).filter(|_| who(&bed.get("/", "any")) != "web-1").count();
    // Counters are told four times a second.
    let counted = || bed.stat("service.web.withheld_retries");
    let all_counted = wait_until(SOON, || counted() >= failed as u64);
    bed.assert_no_crash();
    assert!(all_counted, "{} were held back, {failed} have failed", counted());
    (retries(), failed as u64)
}

#[test]
fn retries_are_made_only_within_the_budget() {
    let Some(consul) = Consul::start_or_skip("retry budget") else {
        return;
    };
    let _live = instances(&consul, "web", &["web-1"]);
    let nobody = ([127, 0, 0, 1], stack::port::free()).into();
    let dead = Service::new("web", "web-2").at(nobody);
    consul.register(&dead.with_status(Status::Passing)).expect("registered");
    consul.await_passing("web", &["web-1", "web-2"]).expect("passing");

    let (retried, failed) =
        retried_and_failed(&consul, json!({"percent": 100, "min_per_second": 3}));
    assert!(retried >= REQUESTS / 3 && failed == 0, "{retried} were retried, {failed} failed");

    let (retried, failed) =
        retried_and_failed(&consul, json!({"percent": 10, "min_per_second": 0}));
    assert!((1..=REQUESTS / 10).contains(&retried), "{retried} of {REQUESTS} were retried");
    assert!(failed >= REQUESTS / 3 - retried, "{retried} were retried, {failed} failed");
}
