//! The counters and gauges, all named `consul_resolver.…`.
//!
//! Defined once for each VM, since Envoy keeps every definition. Their names come from the
//! configuration, never from a client. README.md has a table of them, which a test holds
//! against what Envoy shows.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use crate::balance::outlier::transition::Transition;
use crate::balance::pool::PoolEvent;
use crate::config::{Config, Source};
use crate::consul::dropped::Dropped;
use crate::consul::error::ErrorKind;
use crate::discovery::breaker::Position;
use crate::discovery::guard::Resolution;
use crate::discovery::notice::Notice;
use crate::model::arena::Beside;
use crate::model::service::{ServiceId, SourceId};
use crate::proxy::dependency_metrics::DependencyMetrics;
use crate::proxy::found_metrics::FoundMetrics;
use crate::proxy::host::{self, MetricId};
use crate::proxy::probe_metrics::ProbeMetrics;
use crate::proxy::registration_metrics::RegistrationMetrics;
use crate::router::change::Addition;
use crate::router::decision::Forward;
use crate::router::event::RouteEvent;
use crate::router::reply::ReplyReason;

/// The metrics of one VM.
#[derive(Debug)]
pub(super) struct Metrics {
    calls_ok: Option<MetricId>,
    calls_failed: Vec<(ErrorKind, Option<MetricId>)>,
    breaker: Option<MetricId>,
    breaker_opens: Option<MetricId>,
    replies: Vec<(ReplyReason, Option<MetricId>)>,
    services: Beside<ServiceId, Rc<ServiceMetrics>>,
    sources: Beside<SourceId, Rc<SourceMetrics>>,
    found: FoundMetrics,
    pub(super) registrations: RegistrationMetrics,
    dependencies: DependencyMetrics,
}

/// A counter of what happens at requests. It counts in the VM's own memory, and adds that to
/// Envoy's at every tick: one host call a tick is cheaper than one a request.
#[derive(Debug)]
struct Tally {
    metric: Option<MetricId>,
    uncounted: Cell<u64>,
}

impl Tally {
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
    picks: Tally,
    failures: Tally,
    withheld_retries: Tally,
    ejections: Option<MetricId>,
    returns: Option<MetricId>,
    panics: Option<MetricId>,
    /// How often a worker's endpoints became stale.
    stale: Option<MetricId>,
    /// How often a worker had to use the fallback.
    fallbacks: Option<MetricId>,
}

