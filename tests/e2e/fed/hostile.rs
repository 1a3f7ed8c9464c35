//! Who else can reach the socket of the subscriptions, or sends what looks like one elsewhere.

use std::io::Write;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Registry, open_files, wait_until};

use super::{await_hosts, hosts, plain};
use crate::load::Load;
use crate::log::LogMark;
use crate::question::{ENDPOINTS, answer, ask, question};
use crate::testbed::{SOON, Setup, Testbed, instances, yaml};
use crate::wire::Connection;

/// How many questions a client leaves open.
const MANY: usize = 2_000;

/// How many it gives up.
const FEW: usize = 20;

/// Starts one, and gives the address of its abstract socket.
fn start(consul: SocketAddr, workers: u32) -> (Testbed, UnixAddr) {
    let mut socket = None;
    let bed = Setup::recommended(consul)
        .set("services", json!([{"name": "web", "hosts": ["web.internal"]}]))
        .of_clusters("health_checks", Value::Null)
        .workers(workers)
        .edit(|bootstrap| socket = bootstrap.socket().expect("a plugin"))
        .start();
    let socket = socket.expect("a socket");
    let socket = UnixAddr::from_abstract_name(socket.trim_start_matches('@')).expect("a name");
    (bed, socket)
}

/// Sends so many bytes of a body of that length.
fn begin(socket: &UnixAddr, length: usize, sent: usize) -> UnixStream {
    let mut stream = UnixStream::connect_addr(socket).expect("the socket");
    let head =
        format!("POST {ENDPOINTS} HTTP/1.1\r\nhost: xds\r\ncontent-length: {length}\r\n\r\n");
    // One may be refused before all is sent.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b' '; sent]));
    stream
}

