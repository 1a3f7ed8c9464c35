//! Datacenters are Envoy's priorities, also with no filter on the way.

use serde_json::json;
use stack::{Consul, Registry, Service, Status};

use super::zones::await_shares;
use crate::testbed::{Setup, instances};

// Promise: R-308
#[test]
fn next_datacenter_takes_what_envoy_keeps_from_the_first() {
    let Some([near, far]) = Consul::federation_or_skip("priorities", ["dc1", "dc2"]) else {
        return;
    };
    let _near = instances(&near, "web", &["near-1", "near-2"]);
    let _far = instances(&far, "web", &["far-1"]);
    let services = json!([
        {"name": "web", "hosts": ["web.internal"], "datacenters": ["dc1", "dc2"]},
        {"name": "edge"},
    ]);
    let bed = Setup::native(near.address()).set("services", services).start();
    bed.await_routed("web.internal", &["near-1", "near-2"]);
    let report = |consul: &Consul, name: &str, status| {
        consul.set_check(&Service::check_id(name), status).expect("reported");
    };
    // 1 of 2 healthy, times 1.4, is 70 %: Envoy knows of the critical one, too.
    report(&near, "near-2", Status::Critical);
    await_shares(&bed, "web.internal", &[("near-1", 70.0), ("far-1", 30.0)]);
    report(&near, "near-1", Status::Critical);
    bed.await_routed("web.internal", &["far-1"]);
    // There is no panic: those that are critical get nothing, though there are no others.
    report(&far, "far-1", Status::Critical);
    bed.await_routed("web.internal", &["503 no healthy upstream"]);
    report(&near, "near-1", Status::Passing);
    report(&near, "near-2", Status::Passing);
    bed.await_routed("web.internal", &["near-1", "near-2"]);
    bed.assert_no_crash();
}
