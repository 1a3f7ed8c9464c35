//! The counters and gauges, all named `consul_resolver.…`.
//!
//! Each is defined once in each VM, since Envoy keeps every definition. The names come from the
//! configuration and the catalog, never from a client. The documentation has a table of them, which
//! a test compares with Envoy's.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::calls::breaker::BreakerState;
use crate::config::{Config, Source};
use crate::model::service::{QueryKey, ServiceId, SourceId};
use crate::model::slot_map::SecondaryMap;
use crate::proxy::host::{self, MetricId};
use crate::proxy::registration_metrics::RegistrationMetrics;
use crate::proxy::service_metrics::{
    DependencyMetrics, FoundMetrics, ServiceMetrics, service_prefix,
};
use crate::proxy::source_metrics::SourceMetrics;
use crate::registry::error_kind::ErrorKind;
use crate::registry::source_spec::SourceSpec;
use crate::router::forward::Forward;
use crate::router::reply::ReplyReason;
use crate::telemetry::{
    BreakerEvent, FoundService, RegistrationEvent, ServiceEvent, SourceEvent, TelemetryEvent,
};

/// The owner of the catalog's metrics. No service has this id, since there are fewer.
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
    /// The metrics of each source, once for each service that uses it.
    sources: SecondaryMap<SourceId, Vec<(ServiceId, Rc<SourceMetrics>)>>,
    /// The key of the catalog's query.
    catalog: Option<QueryKey>,
    /// The sources of each found service that has metrics of its own.
    found_sources: HashMap<ServiceId, Vec<SourceId>>,
    found: FoundMetrics,
    registrations: RegistrationMetrics,
    dependencies: DependencyMetrics,
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

    /// Counts a request that was sent to an endpoint. Shown after the next [`Self::flush`].
    pub(super) fn on_forward(&self, forward: &Forward) {
        if let Some(metrics) = self.services.get(forward.service()) {
            metrics.picks.count(1);
        }
    }

    /// Counts requests at which an endpoint has failed.
    pub(super) fn on_failures(&self, service: ServiceId, failures: u32) {
        if let Some(metrics) = self.services.get(service) {
            metrics.failures.count(failures.into());
        }
    }

    /// Counts a request that this filter has replied to.
    pub(super) fn on_reply(&self, reason: ReplyReason) {
        let metric = self.replies.iter().find(|(counted, _)| *counted == reason);
        host::add(metric.and_then(|(_, metric)| *metric), 1);
    }

    /// Counts and shows an event. `is_unverified` says that only clients have named a source, and
    /// that it has had no endpoint yet.
    pub(super) fn on_event(
        &mut self,
        event: &TelemetryEvent,
        is_unverified: impl Fn(SourceId) -> bool,
    ) {
        match event {
            TelemetryEvent::Source { source, event: SourceEvent::ListsCatalog } => {
                self.define_catalog(*source);
            }
            TelemetryEvent::Source { source, event } => {
                self.on_source_event(*source, event, is_unverified(*source));
            }
            TelemetryEvent::Registration { registration, event } => {
                if let RegistrationEvent::Called(called) = event {
                    self.on_called(*called);
                }
                self.registrations.on_event(*registration, event);
            }
            TelemetryEvent::Service { service, event } => self.on_service_event(*service, event),
            TelemetryEvent::Breaker(event) => self.on_breaker(event),
        }
    }

    fn on_source_event(&mut self, source: SourceId, event: &SourceEvent, is_unverified: bool) {
        match event {
            SourceEvent::Called(called) if is_unverified => self.found.on_called(*called),
            SourceEvent::Called(called) => self.on_called(*called),
            _ => {}
        }
        // Services that only clients have named have no metrics of their own.
        for (service, metrics) in self.sources.get(source).into_iter().flatten() {
            let may_show = metrics.on_event(event);
            self.dependencies.on_event(source, *service, event, may_show);
        }
    }

    fn on_service_event(&mut self, service: ServiceId, event: &ServiceEvent) {
        let metrics = self.services.get(service);
        match event {
            ServiceEvent::Found(found) => self.on_found(service, found),
            ServiceEvent::Gone(_) => self.on_gone(service),
            ServiceEvent::DependenciesDown(names) => {
                self.dependencies.on_down(service, names.len());
            }
            ServiceEvent::Stale(true) => host::add(metrics.and_then(|it| it.stale), 1),
            ServiceEvent::FellBack => host::add(metrics.and_then(|it| it.fallbacks), 1),
            ServiceEvent::TooManyVersions { .. }
            | ServiceEvent::Stale(false)
            | ServiceEvent::Unacknowledged { .. } => {}
        }
    }

    /// Shows the state of the circuit breaker, and counts each time that it opens.
    fn on_breaker(&self, event: &BreakerEvent) {
        let shown = match event.state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        host::record(self.breaker, shown);
        host::add(self.breaker_opens, event.has_opened().into());
    }

    /// Counts a call to Consul.
    fn on_called(&self, called: Result<(), ErrorKind>) {
        let metric = match called {
            Ok(()) => self.calls_ok,
            Err(kind) => {
                let metric = self.calls_failed.iter().find(|(counted, _)| *counted == kind);
                metric.and_then(|(_, metric)| *metric)
            }
        };
        host::add(metric, 1);
    }

    /// Defines the metrics of a service that was found, or takes those that it had before.
    fn on_found(&mut self, service: ServiceId, found: &FoundService) {
        let (of_service, of_each) = self.found.of(found);
        self.services.insert(service, of_service);
        let sources: Vec<_> = found.sources.iter().map(|it| it.source).collect();
        for (source, metrics) in sources.iter().zip(&of_each) {
            let of_service = (service, Rc::clone(metrics));
            match self.sources.get_mut(*source) {
                Some(others) => others.push(of_service),
                None => self.sources.insert(*source, vec![of_service]),
            }
        }
        if !of_each.is_empty() {
            self.found_sources.insert(service, sources);
        }
    }

    /// Ends the metrics of a service that is gone.
    fn on_gone(&mut self, service: ServiceId) {
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

    /// Defines the metrics of the catalog, with its services in the place of endpoints.
    fn define_catalog(&mut self, source: SourceId) {
        let Some(query) = self.catalog else { return };
        let metrics = SourceMetrics::of_catalog(query);
        self.sources.insert(source, vec![(NO_SERVICE, Rc::new(metrics))]);
    }

    /// Adds the counted events to Envoy's counters.
    pub(super) fn flush(&self) {
        for metrics in self.services.values() {
            metrics.flush();
        }
    }
}

/// Returns the prefix of the metrics of a source: that of the service, with the datacenter if the
/// service has several.
fn source_prefix(source: Source<'_>) -> String {
    let service = service_prefix(&source.service.name);
    match source.datacenter.filter(|_| source.service.datacenters.len() > 1) {
        Some(datacenter) => format!("{service}.datacenter.{datacenter}"),
        None => service,
    }
}
