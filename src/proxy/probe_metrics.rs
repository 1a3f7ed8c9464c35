//! The metrics of endpoints that are probed.

use core::time::Duration;

use crate::health::verdict::ProbeOutcome;
use crate::proxy::host::{self, MetricId};

/// What the probes of one source's endpoints come to, shown by the VM that sends them.
#[derive(Debug)]
pub(super) struct ProbeMetrics {
    unhealthy: Option<MetricId>,
    overdue: Option<MetricId>,
    successes: Option<MetricId>,
    failures: Option<MetricId>,
    unsent: Option<MetricId>,
}

impl ProbeMetrics {
    /// Defines them under names that begin so.
    pub(super) fn define(prefix: &str) -> Self {
        let counter = |what| host::define_counter(&format!("{prefix}.probes.{what}"));
        Self {
            unhealthy: host::define_gauge(&format!("{prefix}.unhealthy_endpoints")),
            overdue: host::define_gauge(&format!("{prefix}.probes_overdue_ms")),
            successes: counter("success"),
            failures: counter("failure"),
            unsent: counter("unsent"),
        }
    }

    /// Counts a probe.
    pub(super) fn on_outcome(&self, outcome: ProbeOutcome) {
        let metric = match outcome {
            ProbeOutcome::Success => self.successes,
            ProbeOutcome::Failure => self.failures,
            ProbeOutcome::Unsent => self.unsent,
        };
        host::add(metric, 1);
    }

    /// Shows how many endpoints are not healthy.
    pub(super) fn show_unhealthy(&self, endpoints: usize) {
        host::record(self.unhealthy, u64::try_from(endpoints).unwrap_or(u64::MAX));
    }

    /// Shows how long the probe is overdue that has waited longest.
    pub(super) fn show_overdue(&self, overdue: Duration) {
        host::record(self.overdue, u64::try_from(overdue.as_millis()).unwrap_or(u64::MAX));
    }
}
