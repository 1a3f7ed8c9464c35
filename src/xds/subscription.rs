//! A subscription of one or several clusters of Envoy.

use core::time::Duration;
use std::rc::Rc;

use crate::util::time::Time;
use crate::xds::request::StreamId;
use crate::xds::resource_kind::ResourceKind;
use crate::xds::trial::Trials;

/// The name of a resource: a service's endpoints have the name of the service, the routes their own name,
/// and the clusters none.
pub(super) type ResourceName = (ResourceKind, Rc<str>);

/// The resources of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriptionKey {
    pub(super) kind: ResourceKind,
    /// Sorted, each once, at least one.
    pub(super) names: Vec<Rc<str>>,
}

impl SubscriptionKey {
    /// The resources.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ResourceName> + '_ {
        self.names.iter().map(|name| (self.kind, name.clone()))
    }
}

/// All requests for the same resources.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// The streams of the held requests.
    pub(super) streams: Vec<StreamId>,
    /// The number of their clusters.
    pub(super) clusters: ClusterCount,
    /// The responses that Envoy has not acknowledged.
    pub(super) trials: Trials,
    /// The time of the last request.
    pub(super) last: Time,
    /// The last time at which a request ended without a response; none if one had a response since.
    pub(super) ended: Option<Time>,
    /// The next time at which there may be news, if only time passes.
    pub(super) look: Option<Time>,
}

/// The number of clusters with the same subscription: the most requests that were recently held at once.
/// Each cluster has one request, but for the pause before its next one.
#[derive(Debug, Default)]
pub(super) struct ClusterCount {
    since: Time,
    before: u32,
    most: u32,
}

impl ClusterCount {
    /// The time for which a number counts after it was last reached; up to twice that.
    const WINDOW: Duration = Duration::from_secs(60);
    /// The greatest number.
    const MAX: u32 = 100;

    /// Takes note of the number of held requests after a new one.
    pub(super) fn on_hold(&mut self, held: usize, now: Time) {
        if now.since(self.since) >= Self::WINDOW {
            *self = Self { since: now, before: self.most, most: 0 };
        }
        self.most = self.most.max(u32::try_from(held).unwrap_or(u32::MAX));
    }

    /// Returns the number of clusters, as far as it is known, up to a bound. So ten thousand requests for
    /// the same resource do not hide a rejection.
    pub(super) fn count(&self) -> u32 {
        self.most.max(self.before).min(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn clusters_are_counted_until_they_are_gone_for_long() {
        let mut clusters = ClusterCount::default();
        let mut counts = |seconds: u64, held: &[usize]| {
            let now = Time::from_start(Duration::from_secs(seconds));
            held.iter().for_each(|held| clusters.on_hold(*held, now));
            clusters.count()
        };
        assert_eq!(counts(0, &[1, 2, 3, 4]), 4);
        assert_eq!(counts(59, &[1]), 4, "the others pause");
        assert_eq!(counts(61, &[1]), 4, "the others pause, still");
        assert_eq!(counts(61, &[2, 3, 4]), 4);
        // Two have gone. What is held for long asks as rarely.
        assert_eq!(counts(301, &[1, 2]), 4);
        assert_eq!(counts(541, &[1, 2]), 2);
    }
}
