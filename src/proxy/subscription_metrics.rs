//! The metrics of Envoy's subscriptions.

use crate::proxy::host::{self, MetricId};
use crate::xds::event::Counts;

/// The metrics of Envoy's subscriptions.
#[derive(Debug)]
pub(super) struct SubscriptionMetrics {
    /// In the order of [`values`].
    counters: [Option<MetricId>; 8],
    /// Of all VMs together.
    held: Option<MetricId>,
    host_names: Option<MetricId>,
    /// What is shown already.
    counts: Counts,
    shown_held: usize,
    shown_host_names: usize,
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
            held: host::define_gauge(&name("held")),
            host_names: host::define_gauge(&name("host_names")),
            counts: Counts::default(),
            shown_held: 0,
            shown_host_names: 0,
        }
    }

    /// Adds what has happened since the last time, and shows what is held. Several VMs hold some while
    /// subscriptions move to another connection, so each adds its part to the gauge. Host names are
    /// not shown for long by one that holds nothing any more.
    pub(super) fn flush(&mut self, counts: Counts, held: usize) {
        let (new, old) = (values(counts), values(self.counts));
        for ((metric, new), old) in self.counters.iter().zip(new).zip(old) {
            host::add(*metric, new.saturating_sub(old));
        }
        host::shift(self.held, self.shown_held as u64, held as u64);
        let host_names = if held > 0 { counts.host_names } else { 0 };
        if host_names > 0 || self.shown_host_names > 0 {
            host::record(self.host_names, host_names as u64);
        }
        (self.counts, self.shown_held, self.shown_host_names) = (counts, held, host_names);
    }
}

/// What is counted, in the order of the counters.
const fn values(counts: Counts) -> [u64; 8] {
    let Counts { answers, unchanged, rejected, foreign, malformed, unknown, .. } = counts;
    [answers, unchanged, rejected, foreign, malformed, unknown, counts.too_many, counts.ended_early]
}
