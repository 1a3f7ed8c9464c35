//! The metrics of services that depend on others.

use core::cell::Cell;

use hashbrown::{HashMap, HashSet};

use crate::config::Config;
use crate::model::service::{ServiceId, SourceId};
use crate::proxy::host::{self, MetricId};
use crate::proxy::service_metrics::service_prefix;
use crate::registry::source_spec::SourceSpec;
use crate::telemetry::SourceEvent;

/// The metrics of all services that depend on others.
///
/// Each VM finds out for itself which dependencies are down. A gauge has one owner: the leader of
/// the first source of the service.
#[derive(Debug)]
pub(super) struct DependencyMetrics {
    services: HashMap<ServiceId, Degradation>,
    /// The first source of each service. The VM that leads it owns the gauge.
    owned_by: HashSet<(SourceId, ServiceId)>,
}

#[derive(Debug)]
struct Degradation {
    /// The gauge of the dependencies that are down.
    shown: Option<MetricId>,
    /// The counter of the times at which all dependencies were well and one went down.
    degradations: Option<MetricId>,
    /// The number of dependencies that are down, as this VM sees it.
    down: Cell<usize>,
    is_owner: Cell<bool>,
}

impl DependencyMetrics {
    /// Defines the metrics of a configuration.
    pub(super) fn define(config: &Config) -> Self {
        let ids = (0..=u16::MAX).map(ServiceId::nth).zip(&config.services);
        let dependents = ids.filter(|(_, service)| service.dependencies.is_some());
        let services = dependents.map(|(id, service)| (id, Degradation::define(&service.name)));
        let sources = SourceSpec::all(config).into_iter();
        let first = sources.filter(|(_, source, _)| {
            source.preference == 0 && source.service.dependencies.is_some()
        });
        Self {
            services: services.collect(),
            owned_by: first.map(|(id, source, _)| (id, source.id)).collect(),
        }
    }

    /// Takes the number of dependencies of a service that are down.
    pub(super) fn on_down(&self, service: ServiceId, down: usize) {
        if let Some(metrics) = self.services.get(&service) {
            let before = metrics.down.replace(down);
            host::add(metrics.degradations, (before == 0 && down > 0).into());
            metrics.show();
        }
    }

    /// Updates the owner of a service's gauge by an event of a source. `may_show` says that the
    /// gauge is this configuration's to set.
    pub(super) fn on_event(
        &self,
        source: SourceId,
        service: ServiceId,
        event: &SourceEvent,
        may_show: bool,
    ) {
        let is_first = self.owned_by.contains(&(source, service));
        let Some(metrics) = self.services.get(&service).filter(|_| is_first) else {
            return;
        };
        match event {
            SourceEvent::Elected(_) | SourceEvent::Age { .. } | SourceEvent::Left if !may_show => {
                metrics.is_owner.set(false);
            }
            // What an older configuration of the same service has shown when it left is not true of
            // this one.
            SourceEvent::Elected(_) | SourceEvent::Age { .. } => {
                metrics.is_owner.set(true);
                metrics.show();
            }
            SourceEvent::Deposed => metrics.is_owner.set(false),
            // Whoever comes next shows what it sees; where nobody does there is nothing to see.
            SourceEvent::Left => {
                metrics.is_owner.set(false);
                host::record(metrics.shown, 0);
            }
            _ => {}
        }
    }
}

impl Degradation {
    fn define(service: &str) -> Self {
        let prefix = service_prefix(service);
        let name = |what: &str| format!("{prefix}.{what}");
        Self {
            shown: host::define_gauge(&name("dependencies_down")),
            degradations: host::define_counter(&name("degradations")),
            down: Cell::new(0),
            is_owner: Cell::new(false),
        }
    }

    fn show(&self) {
        if self.is_owner.get() {
            host::record(self.shown, self.down.get() as u64);
        }
    }
}
