//! From a request to the endpoint that it goes to, and back with what the answer teaches.

use core::time::Duration;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balance::hints::Hints;
use crate::balance::pool::Pool;
use crate::config::{Config, Unmatched};
use crate::model::service::{ServiceId, SourceId};
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::router::decision::Decision;
use crate::router::event::RouteEvent;
use crate::router::handoff::Preparation;
use crate::router::hosts::Hosts;
use crate::router::lower_case::LowerCase;
use crate::router::reply::Reply;
use crate::router::route::Route;
use crate::router::wants::Wants;
use crate::time::Time;

pub mod answer;
mod confirmation;
pub mod decision;
pub mod event;
mod fallback;
pub mod handoff;
mod host_name;
mod hosts;
mod lower_case;
pub mod reply;
mod reservation;
mod route;
pub mod wants;

/// Tells for each request what is to be done with it: finds its service, and picks an
/// endpoint from the service's pool.
///
/// Touches only its own memory and allocates nothing per request. What it hands out is
/// owned, so nothing of it stays borrowed while the host is called.
#[derive(Debug)]
pub struct Router {
    hosts: Hosts,
    /// By the name in lower case.
    names: HashMap<Box<[u8]>, ServiceId>,
    /// In the order of the configuration, so that a [`ServiceId`] is an index.
    routes: Vec<Route>,
    /// By [`SourceId`]: the service, and the datacenter by its place in the order of preference.
    sources: Vec<(ServiceId, usize)>,
    /// The answer to requests of no service; none where they go on untouched.
    unknown_service: Option<Rc<Reply>>,
    /// The moment of the latest tick or install. Picks and answers that need it no more exactly
    /// go by it, and save the call that reads the clock.
    now: Time,
}

impl Router {
    /// A router that has resolved no service yet. Takes generators of its own from `rng`.
    pub fn new(config: &Config, rng: &mut Rng) -> Self {
        let ids = (0..=u16::MAX).map(ServiceId);
        let names = config.services.iter().zip(ids.clone()).map(|(service, id)| {
            let name = service.name.to_ascii_lowercase();
            (name.into_bytes().into(), id)
        });
        let preparation = Preparation::new(&config.handoff);
        let routes = config.services.iter().zip(ids).map(|(service, id)| {
            let locality = config.locality.as_ref();
            Route::new(id, service, locality, preparation, config.warmup_timeout, rng.split())
        });
        Self {
            hosts: Hosts::new(&config.services),
            names: names.collect(),
            routes: routes.collect(),
            sources: config.sources().map(|s| (s.id, usize::from(s.preference))).collect(),
            unknown_service: match config.unmatched {
                Unmatched::Pass => None,
                Unmatched::Reject => Some(Rc::new(Reply::unknown_service())),
            },
            now: Time::ZERO,
        }
    }

    /// Replaces the endpoints of a service in one datacenter. A source that is not configured is
    /// ignored.
    pub fn install(&mut self, source: SourceId, snapshot: &Snapshot, now: Time) {
        self.now = now;
        let Some(&(service, preference)) = self.sources.get(usize::from(source.0)) else {
            return;
        };
        if let Some(route) = self.route_mut(service) {
            route.install(preference, snapshot, now);
        }
    }

    /// Learns that Consul has confirmed the endpoints of a source so long ago.
    pub fn on_confirmed(&mut self, source: SourceId, age: Duration, now: Time) {
        if let Some(&(service, _)) = self.sources.get(usize::from(source.0))
            && let Some(route) = self.route_mut(service)
        {
            route.on_confirmed(age, now);
        }
    }

    /// Lets time pass: ejections end, endpoints warm up. Tells `on_event` what has happened to
    /// them since the last tick.
    pub fn on_tick(&mut self, now: Time, mut on_event: impl FnMut(ServiceId, RouteEvent)) {
        self.now = now;
        for (route, id) in self.routes.iter_mut().zip((0..=u16::MAX).map(ServiceId)) {
            for event in route.on_tick(now) {
                on_event(id, event);
            }
        }
    }

    /// Whether requests of the service can be decided: an endpoint is known, or that there is
    /// none in any datacenter.
    pub fn is_resolved(&self, service: ServiceId) -> bool {
        self.pool(service).is_some_and(Pool::is_resolved)
    }

    /// The endpoints of a service; 0 before it is resolved.
    pub fn endpoints(&self, service: ServiceId) -> usize {
        self.pool(service).map_or(0, Pool::len)
    }

    /// The requests in flight from this worker to the endpoints of a service.
    pub fn in_flight(&self, service: ServiceId) -> u64 {
        self.pool(service).map_or(0, Pool::in_flight)
    }

    /// The sources of a service. They are in the order of the services, so the others need not
    /// be looked at.
    pub fn sources(&self, service: ServiceId) -> impl Iterator<Item = SourceId> + use<> {
        let upto = |end: fn(&ServiceId, &ServiceId) -> bool| {
            self.sources.partition_point(|(its, _)| end(its, &service))
        };
        let (first, end) =
            (upto(|its, service| its < service), upto(|its, service| its <= service));
        (first..end).filter_map(|source| u16::try_from(source).ok()).map(SourceId)
    }

    /// The moment of the latest tick or install.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// What a service wants to know of its requests; none of no service.
    pub fn wants(&self, service: ServiceId) -> Option<&Wants> {
        self.routes.get(usize::from(service.0)).map(|route| &route.wants)
    }

    /// Whether [`Router::service_by_host`] looks at the authority at all. If not, the
    /// host call that reads it can be saved.
    pub fn needs_authority(&self) -> bool {
        self.hosts.needs_authority()
    }

