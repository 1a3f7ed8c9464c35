//! Instances that are registered with a hostname, under `envoy/dynamic-forward-proxy.yaml`.

use serde_json::json;
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use crate::log::assert_told_once;
use crate::share::assert_share;
use crate::testbed::{SOON, Setup, instance, instances};

/// An instance that is registered as `localhost`, and one by its IP address.
fn register(consul: &Consul) -> [Backend; 2] {
    let by_name = instance(consul, "web", "name-1", |web| web.address("localhost"));
    let by_ip = instance(consul, "web", "ip-1", |web| web);
    consul.await_passing("web", &["name-1", "ip-1"]).expect("passing");
    let entries = consul.health("web", "passing").expect("health");
    let entry = entries.entry("name-1").expect("an entry");
    assert_eq!(entry["Service"]["Address"], "localhost");
    [by_name, by_ip]
}

#[test]
fn host_name_is_resolved_when_it_stands_beside_ip_addresses() {
    let Some(consul) = Consul::start_or_skip("names") else {
        return;
    };
    let _backends = register(&consul);
    // The last one that goes is believed to have gone at once.
    let guard = json!({ "hold": "0s" });
    let services = json!([{ "name": "web", "resolve_names": true, "shrink_guard": guard }]);
    let bed = Setup::dynamic_forward_proxy(consul.address()).set("services", services).start();
    bed.await_routed("any", &["ip-1", "name-1"]);
    assert_share(&bed.seen("any", 400), "name-1", 50.0);
    assert_eq!(bed.stat("service.web.endpoints"), 2);
    assert_eq!(bed.stat("service.web.faulty_instances"), 0);

    // What a client sends as the host makes no difference to where the request goes.
    let stranger = Backend::start("stranger").expect("a backend");
    let seen = bed.seen(&stranger.address().to_string(), 20);
    assert!(seen.keys().all(|name| ["ip-1", "name-1"].contains(&name.as_str())), "{seen:?}");
    assert_eq!(stranger.requests(), 0);

    // Members change as ever: another port of the same name, and nobody.
    let _second = instance(&consul, "web", "name-2", |web| web.address("localhost"));
    bed.await_routed("any", &["ip-1", "name-1", "name-2"]);
    for name in ["ip-1", "name-1"] {
        consul.deregister(name).expect("deregistered");
    }
    bed.await_routed("any", &["name-2"]);
    consul.deregister("name-2").expect("deregistered");
    bed.await_reply("any", "no_healthy_endpoints");
    bed.assert_no_crash();
}

#[test]
fn an_instance_whose_name_nobody_knows_is_avoided() {
    let Some(consul) = Consul::start_or_skip("names that do not resolve") else {
        return;
    };
    let _live = instances(&consul, "web", &["ip-1", "ip-2"]);
    // RFC 6761: this name never resolves.
    let unknown = Service::new("web", "name-1").address("nobody.invalid").port(80);
    consul.register(&unknown.with_status(Status::Passing)).expect("registered");
    consul.await_passing("web", &["ip-1", "ip-2", "name-1"]).expect("passing");
    // One worker, so that each request is seen by the one that learns.
    let web = json!({
        "name": "web", "resolve_names": true, "load_balancing": {"policy": "peak_ewma"},
    });
    let setup = Setup::dynamic_forward_proxy(consul.address()).workers(1);
    let bed = setup.set("services", json!([web])).start();
    let has_failed = wait_until(SOON, || {
        bed.seen("any", 10);
        bed.stat("service.web.failures") >= 1
    });
    assert!(has_failed, "{:?}", bed.seen("any", 30));
    let answers = (0..100).map(|_| bed.get("/", "any").status);
    let failed = answers.filter(|status| *status != 200).count();
    assert!(failed <= 10, "{failed} of 100 requests went to a name that nobody knows");
    bed.assert_no_crash();
}

#[test]
fn host_name_is_left_out_when_resolve_names_is_off() {
    let Some(consul) = Consul::start_or_skip("names that are not resolved") else {
        return;
    };
    let [by_name, _by_ip] = register(&consul);
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(consul.address()).start();
        bed.await_routed("any", &["ip-1"]);
        assert_eq!(bed.stat("service.web.endpoints"), 1);
        assert_eq!(bed.stat("service.web.faulty_instances"), 1);
        let told = "left out of the answer: 1 with a name instead of an IP address, without \
                    resolve_names";
        assert_told_once(&bed.envoy, told);
        bed.assert_no_crash();
    }
    assert_eq!(by_name.requests(), 0);
}
