//! Tests of the handoff of a pick to Envoy.

use crate::config::{Config, Handoff};
use crate::handoff::headers::HANDOFF_HEADERS;
use crate::model::endpoint::{Address, Endpoint};
use crate::model::service::SourceId;
use crate::model::snapshot::Snapshot;
use crate::request::counted::Counted;
use crate::request::handler::RequestHandler;
use crate::router::Router;
use crate::router::disposition::Disposition;
use crate::util::rng::Rng;
use crate::util::time::Time;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Handles a request for a service of one endpoint, whose names are resolved or not.
fn handle(endpoint: Address, resolve_names: bool, stream: &mut Counted) -> Disposition {
    let json = format!(
        r#"{{"consul":{{"cluster":"c"}},"services":[{{"name":"web","resolve_names":{resolve_names}}}],
            "handoff":{{"via":"{}"}}}}"#,
        if resolve_names { "headers" } else { "filter_state" },
    );
    let config = Config::parse(json.as_bytes()).unwrap();
    let mut router = Router::new(&config, &mut Rng::new(1));
    let snapshot = Snapshot::new(vec![Endpoint::new(endpoint)]);
    router.install(SourceId::nth(0), &snapshot.into(), Time::ZERO);
    let handler = RequestHandler { route_metadata: false };
    let service = handler.find(&router, stream);
    handler.handle(&mut router, service, stream)
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
    let disposition = handle(ip(), true, &mut stream);
    assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
    assert!(stream.headers.is_empty());
    let want = [("envoy.upstream.dynamic_host", "10.0.0.1"), ("envoy.upstream.dynamic_port", "80")];
    assert_eq!(states(&stream), want);
}

#[test]
fn name_is_also_what_its_certificate_must_be_of() {
    let mut stream = Counted::default();
    let disposition = handle(name(), true, &mut stream);
    assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
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
        let disposition = handle(endpoint, resolve_names, &mut stream);
        assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
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
            let disposition = handle(endpoint.clone(), resolve_names, &mut stream);
            let is_reply = matches!(&disposition, Disposition::Reply(reply) if reply.status == 500);
            assert!(is_reply, "{endpoint} after {takes}: {disposition:?}");
        }
    }
}

// Promise: R-903
#[test]
fn request_is_answered_500_when_a_header_is_refused() {
    for handoff in [Handoff::Headers { attempts: 2 }, Handoff::StatefulSession] {
        for mut stream in [Counted::to("web.test"), hostile("other.test")] {
            stream.refuses_headers = true;
            let disposition = handle_by(handoff, &mut stream);
            let is_reply = matches!(&disposition, Disposition::Reply(reply) if reply.status == 500);
            assert!(is_reply, "{handoff:?}: {disposition:?}");
        }
    }
}

/// Handles a request that may be one for a service with a host, and one endpoint.
fn handle_by(handoff: Handoff, stream: &mut Counted) -> Disposition {
    let json = br#"{"consul":{"cluster":"c"},"services":[{"name":"web","hosts":["web.test"]}]}"#;
    handle_with(json, handoff, stream)
}

/// Handles a request by this configuration, whose service has one endpoint.
fn handle_with(json: &[u8], handoff: Handoff, stream: &mut Counted) -> Disposition {
    let config = Config { handoff, ..Config::parse(json).unwrap() };
    let mut router = Router::new(&config, &mut Rng::new(1));
    let snapshot = Snapshot::new(vec![Endpoint::new(ip())]);
    router.install(SourceId::nth(0), &snapshot.into(), Time::ZERO);
    let handler = RequestHandler { route_metadata: false };
    let service = handler.find(&router, stream);
    handler.handle(&mut router, service, stream)
}

/// A request that says itself where it is to go.
fn hostile(host: &str) -> Counted {
    let names = HANDOFF_HEADERS.iter().copied().chain([Handoff::SESSION_HEADER]);
    names.fold(Counted::to(host), |stream, name| stream.with(name, "trap"))
}

#[test]
fn a_pick_for_a_session_costs_two_host_calls() {
    let mut stream = Counted::to("web.test");
    let disposition = handle_by(Handoff::StatefulSession, &mut stream);
    assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
    // The authority, and the header. In it is `10.0.0.1:80`.
    assert_eq!(stream.calls, 2);
    assert_eq!(stream.value(Handoff::SESSION_HEADER), Some("MTAuMC4wLjE6ODA="));
}

#[test]
fn pick_for_a_session_costs_one_host_call_when_no_host_is_read() {
    let json = br#"{"consul":{"cluster":"c"},"services":[{"name":"web"}]}"#;
    let mut stream = hostile("any.test");
    let disposition = handle_with(json, Handoff::StatefulSession, &mut stream);
    assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
    assert_eq!(stream.calls, 1);
    assert_eq!(stream.value(Handoff::SESSION_HEADER), Some("MTAuMC4wLjE6ODA="));
}

// Promise: R-903
#[test]
fn a_session_of_a_client_never_stays() {
    let mut matched = hostile("web.test").with(Handoff::SESSION_HEADER, "another");
    assert!(matches!(handle_by(Handoff::StatefulSession, &mut matched), Disposition::Forward(_)));
    assert_eq!(matched.value(Handoff::SESSION_HEADER), Some("MTAuMC4wLjE6ODA="));
    let values = matched.headers.iter().filter(|(name, _)| name == Handoff::SESSION_HEADER);
    assert_eq!((values.count(), matched.calls), (1, 2));

    let mut passing = hostile("other.test");
    assert!(matches!(handle_by(Handoff::StatefulSession, &mut passing), Disposition::Pass));
    assert_eq!(passing.value(Handoff::SESSION_HEADER), None);
    // The authority, a look, and the removal; without a header to remove Envoy routes nothing anew.
    assert_eq!(passing.calls, 3);
    let mut passing = Counted::to("other.test");
    assert!(matches!(handle_by(Handoff::StatefulSession, &mut passing), Disposition::Pass));
    assert_eq!(passing.calls, 2);
}
