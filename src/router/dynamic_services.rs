//! The services that come and go while the router is at work.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::{Config, Discover, Service};
use crate::model::service::{QueryKey, ServiceId, SourceId};
use crate::model::service_names::ServiceNames;
use crate::registry::source_spec::SourceSpec;
use crate::router::catalog::Catalog;
use crate::router::configured_services::ConfiguredServices;
use crate::router::on_demand_names::{Lookup, OnDemandNames};
use crate::router::reply::Reply;
use crate::router::route_table::RouteTable;
use crate::util::time::Time;

/// The services that come and go: those of Consul's catalog, and those that requests name.
///
/// Adds their routes to the table and removes them. Each change waits until discovery follows it.
#[derive(Debug)]
pub(super) struct DynamicServices {
    config: Config,
    catalog: Catalog,
    on_demand: Option<OnDemandNames>,
    too_many_names: Rc<Reply>,
    changes: VecDeque<ServiceChange>,
}

impl DynamicServices {
    /// Returns the services of a configuration, none so far. Returns `None` if there never are any.
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        if config.is_static() {
            return None;
        }
        let catalog =
            config.discover.as_ref().map(|discover| SourceSpec::catalog(config, discover));
        let changes = catalog.map(|spec| ServiceChange::Catalog(Box::new(spec)));
        Some(Box::new(Self {
            config: config.clone(),
            catalog: Catalog::default(),
            on_demand: config.dns_names.clone().map(OnDemandNames::new),
            too_many_names: Rc::new(Reply::too_many_names()),
            changes: changes.into_iter().collect(),
        }))
    }

    /// Returns the next change.
    pub(super) fn poll_change(&mut self) -> Option<ServiceChange> {
        self.changes.pop_front()
    }

    /// Sets the source of the catalog.
    pub(super) const fn follow_catalog(&mut self, source: SourceId) {
        self.catalog.source = Some(source);
    }

    /// Returns the service that serves a host.
    pub(super) fn by_host(&self, host: &[u8], now: Time) -> Option<ServiceId> {
        let on_demand = || self.on_demand.as_ref()?.by_host(host, now);
        self.catalog.by_host(host).or_else(on_demand)
    }

    /// Returns the service of the catalog with a name in lower case.
    pub(super) fn by_name(&self, name: &[u8]) -> Option<ServiceId> {
        self.catalog.by_name(name)
    }

    /// Returns true if requests may name services.
    pub(super) const fn resolves_names(&self) -> bool {
        self.on_demand.is_some()
    }

    /// Returns true if a request has named the service.
    pub(super) fn is_on_demand(&self, service: ServiceId) -> bool {
        self.on_demand.as_ref().is_some_and(|names| names.has(service))
    }

    /// Updates a service that a request has named, when it is resolved.
    pub(super) fn on_installed(&mut self, service: ServiceId, has_endpoints: bool, now: Time) {
        if let Some(names) = &mut self.on_demand {
            names.on_resolved(service, has_endpoints, now);
        }
    }

    /// Takes the services that a source lists, if it is that of the catalog. Services come at once, and go
    /// after a while.
    pub(super) fn on_catalog(
        &mut self,
        source: SourceId,
        listed: &ServiceNames,
        configured: &ConfiguredServices,
        table: &mut RouteTable,
        now: Time,
    ) {
        if let Some(discover) =
            self.config.discover.clone().filter(|_| self.catalog.source == Some(source))
        {
            for name in self.catalog.on_listed(listed.names(), now) {
                self.add_listed(&name, &discover, configured, table);
            }
            table.on_listed();
        }
        self.remove_gone(table, now);
    }

    /// Removes the services whose time is over, and repeats to the other VMs what requests have named.
    pub(super) fn remove_gone(&mut self, table: &mut RouteTable, now: Time) {
        let most = self.config.discover.as_ref().map_or(0, |discover| discover.max_services);
        let unlisted = self.catalog.take_gone(most as usize, now);
        let (mut unused, mut requested) = (Vec::new(), Vec::new());
        if let Some(names) = &mut self.on_demand {
            unused = names.take_gone(now);
            requested = names.take_requested(now);
        }
        for (service, host) in requested {
            let sources = table.get(service).map(|route| route.sources.clone()).unwrap_or_default();
            self.changes.push_back(ServiceChange::Requested { sources, host: text(&host) });
        }
        for service in unlisted {
            self.remove(service, false, table);
        }
        for service in unused {
            self.remove(service, true, table);
        }
    }

    /// Returns the service that a host names in Consul's DNS, and adds it if it is new.
    ///
    /// `requested` is the key of the query if another VM has asked; a host with another query here is
    /// ignored.
    pub(super) fn resolve(
        &mut self,
        host: &[u8],
        requested: Option<QueryKey>,
        table: &mut RouteTable,
        now: Time,
    ) -> Lookup {
        let Some(names) = &mut self.on_demand else { return Lookup::Nothing };
        let named = SourceSpec::named(&self.config, &names.settings, host);
        let Some((service, query)) =
            named.filter(|(_, query)| requested.is_none_or(|theirs| theirs == *query))
        else {
            return Lookup::Nothing;
        };
        let is_told = requested.is_some();
        if let Some(known) = names.by_query(query, host, is_told, now) {
            return Lookup::New(known);
        }
        if !names.admit(query, is_told, now) {
            return Lookup::Refused(Rc::clone(&self.too_many_names));
        }
        let replaced = names.make_room();
        let Some(id) = table.add(&service) else {
            return Lookup::Refused(Rc::clone(&self.too_many_names));
        };
        names.add(query, host, id, is_told, now);
        let origin = if is_told { Origin::OtherVm } else { Origin::Request(text(host)) };
        self.follow(id, &service, origin);
        for service in replaced {
            self.remove(service, true, table);
        }
        Lookup::New(id)
    }

    /// Adds a service of the catalog, unless a configured service has its name.
    fn add_listed(
        &mut self,
        name: &Rc<str>,
        discover: &Discover,
        configured: &ConfiguredServices,
        table: &mut RouteTable,
    ) {
        let Some(host) = discover.host.host_of(name) else {
            return;
        };
        if configured.by_name(name.to_ascii_lowercase().as_bytes()).is_some() {
            return;
        }
        let service = Service { name: name.to_string(), ..discover.service.clone() };
        if let Some(id) = table.add(&service) {
            // If the filter takes the host for a configured service, Envoy is to route it there, too.
            let is_taken = configured.by_host(Some(host.as_bytes())).is_some();
            let own = host.parse().ok().filter(|_| !is_taken);
            table.supply(id, &Service { hosts: own.into_iter().collect(), ..service.clone() });
            self.catalog.add(name, &host, id);
            self.follow(id, &service, Origin::Catalog);
        }
    }

    /// Has discovery follow a service.
    fn follow(&mut self, id: ServiceId, service: &Service, origin: Origin) {
        let config = &self.config;
        let on_trial = origin != Origin::Catalog;
        let specs = config
            .datacenters(service)
            .map(|dc| SourceSpec { on_trial, ..SourceSpec::of(config, service, dc) })
            .collect();
        let name = service.name.clone();
        self.changes.push_back(ServiceChange::Added(Addition { service: id, name, specs, origin }));
    }

    /// Removes a service, and has discovery forget it.
    fn remove(&mut self, service: ServiceId, is_on_demand: bool, table: &mut RouteTable) {
        let sources = table.remove(service);
        self.changes.push_back(ServiceChange::Removed { service, sources, is_on_demand });
    }
}

