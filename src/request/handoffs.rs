//! Tests of what Envoy is handed of a pick.

use crate::config::Config;
use crate::model::endpoint::{Address, Endpoint};
use crate::model::service::SourceId;
use crate::model::snapshot::Snapshot;
use crate::request::counted::Counted;
use crate::request::{Manner, Verdict};
use crate::rng::Rng;
use crate::router::Router;
use crate::router::handoff::HANDOFF_HEADERS;
use crate::time::Time;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Handles a request for a service of one endpoint, whose names are resolved or not.
fn handle(endpoint: Address, resolve_names: bool, stream: &mut Counted) -> Verdict {
    let json = format!(
        r#"{{"consul":{{"cluster":"c"}},"services":[{{"name":"web","resolve_names":{resolve_names}}}],
            "handoff":{{"via":"{}"}}}}"#,
        if resolve_names { "headers" } else { "filter_state" },
    );
    let mut router = Router::new(&Config::parse(json.as_bytes()).unwrap(), &mut Rng::new(1));
    let snapshot = Snapshot::new(vec![Endpoint::new(endpoint)]);
    router.install(SourceId::nth(0), &snapshot, Time::ZERO);
    let manner = Manner { route_metadata: false, by_headers: resolve_names };
    let service = manner.find(&router, stream);
    manner.handle(&mut router, service, stream)
}

fn ip() -> Address {
    core::net::SocketAddr::from(([10, 0, 0, 1], 80)).into()
}

fn name() -> Address {
    Address::Name("one.test".into(), 443)
}

/// The keys and the values of the filter states that a request was given.
fn states(stream: &Counted) -> Vec<(&str, &str)> {
    stream.filter_states.iter().map(|state| key_and_value(state)).collect()
}

fn key_and_value(state: &[u8]) -> (&str, &str) {
    let (key, rest) = state[2..].split_at(state[1].into());
    assert_eq!((state[0], rest[0], rest.len()), (0x0a, 0x12, 2 + usize::from(rest[1])));
    (str::from_utf8(key).unwrap(), str::from_utf8(&rest[2..]).unwrap())
}

#[test]
fn address_is_host_and_port_to_the_dynamic_forward_proxy() {
    // What a client has put into the headers of the others' handoff is removed here too.
    let with = |stream: Counted, name: &&str| stream.with(name, "trap");
    let mut stream = HANDOFF_HEADERS.iter().fold(Counted::default(), with);
    let verdict = handle(ip(), true, &mut stream);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert!(stream.headers.is_empty());
    let want = [("envoy.upstream.dynamic_host", "10.0.0.1"), ("envoy.upstream.dynamic_port", "80")];
    assert_eq!(states(&stream), want);
}

#[test]
fn name_is_also_what_its_certificate_must_be_of() {
    let mut stream = Counted::default();
    let verdict = handle(name(), true, &mut stream);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    let want = [
        ("envoy.upstream.dynamic_host", "one.test"),
        ("envoy.upstream.dynamic_port", "443"),
        ("envoy.network.upstream_server_name", "one.test"),
        ("envoy.network.upstream_subject_alt_names", "one.test"),
    ];
    assert_eq!(states(&stream), want);
}

#[test]
fn name_costs_three_host_calls_more_than_an_address() {
    let calls = |endpoint, resolve_names| {
        let mut stream = Counted::default();
        let verdict = handle(endpoint, resolve_names, &mut stream);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        // But for a look at each header of the other handoff, which the configuration has here.
        stream.calls - if resolve_names { HANDOFF_HEADERS.len() } else { 0 }
    };
    assert_eq!((calls(ip(), false), calls(ip(), true), calls(name(), true)), (1, 2, 4));
}

#[test]
fn request_is_answered_500_when_a_filter_state_is_refused() {
    let handoffs = [(ip(), false, 1), (ip(), true, 2), (name(), true, 4)];
    for (endpoint, resolve_names, states) in handoffs {
        for takes in 0..states {
            let mut stream = Counted { takes: Some(takes), ..Counted::default() };
            let verdict = handle(endpoint.clone(), resolve_names, &mut stream);
            let is_reply = matches!(&verdict, Verdict::Reply(reply) if reply.status == 500);
            assert!(is_reply, "{endpoint} after {takes}: {verdict:?}");
        }
    }
}
