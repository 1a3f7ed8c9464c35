//! What one or several clusters of Envoy subscribe to.

use core::time::Duration;
use std::rc::Rc;

use crate::util::time::Time;
use crate::xds::request::StreamId;
use crate::xds::resource_kind::ResourceKind;
use crate::xds::trial::Trials;

/// A resource that can be asked for: a service's endpoints by its name, the routes by theirs; the clusters
/// have none.
pub(super) type ResourceName = (ResourceKind, Rc<str>);

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SubscriptionKey {
    pub(super) kind: ResourceKind,
    /// Sorted, none twice, at least one.
    pub(super) names: Vec<Rc<str>>,
}

impl SubscriptionKey {
    /// The resources.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ResourceName> + '_ {
        self.names.iter().map(|name| (self.kind, name.clone()))
    }
}

/// All requests that ask for the same.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Those that are held.
    pub(super) streams: Vec<StreamId>,
    /// How many clusters they are of.
    pub(super) clusters: ClusterCount,
    /// How Envoy takes what it is told.
    pub(super) trials: Trials,
    /// When one was here last.
    pub(super) last: Time,
    /// When a request ended last before it was answered; none: one was answered since.
    pub(super) ended: Option<Time>,
    /// When there may be news next, if only time passes.
    pub(super) look: Option<Time>,
}

/// How many clusters subscribe to the same: the most requests that were held at once lately. Each cluster
/// has one, but for the pause before it asks again.
#[derive(Debug, Default)]
pub(super) struct ClusterCount {
    since: Time,
    before: u32,
    most: u32,
}

impl ClusterCount {
    /// How long a number counts that is not reached any more, and up to twice that.
    const WINDOW: Duration = Duration::from_secs(60);
    /// The most that count.
    const MAX: u32 = 100;

    /// Takes note of how many requests are held, now that there is one more.
    pub(super) fn on_hold(&mut self, held: usize, now: Time) {
        if now.since(self.since) >= Self::WINDOW {
            *self = Self { since: now, before: self.most, most: 0 };
        }
        self.most = self.most.max(u32::try_from(held).unwrap_or(u32::MAX));
    }

    /// How many there are, as far as is known, and up to a bound: whoever asks for one thing in ten
    /// thousand requests does not keep a rejection from being seen.
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
