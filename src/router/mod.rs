//! From a request to the endpoint that it goes to, and back with what the answer teaches.

use core::time::Duration;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balancer::pick_context::PickContext;
use crate::balancer::pool::Pool;
use crate::config::{Config, Service, Unmatched};
use crate::discovery::source_spec::SourceSpec;
use crate::handoff::HandoffMethod;
use crate::model::service::{ServiceId, SourceId};
use crate::model::slot_map::{SecondaryMap, SlotMap};
use crate::model::snapshot::Snapshot;
use crate::router::dependencies::DependencyHealth;
use crate::router::disposition::Disposition;
use crate::router::dynamic_services::DynamicServices;
use crate::router::host_name::HostName;
use crate::router::hosts::Hosts;
use crate::router::lower_case::LowerCase;
use crate::router::reply::Reply;
use crate::router::required_inputs::RequiredInputs;
use crate::router::route::Route;
use crate::router::route_factory::RouteFactory;
use crate::router::supply::Supply;
use crate::telemetry::ServiceEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

mod catalog;
mod dependencies;
pub mod disposition;
mod dynamic_services;
mod fallback;
pub mod feedback;
pub mod forward;
mod freshness;
mod host_name;
mod hosts;
pub mod lookup;
mod lower_case;
mod on_demand_names;
mod refused;
pub mod reply;
pub mod required_inputs;
mod route;
mod route_factory;
pub mod service_change;
mod supply;

/// Tells for each request what is to be done with it: finds its service, and picks an
/// endpoint from the service's pool.
///
/// Touches only its own memory and allocates nothing per request, but where a hash policy builds its
/// table at the first one. What it hands out is owned, so nothing of it stays borrowed while the host is called.
#[derive(Debug)]
pub struct Router {
    hosts: Hosts,
    /// By the name in lower case.
    names: HashMap<Box<[u8]>, ServiceId>,
    /// Those of the configuration first, in its order.
    routes: SlotMap<ServiceId, Route>,
    /// Whom a source has endpoints for.
    users: SecondaryMap<SourceId, Vec<Subscriber>>,
    workshop: RouteFactory,
    dependencies: DependencyHealth,
    /// Services that are found while it is at work; none where all are configured.
    found: Option<Box<DynamicServices>>,
    /// What Envoy's own clusters are to be told; none where they are not fed.
    supply: Option<Box<Supply>>,
    /// The answer to requests of no service; none where they go on untouched.
    unknown_service: Option<Rc<Reply>>,
    /// The moment of the latest tick or install. What needs it no more exactly goes by it, and saves
    /// the call that reads the clock.
    now: Time,
}

/// A service that has endpoints from a source, and the place of the source in its order of
/// preference.
#[derive(Debug, Clone, Copy)]
struct Subscriber {
    service: ServiceId,
    preference: usize,
}