    /// The service that serves a request's `:authority`, as it came from the client.
    ///
    /// Port, upper case and one trailing dot make no difference. A host that is configured
    /// itself comes before suffixes, and a longer suffix before a shorter one. The only
    /// service, if it has no hosts, serves every request, even without authority. What is
    /// not a host of at most 255 bytes of UTF-8 belongs to no service.
    pub fn service_by_host(&self, authority: Option<&[u8]>) -> Option<ServiceId> {
        self.hosts.find(authority)
    }

    /// The service of this name, for a route that names it in its metadata. Upper and lower
    /// case are the same, as they are to Consul.
    pub fn service_by_name(&self, name: &[u8]) -> Option<ServiceId> {
        let name = LowerCase::of(name)?;
        self.names.get(name.as_bytes()).copied()
    }

    /// Decides what becomes of a request for `service`; none where it is of no service. `hints`
    /// are what the service [wants](Router::wants) to know of it.
    pub fn decide(&mut self, service: Option<ServiceId>, hints: &Hints) -> Decision {
        match service.and_then(|id| self.route_mut(id)) {
            Some(route) => route.decide(hints),
            None => {
                let reply = self.unknown_service.as_ref();
                reply.map_or(Decision::Pass, |r| Decision::Reply(Rc::clone(r)))
            }
        }
    }

    fn pool(&self, service: ServiceId) -> Option<&Pool> {
        self.routes.get(usize::from(service.0)).map(|route| &route.pool)
    }

    fn route_mut(&mut self, service: ServiceId) -> Option<&mut Route> {
        self.routes.get_mut(usize::from(service.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Endpoint;
    use crate::router::decision::Forward;
    use crate::router::reply::ReplyReason;
    use core::net::SocketAddr;
    use hashbrown::HashSet;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const WEB: ServiceId = ServiceId(0);
    const API: ServiceId = ServiceId(1);

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

    fn snapshot(ports: &[u16]) -> Snapshot {
        let address = |&port| SocketAddr::from(([10, 0, 0, 1], port));
        Snapshot::new(ports.iter().map(address).map(Endpoint::new).collect())
    }

    fn forward(decision: Decision) -> Forward {
        match decision {
            Decision::Forward(forward) => forward,
            other => panic!("not forwarded: {other:?}"),
        }
    }

    fn reply(decision: Decision) -> ReplyReason {
        match decision {
            Decision::Reply(reply) => reply.reason,
            other => panic!("not answered: {other:?}"),
        }
    }

    #[test]
    fn a_request_waits_until_the_first_snapshot_even_if_that_is_empty() {
        let mut router = router("");
        let Decision::Wait(reply_after) = router.decide(Some(WEB), &Hints::default()) else {
            panic!("did not wait");
        };
        assert_eq!(reply_after.reason, ReplyReason::NotResolvedYet);
        assert!(!router.is_resolved(WEB));

        router.install(SourceId(0), &Snapshot::default(), Time::ZERO);
        assert!(router.is_resolved(WEB) && !router.is_resolved(API));
        let reason = reply(router.decide(Some(WEB), &Hints::default()));
        assert_eq!(reason, ReplyReason::NoHealthyEndpoints);

        router.install(SourceId(0), &snapshot(&[80]), Time::ZERO);
        let forward = forward(router.decide(Some(WEB), &Hints::default()));
        assert_eq!(forward.ticket().target().address().port(), 80);
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
        let of = |service| router.sources(ServiceId(service)).map(|s| s.0).collect::<Vec<_>>();
        assert_eq!([of(0), of(1), of(2), of(3)], [vec![0], vec![1, 2], vec![3], vec![]]);
    }

    #[test]
    fn a_request_of_no_service_passes_or_is_rejected() {
        let mut passing = router("");
        let mut rejecting = router(r#", "unmatched": "reject""#);
        for service in [None, Some(ServiceId(2))] {
            assert!(matches!(passing.decide(service, &Hints::default()), Decision::Pass));
            let reason = reply(rejecting.decide(service, &Hints::default()));
            assert_eq!(reason, ReplyReason::UnknownService);
        }
        rejecting.install(SourceId(2), &snapshot(&[80]), Time::ZERO);
        assert!(!rejecting.is_resolved(ServiceId(2)));
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
    fn every_attempt_has_a_header_and_another_endpoint_while_there_is_one() {
        let mut router = router(r#", "handoff": { "via": "headers", "attempts": 3 }"#);
        for (ports, distinct) in [(&[1, 2, 3, 4, 5][..], 3), (&[1, 2], 2), (&[1], 1)] {
            router.install(SourceId(0), &snapshot(ports), Time::ZERO);
            let forward = forward(router.decide(Some(WEB), &Hints::default()));
            let values: Vec<_> = forward.handoffs().collect();
            assert_eq!(values.len(), 3);
            assert_eq!(values[0].first, forward.ticket().target().handoff().first);
            assert_eq!(
                values.iter().map(|value| &value.first).collect::<HashSet<_>>().len(),
                distinct
            );
            assert!((0..3).all(|n| values[n].first == values[n % distinct].first));
            assert_eq!(router.in_flight(WEB), 1);
        }
    }

    #[test]
    fn filter_state_has_one_endpoint() {
        let mut router = router("");
        router.install(SourceId(0), &snapshot(&[1, 2, 3]), Time::ZERO);
        assert_eq!(forward(router.decide(Some(WEB), &Hints::default())).handoffs().count(), 1);
    }
}
