//! The counters and gauges, all named `consul_resolver.…`.
//!
//! Defined once for each VM, since Envoy keeps every definition. Their names come from the
//! configuration, never from a client. README.md has a table of them, which a test holds
//! against what Envoy shows.

use core::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::calls::breaker::BreakerState;
use crate::config::{Config, Source};
use crate::model::service::{QueryKey, ServiceId, SourceId};
use crate::model::slot_map::SecondaryMap;
use crate::proxy::dependency_metrics::DependencyMetrics;
use crate::proxy::found_metrics::FoundMetrics;
use crate::proxy::host::{self, MetricId};
use crate::proxy::registration_metrics::RegistrationMetrics;
use crate::proxy::source_metrics::SourceMetrics;
use crate::registry::error::ErrorKind;
use crate::registry::source_spec::SourceSpec;
use crate::router::forward::Forward;
use crate::router::reply::ReplyReason;
use crate::router::service_change::Addition;
use crate::telemetry::RouteEvent;
use crate::telemetry::SourceEvent;

/// Whose the metrics of the catalog are: no service has this id, since there are fewer.
const NO_SERVICE: ServiceId = ServiceId::nth(u16::MAX);

/// The metrics of one VM.
#[derive(Debug)]
pub(super) struct Metrics {
    calls_ok: Option<MetricId>,
    calls_failed: Vec<(ErrorKind, Option<MetricId>)>,
    breaker: Option<MetricId>,
    breaker_opens: Option<MetricId>,
    replies: Vec<(ReplyReason, Option<MetricId>)>,
    services: SecondaryMap<ServiceId, Rc<ServiceMetrics>>,
    /// Those of all services that have endpoints from a source.
    sources: SecondaryMap<SourceId, Vec<(ServiceId, Rc<SourceMetrics>)>>,
    /// What is asked for the catalog.
    catalog: Option<QueryKey>,
    /// The sources of the services that were found while running, and have metrics of their own.
    found_sources: HashMap<ServiceId, Vec<SourceId>>,
    found: FoundMetrics,
    pub(super) registrations: RegistrationMetrics,
    dependencies: DependencyMetrics,
}

/// A counter of what happens at requests. It counts in the VM's own memory, and adds that to
/// Envoy's at every tick: one host call a tick is cheaper than one a request.
#[derive(Debug)]
struct StreamCounter {
    metric: Option<MetricId>,
    uncounted: Cell<u64>,
}

impl StreamCounter {
    fn define(name: &str) -> Self {
        Self { metric: host::define_counter(name), uncounted: Cell::new(0) }
    }

    fn count(&self, more: u64) {
        self.uncounted.set(self.uncounted.get().saturating_add(more));
    }

    fn flush(&self) {
        host::add(self.metric, self.uncounted.take());
    }
}

/// What happens to the requests of one service, over all of its datacenters.
#[derive(Debug)]
pub(super) struct ServiceMetrics {
    picks: StreamCounter,
    failures: StreamCounter,
    /// How often a worker's endpoints became stale.
    stale: Option<MetricId>,
    /// How often a worker had to use the fallback.
    fallbacks: Option<MetricId>,
}

impl Metrics {
    /// Defines the metrics of a configuration.
    pub(super) fn define(config: &Config) -> Self {
        let call =
            |label: &str| host::define_counter(&format!("consul_resolver.consul_calls.{label}"));
        let reply = |reason: ReplyReason| {
            let name = format!("consul_resolver.local_replies.{}", reason.label());
            (reason, host::define_counter(&name))
        };
        let services = config
            .services
            .iter()
            .map(|s| Rc::new(ServiceMetrics::define(&service_prefix(&s.name))));
        let mut sources: SecondaryMap<SourceId, Vec<_>> = SecondaryMap::new();
        for (id, source, subject) in SourceSpec::all(config) {
            let metrics = SourceMetrics::define(&source_prefix(source), subject.query.key());
            let of_service = (source.id, Rc::new(metrics));
            match sources.get_mut(id) {
                Some(others) => others.push(of_service),
                None => sources.insert(id, vec![of_service]),
            }
        }
        Self {
            calls_ok: call("ok"),
            calls_failed: ErrorKind::ALL.iter().map(|&kind| (kind, call(kind.label()))).collect(),
            breaker: host::define_gauge("consul_resolver.consul_breaker"),
            breaker_opens: host::define_counter("consul_resolver.consul_breaker_opens"),
            replies: ReplyReason::ALL.iter().map(|&reason| reply(reason)).collect(),
            services: (0..=u16::MAX).map(ServiceId::nth).zip(services).collect(),
            sources,
            catalog: config.discover.as_ref().map(|it| SourceSpec::catalog(config, it).query.key()),
            found_sources: HashMap::new(),
            found: FoundMetrics::default(),
            registrations: RegistrationMetrics::define(config),
            dependencies: DependencyMetrics::define(config),
        }
    }

    /// Counts a request that was sent to an endpoint; shown after the next [`Self::flush`].
    pub(super) fn on_forward(&self, forward: &Forward) {
        if let Some(metrics) = self.services.get(forward.service()) {
            metrics.picks.count(1);
        }
    }

