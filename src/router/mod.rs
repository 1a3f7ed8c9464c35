//! From a request to the endpoint that it goes to.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::balance::pool::Pool;
use crate::config::{Config, Policy, Unmatched};
use crate::model::service::ServiceId;
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::router::decision::{Decision, Forward};
use crate::router::handoff::Preparation;
use crate::router::hosts::Hosts;
use crate::router::lower_case::LowerCase;
use crate::router::reply::Reply;

pub mod decision;
pub mod handoff;
mod host_name;
mod hosts;
mod lower_case;
pub mod reply;

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
    preparation: Preparation,
    /// The answer to requests of no service; none where they go on untouched.
    unknown_service: Option<Rc<Reply>>,
    rng: Rng,
}

/// One service's place in the router.
#[derive(Debug)]
struct Route {
    policy: Policy,
    /// None until the first snapshot, which may be an empty one.
    pool: Option<Pool>,
    no_healthy_endpoints: Rc<Reply>,
    not_resolved_yet: Rc<Reply>,
}

impl Router {
    /// A router that has resolved no service yet. Takes a generator of its own from `rng`.
    pub fn new(config: &Config, rng: &mut Rng) -> Self {
        let ids = (0..=u16::MAX).map(ServiceId);
        let names = config.services.iter().zip(ids).map(|(service, id)| {
            let name = service.name.to_ascii_lowercase();
            (name.into_bytes().into(), id)
        });
        let routes = config.services.iter().map(|service| Route {
            policy: service.policy,
            pool: None,
            no_healthy_endpoints: Rc::new(Reply::no_healthy_endpoints(&service.name)),
            not_resolved_yet: Rc::new(Reply::not_resolved_yet(&service.name)),
        });
        Self {
            hosts: Hosts::new(&config.services),
            names: names.collect(),
            routes: routes.collect(),
            preparation: Preparation::new(&config.handoff),
            unknown_service: match config.unmatched {
                Unmatched::Pass => None,
                Unmatched::Reject => Some(Rc::new(Reply::unknown_service())),
            },
            rng: rng.split(),
        }
    }

    /// Replaces the endpoints of a service, which counts as resolved from now on. A service
    /// that is not configured is ignored.
    pub fn install(&mut self, service: ServiceId, snapshot: &Snapshot) {
        let preparation = self.preparation;
        let Some(route) = self.routes.get_mut(usize::from(service.0)) else {
            return;
        };
        route
            .pool
            .get_or_insert_with(|| Pool::new(route.policy, self.rng.split()))
            .install(snapshot, &mut |endpoint| preparation.of(endpoint.address));
    }

    /// Whether a snapshot of the service has ever been installed; an empty one counts.
    pub fn is_resolved(&self, service: ServiceId) -> bool {
        self.pool(service).is_some()
    }

    /// The endpoints of a service; 0 before it is resolved.
    pub fn endpoints(&self, service: ServiceId) -> usize {
        self.pool(service).map_or(0, Pool::len)
    }

    /// The requests in flight from this worker to the endpoints of a service.
    pub fn in_flight(&self, service: ServiceId) -> u64 {
        self.pool(service).map_or(0, Pool::in_flight)
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

    /// Decides what becomes of a request for `service`; none where it is of no service.
    pub fn decide(&mut self, service: Option<ServiceId>) -> Decision {
        let route = service.and_then(|id| self.routes.get_mut(usize::from(id.0)));
        let Some(route) = route else {
            let reply = self.unknown_service.as_ref();
            return reply.map_or(Decision::Pass, |r| Decision::Reply(Rc::clone(r)));
        };
        let Some(pool) = &mut route.pool else {
            return Decision::Wait(Rc::clone(&route.not_resolved_yet));
        };
        match Forward::pick(pool, self.preparation.attempts()) {
            Some(forward) => Decision::Forward(forward),
            None => Decision::Reply(Rc::clone(&route.no_healthy_endpoints)),
        }
    }

    fn pool(&self, service: ServiceId) -> Option<&Pool> {
        self.routes.get(usize::from(service.0))?.pool.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Endpoint;
    use crate::router::reply::ReplyReason;
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
        let address = |&port| ([10, 0, 0, 1], port).into();
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
        let Decision::Wait(reply_after) = router.decide(Some(WEB)) else {
            panic!("did not wait");
        };
        assert_eq!(reply_after.reason, ReplyReason::NotResolvedYet);
        assert!(!router.is_resolved(WEB));

        router.install(WEB, &Snapshot::default());
        assert!(router.is_resolved(WEB) && !router.is_resolved(API));
        let reason = reply(router.decide(Some(WEB)));
        assert_eq!(reason, ReplyReason::NoHealthyEndpoints);

        router.install(WEB, &snapshot(&[80]));
        let forward = forward(router.decide(Some(WEB)));
        assert_eq!(forward.ticket().target().address().port(), 80);
        assert_eq!((router.endpoints(WEB), router.in_flight(WEB)), (1, 1));
        drop(forward);
        assert_eq!((router.endpoints(API), router.in_flight(WEB)), (0, 0));
    }

    #[test]
    fn a_request_of_no_service_passes_or_is_rejected() {
        let mut passing = router("");
        let mut rejecting = router(r#", "unmatched": "reject""#);
        for service in [None, Some(ServiceId(2))] {
            assert!(matches!(passing.decide(service), Decision::Pass));
            let reason = reply(rejecting.decide(service));
            assert_eq!(reason, ReplyReason::UnknownService);
        }
        rejecting.install(ServiceId(2), &snapshot(&[80]));
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
            router.install(WEB, &snapshot(ports));
            let forward = forward(router.decide(Some(WEB)));
            let values: Vec<_> = forward.handoffs().collect();
            assert_eq!(values.len(), 3);
            assert_eq!(values[0], forward.ticket().target().handoff());
            assert_eq!(values.iter().collect::<HashSet<_>>().len(), distinct);
            assert!((0..3).all(|n| values[n] == values[n % distinct]));
            assert_eq!(router.in_flight(WEB), 1);
        }
    }

    #[test]
    fn filter_state_has_one_endpoint() {
        let mut router = router("");
        router.install(WEB, &snapshot(&[1, 2, 3]));
        assert_eq!(forward(router.decide(Some(WEB))).handoffs().count(), 1);
    }
}
