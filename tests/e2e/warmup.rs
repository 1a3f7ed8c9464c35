//! Requests that come before Consul has answered for the first time.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fake_consul::Agent;
use serde_json::json;
use stack::{Consul, Registry, wait_until};

use crate::testbed::{SOON, Setup, instances, who};
use crate::wire::Connection;

/// An address that refuses connections until it is opened, and then leads to Consul.
struct Gate {
    address: SocketAddr,
}

impl Gate {
    fn closed() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], stack::port::free()));
        Self { address }
    }

    /// Opens it for the rest of the test's process.
    fn open(&self, to: SocketAddr) {
        let listener = TcpListener::bind(self.address).expect("the gate's port");
        thread::spawn(move || {
            for inner in listener.incoming().flatten() {
                let Ok(outer) = TcpStream::connect(to) else {
                    continue;
                };
                for (mut from, mut to) in [twins(&inner, &outer), twins(&outer, &inner)] {
                    thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
    }
}

fn twins(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    let twin = |stream: &TcpStream| stream.try_clone().expect("a socket");
    (twin(from), twin(to))
}

/// The first half of a `POST /echo`; its second half is [`REST`].
fn half(length: usize) -> Vec<u8> {
    let head = format!("POST /echo HTTP/1.1\r\nhost: any\r\ncontent-length: {length}\r\n\r\n");
    [head.into_bytes(), vec![b'1'; length / 2]].concat()
}

const LENGTH: usize = 200_000;
static REST: [u8; LENGTH / 2] = [b'2'; LENGTH / 2];

#[test]
fn request_is_refused_when_the_first_response_stays_away() {
    let gate = Gate::closed();
    let timeout = Duration::from_secs(1);
    for setup in [Setup::headers, Setup::minimal] {
        let bed = setup(gate.address)
            .set("warmup_timeout", json!("1s"))
            .access_log("%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%")
            .start();
        let clients = (0..8).map(|_| {
            let ingress = bed.ingress;
            thread::spawn(move || {
                let asked = Instant::now();
                let mut connection = Connection::open(ingress).expect("a connection");
                let answer = connection.get("/early", "any").expect("an answer");
                let waited = asked.elapsed();
                // The same connection serves the next request.
                let next = connection.get("/next", "any").expect("an answer");
                (answer, next, waited)
            })
        });
        let clients: Vec<_> = clients.collect();
        for client in clients {
            let (answer, next, waited) = client.join().expect("a client");
            let body = r#"503 {"error":"not_resolved_yet","service":"web"}"#;
            assert_eq!((answer.who().as_str(), next.who().as_str()), (body, body));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(waited >= timeout, "answered after {waited:?}");
            assert!(waited < timeout * 3, "answered after {waited:?}");
        }
        let mut posting = Connection::open(bed.ingress).expect("a connection");
        posting.send(&half(LENGTH)).expect("sent");
        let answer = posting.answer().expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.head);
        bed.await_logged("/early 503 consul_resolver.not_resolved_yet");
        assert!(bed.stat("local_replies.not_resolved_yet") >= 17);
        bed.assert_no_crash();
    }
}

// Promise: R-114
#[test]
fn waiting_requests_keep_their_bodies_when_consul_comes_back() {
    let Some(consul) = Consul::start_or_skip("warm-up, an unreachable Consul") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let gate = Gate::closed();
    let bed = Setup::headers(gate.address).set("warmup_timeout", json!("20s")).start();
    let open = || Connection::open(bed.ingress).expect("a connection");
    let mut posting: Vec<Connection> = (0..6).map(|_| open()).collect();
    for connection in &mut posting {
        connection.send(&half(LENGTH)).expect("sent");
    }
    let mut reading: Vec<Connection> = (0..6).map(|_| open()).collect();
    for connection in &mut reading {
        let request = "GET /get HTTP/1.1\r\nhost: any\r\n\r\n";
        connection.send(request.as_bytes()).expect("sent");
    }
    // These do not wait for their answers.
    for request in [half(LENGTH), half(100)] {
        for _ in 0..10 {
            open().send(&request).expect("sent");
        }
    }
    let waiting = "http.ingress.downstream_rq_active";
    let all_wait = wait_until(SOON, || bed.envoy.stat(waiting).expect("stats") == 12);
    assert!(all_wait, "not all of 12 requests wait");
    assert_eq!((web[0].requests(), web[0].connections()), (0, 0));

    gate.open(consul_address(&consul));
    for connection in &mut reading {
        assert_eq!(connection.answer().expect("an answer").who(), "web-1");
    }
    for connection in &mut posting {
        connection.send(&REST).expect("sent");
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.head);
        let whole = [vec![b'1'; LENGTH / 2], REST.to_vec()].concat();
        assert!(answer.body == whole, "{} bytes", answer.body.len());
        assert_eq!(answer.header("x-instance"), Some("web-1"));
    }
    assert_eq!(web[0].requests(), 12, "one of those that went away was sent");
    assert_eq!(bed.stat("local_replies.not_resolved_yet"), 0);
    bed.await_routed("any", &["web-1"]);
    bed.assert_no_crash();
}

#[test]
fn requests_that_wait_go_on_at_once_when_consul_answers() {
    let Some(consul) = Consul::start_or_skip("warm-up, a frozen Consul") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    for setup in [Setup::headers, Setup::minimal, Setup::dynamic_forward_proxy] {
        consul.stop();
        let bed = setup(consul_address(&consul)).set("warmup_timeout", json!("20s")).start();
        let ingress = bed.ingress;
        let mut waiting: Vec<Connection> =
            (0..8).map(|_| Connection::open(ingress).expect("a connection")).collect();
        for connection in &mut waiting {
            let request = "GET / HTTP/1.1\r\nhost: any\r\n\r\n";
            connection.send(request.as_bytes()).expect("sent");
        }
        let active = "http.ingress.downstream_rq_active";
        let all_wait = wait_until(SOON, || bed.envoy.stat(active).expect("stats") == 8);
        assert!(all_wait, "not all of 8 requests wait");
        consul.cont();
        let answered = Instant::now();
        for connection in &mut waiting {
            assert_eq!(connection.answer().expect("an answer").who(), "web-1");
        }
        let took = answered.elapsed();
        assert!(took < Duration::from_secs(2), "it took {took:?}");
        assert_eq!(who(&bed.get("/", "any")), "web-1");
        bed.assert_no_crash();
    }
}

// Promise: R-314
#[test]
fn a_body_of_10_mb_waits_with_its_request() {
    const SIZE: usize = 10 << 20;
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    for reads_bodies in [false, true] {
        let gate = Gate::closed();
        let bed = Setup::minimal(gate.address)
            .set("warmup_timeout", json!("20s"))
            .edit(|bootstrap| {
                let manager = bootstrap.connection_manager().expect("a manager");
                let plugin = &mut manager["http_filters"][0]["typed_config"]["config"];
                plugin["allow_on_headers_stop_iteration"] = reads_bodies.into();
            })
            .start();
        let body = vec![b'1'; SIZE];
        let head = "POST /echo HTTP/1.1\r\nhost: any\r\n";
        let sized = format!("{head}content-length: {SIZE}\r\n\r\n");
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{SIZE:x}\r\n");
        let clients = [(sized, &b""[..]), (chunked, &b"\r\n0\r\n\r\n"[..])].map(|(head, end)| {
            let request = [head.as_bytes(), &body, end].concat();
            let mut connection = Connection::open(bed.ingress).expect("a connection");
            thread::spawn(move || {
                connection.send(&request).expect("sent");
                connection.answer().expect("an answer")
            })
        });
        let active = "http.ingress.downstream_rq_active";
        let all_wait = wait_until(SOON, || bed.envoy.stat(active).expect("stats") == 2);
        assert!(all_wait, "not both requests wait");
        gate.open(stack::Registry::address(&agent));
        for client in clients {
            let answer = client.join().expect("a client");
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert!(answer.body == body, "{} bytes", answer.body.len());
        }
        bed.assert_no_crash();
    }
}

fn consul_address(consul: &Consul) -> SocketAddr {
    stack::Registry::address(consul)
}

#[test]
fn thousands_of_waiting_requests_are_answered_at_one_time() {
    const MANY: usize = 4_000;
    let agent = Agent::start().expect("an agent");
    let gate = Gate::closed();
    let bed = Setup::minimal(gate.address).set("warmup_timeout", json!("60s")).workers(1).start();
    let mut waiting: Vec<Connection> =
        (0..MANY).map(|_| Connection::open(bed.ingress).expect("a connection")).collect();
    for connection in &mut waiting {
        connection.send(b"GET / HTTP/1.1\r\nhost: any\r\n\r\n").expect("sent");
    }
    let active = "http.ingress.downstream_rq_active";
    let all_wait = || bed.envoy.stat(active).expect("stats") == MANY as u64;
    assert!(wait_until(SOON, all_wait), "not all requests wait");
    // There is no instance.
    gate.open(Registry::address(&agent));
    let refused = r#"503 {"error":"no_healthy_endpoints","service":"web"}"#;
    for connection in &mut waiting {
        assert_eq!(connection.answer().expect("an answer").who(), refused);
    }
    bed.assert_no_crash();
}