    /// Counts requests that an endpoint has failed at.
    pub(super) fn on_failures(&self, service: ServiceId, failures: u32) {
        if let Some(metrics) = self.services.get(service) {
            metrics.failures.count(failures.into());
        }
    }

    /// Counts what has happened to a service in this worker.
    pub(super) fn on_route_event(&self, service: ServiceId, event: &RouteEvent) {
        if let Some(metrics) = self.services.get(service) {
            let metric = match event {
                RouteEvent::Stale(true) => metrics.stale,
                RouteEvent::FellBack => metrics.fallbacks,
                RouteEvent::DependenciesDown(names) => {
                    return self.dependencies.on_down(service, names.len());
                }
                RouteEvent::TooManyVersions { .. } | RouteEvent::Stale(false) => return,
            };
            host::add(metric, 1);
        }
    }

    /// Counts a request that was answered here.
    pub(super) fn on_reply(&self, reason: ReplyReason) {
        let metric = self.replies.iter().find(|(counted, _)| *counted == reason);
        host::add(metric.and_then(|(_, metric)| *metric), 1);
    }

    /// Shows where the circuit breaker stands, and counts when it opens.
    pub(super) fn on_breaker(&self, position: BreakerState, before: Option<BreakerState>) {
        let shown = match position {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        host::record(self.breaker, shown);
        let opens = position == BreakerState::Open && before == Some(BreakerState::Closed);
        host::add(self.breaker_opens, opens.into());
    }

    /// Counts a call to Consul.
    pub(super) fn on_called(&self, called: Result<(), ErrorKind>) {
        let metric = match called {
            Ok(()) => self.calls_ok,
            Err(kind) => {
                let metric = self.calls_failed.iter().find(|(counted, _)| *counted == kind);
                metric.and_then(|(_, metric)| *metric)
            }
        };
        host::add(metric, 1);
    }

    /// Counts and shows what discovery tells; `is_named` says that only clients want the source, and
    /// that it has not shown yet to be there.
    pub(super) fn on_notice(&mut self, source: SourceId, notice: &SourceEvent, is_named: bool) {
        match notice {
            SourceEvent::Called(called) if is_named => self.found.on_called(*called),
            SourceEvent::Called(called) => self.on_called(*called),
            _ => {}
        }
        // What clients ask for by name has no metrics of its own.
        for (service, metrics) in self.sources.get(source).into_iter().flatten() {
            let may_show = metrics.on_notice(notice);
            self.dependencies.on_notice(source, *service, notice, may_show);
        }
    }

    /// Defines the metrics of a service that was found, or takes those that it had before.
    pub(super) fn on_added(&mut self, added: &Addition, sources: &[SourceId]) {
        let (of_service, of_each) = self.found.of(added, sources.len());
        self.services.insert(added.service, of_service);
        if !of_each.is_empty() {
            self.found_sources.insert(added.service, sources.to_vec());
        }
        for (source, metrics) in sources.iter().zip(of_each) {
            let of_service = (added.service, metrics);
            match self.sources.get_mut(*source) {
                Some(others) => others.push(of_service),
                None => self.sources.insert(*source, vec![of_service]),
            }
        }
    }

    /// Counts for a service no more.
    pub(super) fn on_removed(&mut self, service: ServiceId) {
        if let Some(metrics) = self.services.remove(service) {
            metrics.flush();
        }
        for source in self.found_sources.remove(&service).unwrap_or_default() {
            let Some(all) = self.sources.get_mut(source) else { continue };
            for (_, metrics) in all.iter().filter(|(its, _)| *its == service) {
                metrics.end();
            }
            all.retain(|(its, _)| *its != service);
            if all.is_empty() {
                self.sources.remove(source);
            }
        }
    }

    /// Defines what is shown of the catalog, with its services in the place of endpoints.
    pub(super) fn on_catalog(&mut self, source: SourceId) {
        let Some(query) = self.catalog else { return };
        let metrics = SourceMetrics::of_catalog(query);
        self.sources.insert(source, vec![(NO_SERVICE, Rc::new(metrics))]);
    }

    /// Adds to Envoy's counters what was counted here.
    pub(super) fn flush(&self) {
        for metrics in self.services.values() {
            metrics.flush();
        }
    }
}

/// How the names of a service's metrics begin.
pub(super) fn service_prefix(service: &str) -> String {
    format!("consul_resolver.service.{service}")
}

/// How those of a source begin: by the service's name and, where it has several datacenters, that
/// of the datacenter.
fn source_prefix(source: Source<'_>) -> String {
    let service = service_prefix(&source.service.name);
    match source.datacenter.filter(|_| source.service.datacenters.len() > 1) {
        Some(datacenter) => format!("{service}.datacenter.{datacenter}"),
        None => service,
    }
}

impl ServiceMetrics {
    /// Defines them under names that begin so.
    pub(super) fn define(prefix: &str) -> Self {
        let name = |what: &str| format!("{prefix}.{what}");
        Self {
            picks: StreamCounter::define(&name("picks")),
            failures: StreamCounter::define(&name("failures")),
            stale: host::define_counter(&name("stale")),
            fallbacks: host::define_counter(&name("fallbacks")),
        }
    }

    fn flush(&self) {
        self.picks.flush();
        self.failures.flush();
    }
}
