//! Requests stay in the zone of the proxy as far as its instances can take them.

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Backend, Consul, Node, Registry, Service, Status};

use crate::share::assert_share;
use crate::testbed::{Setup, Testbed, instance, yaml};

const EQUAL: [&str; 4] = ["a-1", "a-2", "b-1", "b-2"];

/// An instance is in the zone that its name begins with.
fn zone(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// Instances that are told of by `tell`, which also gets their zone.
fn zoned(
    consul: &dyn Registry,
    names: &[&str],
    tell: impl Fn(Service, &str) -> Service,
) -> Vec<Backend> {
    let start = |name: &&str| instance(consul, "web", name, |web| tell(web, zone(name)));
    let backends = names.iter().map(start).collect();
    consul.await_passing("web", names).expect("passing");
    backends
}

fn by_meta(web: Service, zone: &str) -> Service {
    web.meta("zone", zone)
}

fn setup(consul: &dyn Registry, locality: Value) -> Setup {
    let setup = Setup::headers(consul.address());
    setup.set("services", json!([{"name": "web"}])).set("locality", locality)
}

/// That all requests stay in a zone, of [`EQUAL`] ones.
fn assert_stays_in_a(bed: &Testbed) {
    bed.await_routed("any", &["a-1", "a-2"]);
    assert_share(&bed.seen("any", 200), "a-1", 50.0);
    bed.assert_no_crash();
}

#[test]
fn the_zone_of_an_instance_is_in_the_metadata_of_its_service() {
    let Some(consul) = Consul::start_or_skip("zones by Service.Meta") else {
        return;
    };
    let by_key = |web: Service, zone: &str| web.meta("az", zone).meta("zone", "elsewhere");
    let _backends = zoned(&consul, &EQUAL, by_key);
    let locality = json!({"zone": "a", "key": "az", "min_cluster_size": 2});
    assert_stays_in_a(&setup(&consul, locality).start());
}

#[test]
fn the_zone_of_an_instance_is_in_the_metadata_of_its_node() {
    let Some(consul) = Consul::start_or_skip("zones by Node.Meta") else {
        return;
    };
    let on_node = |web: Service, zone: &str| {
        let node = Node::new(format!("node-{zone}")).meta("zone", zone);
        web.on(node)
    };
    let _backends = zoned(&consul, &EQUAL, on_node);
    let locality = json!({"zone": "a", "min_cluster_size": 2});
    assert_stays_in_a(&setup(&consul, locality).start());
}

#[test]
fn zone_is_the_locality_that_a_newer_consul_knows() {
    let agent = Agent::start().expect("an agent");
    let known = |web: Service, zone: &str| web.locality("eu", zone).meta("zone", "elsewhere");
    let _backends = zoned(&agent, &EQUAL, known);
    let locality = json!({"zone": "a", "min_cluster_size": 2});
    assert_stays_in_a(&setup(&agent, locality).start());
}

#[test]
fn the_zone_of_the_proxy_is_that_of_envoys_node() {
    let Some(consul) = Consul::start_or_skip("the zone of Envoy's node") else {
        return;
    };
    let _backends = zoned(&consul, &EQUAL, by_meta);
    let bed = setup(&consul, json!({"min_cluster_size": 2}))
        .edit(|bootstrap| {
            let node = json!({"id": "proxy", "cluster": "proxies", "locality": {"zone": "a"}});
            bootstrap.config()["node"] = yaml(node);
        })
        .start();
    assert_stays_in_a(&bed);
    assert!(!bed.envoy.log().contains("this proxy's zone is not known"));
}

#[test]
fn zones_are_ignored_when_the_proxys_is_unknown() {
    let Some(consul) = Consul::start_or_skip("zones that make no difference") else {
        return;
    };
    let _backends = zoned(&consul, &EQUAL, by_meta);
    let nowhere = setup(&consul, json!({"min_cluster_size": 2})).start();
    nowhere.await_routed("any", &EQUAL);
    let told = nowhere.envoy.log();
    assert!(told.contains("this proxy's zone is not known"), "{told}");

    // The least number is Envoy's, 6.
    let few = setup(&consul, json!({"zone": "a"})).start();
    few.await_routed("any", &EQUAL);
    let _more =
        ["a-3", "b-3"].map(|name| instance(&consul, "web", name, |web| by_meta(web, zone(name))));
    few.await_routed("any", &["a-1", "a-2", "a-3"]);
    few.assert_no_crash();
}

#[test]
fn other_zones_take_the_rest_by_health_when_the_own_is_full() {
    let Some(consul) = Consul::start_or_skip("spilling over") else {
        return;
    };
    let _backends = zoned(&consul, &["a-1", "a-2", "b-1", "b-2", "b-3", "b-4"], by_meta);
    let bed = setup(&consul, json!({"zone": "a", "min_cluster_size": 2})).start();
    // Two zones with six instances: three would be even, and the own one has two.
    let all = ["a-1", "a-2", "b-1", "b-2", "b-3", "b-4"];
    bed.await_routed("any", &all);
    let seen = bed.seen("any", 1_200);
    assert_share(&seen, "a", 100.0 * 2.0 / 3.0);
    assert_share(&seen, "b-1", 100.0 / 12.0);

    // One of 1 + 4.
    consul.set_check(&Service::check_id("a-2"), Status::Critical).expect("reported");
    bed.await_routed("any", &["a-1", "b-1", "b-2", "b-3", "b-4"]);
    assert_share(&bed.seen("any", 1_200), "a", 40.0);

    consul.set_check(&Service::check_id("a-1"), Status::Critical).expect("reported");
    bed.await_routed("any", &["b-1", "b-2", "b-3", "b-4"]);

    for name in ["a-1", "a-2"] {
        consul.set_check(&Service::check_id(name), Status::Passing).expect("reported");
    }
    for name in ["b-1", "b-2"] {
        consul.set_check(&Service::check_id(name), Status::Critical).expect("reported");
    }
    bed.await_routed("any", &["a-1", "a-2"]);
    bed.assert_no_crash();
}
