//! Which services are down, and what that means to those that depend on them.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::config::{Config, OnDependencyDown, Service};
use crate::model::index_set::IndexSet;
use crate::model::service::ServiceId;
use crate::model::slot_map::{SecondaryMap, SlotMap};
use crate::router::Router;
use crate::router::reply::Reply;
use crate::router::route::Route;
use crate::telemetry::ServiceEvent;

/// What the configured services depend on, and which of it is down.
///
/// A service is *down* where Consul has answered for it in all its datacenters and none has an
/// endpoint; and where it answers all requests 503 because of what it depends on itself. One that
/// was never resolved is not known to be down.
///
/// Nothing of this is looked at for a request. Installs and ticks lead here, and if they make a
/// difference what requests need is put into the routes of those that depend.
#[derive(Debug, Default)]
pub(super) struct DependencyHealth {
    /// Services that others depend on. The value is true if Consul lists no endpoint of the service,
    /// as of the last check.
    watched: HashMap<ServiceId, bool>,
    /// Those that depend on others, each behind all that it depends on.
    dependents: Vec<Dependent>,
}

/// A service that depends on others.
#[derive(Debug)]
struct Dependent {
    service: ServiceId,
    name: String,
    on: Vec<Dependency>,
    on_down: OnDependencyDown,
    /// Those that are down, by their places in `on`.
    down: IndexSet,
    /// The value of `down` at the last event.
    reported: IndexSet,
}

/// One of the services that a service depends on.
#[derive(Debug)]
struct Dependency {
    service: ServiceId,
    name: Rc<str>,
}

impl DependencyHealth {
    /// Those of a configuration. Nothing is known to be down yet.
    pub(super) fn new(config: &Config) -> Self {
        if config.services.iter().all(|service| service.dependencies.is_none()) {
            return Self::default();
        }
        let ids = (0..=u16::MAX).map(ServiceId::nth);
        let services: SecondaryMap<ServiceId, &Service> = ids.zip(&config.services).collect();
        // In a configuration that was parsed there is no cycle.
        let order = crate::config::Dependencies::order(&config.services).unwrap_or_default();
        let dependent = |id: &ServiceId| Dependent::new(*id, &services);
        let dependents: Vec<_> = order.iter().filter_map(dependent).collect();
        let watched = dependents.iter().flat_map(|dependent| &dependent.on);
        Self {
            watched: watched.map(|dependency| (dependency.service, false)).collect(),
            dependents,
        }
    }

    /// Looks at a service whose endpoints may have come or gone.
    pub(super) fn on_changed(
        &mut self,
        service: ServiceId,
        routes: &mut SlotMap<ServiceId, Route>,
    ) {
        if let Some(seen) = self.watched.get_mut(&service)
            && let Some(route) = routes.get(service)
            && core::mem::replace(seen, route.pool.is_down()) != *seen
        {
            self.review(routes);
        }
    }

    /// Looks at all, and tells what has come of it since the last time.
    pub(super) fn on_tick(
        &mut self,
        routes: &mut SlotMap<ServiceId, Route>,
    ) -> Vec<(ServiceId, ServiceEvent)> {
        let mut is_other = false;
        for (service, seen) in &mut self.watched {
            let down = routes.get(*service).is_some_and(|route| route.pool.is_down());
            is_other |= core::mem::replace(seen, down) != down;
        }
        if is_other {
            self.review(routes);
        }
        self.dependents.iter_mut().filter_map(Dependent::poll_event).collect()
    }

    /// Finds out anew for each service what it means to it that others are down.
    fn review(&mut self, routes: &mut SlotMap<ServiceId, Route>) {
        for dependent in &mut self.dependents {
            let is_down = |service| routes.get(service).is_some_and(Route::is_down);
            if dependent.review(is_down)
                && let Some(route) = routes.get_mut(dependent.service)
            {
                route.refusal = dependent.refusal();
            }
        }
    }
}

impl Dependent {
    /// One of the configuration; none where it depends on nothing.
    fn new(id: ServiceId, services: &SecondaryMap<ServiceId, &Service>) -> Option<Self> {
        let service = *services.get(id)?;
        let dependencies = service.dependencies.as_ref()?;
        let on = |id: &ServiceId| {
            let name = services.get(*id)?.name.as_str().into();
            Some(Dependency { service: *id, name })
        };
        Some(Self {
            service: id,
            name: service.name.clone(),
            on: dependencies.services.iter().filter_map(on).collect(),
            on_down: dependencies.on_down,
            down: IndexSet::default(),
            reported: IndexSet::default(),
        })
    }

    /// Updates which dependencies are down. Returns true if that has changed.
    fn review(&mut self, is_down: impl Fn(ServiceId) -> bool) -> bool {
        let on = self.on.iter().enumerate();
        let down = on.filter(|(_, it)| is_down(it.service)).map(|(place, _)| place).collect();
        core::mem::replace(&mut self.down, down) != down
    }

    /// The names of those that are down.
    fn names(&self) -> Vec<Rc<str>> {
        let down = self.on.iter().enumerate().filter(|(place, _)| self.down.contains(*place));
        down.map(|(_, dependency)| Rc::clone(&dependency.name)).collect()
    }

    /// Returns the response to all requests while a dependency is down and requests are to fail.
    fn refusal(&self) -> Option<Rc<Reply>> {
        let fails = self.on_down == OnDependencyDown::Fail && !self.down.is_empty();
        fails.then(|| Rc::new(Reply::dependency_down(&self.name, &self.names())))
    }

    /// Returns the event of a change since the last call.
    fn poll_event(&mut self) -> Option<(ServiceId, ServiceEvent)> {
        let reported = core::mem::replace(&mut self.reported, self.down);
        (reported != self.down)
            .then(|| (self.service, ServiceEvent::DependenciesDown(self.names())))
    }
}

impl Router {
    /// Whether a service is down, as far as this worker knows: it has no endpoint in any datacenter,
    /// or fails because of one that it depends on.
    pub fn is_down(&self, service: ServiceId) -> bool {
        self.routes.get(service).is_some_and(Route::is_down)
    }

    /// Those of these services, by their names, that are down. A name of no service is not.
    pub fn down<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let service = |name: &str| self.service_by_name(name.as_bytes());
        let is_down = |name: &&str| service(name).is_some_and(|service| self.is_down(service));
        names.into_iter().filter(is_down).collect()
    }
}

#[cfg(test)]
mod tests;