/// What discovery tells of one source.
#[derive(Debug)]
pub(super) struct SourceMetrics {
    updates: Option<MetricId>,
    endpoints: Option<MetricId>,
    /// Instances of the last answer whose registrations somebody should mend.
    faulty: Option<MetricId>,
    /// Instances of the last answer whose addresses the policy does not admit.
    denied: Option<MetricId>,
    age: Option<MetricId>,
    fetchers: Option<MetricId>,
    doubted: Option<MetricId>,
    refuted: Option<MetricId>,
    /// Whether an answer is held back.
    held: Option<MetricId>,
    /// Only where endpoints are probed.
    probes: Option<ProbeMetrics>,
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
        let sources = config.sources().map(|source| {
            let metrics = SourceMetrics::define(&source_prefix(source));
            Rc::new(match source.service.active_health_check {
                Some(_) => metrics.probed(&source_prefix(source)),
                None => metrics,
            })
        });
        Self {
            calls_ok: call("ok"),
            calls_failed: ErrorKind::ALL.iter().map(|&kind| (kind, call(kind.label()))).collect(),
            breaker: host::define_gauge("consul_resolver.consul_breaker"),
            breaker_opens: host::define_counter("consul_resolver.consul_breaker_opens"),
            replies: ReplyReason::ALL.iter().map(|&reason| reply(reason)).collect(),
            services: (0..=u16::MAX).map(ServiceId::nth).zip(services).collect(),
            sources: (0..=u16::MAX).map(SourceId::nth).zip(sources).collect(),
            found: FoundMetrics::default(),
            registrations: RegistrationMetrics::define(config),
            dependencies: DependencyMetrics::define(config),
        }
    }

    /// Counts a request that was sent to an endpoint; shown after the next [`Self::flush`].
    pub(super) fn on_forward(&self, forward: &Forward) {
        if let Some(metrics) = self.services.get(forward.service()) {
            metrics.picks.count(1);
            metrics.withheld_retries.count(forward.most_retries().is_some().into());
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
                RouteEvent::Pool(PoolEvent::Endpoint(_, Transition::Ejected(_))) => {
                    metrics.ejections
                }
                RouteEvent::Pool(PoolEvent::Endpoint(_, Transition::Returned)) => metrics.returns,
                RouteEvent::Pool(PoolEvent::Panic(true)) => metrics.panics,
                RouteEvent::Stale(true) => metrics.stale,
                RouteEvent::FellBack => metrics.fallbacks,
                RouteEvent::DependenciesDown(names) => {
                    return self.dependencies.on_down(service, names.len());
                }
                RouteEvent::Pool(PoolEvent::Panic(false) | PoolEvent::TooManyVersions { .. })
                | RouteEvent::Stale(false)
                | RouteEvent::DatacentersAvoided(_) => return,
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
    pub(super) fn on_breaker(&self, position: Position, before: Option<Position>) {
        let shown = match position {
            Position::Closed => 0,
            Position::HalfOpen => 1,
            Position::Open => 2,
        };
        host::record(self.breaker, shown);
        let opens = position == Position::Open && before == Some(Position::Closed);
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

    /// Counts and shows what discovery tells.
    pub(super) fn on_notice(&self, source: SourceId, notice: &Notice) {
        if let Notice::Called(called) = notice {
            self.on_called(*called);
        }
        self.dependencies.on_notice(source, notice);
        // What clients ask for by name has no metrics of its own.
        let Some(metrics) = self.sources.get(source) else {
            return;
        };
        match notice {
            Notice::Elected(_) => {
                host::record(metrics.fetchers, 1);
                // It reads the service at once, and then tells of those that there are.
                metrics.record_left_out(Dropped::default());
                host::record(metrics.held, 0);
            }
            Notice::Left => {
                host::record(metrics.fetchers, 0);
                host::record(metrics.held, 0);
            }
            Notice::Doubted(_) => {
                host::add(metrics.doubted, 1);
                host::record(metrics.held, 1);
            }
            Notice::Resolved(resolution) => {
                host::add(metrics.refuted, (*resolution == Resolution::Refuted).into());
                host::record(metrics.held, 0);
            }
            Notice::Published { endpoints, .. } => {
                host::add(metrics.updates, 1);
                metrics.show(Duration::ZERO, *endpoints);
            }
            Notice::Listed { services, left_out, .. } => {
                host::add(metrics.updates, 1);
                metrics.show(Duration::ZERO, *services);
                host::record(metrics.faulty, (*left_out).into());
            }
            Notice::Dropped(dropped) => metrics.record_left_out(*dropped),
            Notice::Age { age, endpoints } => {
                host::record(metrics.fetchers, 1);
                metrics.show(*age, *endpoints);
            }
            Notice::Health(change) => {
                metrics.probes.iter().for_each(|probes| probes.show_unhealthy(change.unhealthy));
            }
            Notice::Probing { unhealthy, overdue } => {
                if let Some(probes) = &metrics.probes {
                    probes.show_unhealthy(*unhealthy);
                    probes.show_overdue(*overdue);
                }
            }
            Notice::Probed(outcome) => {
                metrics.probes.iter().for_each(|probes| probes.on_outcome(*outcome));
            }
            Notice::Called(_)
            | Notice::Unsent(_)
            | Notice::Deposed
            | Notice::FetcherLost
            | Notice::Failing(_)
            | Notice::Recovered(_)
            | Notice::Unreadable(_) => {}
        }
    }

    /// Defines the metrics of a service that was found, or takes those that it had before.
    pub(super) fn on_added(&mut self, added: &Addition, sources: &[SourceId]) {
        let Self { services, sources: of_sources, found, .. } = self;
        let (of_service, of_each) = found.of(added, sources.len());
        services.insert(added.service, of_service);
        for (source, metrics) in sources.iter().zip(of_each) {
            if of_sources.get(*source).is_none() {
                of_sources.insert(*source, metrics);
            }
        }
    }

    /// Counts for a service no more.
    pub(super) fn on_removed(&mut self, service: ServiceId, sources: &[SourceId]) {
        if let Some(metrics) = self.services.remove(service) {
            metrics.flush();
        }
        for source in sources {
            if let Some(metrics) = self.sources.remove(*source) {
                metrics.show(Duration::ZERO, 0);
            }
        }
    }

    /// Defines what is shown of the catalog.
    pub(super) fn on_catalog(&mut self, source: SourceId) {
        let metrics = SourceMetrics {
            updates: host::define_counter("consul_resolver.catalog.updates"),
            endpoints: host::define_gauge("consul_resolver.catalog.services"),
            faulty: host::define_gauge("consul_resolver.catalog.left_out"),
            denied: None,
            age: host::define_gauge("consul_resolver.catalog.snapshot_age_ms"),
            fetchers: host::define_gauge("consul_resolver.catalog.fetchers"),
            doubted: host::define_counter("consul_resolver.catalog.doubted_answers"),
            refuted: host::define_counter("consul_resolver.catalog.refuted_answers"),
            held: host::define_gauge("consul_resolver.catalog.held_answers"),
            probes: None,
        };
        self.sources.insert(source, Rc::new(metrics));
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
            picks: Tally::define(&name("picks")),
            failures: Tally::define(&name("failures")),
            withheld_retries: Tally::define(&name("withheld_retries")),
            ejections: host::define_counter(&name("ejections")),
            returns: host::define_counter(&name("returns")),
            panics: host::define_counter(&name("panics")),
            stale: host::define_counter(&name("stale")),
            fallbacks: host::define_counter(&name("fallbacks")),
        }
    }

    fn flush(&self) {
        for tally in [&self.picks, &self.failures, &self.withheld_retries] {
            tally.flush();
        }
    }
}

impl SourceMetrics {
    /// Defines them under names that begin so.
    pub(super) fn define(prefix: &str) -> Self {
        let name = |what: &str| format!("{prefix}.{what}");
        Self {
            updates: host::define_counter(&name("updates")),
            endpoints: host::define_gauge(&name("endpoints")),
            faulty: host::define_gauge(&name("faulty_instances")),
            denied: host::define_gauge(&name("denied_instances")),
            age: host::define_gauge(&name("snapshot_age_ms")),
            fetchers: host::define_gauge(&name("fetchers")),
            doubted: host::define_counter(&name("doubted_answers")),
            refuted: host::define_counter(&name("refuted_answers")),
            held: host::define_gauge(&name("held_answers")),
            probes: None,
        }
    }

    /// The same, of endpoints that are probed.
    fn probed(self, prefix: &str) -> Self {
        Self { probes: Some(ProbeMetrics::define(prefix)), ..self }
    }

    fn show(&self, age: Duration, endpoints: usize) {
        host::record(self.age, u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        host::record(self.endpoints, u64::try_from(endpoints).unwrap_or(u64::MAX));
    }

    fn record_left_out(&self, dropped: Dropped) {
        host::record(self.faulty, u64::try_from(dropped.total()).unwrap_or(u64::MAX));
        host::record(self.denied, u64::try_from(dropped.denied.count).unwrap_or(u64::MAX));
    }
}
