//! The health of services that others depend on.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::config::{Config, OnDependencyDown, Service};
use crate::model::index_set::IndexSet;
use crate::model::service::ServiceId;
use crate::model::slot_map::{SecondaryMap, SlotMap};
use crate::router::reply::Reply;
use crate::router::route::Route;
use crate::telemetry::ServiceEvent;

/// The dependencies of the configured services, and the dependencies that are down.
///
/// A service is *down* if Consul has responded for all its datacenters and none has an endpoint, or if the
/// service itself fails because of a dependency. A service that was never resolved is not known to be down.
///
/// Requests do not look at this. Installs and ticks update it, and a change puts the reply to requests into
/// the routes of the dependents.
#[derive(Debug, Default)]
pub(super) struct DependencyHealth {
    /// The services that others depend on. The value is true if Consul lists no endpoint of the service,
    /// as of the last check.
    watched: HashMap<ServiceId, bool>,
    /// The services that depend on others, each behind all its dependencies.
    dependents: Vec<Dependent>,
}

/// A service that depends on others.
#[derive(Debug)]
struct Dependent {
    service: ServiceId,
    name: String,
    on: Vec<Dependency>,
    on_down: OnDependencyDown,
    /// The dependencies that are down, by their places in `on`.
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
    /// Returns the dependencies of a configuration. None is known to be down yet.
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

    /// Updates a service whose endpoints may have come or gone.
    pub(super) fn on_changed(
        &mut self,
        service: ServiceId,
        routes: &mut SlotMap<ServiceId, Route>,
    ) {
        if let Some(seen) = self.watched.get_mut(&service)
            && let Some(route) = routes.get(service)
            && core::mem::replace(seen, route.pool.is_down()) != *seen
        {
            self.update(routes);
        }
    }

    /// Updates all services, and returns the events since the last tick.
    pub(super) fn on_tick(
        &mut self,
        routes: &mut SlotMap<ServiceId, Route>,
    ) -> Vec<(ServiceId, ServiceEvent)> {
        let mut has_changed = false;
        for (service, seen) in &mut self.watched {
            let down = routes.get(*service).is_some_and(|route| route.pool.is_down());
            has_changed |= core::mem::replace(seen, down) != down;
        }
        if has_changed {
            self.update(routes);
        }
        self.dependents.iter_mut().filter_map(Dependent::poll_event).collect()
    }

    /// Evaluates the dependencies of each service anew.
    fn update(&mut self, routes: &mut SlotMap<ServiceId, Route>) {
        for dependent in &mut self.dependents {
            let is_down = |service| routes.get(service).is_some_and(Route::is_down);
            if dependent.update(is_down)
                && let Some(route) = routes.get_mut(dependent.service)
            {
                route.refusal = dependent.refusal();
            }
        }
    }
}

impl Dependent {
    /// Returns a service of the configuration. Returns `None` if it depends on nothing.
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
    fn update(&mut self, is_down: impl Fn(ServiceId) -> bool) -> bool {
        let on = self.on.iter().enumerate();
        let down = on.filter(|(_, it)| is_down(it.service)).map(|(place, _)| place).collect();
        core::mem::replace(&mut self.down, down) != down
    }

    /// Lists the names of the dependencies that are down.
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

#[cfg(test)]
mod tests;
