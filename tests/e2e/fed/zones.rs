//! Envoy's own policy, with no filter on the way: it stays in its zone, and goes by weights.

use serde_json::json;
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use super::{await_hosts, hosts};
use crate::share::{Seen, count, tolerance};
use crate::testbed::{SOON, Setup, Testbed, instance};

const NEAR: [&str; 3] = ["a-1", "a-2", "a-3"];
const FAR: [&str; 3] = ["b-1", "b-2", "b-3"];
const REQUESTS: usize = 600;

/// An instance is in the zone that its name begins with.
fn zoned(web: Service, name: &str) -> Service {
    let letter = name.split('-').next().unwrap_or(name);
    web.meta("zone", format!("eu-1{letter}"))
}

fn host(instance: &Backend, weight: u32, zone: &str) -> (String, serde_json::Value) {
    (instance.address().to_string(), json!(["HEALTHY", weight, 0, zone]))
}

/// Another proxy in front of the same services.
fn peer(zone: &str) -> Service {
    let peer = Service::new("edge", "peer").address("127.0.0.1").port(9);
    peer.meta("zone", zone).with_status(Status::Passing)
}

/// Waits until those whose names begin so get these shares of the requests, in percent: Envoy gets
/// to know of its peers and of the instances one after the other.
pub(super) fn await_shares(bed: &Testbed, host: &str, shares: &[(&str, f64)]) {
    let mut seen = Seen::new();
    let is_so = wait_until(SOON, || {
        seen = bed.seen(host, REQUESTS);
        shares.iter().all(|&(prefix, percent)| {
            let probability = percent / 100.0;
            let off = count(&seen, prefix) as f64 - REQUESTS as f64 * probability;
            off.abs() <= tolerance(REQUESTS, probability)
        })
    });
    assert!(is_so, "of {host} these were expected, in percent: {shares:?}; {seen:?}");
}

// Promise: R-308
#[test]
fn requests_stay_in_the_zone_as_far_as_that_is_fair() {
    let Some(consul) = Consul::start_or_skip("zones by native.yaml") else { return };
    let all = NEAR.into_iter().chain(FAR);
    let start = |name| instance(&consul, "web", name, |web| zoned(web, name));
    let backends: Vec<_> = all.clone().map(start).collect();
    consul.register(&peer("eu-1b")).expect("registered");
    consul.await_passing("web", &all.collect::<Vec<_>>()).expect("passing");
    let bed = Setup::native(consul.address()).start();
    bed.await_routed("web.internal", &NEAR);
    let zones = |near: &[Backend], far: &[Backend]| {
        let near = near.iter().map(|it| host(it, 1, "eu-1a"));
        near.chain(far.iter().map(|it| host(it, 1, "eu-1b"))).collect::<Vec<_>>()
    };
    await_hosts(&bed, "web", zones(&backends[..3], &backends[3..]));

    // Half of the proxies are in this zone, and two of five instances: 0.4 / 0.5 stay.
    let report = |name: &str, status| {
        consul.set_check(&Service::check_id(name), status).expect("reported");
        consul.await_state("web", name, Some(status)).expect("shown");
    };
    let sixth = instance(&consul, "web", "b-4", |web| zoned(web, "b-4"));
    report("a-3", Status::Critical);
    await_shares(&bed, "web.internal", &[("a-", 100.0 * (2.0 / 6.0) / (1.0 / 2.0))]);
    report("a-3", Status::Passing);
    consul.deregister("b-4").expect("deregistered");
    await_shares(&bed, "web.internal", &[("a-", 100.0)]);
    drop(sixth);

    // It is the only proxy now, and takes what the other one took.
    consul.register(&peer("eu-1a")).expect("registered");
    await_shares(&bed, "web.internal", &[("a-", 50.0)]);
    consul.register(&peer("eu-1b")).expect("registered");
    await_shares(&bed, "web.internal", &[("a-", 100.0)]);

    // An instance moves to this zone: that one has more than its share.
    let moved = Service::new("web", "b-1").at(backends[3].address());
    let moved = moved.meta("zone", "eu-1a").with_status(Status::Passing);
    consul.register(&moved).expect("registered");
    bed.await_routed("web.internal", &["a-1", "a-2", "a-3", "b-1"]);
    await_hosts(&bed, "web", zones(&backends[..4], &backends[4..]));
    bed.assert_no_crash();
}

// Promise: R-308
#[test]
fn weights_are_envoys_when_no_filter_is_on_the_way() {
    let Some(consul) = Consul::start_or_skip("weights by native.yaml") else { return };
    let backends = [("light", 1), ("middle", 2), ("heavy", 5)]
        .map(|(name, weight)| instance(&consul, "web", name, |web| web.weights(weight, 1)));
    consul.await_passing("web", &["light", "middle", "heavy"]).expect("passing");
    let policies = ["least_request", "round_robin", "random"];
    let service = |policy: &str| {
        json!({
            "name": policy,
            "service": "web",
            "hosts": [format!("{policy}.internal")],
            "load_balancing": {"policy": policy},
        })
    };
    let services: Vec<_> =
        policies.map(service).into_iter().chain([json!({"name": "edge"})]).collect();
    let bed = Setup::native(consul.address()).set("services", json!(services)).start();
    let assert_weights = |weights: [u32; 3]| {
        for policy in policies {
            let expected = backends.iter().zip(weights);
            await_hosts(&bed, policy, expected.map(|(it, weight)| host(it, weight, "")));
            // Envoy's random knows no weights.
            let weights = if policy == "random" { [1; 3] } else { weights };
            let percent =
                |weight: u32| 100.0 * f64::from(weight) / f64::from(weights.iter().sum::<u32>());
            let [light, middle, heavy] = weights.map(percent);
            let shares = [("light", light), ("middle", middle), ("heavy", heavy)];
            await_shares(&bed, &format!("{policy}.internal"), &shares);
        }
    };
    let known = || hosts(&bed, "random").len() == 3;
    assert!(wait_until(SOON, known), "{:?}", hosts(&bed, "random"));
    assert_weights([1, 2, 5]);
    let light = Service::new("web", "light").at(backends[0].address()).weights(13, 1);
    consul.register(&light.with_status(Status::Passing)).expect("registered");
    let is_shown = || {
        let health = consul.health("web", "").expect("health");
        health.entry("light").is_some_and(|it| it["Service"]["Weights"]["Passing"] == 13)
    };
    assert!(wait_until(SOON, is_shown), "Consul does not show the weight");
    assert_weights([13, 2, 5]);
    bed.assert_no_crash();
}
