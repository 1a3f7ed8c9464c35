//! The route of one service.

use core::time::Duration;
use std::rc::Rc;

use hashbrown::HashSet;

use crate::balancer::pick_context::PickContext;
use crate::balancer::pool::Pool;
use crate::config::{HashOn, Locality, Policy, Protocol, Service};
use crate::handoff::HandoffMethod;
use crate::model::service::{ServiceId, SourceId};
use crate::model::snapshot::{Assignment, Snapshot};
use crate::router::disposition::Disposition;
use crate::router::fallback::Fallback;
use crate::router::forward::{Forward, RetryHosts};
use crate::router::freshness::Freshness;
use crate::router::reply::Reply;
use crate::telemetry::ServiceEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The route of one service: its pool, and the state that decides its requests.
#[derive(Debug)]
pub(super) struct Route {
    service: ServiceId,
    /// The sources of the endpoints, in the order of preference.
    pub(super) sources: Vec<SourceId>,
    pub(super) pool: Pool,
    pub(super) required_inputs: RequiredInputs,
    handoff: HandoffMethod,
    freshness: Freshness,
    fallback: Fallback,
    /// The response to all requests while a dependency is down, if they are to fail.
    pub(super) refusal: Option<Rc<Reply>>,
    /// The datacenters that Consul has responded for, by their place in the order of preference.
    resolved: HashSet<usize>,
    /// The number of datacenters.
    datacenters: usize,
    /// The endpoints in the pool; none if Envoy's own clusters are not told.
    assignment: Option<Assignment>,
    no_healthy_endpoints: Rc<Reply>,
    not_resolved_yet: Rc<Reply>,
    stale_endpoints: Rc<Reply>,
}

impl Route {
    /// Returns the route of a service that was never resolved.
    pub(super) fn new(
        id: ServiceId,
        service: &Service,
        locality: Option<&Locality>,
        handoff: HandoffMethod,
        warmup_timeout: Duration,
        rng: Rng,
    ) -> Self {
        Self {
            service: id,
            sources: Vec::new(),
            pool: Pool::new(service, locality, rng),
            required_inputs: RequiredInputs::of(service),
            handoff: if service.resolve_names { HandoffMethod::DynamicHost } else { handoff },
            freshness: Freshness::new(service.staleness),
            fallback: Fallback::new(&service.fallback, warmup_timeout),
            refusal: None,
            resolved: HashSet::new(),
            datacenters: service.datacenters.len().max(1),
            assignment: None,
            no_healthy_endpoints: Rc::new(Reply::no_healthy_endpoints(&service.name)),
            not_resolved_yet: Rc::new(Reply::not_resolved_yet(&service.name)),
            stale_endpoints: Rc::new(Reply::stale_endpoints(&service.name)),
        }
    }

    /// Keeps the assignment for Envoy's own cluster from now on.
    pub(super) fn keep_assignment(&mut self) {
        self.assignment = Some(self.empty_assignment());
    }

    /// Returns the assignment for Envoy's own cluster, if it is kept and the service is resolved. A cluster that
    /// `is_told` already is told in any case: its endpoints have gone, though another datacenter may have some.
    pub(super) fn assignment(&self, is_told: bool) -> Option<Assignment> {
        let assignment = self.assignment.as_ref()?;
        if self.is_unconfirmed() || !(is_told || self.pool.is_resolved()) {
            return None;
        }
        Some(if self.freshness.fails() { self.empty_assignment() } else { assignment.clone() })
    }

    /// Returns an assignment without endpoints in any datacenter.
    fn empty_assignment(&self) -> Assignment {
        Assignment { levels: vec![Rc::default(); self.datacenters] }
    }

    /// Replaces the endpoints of one datacenter.
    pub(super) fn install(&mut self, preference: usize, snapshot: &Rc<Snapshot>, now: Time) {
        let first = Fallback::PREFERENCE;
        self.resolved.insert(preference);
        // An empty datacenter says nothing of the others.
        let has_all = self.resolved.len() >= self.datacenters;
        if (has_all || !snapshot.is_empty()) && self.fallback.on_resolved() {
            self.pool.forget(first);
            self.keep(first, &Rc::default());
            if preference != first && self.resolved.contains(&first) {
                self.put(first, &Rc::default(), now);
            }
        }
        if preference != first || !self.fallback.is_in_use() {
            self.put(preference, snapshot, now);
        }
    }

