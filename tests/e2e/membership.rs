//! Instances come and go, and what is left is served all the time.

use std::time::Duration;

use stack::{Consul, Registry, Status};

use crate::load::Load;
use crate::testbed::{Setup, instances};

const PAUSE: Duration = Duration::from_millis(5);

// Promise: R-210
#[test]
fn instances_come_and_go_and_no_request_to_the_others_fails() {
    let Some(consul) = Consul::start_or_skip("instances come and go") else {
        return;
    };
    let _first = instances(&consul, "web", &["web-1", "web-2", "web-3"]);
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    let load = Load::start(bed.ingress, "any", 4, PAUSE);

    let _more = instances(&consul, "web", &["web-4"]);
    bed.await_routed("any", &["web-1", "web-2", "web-3", "web-4"]);
    consul.deregister("web-4").expect("deregistered");
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);

    consul.set_check("service:web-1", Status::Critical).expect("set");
    bed.await_routed("any", &["web-2", "web-3"]);
    consul.maintenance("web-2", true).expect("maintenance");
    bed.await_routed("any", &["web-3"]);
    consul.set_check("service:web-1", Status::Passing).expect("set");
    consul.maintenance("web-2", false).expect("maintenance");
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    load.go_on(100);
    load.end_without_failure(&["web-1", "web-2", "web-3", "web-4"]);

    consul.node_maintenance(true).expect("maintenance");
    bed.await_reply("any", "no_healthy_endpoints");
    consul.node_maintenance(false).expect("maintenance");
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

#[test]
fn warning_instance_is_used_only_when_the_service_allows_it() {
    let Some(consul) = Consul::start_or_skip("an instance in warning") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1", "web-2"]);
    let _lax = instances(&consul, "lax", &["lax-1", "lax-2"]);
    let services = serde_json::json!([
        {"name": "web", "hosts": ["web.test"]},
        {"name": "lax", "hosts": ["lax.test"], "health": "warning"},
    ]);
    let bed = Setup::minimal(consul.address()).set("services", services).start();
    bed.await_routed("web.test", &["web-1", "web-2"]);
    bed.await_routed("lax.test", &["lax-1", "lax-2"]);
    for id in ["service:web-1", "service:lax-1"] {
        consul.set_check(id, Status::Warning).expect("set");
    }
    bed.await_routed("web.test", &["web-2"]);
    bed.await_routed("lax.test", &["lax-1", "lax-2"]);
    consul.set_check("service:lax-1", Status::Critical).expect("set");
    bed.await_routed("lax.test", &["lax-2"]);
    bed.assert_no_crash();
}
