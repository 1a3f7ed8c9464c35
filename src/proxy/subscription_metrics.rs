//! The metrics of Envoy's subscriptions.

use crate::proxy::host::{self, MetricId};
use crate::xds::event::Counts;

/// The metrics of Envoy's subscriptions. All are counters: those of several VMs add up, whichever of
/// them Envoy asks, and a VM that has trapped leaves nothing behind that is not so.
#[derive(Debug)]
pub(super) struct SubscriptionMetrics {
    /// In the order of [`values`].
    counters: [Option<MetricId>; 9],
    /// What is shown already.
    counts: Counts,
}

impl SubscriptionMetrics {
    /// Defines them.
    pub(super) fn define() -> Self {
        let counters = [
            "responses",
            "unchanged",
            "rejected",
            "foreign",
            "malformed",
            "unknown",
            "too_many",
            "ended_early",
            "host_names",
        ];
        let define = |what| host::define_counter(&format!("consul_resolver.xds.{what}"));
        Self { counters: counters.map(define), counts: Counts::default() }
    }

    /// Adds what has happened since the last time.
    pub(super) fn flush(&mut self, counts: Counts) {
        let (new, old) = (values(counts), values(self.counts));
        for ((metric, new), old) in self.counters.iter().zip(new).zip(old) {
            host::add(*metric, new.saturating_sub(old));
        }
        self.counts = counts;
    }
}

/// What is counted, in the order of the counters.
const fn values(counts: Counts) -> [u64; 9] {
    let Counts { answers, unchanged, rejected, foreign, malformed, unknown, .. } = counts;
    let Counts { too_many, ended_early, host_names, .. } = counts;
    [answers, unchanged, rejected, foreign, malformed, unknown, too_many, ended_early, host_names]
}
