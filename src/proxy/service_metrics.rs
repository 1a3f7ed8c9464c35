//! The metrics of services: of their requests, of their dependencies, and of those found while running.

use core::cell::Cell;
use std::rc::Rc;

use hashbrown::{HashMap, HashSet};

use crate::config::Config;
use crate::model::service::{ServiceId, SourceId};
use crate::proxy::host::{self, MetricId};
use crate::proxy::source_metrics::SourceMetrics;
use crate::registry::error_kind::ErrorKind;
use crate::registry::source_spec::SourceSpec;
use crate::telemetry::{FoundService, FoundSource, SourceEvent};

/// The metrics of the requests of one service, over all its datacenters.
#[derive(Debug)]
pub(super) struct ServiceMetrics {
    pub(super) picks: StreamCounter,
    pub(super) failures: StreamCounter,
    /// The counter of the times at which a worker's endpoints became stale.
    pub(super) stale: Option<MetricId>,
    /// The counter of the times at which a worker had to use the fallback.
    pub(super) fallbacks: Option<MetricId>,
}

impl ServiceMetrics {
    /// Defines the metrics under a prefix.
    pub(super) fn define(prefix: &str) -> Self {
        let name = |what: &str| format!("{prefix}.{what}");
        Self {
            picks: StreamCounter::define(&name("picks")),
            failures: StreamCounter::define(&name("failures")),
            stale: host::define_counter(&name("stale")),
            fallbacks: host::define_counter(&name("fallbacks")),
        }
    }

    /// Adds the counted events to Envoy's counters.
    pub(super) fn flush(&self) {
        self.picks.flush();
        self.failures.flush();
    }
}

/// Returns the prefix of the metrics of a service.
pub(super) fn service_prefix(service: &str) -> String {
    format!("consul_resolver.service.{service}")
}

/// A counter of events of requests. It counts in the VM's own memory and adds to Envoy's counter at
/// every tick: one host call a tick is cheaper than one a request.
#[derive(Debug)]
pub(super) struct StreamCounter {
    metric: Option<MetricId>,
    uncounted: Cell<u64>,
}

impl StreamCounter {
    fn define(name: &str) -> Self {
        Self { metric: host::define_counter(name), uncounted: Cell::new(0) }
    }

    pub(super) fn count(&self, more: u64) {
        self.uncounted.set(self.uncounted.get().saturating_add(more));
    }

    fn flush(&self) {
        host::add(self.metric, self.uncounted.take());
    }
}

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

/// The maximum number of found services with metrics of their own, in the life of this VM.
///
/// Envoy keeps every definition, so there must be a limit. Names come from Consul's catalog, never
/// from a client.
const MOST_FOUND: usize = 1_000;

/// The metrics of found services, by the name of the service. A service that comes back gets its
/// metrics again.
#[derive(Debug, Default)]
pub(super) struct FoundMetrics {
    own: HashMap<String, Defined>,
    /// The shared metrics of all services beyond the limit.
    others: Option<Rc<ServiceMetrics>>,
    /// The shared metrics of all names that clients have sent, which never become names of metrics.
    named: Option<Rc<ServiceMetrics>>,
    /// The counters of successful and failed calls for such names.
    calls: Option<[Option<MetricId>; 2]>,
}

type Defined = (Rc<ServiceMetrics>, Vec<Rc<SourceMetrics>>);

impl FoundMetrics {
    /// Counts a call for a name that a client has sent and that has had no endpoint yet. Such a
    /// call says nothing about Consul.
    pub(super) fn on_called(&mut self, called: Result<(), ErrorKind>) {
        let [ok, failed] = *self.calls.get_or_insert_with(|| {
            ["ok", "failed"].map(|what| {
                host::define_counter(&format!("consul_resolver.dns_names.consul_calls.{what}"))
            })
        });
        host::add(if called.is_ok() { ok } else { failed }, 1);
    }

    /// Returns the metrics of a service and of its sources. A service beyond the limit gets the
    /// shared ones and none for its sources.
    pub(super) fn of(&mut self, found: &FoundService) -> Defined {
        if found.is_on_demand {
            let named = self.named.get_or_insert_with(|| shared("consul_resolver.dns_names"));
            return (Rc::clone(named), Vec::new());
        }
        if let Some(defined) = self.own.get(&found.name) {
            return defined.clone();
        }
        if self.own.len() >= MOST_FOUND {
            let others =
                self.others.get_or_insert_with(|| shared("consul_resolver.other_services"));
            return (Rc::clone(others), Vec::new());
        }
        let prefix = service_prefix(&found.name);
        let source = |it: &FoundSource| {
            let datacenter = it.datacenter.as_ref().map(|dc| format!(".datacenter.{dc}"));
            let prefix = format!("{prefix}{}", datacenter.unwrap_or_default());
            Rc::new(SourceMetrics::define(&prefix, it.query))
        };
        let sources = found.sources.iter().map(source).collect();
        let defined = (Rc::new(ServiceMetrics::define(&prefix)), sources);
        self.own.insert(found.name.clone(), defined.clone());
        defined
    }
}

/// Defines metrics that several services share.
fn shared(prefix: &str) -> Rc<ServiceMetrics> {
    Rc::new(ServiceMetrics::define(prefix))
}