    /// Updates the age of the endpoints, which Consul has confirmed so long ago. Returns true if the service is
    /// resolved because of that.
    pub(super) fn on_confirmed(&mut self, age: Duration, now: Time) -> bool {
        let was_resolved = self.is_resolved();
        self.freshness.on_confirmed(age, now);
        !was_resolved && self.is_resolved()
    }

    /// Advances time, and returns the events.
    pub(super) fn on_tick(&mut self, now: Time) -> impl Iterator<Item = ServiceEvent> + use<> {
        let fallback = self.fallback.poll_due(now);
        if let Some(snapshot) = &fallback {
            self.pool.forget(Fallback::PREFERENCE);
            self.put(Fallback::PREFERENCE, snapshot, now);
        }
        self.pool.on_tick(now);
        let fell_back = fallback.map(|_| ServiceEvent::FellBack);
        let stale = self.freshness.on_tick(now).map(ServiceEvent::Stale);
        let too_many = self.pool.take_too_many_versions();
        let too_many = too_many.map(|found| ServiceEvent::TooManyVersions { found });
        fell_back.into_iter().chain(stale).chain(too_many)
    }

    /// Returns true if the service has no endpoint, or fails because of a dependency. A service that is not
    /// resolved yet is not known to be down.
    pub(super) fn is_down(&self) -> bool {
        self.pool.is_down() || self.refusal.is_some()
    }

    /// Returns true if requests can be decided.
    pub(super) fn is_ready(&self) -> bool {
        self.is_resolved() || self.refusal.is_some()
    }

    /// Returns true if the endpoints are known, and their age if it must be known.
    fn is_resolved(&self) -> bool {
        self.pool.is_resolved() && !self.is_unconfirmed()
    }

    /// Returns true if the age of the endpoints must be known, and is not.
    fn is_unconfirmed(&self) -> bool {
        self.freshness.is_pending() && !self.fallback.is_in_use()
    }

    /// Returns true if a pick would now be a host of a cluster of Envoy's own.
    pub(super) fn picks_hosts(&self) -> bool {
        let is_forwarding = self.is_resolved() && self.refusal.is_none() && !self.freshness.fails();
        is_forwarding && !self.pool.is_empty() && self.handoff == HandoffMethod::StatefulSession
    }

    /// Decides a request.
    pub(super) fn decide(&mut self, context: &PickContext) -> Disposition {
        if let Some(reply) = &self.refusal {
            return Disposition::Reply(Rc::clone(reply));
        }
        if !self.is_resolved() {
            return Disposition::Wait {
                service: self.service,
                reply: Rc::clone(&self.not_resolved_yet),
            };
        }
        if self.freshness.fails() {
            return Disposition::Reply(Rc::clone(&self.stale_endpoints));
        }
        let mut retry_hosts: RetryHosts = [const { None }; _];
        let retries = usize::from(self.handoff.attempts()) - 1;
        let hosts = retry_hosts.get_mut(..retries).unwrap_or_default();
        let Some(ticket) = self.pool.pick(context, hosts) else {
            return Disposition::Reply(Rc::clone(&self.no_healthy_endpoints));
        };
        Disposition::Forward(Forward {
            service: self.service,
            ticket,
            retry_hosts,
            handoff: self.handoff,
            sent: context.now,
            has_body: context.has_body,
            is_unbound: false,
        })
    }

    fn keep(&mut self, preference: usize, snapshot: &Rc<Snapshot>) {
        let levels = self.assignment.as_mut().map(|assignment| &mut assignment.levels);
        if let Some(level) = levels.and_then(|levels| levels.get_mut(preference)) {
            level.clone_from(snapshot);
        }
    }

