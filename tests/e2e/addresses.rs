//! Where an instance listens.

use serde_json::json;
use stack::{Backend, Consul, Registry, Service, Status};

use crate::testbed::Setup;

#[test]
fn instance_is_reached_by_node_ipv6_and_tagged_addresses() {
    let Some(consul) = Consul::start_or_skip("addresses") else {
        return;
    };
    let [node, six, tagged] = [
        Backend::start("node-1").expect("a backend"),
        Backend::start_v6("six-1").expect("a backend on [::1]"),
        Backend::start("tagged-1").expect("a backend"),
    ];
    let wan = tagged.address();
    let registered = [
        Service::new("node", "node-1").port(node.address().port().into()),
        Service::new("six", "six-1").at(six.address()),
        // Nothing listens at its own address.
        Service::new("tagged", "tagged-1")
            .at(([127, 0, 0, 1], stack::port::free()).into())
            .tagged_address("wan", wan.ip(), wan.port()),
    ];
    for service in registered {
        let (name, id) = (service.name.clone(), service.id.clone());
        let service = service.with_status(Status::Passing);
        consul.register(&service).expect("registered");
        consul.await_passing(&name, &[&id]).expect("passing");
    }
    let entries = consul.health("node", "passing").expect("health").entries;
    assert_eq!(entries[0]["Service"]["Address"], "", "{entries:?}");
    let services = json!([
        {"name": "node", "hosts": ["node.test"]},
        {"name": "six", "hosts": ["six.test"]},
        {"name": "tagged", "hosts": ["tagged.test"], "address": "wan"},
    ]);
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(consul.address()).set("services", services.clone()).start();
        for service in ["node", "six", "tagged"] {
            bed.await_routed(&format!("{service}.test"), &[&format!("{service}-1")]);
        }
        bed.assert_no_crash();
    }
}
