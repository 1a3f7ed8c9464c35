//! Connections that become web sockets, and stay open long after their answer.

use serde_json::json;
use stack::{Consul, Registry, Service, Status, WebSocketBackend, WebSocketClient, wait_until};

use crate::testbed::{SOON, Setup, Testbed, yaml};

const NAMES: [&str; 2] = ["socket-1", "socket-2"];

/// `headers.yaml`, changed for web sockets as docs/limits.md says. One worker, which knows of all
/// requests in flight.
fn start(consul: &Consul) -> Testbed {
    let service = json!([{"name": "web", "load_balancing": {"policy": "least_request"}}]);
    Setup::headers(consul.address())
        .set("services", service)
        .workers(1)
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            manager["upgrade_configs"] = yaml(json!([{"upgrade_type": "websocket"}]));
        })
        .start()
}

fn open(bed: &Testbed) -> (String, WebSocketClient) {
    let mut socket = WebSocketClient::connect(bed.ingress, "any", "/chat").expect("a web socket");
    assert_eq!(socket.exchange("hello").expect("an echo"), "hello");
    (socket.instance().expect("a name").to_owned(), socket)
}

fn count(sockets: &[(String, WebSocketClient)], name: &str) -> usize {
    sockets.iter().filter(|(instance, _)| instance == name).count()
}

#[test]
fn a_web_socket_counts_at_its_instance_as_long_as_it_is_open() {
    let Some(consul) = Consul::start_or_skip("web sockets") else {
        return;
    };
    let _backends = NAMES.map(|name| {
        let backend = WebSocketBackend::start(name).expect("a backend");
        let instance = Service::new("web", name).at(backend.address());
        consul.register(&instance.with_status(Status::Passing)).expect("registered");
        backend
    });
    consul.await_passing("web", &NAMES).expect("passing");
    let bed = start(&consul);
    let is_shown = wait_until(SOON, || bed.stat("service.web.endpoints") == 2);
    assert!(is_shown, "no endpoints");

    // Whoever has fewer open ones gets the next: they are even after every second.
    let mut sockets: Vec<_> = (0..8).map(|_| open(&bed)).collect();
    assert_eq!(NAMES.map(|name| count(&sockets, name)), [4, 4]);
    for (_, socket) in &mut sockets {
        assert_eq!(socket.exchange("still there").expect("an echo"), "still there");
    }

    // Those of one are closed: it gets all until it has as many again.
    sockets.retain(|(instance, _)| instance == "socket-1");
    let active = || bed.envoy.stat("http.ingress.downstream_cx_upgrades_active").expect("stats");
    assert!(wait_until(SOON, || active() == 4), "{} are open", active());
    sockets.extend((0..4).map(|_| open(&bed)));
    assert_eq!(NAMES.map(|name| count(&sockets, name)), [4, 4]);
    sockets.extend((0..2).map(|_| open(&bed)));
    assert_eq!(NAMES.map(|name| count(&sockets, name)), [5, 5]);
    bed.assert_no_crash();
}