    fn put(&mut self, preference: usize, snapshot: &Rc<Snapshot>, now: Time) {
        self.keep(preference, snapshot);
        let handoff = self.handoff;
        self.pool
            .install(preference, snapshot, now, &mut |endpoint| handoff.encode(&endpoint.address));
    }
}

/// The parts of requests and responses that a service needs. Each part costs host calls for every request, so
/// only the needed ones are read.
#[derive(Debug, Clone, Default)]
pub struct RequiredInputs {
    /// The input of the policy's hash.
    pub hash_on: Option<HashOn>,
    /// The header that names a version.
    pub version_header: Option<String>,
    /// The input of the hash that binds a client to its share of a split.
    pub split_on: Option<HashOn>,
    /// The protocol by which responses are judged, if the service needs responses and the exact time: with
    /// `peak_ewma`.
    pub responses: Option<Protocol>,
}

impl RequiredInputs {
    /// Returns the inputs of a service.
    pub fn of(service: &Service) -> Self {
        let policy = &service.load_balancing.policy;
        let versions = service.versions.as_ref();
        let needs_responses = matches!(policy, Policy::PeakEwma { .. });
        Self {
            hash_on: policy.hashing().map(|hash| hash.on.clone()),
            version_header: versions.and_then(|versions| versions.header.clone()),
            split_on: versions.and_then(|versions| versions.hash_on.clone()),
            responses: needs_responses.then_some(service.protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Handoff};
    use crate::model::endpoint::Endpoint;
    use crate::router::reply::ReplyReason;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    /// The route of a service with these fields.
    fn route(fields: &str) -> Route {
        let json = format!(
            r#"{{"consul": {{"cluster": "c", "wait": "1s"}}, "services": [{{"name": "web"{fields}}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let handoff = HandoffMethod::new(&Handoff::FilterState);
        let timeout = Duration::from_secs(2);
        Route::new(ServiceId::nth(0), &config.services[0], None, handoff, timeout, Rng::new(1))
    }

    fn snapshot(addresses: &[&str]) -> Rc<Snapshot> {
        let endpoint = |text: &&str| Endpoint::new(text.parse::<SocketAddr>().unwrap());
        Snapshot::new(addresses.iter().map(endpoint).collect()).into()
    }

    fn picked(route: &mut Route) -> String {
        match route.decide(&PickContext::default()) {
            Disposition::Forward(forward) => {
                forward.endpoints().next().unwrap().address().to_string()
            }
            Disposition::Reply(reply) | Disposition::Wait { reply, .. } => {
                reply.reason.label().to_owned()
            }
            Disposition::Pass => "pass".to_owned(),
        }
    }

    #[test]
    fn fallback_is_used_from_the_end_of_warm_up_until_a_response() {
        let mut route = route(r#", "fallback": ["10.0.0.9:80"], "datacenters": ["dc1", "dc2"]"#);
        assert_eq!(route.on_tick(at(0)).count(), 0);
        assert_eq!(picked(&mut route), "not_resolved_yet");
        let events: Vec<_> = route.on_tick(at(2_000)).collect();
        assert_eq!(events, [ServiceEvent::FellBack]);
        assert_eq!(picked(&mut route), "10.0.0.9:80");
        // What one datacenter answers ends it, though it stands for the other one.
        route.install(1, &snapshot(&["10.0.0.1:80"]), at(3_000));
        assert_eq!(picked(&mut route), "10.0.0.1:80");
        route.install(1, &Rc::default(), at(4_000));
        route.install(0, &Rc::default(), at(4_000));
        assert_eq!(picked(&mut route), ReplyReason::NoHealthyEndpoints.label());
        assert_eq!(route.on_tick(at(60_000)).count(), 0);
        assert_eq!(picked(&mut route), ReplyReason::NoHealthyEndpoints.label());
    }

    #[test]
    fn fallback_stays_when_a_datacenter_is_empty_and_others_open() {
        let mut route = route(r#", "fallback": ["10.0.0.9:80"], "datacenters": ["dc1", "dc2"]"#);
        route.on_tick(at(0)).for_each(drop);
        route.install(1, &Rc::default(), at(1_000));
        route.on_tick(at(2_000)).for_each(drop);
        assert_eq!(picked(&mut route), "10.0.0.9:80", "dc1 has never answered");
        let mut other = self::route(r#", "fallback": ["10.0.0.9:80"], "datacenters": ["a", "b"]"#);
        for route in [&mut route, &mut other] {
            route.on_tick(at(3_000)).for_each(drop);
            route.on_tick(at(6_000)).for_each(drop);
            route.install(0, &Rc::default(), at(7_000));
        }
        assert_eq!(picked(&mut other), "10.0.0.9:80", "b has never answered");
        other.install(1, &Rc::default(), at(8_000));
        for route in [&mut route, &mut other] {
            assert_eq!(picked(route), ReplyReason::NoHealthyEndpoints.label());
        }
    }

    #[test]
    fn snapshot_after_a_fallback_starts_at_full_weight() {
        let mut route = route(
            r#", "fallback": ["10.0.0.9:80"],
               "load_balancing": {"policy": "random", "slow_start": "1h"}"#,
        );
        route.on_tick(at(0)).for_each(drop);
        route.on_tick(at(2_000)).for_each(drop);
        route.install(0, &snapshot(&["10.0.0.1:80", "10.0.0.9:80"]), at(3_000));
        route.install(0, &snapshot(&["10.0.0.1:80", "10.0.0.9:80"]), at(4_000));
        assert!(route.pool.hosts().all(|target| target.share() == route_share()), "{route:?}");
    }

    /// The share of a target of weight 1 that is not warming up.
    fn route_share() -> core::num::NonZeroU32 {
        let mut whole = route(r#", "load_balancing": {"policy": "random", "slow_start": "1h"}"#);
        whole.install(0, &snapshot(&["10.0.0.1:80"]), at(0));
        whole.pool.hosts().next().unwrap().share()
    }

    #[test]
    fn endpoints_of_unknown_age_wait_when_stale_ones_fail() {
        let services = r#", "max_age": "10s", "on_stale": "#;
        for (on_stale, expected) in
            [(r#""serve""#, "10.0.0.1:80"), (r#""fail""#, "not_resolved_yet")]
        {
            let mut route = route(&format!("{services}{on_stale}"));
            route.install(0, &snapshot(&["10.0.0.1:80"]), at(0));
            assert_eq!(picked(&mut route), expected);
            assert_eq!(route.is_ready(), expected != "not_resolved_yet");
            route.on_confirmed(Duration::ZERO, at(0));
            assert_eq!(picked(&mut route), "10.0.0.1:80");
        }
        let mut route =
            route(r#", "max_age": "10s", "on_stale": "fail", "fallback": ["10.0.0.9:80"]"#);
        route.on_tick(at(0)).for_each(drop);
        route.on_tick(at(2_000)).for_each(drop);
        assert_eq!(picked(&mut route), "10.0.0.9:80", "a fallback has no age");
    }

    #[test]
    fn stale_endpoints_are_told_of_and_fail_where_they_are_to() {
        for (on_stale, expected) in [("serve", "10.0.0.1:80"), ("fail", "stale_endpoints")] {
            let mut route = route(&format!(r#", "max_age": "10s", "on_stale": "{on_stale}""#));
            route.install(0, &snapshot(&["10.0.0.1:80"]), at(0));
            route.on_confirmed(Duration::from_secs(1), at(0));
            assert_eq!(route.on_tick(at(8_999)).count(), 0);
            assert_eq!(picked(&mut route), "10.0.0.1:80");
            assert_eq!(route.on_tick(at(9_000)).collect::<Vec<_>>(), [ServiceEvent::Stale(true)]);
            assert_eq!(picked(&mut route), expected);
            route.on_confirmed(Duration::ZERO, at(9_500));
            assert_eq!(route.on_tick(at(9_500)).collect::<Vec<_>>(), [ServiceEvent::Stale(false)]);
            assert_eq!(picked(&mut route), "10.0.0.1:80");
        }
    }
}
