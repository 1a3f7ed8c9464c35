//! Several datacenters: the first that can takes the requests.

use serde_json::json;
use stack::{Consul, Registry, Service, Status, wait_until};

use crate::share::assert_share;
use crate::testbed::{SOON, Setup, Testbed, instances};

fn start(consul: &Consul, datacenters: [&str; 2]) -> Testbed {
    let service = json!([{"name": "web", "datacenters": datacenters}]);
    Setup::headers(consul.address()).set("services", service).start()
}

fn report(consul: &Consul, name: &str, status: Status) {
    consul.set_check(&Service::check_id(name), status).expect("reported");
}

fn await_stat(bed: &Testbed, name: &str, value: u64) {
    let reached = wait_until(SOON, || bed.stat(name) == value);
    assert!(reached, "{name} is {}", bed.stat(name));
}

#[test]
fn next_datacenter_takes_the_rest_when_the_first_is_degraded() {
    let Some([near, far]) = Consul::federation_or_skip("datacenters", ["dc1", "dc2"]) else {
        return;
    };
    let _near = instances(&near, "web", &["near-1", "near-2"]);
    let _far = instances(&far, "web", &["far-1", "far-2"]);
    let bed = start(&near, ["dc1", "dc2"]);
    await_stat(&bed, "service.web.datacenter.dc1.endpoints", 2);
    await_stat(&bed, "service.web.datacenter.dc2.endpoints", 2);
    bed.await_routed("any", &["near-1", "near-2"]);
    assert_share(&bed.seen("any", 200), "near-1", 50.0);

    // 1 of 2 healthy, times 1.4, is 70 %.
    report(&near, "near-2", Status::Critical);
    bed.await_routed("any", &["near-1", "far-1", "far-2"]);
    let seen = bed.seen("any", 1_500);
    assert_share(&seen, "near-1", 70.0);
    assert_share(&seen, "far-1", 15.0);
    assert_eq!(bed.stat("service.web.datacenter.dc1.endpoints"), 1);

    report(&near, "near-1", Status::Critical);
    bed.await_routed("any", &["far-1", "far-2"]);
    await_stat(&bed, "service.web.datacenter.dc1.endpoints", 0);
    // Neither are there any that are registered.
    near.deregister("near-1").expect("deregistered");
    near.deregister("near-2").expect("deregistered");
    bed.await_routed("any", &["far-1", "far-2"]);

    let _near = instances(&near, "web", &["near-3"]);
    bed.await_routed("any", &["near-3"]);
    assert_eq!(bed.stat("service.web.datacenter.dc2.endpoints"), 2);
    bed.assert_no_crash();
}

#[test]
fn other_datacenters_are_used_when_one_is_unreachable() {
    let Some([near, far]) = Consul::federation_or_skip("a datacenter is lost", ["dc1", "dc2"])
    else {
        return;
    };
    let _near = instances(&near, "web", &["near-1", "near-2"]);
    let _far = instances(&far, "web", &["far-1"]);
    let bed = start(&near, ["dc1", "dc2"]);
    let unknown = start(&near, ["dc9", "dc1"]);
    await_stat(&bed, "service.web.datacenter.dc2.endpoints", 1);
    bed.await_routed("any", &["near-1", "near-2"]);
    // One of which nothing was ever heard is waited for, and then passed over.
    unknown.await_routed("any", &["near-1", "near-2"]);

    far.kill();
    let failed = || {
        let calls = bed.envoy.stats("wasmcustom.consul_resolver.consul_calls.").expect("stats");
        calls.iter().filter(|(name, _)| !name.ends_with(".ok")).map(|(_, count)| count).sum::<u64>()
    };
    assert!(wait_until(SOON, || failed() > 0), "dc2 is not missed");
    let _third = instances(&near, "web", &["near-3"]);
    for bed in [&bed, &unknown] {
        bed.await_routed("any", &["near-1", "near-2", "near-3"]);
    }
    near.deregister("near-3").expect("deregistered");
    bed.await_routed("any", &["near-1", "near-2"]);
    // What was known of it holds.
    assert_eq!(bed.stat("service.web.datacenter.dc2.endpoints"), 1);
    report(&near, "near-2", Status::Critical);
    bed.await_routed("any", &["near-1", "far-1"]);
    bed.assert_no_crash();
    unknown.assert_no_crash();
}
