//! The metrics of Envoy's subscriptions.

use crate::proxy::host::{self, MetricId};
use crate::xds::event::Counts;

/// The metrics of Envoy's subscriptions.
#[derive(Debug)]
pub(super) struct SubscriptionMetrics {
    /// In the order of [`values`].
    counters: [Option<MetricId>; 8],
    gauges: [Option<MetricId>; 2],
    /// What is shown already.
    counts: Counts,
    shown: [usize; 2],
}

impl SubscriptionMetrics {
    /// Defines them.
    pub(super) fn define() -> Self {
        let name = |what| format!("consul_resolver.xds.{what}");
        let counters = [
            "responses",
            "unchanged",
            "rejected",
            "foreign",
            "malformed",
            "unknown",
            "too_many",
            "ended_early",
        ];
        Self {
            counters: counters.map(|what| host::define_counter(&name(what))),
            gauges: ["held", "host_names"].map(|what| host::define_gauge(&name(what))),
            counts: Counts::default(),
            shown: [0; 2],
        }
    }

    /// Adds what has happened since the last time, and shows what is held. Another VM may have taken
    /// over the subscriptions, so nothing is shown for long by one that has none.
    pub(super) fn flush(&mut self, counts: Counts, held: usize) {
        let (new, old) = (values(counts), values(self.counts));
        for ((metric, new), old) in self.counters.iter().zip(new).zip(old) {
            host::add(*metric, new.saturating_sub(old));
        }
        let now = [held, if held > 0 { counts.host_names } else { 0 }];
        for ((metric, now), shown) in self.gauges.iter().zip(now).zip(self.shown) {
            if now > 0 || shown > 0 {
                host::record(*metric, now as u64);
            }
        }
        (self.counts, self.shown) = (counts, now);
    }
}

/// What is counted, in the order of the counters.
const fn values(counts: Counts) -> [u64; 8] {
    let Counts { answers, unchanged, rejected, foreign, malformed, unknown, .. } = counts;
    [answers, unchanged, rejected, foreign, malformed, unknown, counts.too_many, counts.ended_early]
}
