//! The metrics of services that depend on others.

use core::cell::Cell;

use hashbrown::{HashMap, HashSet};

use crate::config::Config;
use crate::discovery::source_spec::SourceSpec;
use crate::model::service::{ServiceId, SourceId};
use crate::proxy::host::{self, MetricId};
use crate::proxy::metrics::service_prefix;
use crate::telemetry::SourceEvent;

/// The metrics of all services that depend on others.
///
/// Which of these are down each VM finds out for itself, and a gauge has one owner: the VM that
/// fetches the service, from the first of its datacenters.
#[derive(Debug)]
pub(super) struct DependencyMetrics {
    services: HashMap<ServiceId, Degradation>,
    /// The first source of each service, whose gauge belongs to the VM that fetches that.
    owned_by: HashSet<(SourceId, ServiceId)>,
}

#[derive(Debug)]
struct Degradation {
    /// How many of its dependencies are down.
    shown: Option<MetricId>,
    /// How often a worker has found one to be down where all were well.
    degradations: Option<MetricId>,
    /// How many are down as this VM sees it.
    down: Cell<usize>,
    is_owner: Cell<bool>,
}

impl DependencyMetrics {
    /// Defines them for a configuration.
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

    /// Learns how many of those are down that a service depends on.
    pub(super) fn on_down(&self, service: ServiceId, down: usize) {
        if let Some(metrics) = self.services.get(&service) {
            let before = metrics.down.replace(down);
            host::add(metrics.degradations, (before == 0 && down > 0).into());
            metrics.show();
        }
    }

    /// Learns from what discovery tells whose the gauge of a service is; `may_show` says whether that
    /// is this configuration's at all.
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