// Promise: R-906
#[test]
fn envoy_is_answered_when_others_ask_what_they_like() {
    let agent = Agent::start().expect("an agent");
    open_files::allow(3 * 2_000 + 1_000).expect("open files");
    let web = instances(&agent, "web", &["web-1", "web-2"]);
    let (bed, socket) = start(agent.address(), 2);
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "web.internal");
    let status = |path: &str, body: &str| answer(ask(&socket, path, body)).0;
    assert_eq!(status(ENDPOINTS, "{"), 400);
    assert_eq!(status(ENDPOINTS, &" ".repeat(2 << 20)), 413);
    assert_eq!(status(ENDPOINTS, &question("proxy-2", "web", "")), 404);
    assert_eq!(status("/v3/discovery:secrets", &question("proxy-1", "web", "")), 404);
    LogMark::START.await_line(&bed.envoy, "an Envoy of another node, \"proxy-2\"");
    // A name that nobody has configured has no endpoints.
    let (status, body) = answer(ask(&socket, ENDPOINTS, &question("proxy-1", "wep", "")));
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["resources"][0]["cluster_name"], "wep");
    assert_eq!(body["resources"][0]["endpoints"], json!([]));
    LogMark::START.await_line(&bed.envoy, "which is no service here; did you mean \"web\"");
    let counted = ["malformed", "foreign", "unknown", "too_many", "ended_early"];
    let counted = || counted.map(|what| bed.stat(&format!("xds.{what}")));
    assert!(wait_until(SOON, || counted() == [3, 1, 1, 0, 0]), "{:?}", counted());

    // Over the other listener it is a request as any, or one that has no route.
    let body = question("proxy-1", "web", "");
    for (host, expected) in [("web.internal", 200), ("xds", 404)] {
        let request = bed.request("POST", ENDPOINTS, host).body(body.clone());
        let answer = request.send().expect("an answer");
        assert_eq!(answer.status, expected, "{host}");
        assert!(!answer.text().contains("resources"), "{}", answer.text());
    }

    let (_, told) = answer(ask(&socket, ENDPOINTS, &question("proxy-1", "web", "")));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let version = told["version_info"].as_str().expect("a version");
    let body = question("proxy-1", "web", version);
    let held: Vec<_> = (0..MANY).map(|_| ask(&socket, ENDPOINTS, &body)).collect();
    // With Envoy's own: clusters, routes, and the endpoints of web.
    let are_held = |count: usize| bed.held() == 3 + count as u64;
    assert!(wait_until(SOON, || are_held(MANY)), "{} are held", bed.held());
    let more = instances(&agent, "web", &["web-3"]);
    await_hosts(&bed, "web", web.iter().chain(&more).map(|it| plain(it.address())));
    drop(held);
    bed.await_routed("web.internal", &["web-1", "web-2", "web-3"]);
    let (_, told) = answer(ask(&socket, ENDPOINTS, &question("proxy-1", "web", "")));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let body = question("proxy-1", "web", told["version_info"].as_str().expect("a version"));
    let held: Vec<_> = (0..FEW).map(|_| ask(&socket, ENDPOINTS, &body)).collect();
    assert!(wait_until(SOON, || are_held(FEW)), "{} are held", bed.held());
    drop(held);
    let expected = [3, 1, 1, 0, FEW as u64];
    assert!(wait_until(SOON, || counted() == expected), "{:?}", counted());
    assert!(are_held(0), "{} are held", bed.held());
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-905
#[test]
fn nobody_subscribes_when_asking_the_listener_for_clients() {
    const CLIENTS: usize = 300;
    let agent = Agent::start().expect("an agent");
    open_files::allow(4 * 300 + 1_000).expect("open files");
    let mut web = instances(&agent, "web", &["web-1", "web-2"]);
    let (bed, socket) = start(agent.address(), 1);
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "web.internal");
    // Envoy's own: for clusters, for routes, and for the endpoints of one service.
    let are_held = |count| wait_until(SOON, || bed.held() == count);
    assert!(are_held(3), "{} are held", bed.held());
    let (_, told) = answer(ask(&socket, ENDPOINTS, &question("proxy-1", "web", "")));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let version = told["version_info"].as_str().expect("a version").to_owned();

    let name = String::from_utf8_lossy(socket.as_abstract_name().expect("a name"));
    let pipe = format!("@{name}");
    for kind in ["endpoints", "clusters", "routes"] {
        let path = format!("/v3/discovery:{kind}");
        for (host, expected) in [("web.internal", 200), ("xds", 404), (pipe.as_str(), 400)] {
            for body in [
                question("proxy-1", "web", ""),
                question("proxy-2", "web", &version),
                "{".to_owned(),
                " ".repeat(64 << 10),
            ] {
                let request = bed.request("POST", &path, host).body(body);
                let request = request.header("x-envoy-original-dst-host", &pipe);
                let answer = request.header("x-forwarded-for", "127.0.0.1").send().expect("one");
                let text = answer.text();
                assert_eq!(answer.status, expected, "{path} of {host}: {text}");
                assert!(!text.contains("type.googleapis.com"), "{text}");
            }
        }
    }
    // Held, each would stay for 25 s; and of some the end never comes.
    let body = question("proxy-1", "web", &version);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let missing = number % 2 * 100;
            let length = body.len() + missing;
            let head = format!(
                "POST {ENDPOINTS} HTTP/1.1\r\nhost: web.internal\r\ncontent-length: {length}\r\n\r\n"
            );
            let mut client = Connection::open(bed.ingress).expect("a connection");
            client.send(&[head.as_bytes(), body.as_bytes()].concat()).expect("sent");
            (client, missing)
        })
        .collect();
    web.extend(instances(&agent, "web", &["web-3"]));
    await_hosts(&bed, "web", web.iter().map(|backend| plain(backend.address())));
    assert!(are_held(3), "{} are held", bed.held());
    for (mut client, _) in clients.into_iter().filter(|(_, missing)| *missing == 0) {
        let answer = client.answer().expect("an answer");
        assert!(answer.who().starts_with("web-"), "{}", answer.who());
    }
    for counter in ["foreign", "malformed", "unknown", "too_many"] {
        assert_eq!(bed.stat(&format!("xds.{counter}")), 0, "{counter}");
    }
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-906
#[test]
fn bodies_without_ends_are_refused_and_counted_beyond_a_bound() {
    const MANY: usize = 129;
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    // The bound is that of each worker.
    let (bed, socket) = start(agent.address(), 1);
    bed.await_routed("web.internal", &["web-1"]);
    // The last byte of each is missing.
    let mut begun: Vec<_> = (0..MANY).map(|_| begin(&socket, 1 << 20, (1 << 20) - 1)).collect();
    let counted = || ["too_many", "malformed"].map(|what| bed.stat(&format!("xds.{what}")));
    assert!(wait_until(SOON, || counted() == [1, 0]), "{:?}", counted());
    let _more = instances(&agent, "web", &["web-2"]);
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    begun.clear();
    assert_eq!(answer(ask(&socket, ENDPOINTS, &question("proxy-1", "web", ""))).0, 200);
    bed.assert_no_crash();
}

// Promise: R-501
#[test]
fn endpoints_go_on_when_envoy_rejects_a_template() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = Setup::recommended(agent.address())
        .set("services", json!([{"name": "web"}, {"name": "api"}]))
        .of_clusters("health_checks", Value::Null)
        // It has such a field, and no Envoy takes the value.
        .of_clusters("preconnect_policy", json!({"per_upstream_preconnect_ratio": 500}))
        .edit(|bootstrap| {
            let clusters = &mut bootstrap.config()["static_resources"]["clusters"];
            let subscription = subscription();
            clusters.as_sequence_mut().expect("clusters").push(yaml(json!({
                "name": "consul/static",
                "type": "EDS",
                "connect_timeout": "1s",
                "eds_cluster_config": {"service_name": "web", "eds_config": subscription},
            })));
        })
        .start();
    LogMark::START.await_line(&bed.envoy, "Envoy rejects what it is told by CDS");
    assert!(wait_until(SOON, || bed.stat("xds.rejected") >= 1));
    assert!(wait_until(SOON, || hosts(&bed, "static").len() == 1));
    let _more = instances(&agent, "web", &["web-2"]);
    assert!(wait_until(SOON, || hosts(&bed, "static").len() == 2));
    bed.assert_no_crash();
}

/// How a cluster of the bootstrap subscribes.
fn subscription() -> Value {
    json!({
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0.05s",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["xds"],
            "refresh_delay": "0.02s",
            "request_timeout": "40s",
        },
    })
}
