//! From a request to its endpoint, and the feedback of the response.

use core::time::Duration;
use std::rc::Rc;

use crate::balancer::pick_context::PickContext;
use crate::balancer::pool::Pool;
use crate::balancer::ticket::RequestOutcome;
use crate::config::{Config, Service, Unmatched};
use crate::handoff::HandoffMethod;
use crate::model::endpoint::Address;
use crate::model::service::{QueryKey, ServiceId, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registry::source_spec::SourceSpec;
use crate::router::configured_services::ConfiguredServices;
use crate::router::disposition::Disposition;
use crate::router::dynamic_services::{DynamicServices, ServiceChange};
use crate::router::forward::{Attempt, Forward, parse_upstream};
use crate::router::host_name::{HostName, LowerCase};
use crate::router::on_demand_names::Lookup;
use crate::router::reply::Reply;
use crate::router::route::{RequiredInputs, Route};
use crate::router::route_table::RouteTable;
use crate::telemetry::ServiceEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::xds::resources::Update;

mod catalog;
mod configured_services;
mod dependencies;
pub mod disposition;
pub mod dynamic_services;
mod fallback;
pub mod forward;
mod freshness;
mod host_name;
pub mod on_demand_names;
pub mod reply;
pub mod route;
mod route_table;
mod supply;

/// Finds the service of a request, picks an endpoint from the service's pool, and gives the pool the
/// feedback of the response.
///
/// Touches its own memory only. A request allocates nothing, except that the first request of a hash policy
/// builds the table. Results are owned, so nothing stays borrowed while the host is called.
#[derive(Debug)]
pub struct Router {
    configured: ConfiguredServices,
    /// The services that come and go; none if all services are configured.
    dynamic: Option<Box<DynamicServices>>,
    table: RouteTable,
    /// The response to requests of no service; none if they go on untouched.
    unknown_service: Option<Rc<Reply>>,
    /// The time of the latest tick or install. Whatever needs it no more exactly saves the host call for the
    /// clock.
    now: Time,
}

impl Router {
    /// Returns a router that has resolved no service yet. Takes generators of its own from `rng`.
    pub fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut router = Self {
            configured: ConfiguredServices::new(&config.services),
            dynamic: DynamicServices::new(config),
            table: RouteTable::new(config, rng.split()),
            unknown_service: match config.unmatched {
                Unmatched::Pass => None,
                Unmatched::Reject => Some(Rc::new(Reply::unknown_service())),
            },
            now: Time::ZERO,
        };
        for service in &config.services {
            if let Some(id) = router.add(service) {
                router.table.supply(id, service);
            }
        }
        for (id, source, _) in SourceSpec::all(config) {
            router.attach(source.id, usize::from(source.preference), id);
        }
        router
    }

    /// Adds a service that was never resolved. Returns `None` if there are too many.
    pub fn add(&mut self, service: &Service) -> Option<ServiceId> {
        self.table.add(service)
    }

    /// Gives a service the endpoints of a source. The source with preference 0 is the preferred one.
    pub fn attach(&mut self, service: ServiceId, preference: usize, source: SourceId) {
        self.table.attach(service, preference, source);
    }

    /// Removes a service, and returns the sources of its endpoints. Requests in flight to the service
    /// no longer count.
    pub fn remove(&mut self, service: ServiceId) -> Vec<SourceId> {
        self.table.remove(service)
    }

    /// Replaces the endpoints that services have from a source, or the services that the catalog lists. A
    /// source without a service is ignored.
    pub fn install(&mut self, source: SourceId, snapshot: &Rc<Snapshot>, now: Time) {
        self.now = now;
        let Self { table, dynamic, configured, .. } = self;
        table.install(source, snapshot, now, |service| {
            if let Some(dynamic) = dynamic {
                dynamic.on_installed(service, !snapshot.is_empty(), now);
            }
        });
        if let (Some(dynamic), Some(listed)) = (dynamic, snapshot.services()) {
            dynamic.on_catalog(source, listed, configured, table, now);
        }
    }

    /// Updates the age of the endpoints from a source, which Consul has confirmed so long ago.
    pub fn on_confirmed(&mut self, source: SourceId, age: Duration, now: Time) {
        self.table.on_confirmed(source, age, now);
    }

    /// Advances time: endpoints warm up and age, services go. Reports the events of services since the last
    /// tick.
    pub fn on_tick(&mut self, now: Time, on_event: impl FnMut(ServiceId, ServiceEvent)) {
        self.now = now;
        if let Some(dynamic) = &mut self.dynamic {
            dynamic.remove_gone(&mut self.table, now);
        }
        self.table.on_tick(now, on_event);
    }

    /// Returns the next change of services that come and go.
    pub fn poll_change(&mut self) -> Option<ServiceChange> {
        self.dynamic.as_mut()?.poll_change()
    }

    /// Returns the next update for Envoy's own clusters. There is none if the filter does not feed them.
    pub fn poll_update(&mut self) -> Option<Update> {
        self.table.poll_update()
    }

    /// Sets the source of the catalog.
    pub fn follow_catalog(&mut self, source: SourceId) {
        if let Some(dynamic) = &mut self.dynamic {
            dynamic.follow_catalog(source);
        }
    }

    /// Returns true if the endpoints of a service are known: it has one, or none in any datacenter.
    pub fn is_resolved(&self, service: ServiceId) -> bool {
        self.pool(service).is_some_and(Pool::is_resolved)
    }

    /// Returns true if there is the service, and its requests cannot be decided yet.
    pub fn is_pending(&self, service: ServiceId) -> bool {
        self.table.get(service).is_some_and(|route| !route.is_ready())
    }

    /// Returns true if a service is down, as far as this worker knows: it has no endpoint in any datacenter,
    /// or fails because of a dependency.
    pub fn is_down(&self, service: ServiceId) -> bool {
        self.table.get(service).is_some_and(Route::is_down)
    }

    /// Lists the services of these names that are down. A name of no service is not listed.
    pub fn down<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let service = |name: &str| self.service_by_name(name.as_bytes());
        let is_down = |name: &&str| service(name).is_some_and(|service| self.is_down(service));
        names.into_iter().filter(is_down).collect()
    }

    /// Returns the number of endpoints of a service; 0 before it is resolved.
    pub fn endpoints(&self, service: ServiceId) -> usize {
        self.pool(service).map_or(0, Pool::len)
    }

    /// Returns the number of requests in flight from this worker to a service.
    pub fn in_flight(&self, service: ServiceId) -> u64 {
        self.pool(service).map_or(0, Pool::in_flight)
    }

    /// Lists the sources of a service in the order of preference.
    pub fn sources(&self, service: ServiceId) -> Vec<SourceId> {
        self.table.get(service).map(|route| route.sources.clone()).unwrap_or_default()
    }

    /// Returns true if there is the service.
    pub fn has(&self, service: ServiceId) -> bool {
        self.table.get(service).is_some()
    }

    /// Returns true if the service was added by the name of a request.
    pub fn is_on_demand(&self, service: ServiceId) -> bool {
        self.dynamic.as_ref().is_some_and(|dynamic| dynamic.is_on_demand(service))
    }

    /// Returns true if a pick for the service would now be a host of a cluster of Envoy's own.
    pub fn picks_hosts(&self, service: ServiceId) -> bool {
        let route = self.table.get(service).filter(|_| !self.is_on_demand(service));
        route.is_some_and(Route::picks_hosts)
    }

    /// Returns the configured handoff. A service whose names Envoy resolves has another one.
    pub const fn handoff(&self) -> HandoffMethod {
        self.table.handoff()
    }

    /// Returns the time of the latest tick or install.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Returns the parts of requests and responses that a service needs.
    pub fn required_inputs(&self, service: ServiceId) -> Option<&RequiredInputs> {
        self.table.get(service).map(|route| &route.required_inputs)
    }

    /// Returns true if [`Router::service_by_host`] looks at the authority. If not, the host call that reads
    /// it can be saved.
    pub fn needs_authority(&self) -> bool {
        self.dynamic.is_some() || self.configured.needs_authority()
    }

    /// Returns the service that serves a request's `:authority`, as it came from the client.
    ///
    /// Port, upper case and one trailing dot make no difference. A configured host goes before suffixes, and
    /// a longer suffix before a shorter one. The only service, if it has no hosts, serves every request, even
    /// without authority. Services that come and go are last. An authority without a host of 1 to 255 bytes of
    /// UTF-8 belongs to no service.
    pub fn service_by_host(&self, authority: Option<&[u8]>) -> Option<ServiceId> {
        let dynamic = || {
            let host = HostName::of(authority?)?;
            self.dynamic.as_ref()?.by_host(host.as_bytes(), self.now)
        };
        self.configured.by_host(authority).or_else(dynamic)
    }

    /// Returns the service of a name in the route's metadata. Upper and lower case are the same, as they are
    /// to Consul.
    pub fn service_by_name(&self, name: &[u8]) -> Option<ServiceId> {
        let name = LowerCase::of(name)?;
        let listed = || self.dynamic.as_ref()?.by_name(name.as_bytes());
        self.configured.by_name(name.as_bytes()).or_else(listed)
    }

    /// Returns true if [`Router::resolve_on_demand`] can find anything.
    pub fn resolves_names(&self) -> bool {
        self.dynamic.as_ref().is_some_and(|dynamic| dynamic.resolves_names())
    }

    /// Adds the service that the host of a request names, if the host is a name of Consul's DNS.
    pub fn resolve_on_demand(&mut self, authority: Option<&[u8]>) -> Lookup {
        let Self { table, dynamic, now, .. } = self;
        let (Some(dynamic), Some(host)) = (dynamic, authority.and_then(HostName::of)) else {
            return Lookup::Nothing;
        };
        dynamic.resolve(host.as_bytes(), None, table, *now)
    }

    /// Adds the service that a request in another VM names. Ignores a host whose query differs here: it is
    /// another configuration's.
    pub fn on_requested(&mut self, query: QueryKey, host: &str, now: Time) {
        if let (Some(dynamic), Some(host)) = (&mut self.dynamic, HostName::of(host.as_bytes())) {
            dynamic.resolve(host.as_bytes(), Some(query), &mut self.table, now);
        }
    }

    /// Decides a request for `service`; `None` is no service. `context` has the inputs that the service
    /// [requires](Router::required_inputs).
    pub fn decide(&mut self, service: Option<ServiceId>, context: &PickContext) -> Disposition {
        match service.and_then(|id| self.table.get_mut(id)) {
            Some(route) => route.decide(context),
            None => {
                let reply = self.unknown_service.as_ref();
                reply.map_or(Disposition::Pass, |r| Disposition::Reply(Rc::clone(r)))
            }
        }
    }

    /// Counts the attempts before the one that has responded as failures, and returns their number. Nothing
    /// is known of later attempts, which Envoy makes beside a slow one (hedging).
    pub fn on_response(&mut self, forward: &Forward, attempt: Attempt, now: Time) -> u32 {
        let mut failures = 0;
        if let Some(pool) = self.pool_mut(forward.service) {
            for host in forward.endpoints().take(attempt.retries() as usize) {
                // The reason of the retry is not known. Envoy's router took it for a failure.
                failures += 1;
                pool.on_outcome(host, RequestOutcome::Failure, now);
            }
        }
        failures
    }

    /// Returns true if a service has an endpoint at the address that Envoy's router names.
    pub fn has_endpoint(&self, service: ServiceId, upstream: &[u8]) -> bool {
        let Some(upstream) = parse_upstream(upstream).map(Address::Ip) else { return false };
        self.pool(service).is_some_and(|pool| pool.has(&upstream))
    }

    /// Takes the outcome of the attempt that has responded. Returns the number of failures.
    pub fn on_outcome(
        &mut self,
        forward: &Forward,
        attempt: Attempt,
        outcome: RequestOutcome,
        now: Time,
    ) -> u32 {
        let Some(host) = forward.endpoint(attempt) else {
            return 0;
        };
        if let Some(pool) = self.pool_mut(forward.service) {
            pool.on_outcome(host, outcome, now);
        }
        u32::from(outcome == RequestOutcome::Failure)
    }

    /// Takes note that Envoy has sent a request to another host than the pick, at once. If that is a host of
    /// the same service and no cookie binds the client to it, Envoy does not use the pick: that is a failure
    /// of the pick. At the first one it is not known whether there is a cookie.
    pub fn on_passed_over(&mut self, forward: &Forward, upstream: &[u8], now: Time) {
        if self.has_endpoint(forward.service, upstream) {
            forward.ticket.host().doubt(now);
            if forward.is_unbound {
                self.on_outcome(forward, Attempt::FIRST, RequestOutcome::Failure, now);
            }
        }
    }

    /// Takes note that the client of a request has left before the endpoint has responded.
    pub fn on_silence(&mut self, forward: &Forward, now: Time) {
        if let Some(pool) = self.pool_mut(forward.service) {
            pool.on_silence(forward.ticket.host(), now.since(forward.sent), now);
        }
    }

    fn pool(&self, service: ServiceId) -> Option<&Pool> {
        self.table.get(service).map(|route| &route.pool)
    }

    fn pool_mut(&mut self, service: ServiceId) -> Option<&mut Pool> {
        self.table.get_mut(service).map(|route| &mut route.pool)
    }
}

#[cfg(test)]
mod tests;
