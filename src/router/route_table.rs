//! The routes of all services.

use core::time::Duration;
use std::rc::Rc;

use crate::config::{Config, Locality, Service};
use crate::handoff::HandoffMethod;
use crate::model::service::{ServiceId, SourceId};
use crate::model::slot_map::{SecondaryMap, SlotMap};
use crate::model::snapshot::Snapshot;
use crate::router::dependencies::DependencyHealth;
use crate::router::route::Route;
use crate::router::supply::Supply;
use crate::telemetry::ServiceEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::xds::resources::Update;

/// The routes of all services, and the sources of their endpoints.
///
/// Changes of endpoints lead on to the services that depend on others, and to Envoy's own clusters.
#[derive(Debug)]
pub(super) struct RouteTable {
    /// The configured services first, in their order.
    routes: SlotMap<ServiceId, Route>,
    subscribers: SecondaryMap<SourceId, Vec<Subscriber>>,
    dependencies: DependencyHealth,
    /// The updates for Envoy's own clusters; none if the filter does not feed them.
    supply: Option<Box<Supply>>,
    locality: Option<Locality>,
    handoff: HandoffMethod,
    warmup_timeout: Duration,
    rng: Rng,
}

/// A service that has endpoints from a source.
#[derive(Debug, Clone, Copy)]
struct Subscriber {
    service: ServiceId,
    /// The place of the source's datacenter in the service's order of preference.
    preference: usize,
}

impl RouteTable {
    /// Returns a table without routes. Each route takes a generator of its own from `rng`.
    pub(super) fn new(config: &Config, rng: Rng) -> Self {
        Self {
            routes: SlotMap::new(),
            subscribers: SecondaryMap::new(),
            dependencies: DependencyHealth::new(config),
            supply: config.xds.as_ref().map(|_| Box::default()),
            locality: config.locality.clone(),
            handoff: HandoffMethod::new(&config.handoff),
            warmup_timeout: config.warmup_timeout,
            rng,
        }
    }

    /// Adds the route of a service that was never resolved. Returns `None` if there are too many.
    pub(super) fn add(&mut self, service: &Service) -> Option<ServiceId> {
        let Self { routes, locality, handoff, warmup_timeout, rng, .. } = self;
        routes.add(|id| {
            Route::new(id, service, locality.as_ref(), *handoff, *warmup_timeout, rng.split())
        })
    }

    /// Tells Envoy's own clusters of a service. A service that clients have named must not be told.
    pub(super) fn supply(&mut self, id: ServiceId, service: &Service) {
        if let (Some(supply), Some(route)) = (&mut self.supply, self.routes.get_mut(id)) {
            route.keep_assignment();
            supply.add(id, service);
        }
    }

    /// Gives a service the endpoints of a source. The source with preference 0 is the preferred one.
    pub(super) fn attach(&mut self, service: ServiceId, preference: usize, source: SourceId) {
        let Some(route) = self.routes.get_mut(service) else {
            return;
        };
        route.sources.push(source);
        let subscriber = Subscriber { service, preference };
        match self.subscribers.get_mut(source) {
            Some(subscribers) => subscribers.push(subscriber),
            None => self.subscribers.insert(source, vec![subscriber]),
        }
    }

    /// Removes a service, and returns the sources of its endpoints. Requests in flight to the service
    /// no longer count.
    pub(super) fn remove(&mut self, service: ServiceId) -> Vec<SourceId> {
        if let Some(supply) = &mut self.supply {
            supply.remove(service);
        }
        let sources = self.routes.remove(service).map(|route| route.sources).unwrap_or_default();
        for &source in &sources {
            let subscribers = self.subscribers.get_mut(source);
            let is_unused = subscribers.is_some_and(|subscribers| {
                subscribers.retain(|subscriber| subscriber.service != service);
                subscribers.is_empty()
            });
            if is_unused {
                self.subscribers.remove(source);
            }
        }
        sources
    }

    /// Replaces the endpoints that services have from a source, and reports each of these services.
    pub(super) fn install(
        &mut self,
        source: SourceId,
        snapshot: &Rc<Snapshot>,
        now: Time,
        mut on_installed: impl FnMut(ServiceId),
    ) {
        for subscriber in self.subscribers.get(source).into_iter().flatten() {
            let Some(route) = self.routes.get_mut(subscriber.service) else { continue };
            route.install(subscriber.preference, snapshot, now);
            if let Some(supply) = &mut self.supply {
                supply.on_changed(subscriber.service, route);
            }
            self.dependencies.on_changed(subscriber.service, &mut self.routes);
            on_installed(subscriber.service);
        }
    }

    /// Updates the age of the endpoints from a source, which Consul has confirmed so long ago.
    pub(super) fn on_confirmed(&mut self, source: SourceId, age: Duration, now: Time) {
        for subscriber in self.subscribers.get(source).into_iter().flatten() {
            if let Some(route) = self.routes.get_mut(subscriber.service) {
                let is_resolved = route.on_confirmed(age, now);
                if let Some(supply) = self.supply.as_mut().filter(|_| is_resolved) {
                    supply.on_changed(subscriber.service, route);
                }
            }
        }
    }

    /// Notes that all services of the catalog are in the table.
    pub(super) fn on_listed(&mut self) {
        if let Some(supply) = &mut self.supply {
            supply.on_listed();
        }
    }

    /// Advances time: endpoints warm up and age. Reports the events of services since the last tick.
    pub(super) fn on_tick(&mut self, now: Time, mut on_event: impl FnMut(ServiceId, ServiceEvent)) {
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

    /// Returns the next update for Envoy's own clusters.
    pub(super) fn poll_update(&mut self) -> Option<Update> {
        self.supply.as_mut()?.poll()
    }

    /// Returns the configured handoff.
    pub(super) const fn handoff(&self) -> HandoffMethod {
        self.handoff
    }

    /// Returns the route of a service.
    pub(super) fn get(&self, service: ServiceId) -> Option<&Route> {
        self.routes.get(service)
    }

    /// Returns the route of a service.
    pub(super) fn get_mut(&mut self, service: ServiceId) -> Option<&mut Route> {
        self.routes.get_mut(service)
    }

    /// Returns the number of routes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Returns the dependencies.
    #[cfg(test)]
    pub(super) const fn dependencies(&self) -> &DependencyHealth {
        &self.dependencies
    }
}
