//! The metrics of the requests of one service.

use core::cell::Cell;

use crate::proxy::host::{self, MetricId};

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
