//! The counters and gauges, all named `consul_resolver.…`.
//!
//! Defined once for each VM, since Envoy keeps every definition. Their names come from the
//! configuration, never from a client. README.md has a table of them, which a test holds
//! against what Envoy shows.

use core::cell::Cell;
use core::time::Duration;

use crate::config::Config;
use crate::consul::error::ErrorKind;
use crate::discovery::notice::Notice;
use crate::model::service::ServiceId;
use crate::proxy::host::{self, MetricId};
use crate::router::reply::ReplyReason;

/// The metrics of one VM.
#[derive(Debug)]
pub(super) struct Metrics {
    calls_ok: Option<MetricId>,
    calls_failed: Vec<(ErrorKind, Option<MetricId>)>,
    replies: Vec<(ReplyReason, Option<MetricId>)>,
    services: Vec<ServiceMetrics>,
}

#[derive(Debug)]
struct ServiceMetrics {
    picks: Option<MetricId>,
    /// Picks that are not counted in Envoy yet: one host call a tick is cheaper than one a
    /// request.
    new_picks: Cell<u64>,
    updates: Option<MetricId>,
    endpoints: Option<MetricId>,
    /// Instances of the last answer whose registrations somebody should mend.
    faulty: Option<MetricId>,
    age: Option<MetricId>,
    fetchers: Option<MetricId>,
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
        Self {
            calls_ok: call("ok"),
            calls_failed: ErrorKind::ALL.iter().map(|&kind| (kind, call(kind.label()))).collect(),
            replies: ReplyReason::ALL.iter().map(|&reason| reply(reason)).collect(),
            services: config.services.iter().map(|s| ServiceMetrics::define(&s.name)).collect(),
        }
    }

    /// Counts a request that was sent to an endpoint; shown after the next [`Self::flush`].
    pub(super) fn on_pick(&self, service: ServiceId) {
        if let Some(metrics) = self.service(service) {
            metrics.new_picks.set(metrics.new_picks.get().saturating_add(1));
        }
    }

    /// Counts a request that was answered here.
    pub(super) fn on_reply(&self, reason: ReplyReason) {
        let metric = self.replies.iter().find(|(counted, _)| *counted == reason);
        host::add(metric.and_then(|(_, metric)| *metric), 1);
    }

    /// Counts and shows what discovery tells.
    pub(super) fn on_notice(&self, service: ServiceId, notice: &Notice) {
        let Some(metrics) = self.service(service) else {
            return;
        };
        match notice {
            Notice::Elected(_) => {
                host::record(metrics.fetchers, 1);
                // It reads the service at once, and then tells of those that there are.
                metrics.record_faulty(0);
            }
            Notice::Left => host::record(metrics.fetchers, 0),
            Notice::Called(Ok(())) => host::add(self.calls_ok, 1),
            Notice::Called(Err(kind)) => {
                let metric = self.calls_failed.iter().find(|(counted, _)| counted == kind);
                host::add(metric.and_then(|(_, metric)| *metric), 1);
            }
            Notice::Published { endpoints, .. } => {
                host::add(metrics.updates, 1);
                metrics.show(Duration::ZERO, *endpoints);
            }
            Notice::Dropped(dropped) => metrics.record_faulty(dropped.total()),
            Notice::Age { age, endpoints } => {
                host::record(metrics.fetchers, 1);
                metrics.show(*age, *endpoints);
            }
            Notice::Deposed
            | Notice::FetcherLost
            | Notice::Failing(_)
            | Notice::Recovered(_)
            | Notice::Unreadable(_) => {}
        }
    }

    /// Adds to Envoy's counters what was counted here.
    pub(super) fn flush(&self) {
        for metrics in &self.services {
            host::add(metrics.picks, metrics.new_picks.take());
        }
    }

    fn service(&self, service: ServiceId) -> Option<&ServiceMetrics> {
        self.services.get(usize::from(service.0))
    }
}

impl ServiceMetrics {
    fn define(service: &str) -> Self {
        let name = |what: &str| format!("consul_resolver.service.{service}.{what}");
        Self {
            picks: host::define_counter(&name("picks")),
            new_picks: Cell::new(0),
            updates: host::define_counter(&name("updates")),
            endpoints: host::define_gauge(&name("endpoints")),
            faulty: host::define_gauge(&name("faulty_instances")),
            age: host::define_gauge(&name("snapshot_age_ms")),
            fetchers: host::define_gauge(&name("fetchers")),
        }
    }

    fn show(&self, age: Duration, endpoints: usize) {
        host::record(self.age, u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        host::record(self.endpoints, u64::try_from(endpoints).unwrap_or(u64::MAX));
    }

    fn record_faulty(&self, instances: usize) {
        host::record(self.faulty, u64::try_from(instances).unwrap_or(u64::MAX));
    }
}