impl Router {
    /// A router that has resolved no service yet. Takes generators of its own from `rng`.
    pub fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut router = Self {
            hosts: Hosts::new(&config.services),
            names: HashMap::new(),
            routes: SlotMap::new(),
            users: SecondaryMap::new(),
            workshop: RouteFactory::new(config, rng.split()),
            dependencies: DependencyHealth::new(config),
            found: DynamicServices::new(config),
            supply: config.xds.as_ref().map(|_| Box::default()),
            unknown_service: match config.unmatched {
                Unmatched::Pass => None,
                Unmatched::Reject => Some(Rc::new(Reply::unknown_service())),
            },
            now: Time::ZERO,
        };
        for service in &config.services {
            if let Some(id) = router.add(service) {
                router.supply(id, service);
                let name = service.name.to_ascii_lowercase();
                router.names.insert(name.into_bytes().into(), id);
            }
        }
        for (id, source, _) in SourceSpec::all(config) {
            router.attach(source.id, usize::from(source.preference), id);
        }
        router
    }

    /// Takes in a service that was never resolved; none where there are too many.
    pub fn add(&mut self, service: &Service) -> Option<ServiceId> {
        let Self { routes, workshop, .. } = self;
        routes.add(|id| workshop.route(id, service))
    }

    /// Lets a service have the endpoints of a source; 0 is the place of the preferred one.
    pub fn attach(&mut self, service: ServiceId, preference: usize, source: SourceId) {
        let Some(route) = self.routes.get_mut(service) else {
            return;
        };
        route.sources.push(source);
        let user = Subscriber { service, preference };
        match self.users.get_mut(source) {
            Some(users) => users.push(user),
            None => self.users.insert(source, vec![user]),
        }
    }

    /// Forgets a service; tells which sources it had endpoints from. Requests that are in flight
    /// to it count and teach nowhere any more.
    pub fn remove(&mut self, service: ServiceId) -> Vec<SourceId> {
        if let Some(supply) = &mut self.supply {
            supply.remove(service);
        }
        let sources = self.routes.remove(service).map(|route| route.sources).unwrap_or_default();
        for &source in &sources {
            let users = self.users.get_mut(source);
            let is_unused = users.is_some_and(|users| {
                users.retain(|user| user.service != service);
                users.is_empty()
            });
            if is_unused {
                self.users.remove(source);
            }
        }
        sources
    }

    /// Replaces the endpoints that services have from a source. One that no service uses is
    /// ignored.
    pub fn install(&mut self, source: SourceId, snapshot: &Rc<Snapshot>, now: Time) {
        self.now = now;
        for user in self.users.get(source).into_iter().flatten() {
            if let Some(route) = self.routes.get_mut(user.service) {
                route.install(user.preference, snapshot, now);
                if let Some(supply) = &mut self.supply {
                    supply.on_changed(user.service, route);
                }
                self.dependencies.on_changed(user.service, &mut self.routes);
                let demand = self.found.as_mut().and_then(|found| found.demand.as_mut());
                if let Some(demand) = demand {
                    demand.on_resolved(user.service, !snapshot.is_empty(), now);
                }
            }
        }
        if snapshot.services().is_some() {
            self.on_catalog(source, snapshot, now);
        }
    }

    /// Learns that Consul has confirmed the endpoints of a source so long ago.
    pub fn on_confirmed(&mut self, source: SourceId, age: Duration, now: Time) {
        for user in self.users.get(source).into_iter().flatten() {
            if let Some(route) = self.routes.get_mut(user.service) {
                let is_resolved = route.on_confirmed(age, now);
                if let Some(supply) = self.supply.as_mut().filter(|_| is_resolved) {
                    supply.on_changed(user.service, route);
                }
            }
        }
    }

    /// Lets time pass: endpoints warm up, and age. Tells `on_event` what has happened to services
    /// since the last tick.
    pub fn on_tick(&mut self, now: Time, mut on_event: impl FnMut(ServiceId, ServiceEvent)) {
        self.now = now;
        self.remove_gone(now);
        for (id, route) in self.routes.iter_mut() {
            for event in route.on_tick(now) {
                if let (Some(supply), ServiceEvent::FellBack | ServiceEvent::Stale(_)) =
                    (&mut self.supply, &event)
                {
                    supply.on_changed(id, route);
                }
                on_event(id, event);
            }
        }
        let degraded = self.dependencies.on_tick(&mut self.routes);
        degraded.into_iter().for_each(|(id, event)| on_event(id, event));
    }

    /// Whether the endpoints of the service are known: one is, or that there is none in any
    /// datacenter.
    pub fn is_resolved(&self, service: ServiceId) -> bool {
        self.pool(service).is_some_and(Pool::is_resolved)
    }

    /// Whether the service is here, and its requests cannot be decided yet.
    pub fn is_pending(&self, service: ServiceId) -> bool {
        self.routes.get(service).is_some_and(|route| !route.is_ready())
    }

    /// The endpoints of a service; 0 before it is resolved.
    pub fn endpoints(&self, service: ServiceId) -> usize {
        self.pool(service).map_or(0, Pool::len)
    }

    /// The requests in flight from this worker to the endpoints of a service.
    pub fn in_flight(&self, service: ServiceId) -> u64 {
        self.pool(service).map_or(0, Pool::in_flight)
    }

    /// The sources of a service, in the order of preference.
    pub fn sources(&self, service: ServiceId) -> Vec<SourceId> {
        self.routes.get(service).map(|route| route.sources.clone()).unwrap_or_default()
    }

    /// Whether a pick for the service is, now, one among the hosts of a cluster of Envoy's own.
    pub fn picks_hosts(&self, service: ServiceId) -> bool {
        let route = self.routes.get(service).filter(|_| !self.is_on_demand(service));
        route.is_some_and(|route| {
            route.is_forwarding() && !route.pool.is_empty() && route.is_by_session()
        })
    }

    /// Whether the service is still here.
    pub fn has(&self, service: ServiceId) -> bool {
        self.routes.get(service).is_some()
    }

    /// Returns the way in which picks reach Envoy's router, but for a service whose names Envoy resolves.
    pub const fn handoff(&self) -> HandoffMethod {
        self.workshop.handoff
    }

    /// The moment of the latest tick or install.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// What a service wants to know of its requests; none of no service.
    pub fn required_inputs(&self, service: ServiceId) -> Option<&RequiredInputs> {
        self.routes.get(service).map(|route| &route.wants)
    }

    /// Whether [`Router::service_by_host`] looks at the authority at all. If not, the
    /// host call that reads it can be saved.
    pub fn needs_authority(&self) -> bool {
        self.found.is_some() || self.hosts.needs_authority()
    }

    /// The service that serves a request's `:authority`, as it came from the client.
    ///
    /// Port, upper case and one trailing dot make no difference. A host that is configured
    /// itself comes before suffixes, and a longer suffix before a shorter one. The only
    /// service, if it has no hosts, serves every request, even without authority. Services that
    /// were found come last. What is not a host of at most 255 bytes of UTF-8 belongs to no service.
    pub fn service_by_host(&self, authority: Option<&[u8]>) -> Option<ServiceId> {
        let found = || {
            let host = HostName::of(authority?)?;
            self.found.as_ref()?.by_host(host.as_bytes(), self.now)
        };
        self.hosts.find(authority).or_else(found)
    }

    /// The service of this name, for a route that names it in its metadata. Upper and lower
    /// case are the same, as they are to Consul.
    pub fn service_by_name(&self, name: &[u8]) -> Option<ServiceId> {
        let name = LowerCase::of(name)?;
        let listed = || self.found.as_ref()?.catalog.by_name(name.as_bytes());
        self.names.get(name.as_bytes()).copied().or_else(listed)
    }

    /// Decides what becomes of a request for `service`; none where it is of no service. `hints`
    /// are what the service [wants](Router::required_inputs) to know of it.
    pub fn decide(&mut self, service: Option<ServiceId>, hints: &PickContext) -> Disposition {
        match service.and_then(|id| self.route_mut(id)) {
            Some(route) => route.decide(hints),
            None => {
                let reply = self.unknown_service.as_ref();
                reply.map_or(Disposition::Pass, |r| Disposition::Reply(Rc::clone(r)))
            }
        }
    }

    fn pool(&self, service: ServiceId) -> Option<&Pool> {
        self.routes.get(service).map(|route| &route.pool)
    }

    fn route_mut(&mut self, service: ServiceId) -> Option<&mut Route> {
        self.routes.get_mut(service)
    }
}

#[cfg(test)]
mod tests;