/// Returns the host of a name, which is text.
fn text(host: &[u8]) -> Box<str> {
    String::from_utf8_lossy(host).into()
}

/// A change that discovery follows.
#[derive(Debug)]
pub enum ServiceChange {
    /// Follow the catalog.
    Catalog(Box<SourceSpec>),
    /// Follow a service.
    Added(Addition),
    /// Tell the other VMs again that requests name a host.
    Requested {
        /// The sources of the service.
        sources: Vec<SourceId>,
        /// The host.
        host: Box<str>,
    },
    /// Forget a service.
    Removed {
        /// The service that has gone.
        service: ServiceId,
        /// The sources of its endpoints.
        sources: Vec<SourceId>,
        /// True if a request had named the service.
        is_on_demand: bool,
    },
}

/// A service that requests can go to from now on.
#[derive(Debug)]
pub struct Addition {
    /// The service.
    pub service: ServiceId,
    /// The name in log lines.
    pub name: String,
    /// The sources, in the order of preference.
    pub specs: Vec<SourceSpec>,
    /// The origin of the name.
    pub origin: Origin,
}

/// The origin of a service's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Consul's catalog lists the service.
    Catalog,
    /// A request has this host.
    Request(Box<str>),
    /// Another VM has such a request.
    OtherVm,
}

#[cfg(test)]
mod tests;
