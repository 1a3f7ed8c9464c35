//! Clients that want to choose where their requests go, or to kill the filter.

use std::net::SocketAddr;

use serde_json::{Value, json};
use stack::{Backend, Consul, Registry};

use crate::testbed::{Setup, Testbed, instances, yaml};
use crate::wire::{Connection, RawAnswer};

/// One request, byte by byte, but for its host.
struct Trick {
    what: &'static str,
    headers: Vec<u8>,
}

fn tricks(trap: SocketAddr) -> Vec<Trick> {
    let trick = |what, headers: String| Trick { what, headers: headers.into_bytes() };
    let endpoint = |name: &str, number: usize| format!("{name}-{number}: {trap}\r\n");
    let all = |name: &str| (0..5).map(|n| endpoint(name, n)).collect::<String>();
    let long = |name: &str, length: usize| format!("{name}: {}\r\n", "a".repeat(length));
    let mut odd_endpoint = b"x-consul-endpoint-0: \xff\xfe\x80\r\nx-consul-endpoint-1: ".to_vec();
    odd_endpoint.extend(format!("{trap}\r\n").bytes());
    let odd = |what, headers: &[u8]| Trick { what, headers: headers.to_vec() };
    vec![
        trick("nothing odd", String::new()),
        trick("endpoints", all("x-consul-endpoint")),
        trick("endpoints in upper case", all("X-Consul-Endpoint")),
        trick("endpoints twice", all("x-consul-endpoint").repeat(2)),
        trick("the retry's endpoint alone", endpoint("x-consul-endpoint", 1)),
        trick("an original destination", format!("x-envoy-original-dst-host: {trap}\r\n")),
        trick("a long header", long("x-long", 60 << 10)),
        trick("a long endpoint", long("x-consul-endpoint-0", 60 << 10)),
        odd("a header that is not UTF-8", b"x-odd: \xff\xfe\xc3(\x80\r\n"),
        odd("an endpoint that is not UTF-8", &odd_endpoint),
        odd("an empty endpoint", b"x-consul-endpoint-0:\r\n"),
    ]
}

/// What a request may lead to, whatever it holds: the picked instance, the route's own backend,
/// or a refusal. All other answers are mistakes.
fn assert_harmless(answer: &RawAnswer, expected: &str, what: &str) {
    let who = answer.who();
    let refused = matches!(answer.status, 400 | 426 | 431);
    assert!(who == expected || refused, "{what}: {who}");
}

fn ask(bed: &Testbed, request: &[u8]) -> std::io::Result<RawAnswer> {
    let mut connection = Connection::open(bed.ingress)?;
    connection.send(request)?;
    connection.answer()
}

fn request(path: &str, host: &[u8], headers: &[u8]) -> Vec<u8> {
    let line = format!("GET {path} HTTP/1.1\r\nhost: ");
    [line.as_bytes(), host, b"\r\n", headers, b"\r\n"].concat()
}

/// What a backend sees of the handoff's headers is the filter's, of a request that it has picked for.
fn assert_not_the_clients(answer: &RawAnswer, picked: SocketAddr, host: &str, what: &str) {
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let headers = body["headers"].as_object().expect("headers").iter();
    let own =
        headers.filter(|(name, _)| (0..4).any(|n| **name == format!("x-consul-endpoint-{n}")));
    for (name, value) in own {
        assert!(host == "web.test" && *value == picked.to_string(), "{what}: {name}: {value}");
    }
}

/// Tries all of them, where picks go in headers with the address of the instance that is picked.
fn assert_tricks(bed: &Testbed, trap: &Backend, picked: Option<SocketAddr>) {
    for Trick { what, headers } in tricks(trap.address()) {
        for (path, host, expected) in [
            ("/", "web.test", "web-1"),
            ("/", "other.test", "503 no healthy upstream"),
            ("/headers", "web.test", "static"),
            ("/headers", "other.test", "static"),
        ] {
            // Several connections: both workers.
            for _ in 0..3 {
                let what = format!("{what} for {host}{path}");
                let bytes = request(path, host.as_bytes(), &headers);
                let answer = ask(bed, &bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(answer.who(), expected, "{what}");
                if let (Some(picked), "static") = (picked, expected) {
                    assert_not_the_clients(&answer, picked, host, &what);
                }
            }
        }
    }
}

fn assert_odd_hosts(bed: &Testbed) {
    let long = [b"web.test".as_slice(), &b"a".repeat(60 << 10)].concat();
    let hosts: [&[u8]; 7] = [
        b"\xff\xfe.test",
        b"web.test\xff",
        b"",
        b"web.test:",
        b"web.test@other.test",
        b"*.web.test",
        &long,
    ];
    for host in hosts {
        let what = String::from_utf8_lossy(&host[..host.len().min(30)]).into_owned();
        for _ in 0..3 {
            let answer = ask(bed, &request("/headers", host, b""));
            let answer = answer.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_harmless(&answer, "static", &what);
        }
    }
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET /headers HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nx-consul-endpoint-0: 127.0.0.1:1\r\n\r\n",
        "GET /headers HTTP/1.1\r\n\r\n",
        "GET http:// HTTP/1.1\r\nhost: web.test\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: web.test\r\n\r\n",
        "CONNECT web.test:443 HTTP/1.1\r\nhost: web.test:443\r\n\r\n",
    ] {
        for _ in 0..3 {
            // A closed connection is an answer too.
            if let Ok(answer) = ask(bed, request.as_bytes()) {
                let refused = matches!(answer.status, 400 | 404 | 426 | 503);
                let who = answer.who();
                assert!(refused || who == "static" || who == "web-1", "{request:?}: {who}");
            }
        }
    }
}

