//! Instances end, orderly or not, under load.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Backend, BackendProcess, Consul, Registry, Service, Status};

use crate::load::Load;
use crate::testbed::{Setup, instances};

const NAMES: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];

fn register(consul: &dyn Registry, process: &BackendProcess, name: &str) {
    let instance = Service::new("web", name).at(process.address());
    consul.register(&instance.with_status(Status::Passing)).expect("registered");
}

// Promise: R-801
#[test]
fn no_get_fails_when_instances_are_restarted_and_killed() {
    let Some(consul) = Consul::start_or_skip("a rolling restart") else { return };
    let mut processes = NAMES.map(|name| BackendProcess::start(name).expect("a backend"));
    for (process, name) in processes.iter().zip(NAMES) {
        register(&consul, process, name);
    }
    consul.await_passing("web", &NAMES).expect("passing");
    // By picks, and with no filter on the way.
    let beds = [Setup::recommended, Setup::native].map(|setup| setup(consul.address()).start());
    beds.iter().for_each(|bed| bed.await_routed("web.internal", &NAMES));
    let pause = Duration::from_millis(2);
    let loads = beds.each_ref().map(|bed| Load::start(bed.ingress, "web.internal", 6, pause));
    loads.iter().for_each(|load| load.go_on(200));
    for (process, name) in processes.iter_mut().zip(NAMES) {
        consul.deregister(name).expect("deregistered");
        let port = process.address().port();
        process.kill();
        *process = BackendProcess::start_on(name, port).expect("a backend");
        register(&consul, process, name);
        std::thread::sleep(Duration::from_secs(1));
    }
    // Consul lists this one all the time.
    processes[1].kill();
    loads.iter().for_each(|load| load.go_on(1_500));
    loads.into_iter().for_each(|load| load.end_without_failure(&NAMES));
    for bed in beds {
        assert!(bed.envoy.stat("cluster.consul/web.upstream_rq_retry").expect("stats") > 0);
        bed.assert_no_crash();
    }
}

/// The one that is dead has the fewest requests, so that `least_request` prefers it, for a retry, too.
// Promise: R-801
#[test]
fn no_get_fails_when_one_of_two_instances_is_dead() {
    let Some(consul) = Consul::start_or_skip("a dead one of two") else { return };
    let names = ["web-1", "web-2"];
    let mut both = instances(&consul, "web", &names);
    // Nothing but retries helps.
    let bed = Setup::native(consul.address())
        .of_clusters("health_checks", Value::Null)
        .of_clusters("outlier_detection", Value::Null)
        .start();
    bed.await_routed("web.internal", &names);
    both.truncate(1);
    let load = Load::start(bed.ingress, "web.internal", 16, Duration::from_millis(1));
    load.go_on(2_000);
    load.end_without_failure(&names);
    assert!(bed.envoy.stat("cluster.consul/web.upstream_rq_retry").expect("stats") > 100);
    bed.assert_no_crash();
}

// Promise: R-802
#[test]
fn no_get_fails_when_the_nearer_datacenter_is_dead() {
    let Some([near, far]) = Consul::federation_or_skip("a dead datacenter", ["dc1", "dc2"]) else {
        return;
    };
    let dead = instances(&near, "web", &["near-1"]);
    let _far = instances(&far, "web", &["far-1", "far-2"]);
    let web = json!([{"name": "web", "hosts": ["web.internal"], "datacenters": ["dc1", "dc2"]}]);
    // Nothing but retries helps.
    let bed = Setup::recommended(near.address())
        .set("services", web)
        .of_clusters("health_checks", Value::Null)
        .of_clusters("outlier_detection", Value::Null)
        .start();
    bed.await_routed("web.internal", &["near-1"]);
    let address = dead[0].address();
    drop(dead);
    let load = Load::start(bed.ingress, "web.internal", 4, Duration::from_millis(2));
    load.go_on(400);
    // One that is dying may still answer what it has begun with.
    load.end_without_failure(&["near-1", "far-1", "far-2"]);
    let _back = Backend::start_on("near-1", address).expect("a backend");
    bed.await_routed("web.internal", &["near-1"]);
    bed.assert_no_crash();
}
