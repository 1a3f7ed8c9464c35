//! The log lines of events, and the names that they use.

use hashbrown::HashSet;
use log::Level;

use crate::config::{Config, Source};
use crate::model::registration::RegistrationId;
use crate::model::service::{ServiceId, SourceId};
use crate::model::slot_map::SecondaryMap;
use crate::registry::source_spec::SourceSpec;
use crate::telemetry::{
    FoundService, RegistrationEvent, ServiceEvent, SourceEvent, TelemetryEvent,
};

/// Logs events under the names of their subjects.
#[derive(Debug)]
pub(super) struct EventLog {
    /// The names of the services.
    services: SecondaryMap<ServiceId, String>,
    /// The name of each source, by the services that use it.
    sources: SecondaryMap<SourceId, String>,
    /// The sources that only clients have named, and that have had no endpoint yet.
    unverified: HashSet<SourceId>,
    /// The ids of the registrations at the agent.
    registrations: SecondaryMap<RegistrationId, String>,
}

impl EventLog {
    /// Starts with the names of a configuration.
    pub(super) fn new(config: &Config) -> Self {
        let services = config.services.iter().map(|service| service.name.clone());
        let registrations = config.registrations.iter().map(|it| it.id.clone());
        Self {
            services: (0..=u16::MAX).map(ServiceId::nth).zip(services).collect(),
            sources: source_names(config),
            unverified: HashSet::new(),
            registrations: (0..=u16::MAX).map(RegistrationId::nth).zip(registrations).collect(),
        }
    }

    /// Returns the name of a service.
    pub(super) fn service_name(&self, service: ServiceId) -> Option<&str> {
        self.services.get(service).map(String::as_str)
    }

    /// Returns true if only clients have named a source, and it has had no endpoint yet.
    pub(super) fn is_unverified(&self, source: SourceId) -> bool {
        self.unverified.contains(&source)
    }

    /// Logs an event, if it has a level and its subject has a name.
    pub(super) fn on_event(&mut self, event: &TelemetryEvent) {
        match event {
            TelemetryEvent::Source { source, event } => self.on_source_event(*source, event),
            TelemetryEvent::Registration { registration, event } => {
                if let RegistrationEvent::Orphaned { id } = event {
                    self.registrations.insert(*registration, id.clone());
                }
                let name = self.registrations.get(*registration);
                if let (Some(level), Some(name)) = (event.level(), name) {
                    log::log!(level, "registration {name}: {event}");
                }
            }
            TelemetryEvent::Service { service, event } => self.on_service_event(*service, event),
            TelemetryEvent::Breaker(event) => {
                if let Some(level) = event.level() {
                    log::log!(level, "{event}");
                }
            }
        }
    }

    fn on_source_event(&mut self, source: SourceId, event: &SourceEvent) {
        match event {
            SourceEvent::ListsCatalog => {
                self.sources.insert(source, "catalog".to_owned());
            }
            SourceEvent::Published { endpoints: 1.., .. }
            | SourceEvent::Age { endpoints: 1.., .. } => {
                self.unverified.remove(&source);
            }
            _ => {}
        }
        if let (Some(level), Some(name)) = (event.level(), self.sources.get(source)) {
            // A name that a client has made up concerns no operator.
            let level = if self.is_unverified(source) { Level::Debug } else { level };
            log::log!(level, "{name}: {event}");
        }
    }

    fn on_service_event(&mut self, service: ServiceId, event: &ServiceEvent) {
        if let ServiceEvent::Found(found) = event {
            self.on_found(service, found);
        }
        if let Some(name) = self.services.get(service) {
            log::log!(event.level(), "service {name}: {event}");
        }
        if let ServiceEvent::Gone(sources) = event {
            self.services.remove(service);
            for source in sources {
                self.sources.remove(*source);
                self.unverified.remove(source);
            }
        }
    }

    fn on_found(&mut self, service: ServiceId, found: &FoundService) {
        self.services.insert(service, found.name.clone());
        for it in &found.sources {
            // A source that another service uses, too, keeps its name.
            let is_new = self.sources.get(it.source).is_none();
            if is_new {
                self.sources.insert(it.source, source_name(&found.name, it.datacenter.as_deref()));
            }
            match found.is_on_demand {
                true if is_new => self.unverified.insert(it.source),
                true => false,
                false => self.unverified.remove(&it.source),
            };
        }
    }
}

/// Names the configured sources by all services that use them.
fn source_names(config: &Config) -> SecondaryMap<SourceId, String> {
    let mut names: SecondaryMap<SourceId, String> = SecondaryMap::new();
    for (id, source, _) in SourceSpec::all(config) {
        let Source { service, datacenter, .. } = source;
        let datacenter = datacenter.filter(|_| service.datacenters.len() > 1);
        let name = source_name(&service.name, datacenter);
        match names.get_mut(id) {
            Some(names) => {
                names.push_str(", ");
                names.push_str(&name);
            }
            None => names.insert(id, name),
        }
    }
    names
}

/// Names a source by its service, and by its datacenter if the service has several.
fn source_name(service: &str, datacenter: Option<&str>) -> String {
    match datacenter {
        Some(datacenter) => format!("service {service} in {datacenter}"),
        None => format!("service {service}"),
    }
}
