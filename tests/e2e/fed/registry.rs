//! What Consul has is what Envoy's clusters have, within a second.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Consul, Registry, Service, Status, wait_until};

use super::{await_hosts, hosts, plain};
use crate::share::assert_share;
use crate::testbed::{SOON, Setup, Testbed, instance, instances};

/// A service that leaves the catalog is kept for a while.
const GRACE: Duration = Duration::from_secs(45);

/// Services that ask for `web`, each in another way.
fn services() -> Value {
    // An answer without instances is believed at once.
    let guard = json!({"hold": "0s"});
    json!([
        {"name": "web", "hosts": ["web.internal"], "load_balancing": {"policy": "round_robin"}},
        {"name": "warned", "service": "web", "health": "warning"},
        {"name": "any", "service": "web", "health": "any", "shrink_guard": guard},
        {"name": "both", "service": "web", "hosts": ["both.internal"], "datacenters": ["dc1", "dc2"], "shrink_guard": guard},
    ])
}

fn host(instance: &stack::Backend, health: &str, weight: u32, priority: u32) -> (String, Value) {
    let zone = if priority == 0 { "eu-1a" } else { "" };
    (instance.address().to_string(), json!([health, weight, priority, zone]))
}

fn report(consul: &Consul, name: &str, status: Status) {
    consul.set_check(&Service::check_id(name), status).expect("reported");
    consul.await_state("web", name, Some(status)).expect("shown");
}

fn start(near: &Consul) -> Testbed {
    Setup::recommended(near.address())
        .set("services", services())
        .set("discover", json!({"host": "{service}.found"}))
        .set("locality", json!({"zone": "eu-1a", "key": "zone"}))
        .of_clusters("health_checks", Value::Null)
        .start()
}

// Promise: R-201
#[test]
fn clusters_have_what_consul_has_within_a_second() {
    let Some([near, far]) = Consul::federation_or_skip("clusters", ["dc1", "dc2"]) else { return };
    let tell = |web: Service| web.meta("zone", "eu-1a");
    let one = instance(&near, "web", "one", |web| tell(web).weights(3, 1));
    let api = instances(&near, "api", &["api-1"]);
    near.await_passing("web", &["one"]).expect("passing");
    let bed = start(&near);
    bed.await_routed("web.internal", &["one"]);
    bed.await_routed("both.internal", &["one"]);
    for service in ["web", "warned", "any", "both"] {
        await_hosts(&bed, service, [host(&one, "HEALTHY", 3, 0)]);
    }
    // A cluster and a route of a service that was found.
    bed.await_routed("api.found", &["api-1"]);
    await_hosts(&bed, "api", [plain(api[0].address())]);
    let late = instances(&near, "late", &["late-1"]);
    bed.await_routed("late.found", &["late-1"]);
    await_hosts(&bed, "late", [plain(late[0].address())]);
    near.deregister("late-1").expect("deregistered");

    let two = instance(&near, "web", "two", tell);
    near.await_passing("web", &["one", "two"]).expect("passing");
    let both = || [host(&one, "HEALTHY", 3, 0), host(&two, "HEALTHY", 1, 0)];
    for service in ["web", "warned", "any", "both"] {
        await_hosts(&bed, service, both());
    }
    bed.await_routed("web.internal", &["one", "two"]);
    assert_share(&bed.seen("web.internal", 400), "one", 75.0);

    let three = instance(&far, "web", "three", |web| web);
    far.await_passing("web", &["three"]).expect("passing");
    let third = || host(&three, "HEALTHY", 1, 1);
    await_hosts(&bed, "both", both().into_iter().chain([third()]));
    bed.await_routed("both.internal", &["one", "two"]);

    // Neither a name nor a weight of zero is ever sent.
    let named = Service::new("web", "named").address("web.example").port(80);
    near.register(&named.with_status(Status::Passing)).expect("registered");
    let zero = Service::new("web", "zero").at(([127, 0, 0, 1], 1).into()).weights(1, 0);
    near.register(&zero.with_status(Status::Warning)).expect("registered");
    near.await_state("web", "zero", Some(Status::Warning)).expect("shown");
    assert!(wait_until(SOON, || bed.stat("service.web.faulty_instances") > 0));
    for service in ["web", "warned", "any"] {
        await_hosts(&bed, service, both());
    }
    near.deregister("named").expect("deregistered");
    near.deregister("zero").expect("deregistered");

    report(&near, "two", Status::Warning);
    await_hosts(&bed, "web", [host(&one, "HEALTHY", 3, 0)]);
    await_hosts(&bed, "warned", both());
    report(&near, "two", Status::Critical);
    report(&near, "one", Status::Critical);
    await_hosts(&bed, "web", []);
    await_hosts(&bed, "warned", []);
    await_hosts(&bed, "any", both());
    let critical = || [host(&one, "UNHEALTHY", 3, 0), host(&two, "UNHEALTHY", 1, 0)];
    await_hosts(&bed, "both", critical().into_iter().chain([third()]));
    // All of it goes to the other datacenter, and comes back.
    bed.await_routed("both.internal", &["three"]);
    bed.await_reply("web.internal", "no_healthy_endpoints");
    report(&near, "two", Status::Passing);
    report(&near, "one", Status::Passing);
    await_hosts(&bed, "both", both().into_iter().chain([third()]));
    bed.await_routed("both.internal", &["one", "two"]);

    near.maintenance("one", true).expect("maintenance");
    near.await_state("web", "one", Some(Status::Critical)).expect("shown");
    for service in ["web", "any"] {
        await_hosts(&bed, service, [host(&two, "HEALTHY", 1, 0)]);
    }
    near.deregister("one").expect("deregistered");
    near.deregister("two").expect("deregistered");
    near.await_state("web", "two", None).expect("shown");
    await_hosts(&bed, "any", []);
    // A priority that has none is left out.
    await_hosts(&bed, "both", [(three.address().to_string(), json!(["HEALTHY", 1, 0, ""]))]);
    bed.await_routed("both.internal", &["three"]);

    let is_gone = || bed.get("/", "late.found").status == 404 && hosts(&bed, "late").is_empty();
    assert!(wait_until(GRACE, is_gone), "{:?}", hosts(&bed, "late"));
    bed.await_routed("api.found", &["api-1"]);
    bed.assert_no_crash();
}