fn assert_safe(setup: fn(SocketAddr) -> Setup, by_headers: bool, test: &str) {
    let Some(consul) = Consul::start_or_skip(test) else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let own = Backend::start("static").expect("a backend");
    let trap = Backend::start("trap").expect("a backend");
    let bed = setup(consul.address())
        .set("services", json!([{"name": "web", "hosts": ["web.test"]}]))
        .static_route("/headers", own.address())
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            manager["max_request_headers_kb"] = yaml(json!(256));
            manager["http_protocol_options"] = yaml(json!({"accept_http_10": true}));
        })
        .start();
    bed.await_routed("web.test", &["web-1"]);
    assert_tricks(&bed, &trap, by_headers.then(|| web[0].address()));
    assert_odd_hosts(&bed);
    bed.await_routed("web.test", &["web-1"]);
    assert_eq!((trap.connections(), trap.requests()), (0, 0));
    bed.assert_no_crash();
}

/// Without what takes the headers off before any filter.
fn filter_alone(consul: SocketAddr) -> Setup {
    Setup::headers(consul).edit(|bootstrap| {
        let manager = bootstrap.connection_manager().expect("a manager").as_mapping_mut();
        let early = manager.expect("a mapping").remove("early_header_mutation_extensions");
        early.expect("the file has it");
    })
}

// Promise: R-901
#[test]
fn no_client_chooses_its_endpoint_when_headers_carry_it() {
    assert_safe(Setup::headers, true, "hostile clients, headers");
}

// Promise: R-901
#[test]
fn no_client_chooses_its_endpoint_when_only_the_filter_guards() {
    assert_safe(filter_alone, true, "hostile clients, the filter alone");
}

// Promise: R-901
#[test]
fn no_client_chooses_its_endpoint_when_the_filter_is_away() {
    let Some(consul) = Consul::start_or_skip("hostile clients, no filter") else {
        return;
    };
    let trap = Backend::start("trap").expect("a backend");
    let bed = Setup::headers(consul.address()).edit(|bootstrap| {
        let manager = bootstrap.connection_manager().expect("a manager");
        manager["http_filters"].as_sequence_mut().expect("filters").remove(0);
    });
    let bed = bed.start();
    for Trick { what, headers } in tricks(trap.address()) {
        let answer = ask(&bed, &request("/", b"web.test", &headers));
        let answer = answer.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_harmless(&answer, "503 no healthy upstream", what);
    }
    assert_eq!(trap.connections(), 0);
}

// Promise: R-901
#[test]
fn no_client_chooses_its_endpoint_when_filter_state_has_it() {
    assert_safe(Setup::minimal, false, "hostile clients, filter state");
}

#[test]
fn filter_sees_nothing_when_envoy_refuses_the_request() {
    let Some(consul) = Consul::start_or_skip("hostile clients, Envoy's own limits") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("web.test", &["web-1"]);
    let requests = web[0].requests();
    let long = format!("x-long: {}\r\n", "a".repeat(61 << 10));
    for _ in 0..4 {
        let long = ask(&bed, &request("/", b"web.test", long.as_bytes())).expect("an answer");
        assert_eq!(long.status, 431);
        let old = ask(&bed, b"GET / HTTP/1.0\r\n\r\n").expect("an answer");
        assert_eq!(old.status, 426);
    }
    assert_eq!(web[0].requests(), requests);
    bed.await_routed("web.test", &["web-1"]);
    bed.assert_no_crash();
}
