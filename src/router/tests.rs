use super::*;
use crate::model::endpoint::Endpoint;
use crate::router::forward::Attempt;
use crate::router::forward::Forward;
use crate::router::reply::ReplyReason;
use core::net::SocketAddr;
use hashbrown::HashSet;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const WEB: ServiceId = ServiceId::nth(0);
const API: ServiceId = ServiceId::nth(1);

fn router(more: &str) -> Router {
    let json = format!(
        r#"{{
            "consul": {{ "cluster": "consul" }},
            "services": [
                {{ "name": "web", "hosts": ["web.test"] }},
                {{ "name": "Api", "hosts": ["api.test"] }}
            ]
            {more}
        }}"#
    );
    Router::new(&Config::parse(json.as_bytes()).unwrap(), &mut Rng::new(1))
}

fn snapshot(ports: &[u16]) -> Rc<Snapshot> {
    let address = |&port| SocketAddr::from(([10, 0, 0, 1], port));
    Snapshot::new(ports.iter().map(address).map(Endpoint::new).collect()).into()
}

fn forward(decision: Disposition) -> Forward {
    match decision {
        Disposition::Forward(forward) => forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

fn reply(decision: Disposition) -> ReplyReason {
    match decision {
        Disposition::Reply(reply) => reply.reason,
        other => panic!("not answered: {other:?}"),
    }
}

#[test]
fn request_waits_until_the_first_snapshot_even_an_empty_one() {
    let mut router = router("");
    let Disposition::Wait { reply: reply_after, .. } =
        router.decide(Some(WEB), &PickContext::default())
    else {
        panic!("did not wait");
    };
    assert_eq!(reply_after.reason, ReplyReason::NotResolvedYet);
    assert!(!router.is_resolved(WEB));

    router.install(SourceId::nth(0), &Rc::default(), Time::ZERO);
    assert!(router.is_resolved(WEB) && !router.is_resolved(API));
    let reason = reply(router.decide(Some(WEB), &PickContext::default()));
    assert_eq!(reason, ReplyReason::NoHealthyEndpoints);

    router.install(SourceId::nth(0), &snapshot(&[80]), Time::ZERO);
    let forward = forward(router.decide(Some(WEB), &PickContext::default()));
    assert_eq!(forward.ticket().host().address().port(), 80);
    assert_eq!((router.endpoints(WEB), router.in_flight(WEB)), (1, 1));
    drop(forward);
    assert_eq!((router.endpoints(API), router.in_flight(WEB)), (0, 0));
}

#[test]
fn a_service_has_a_source_for_each_datacenter() {
    let json = r#"{
        "consul": { "cluster": "consul" },
        "services": [
            { "name": "one", "hosts": ["one.test"] },
            { "name": "two", "hosts": ["two.test"], "datacenters": ["dc1", "dc2"] },
            { "name": "three", "hosts": ["three.test"] }
        ]
    }"#;
    let router = Router::new(&Config::parse(json.as_bytes()).unwrap(), &mut Rng::new(1));
    let of = |service| router.sources(ServiceId::nth(service));
    let [first, second, third, fourth] = [0, 1, 2, 3].map(SourceId::nth);
    assert_eq!(
        [of(0), of(1), of(2), of(3)],
        [vec![first], vec![second, third], vec![fourth], vec![]]
    );
}

#[test]
fn a_request_of_no_service_passes_or_is_rejected() {
    let mut passing = router("");
    let mut rejecting = router(r#", "unmatched": "reject""#);
    for service in [None, Some(ServiceId::nth(2))] {
        assert!(matches!(passing.decide(service, &PickContext::default()), Disposition::Pass));
        let reason = reply(rejecting.decide(service, &PickContext::default()));
        assert_eq!(reason, ReplyReason::UnknownService);
    }
    rejecting.install(SourceId::nth(2), &snapshot(&[80]), Time::ZERO);
    assert!(!rejecting.is_resolved(ServiceId::nth(2)));
}

#[test]
fn a_service_is_found_by_its_host_and_by_its_name() {
    let router = router("");
    assert!(router.needs_authority());
    assert_eq!(router.service_by_host(Some(b"API.test:80")), Some(API));
    assert_eq!(router.service_by_host(None), None);
    assert_eq!(router.service_by_name(b"Web"), Some(WEB));
    assert_eq!(router.service_by_name(b"api"), Some(API));
    assert_eq!(router.service_by_name(b"we"), None);
}

#[test]
fn each_attempt_has_a_header_and_its_own_endpoint_if_possible() {
    let mut router = router(r#", "handoff": { "via": "headers", "attempts": 3 }"#);
    for (ports, distinct) in [(&[1, 2, 3, 4, 5][..], 3), (&[1, 2], 2), (&[1], 1)] {
        router.install(SourceId::nth(0), &snapshot(ports), Time::ZERO);
        let forward = forward(router.decide(Some(WEB), &PickContext::default()));
        let values: Vec<_> = forward.handoffs().collect();
        assert_eq!(values.len(), 3);
        assert_eq!(values[0].first(), forward.ticket().host().handoff().first());
        assert_eq!(
            values.iter().map(|value| value.first()).collect::<HashSet<_>>().len(),
            distinct
        );
        assert!((0..3).all(|n| values[n].first() == values[n % distinct].first()));
        assert_eq!(router.in_flight(WEB), 1);
    }
}

#[test]
fn service_that_has_gone_does_not_count_for_its_successor() {
    let mut router = router("");
    let old = router.add(&Service::new("old")).unwrap();
    let source = SourceId::nth(2);
    router.attach(old, 0, source);
    router.install(source, &snapshot(&[80]), Time::ZERO);
    let late = forward(router.decide(Some(old), &PickContext::default()));
    assert_eq!(router.remove(old), [source]);
    assert!(!router.has(old) && router.remove(old).is_empty());

    let new = router.add(&Service::new("new")).unwrap();
    router.attach(new, 0, source);
    router.install(source, &snapshot(&[80]), Time::ZERO);
    assert_ne!(new, old);
    assert_eq!((router.in_flight(new), router.endpoints(new)), (0, 1));
    assert_eq!(router.on_response(&late, Attempt::new(2), Time::ZERO), 0);
    assert!(matches!(router.decide(Some(old), &PickContext::default()), Disposition::Pass));
}

#[test]
fn a_source_has_endpoints_for_every_service_that_uses_it() {
    let mut router = router("");
    let third = router.add(&Service::new("third")).unwrap();
    router.attach(third, 0, SourceId::nth(0));
    router.install(SourceId::nth(0), &snapshot(&[80, 81]), Time::ZERO);
    assert_eq!((router.endpoints(WEB), router.endpoints(third)), (2, 2));
    assert_eq!(router.remove(third), [SourceId::nth(0)]);
    router.install(SourceId::nth(0), &snapshot(&[80]), Time::ZERO);
    assert_eq!(router.endpoints(WEB), 1);
}

#[test]
fn filter_state_has_one_endpoint() {
    let mut router = router("");
    router.install(SourceId::nth(0), &snapshot(&[1, 2, 3]), Time::ZERO);
    assert_eq!(forward(router.decide(Some(WEB), &PickContext::default())).handoffs().count(), 1);
}

#[test]
fn services_that_ask_the_same_have_the_same_endpoints() {
    let json = br#"{
        "consul": { "cluster": "consul" },
        "services": [
            { "name": "one", "service": "web", "hosts": ["one.test"] },
            { "name": "web", "hosts": ["web.test"], "tags": ["v2"] },
            { "name": "two", "service": "web", "hosts": ["two.test"] }
        ]
    }"#;
    let mut router = Router::new(&Config::parse(json).unwrap(), &mut Rng::new(1));
    router.install(SourceId::nth(0), &snapshot(&[1]), Time::ZERO);
    router.install(SourceId::nth(1), &snapshot(&[2, 3]), Time::ZERO);
    let endpoints = [0, 1, 2].map(|n| router.endpoints(ServiceId::nth(n)));
    assert_eq!(endpoints, [1, 2, 1]);
    assert_eq!(router.service_by_name(b"Web"), Some(ServiceId::nth(1)), "by the name here");
    let reason = Reply::no_healthy_endpoints("two").body;
    router.install(SourceId::nth(0), &Rc::default(), Time::ZERO);
    let Disposition::Reply(reply) = router.decide(Some(ServiceId::nth(2)), &PickContext::default())
    else {
        panic!("not answered");
    };
    assert_eq!(reply.body, reason);
}
