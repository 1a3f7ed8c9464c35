//! The subscriptions of Envoy to resources.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hashbrown::HashMap;

use crate::util::time::Time;
use crate::xds::request::{ResourceVersion, StreamId};
use crate::xds::resource::ResourceKind;
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

/// The subscriptions of Envoy, with the requests that are held for them. The number of requests and the
/// number of names in them are bounded.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: BTreeMap<Rc<SubscriptionKey>, Subscription>,
    /// The subscriptions by their resources.
    watchers: BTreeMap<ResourceName, BTreeSet<Rc<SubscriptionKey>>>,
    held: HashMap<StreamId, Held>,
    /// The names in the held requests.
    held_names: usize,
    /// The names in the subscriptions.
    names: usize,
    timers: BTreeSet<(Time, Deadline)>,
    /// The subscriptions for which there may be news.
    woken: BTreeSet<Rc<SubscriptionKey>>,
    swept: Time,
}

/// A request that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: Rc<SubscriptionKey>,
    /// The version that its Envoy has.
    version: Option<ResourceVersion>,
    pub(super) since: Time,
    until: Time,
}

/// A task that becomes due at some moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    /// Check a subscription for news.
    Look(Rc<SubscriptionKey>),
    /// Stop holding a request.
    Hold(StreamId),
}

/// A task that is due.
#[derive(Debug)]
pub(super) enum Task {
    /// Check a subscription for news.
    Look(Rc<SubscriptionKey>),
    /// Answer a request whose time is over.
    Expired(StreamId),
}

impl Subscriptions {
    /// The most names in requests that are held, and so the most requests.
    pub(super) const MAX_HELD: usize = 10_000;
    /// The most names in subscriptions.
    const MAX_NAMES: usize = 2 * Self::MAX_HELD;
    /// The time for which a subscription is kept after its last request.
    const KEEP: Duration = Duration::from_secs(60);
    /// The factor of that time if Envoy has rejected a response. The next requests may go to all other
    /// workers before this one, which continues its backoff then.
    const REJECTED: u32 = 60;

    /// Returns the request to release before another one is held: the request whose time is over first.
    /// None if there is room. So a client that holds all places does not keep others out.
    pub(super) fn in_the_way_of(&self, key: &SubscriptionKey) -> Option<StreamId> {
        if self.held_names + key.names.len() <= Self::MAX_HELD {
            return None;
        }
        self.timers.iter().find_map(|(_, timer)| match timer {
            Deadline::Hold(stream) => Some(*stream),
            Deadline::Look(_) => None,
        })
    }

    /// Adds the subscription of a request, for which there is room.
    pub(super) fn place(&mut self, key: &Rc<SubscriptionKey>, now: Time) {
        let names = key.names.len();
        if !self.all.contains_key(key) {
            if self.names + names > Self::MAX_NAMES {
                // The remaining subscriptions have held requests, whose number leaves room.
                self.forget_idle(now, Duration::ZERO);
            }
            self.names += names;
            for subject in key.subjects() {
                self.watchers.entry(subject).or_default().insert(key.clone());
            }
        }
        self.all.entry(key.clone()).or_default();
    }

    /// Holds a request whose subscription was added, from a moment until another.
    pub(super) fn hold(
        &mut self,
        stream: StreamId,
        key: &Rc<SubscriptionKey>,
        version: Option<ResourceVersion>,
        [since, until]: [Time; 2],
    ) {
        if let Some(subscription) = self.all.get_mut(key) {
            subscription.streams.push(stream);
            subscription.clusters.on_hold(subscription.streams.len(), since);
            self.held_names += key.names.len();
            self.timers.insert((until, Deadline::Hold(stream)));
            self.held.insert(stream, Held { key: key.clone(), version, since, until });
            self.woken.insert(key.clone());
        }
    }

    /// Stops holding a request.
    pub(super) fn release(&mut self, stream: StreamId, now: Time) -> Option<Held> {
        let held = self.held.remove(&stream)?;
        self.held_names -= held.key.names.len();
        self.timers.remove(&(held.until, Deadline::Hold(stream)));
        if let Some(subscription) = self.all.get_mut(&held.key) {
            subscription.streams.retain(|it| *it != stream);
            subscription.last = now;
        }
        Some(held)
    }

    /// The number of held requests.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The held requests of a subscription, with the versions that their Envoy has.
    pub(super) fn waiting(
        &self,
        key: &SubscriptionKey,
    ) -> impl Iterator<Item = (StreamId, Option<ResourceVersion>)> + '_ {
        let streams = self.all.get(key).into_iter().flat_map(|subscription| &subscription.streams);
        streams.filter_map(|stream| Some((*stream, self.held.get(stream)?.version)))
    }

    /// Returns a subscription that is kept.
    pub(super) fn get_mut(&mut self, key: &SubscriptionKey) -> Option<&mut Subscription> {
        self.all.get_mut(key)
    }

    /// Notes that there may be news of a resource. Returns true if a subscription has it.
    pub(super) fn wake(&mut self, subject: &ResourceName) -> bool {
        let watchers = self.watchers.get(subject);
        self.woken.extend(watchers.into_iter().flatten().cloned());
        watchers.is_some()
    }

    /// Notes that there may be news of any resource.
    pub(super) fn wake_all(&mut self) {
        self.woken.extend(self.all.keys().cloned());
    }

    /// Schedules a check of a subscription for news, at this moment or earlier.
    pub(super) fn look_at(&mut self, key: &Rc<SubscriptionKey>, time: Time) {
        let Some(subscription) = self.all.get_mut(key) else { return };
        if subscription.look.is_some_and(|earlier| earlier <= time) {
            return;
        }
        if let Some(later) = subscription.look.replace(time) {
            self.timers.remove(&(later, Deadline::Look(key.clone())));
        }
        self.timers.insert((time, Deadline::Look(key.clone())));
    }

    /// Returns the next task that is due.
    pub(super) fn poll(&mut self, now: Time) -> Option<Task> {
        self.sweep(now);
        if let Some(key) = self.woken.pop_first() {
            return Some(Task::Look(key));
        }
        self.timers.first().filter(|(time, _)| *time <= now)?;
        Some(match self.timers.pop_first()?.1 {
            Deadline::Look(key) => {
                if let Some(subscription) = self.all.get_mut(&key) {
                    subscription.look = None;
                }
                Task::Look(key)
            }
            Deadline::Hold(stream) => Task::Expired(stream),
        })
    }

    /// Returns true if a task is due at once.
    pub(super) fn is_awake(&self) -> bool {
        !self.woken.is_empty()
    }

    /// The time of the next task, if none is due at once.
    pub(super) fn due(&self) -> Option<Time> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// Forgets idle subscriptions from time to time.
    fn sweep(&mut self, now: Time) {
        if now.since(self.swept) >= Self::KEEP {
            self.swept = now;
            self.forget_idle(now, Self::KEEP);
        }
    }

    fn forget_idle(&mut self, now: Time, since: Duration) {
        let mut idle = Vec::new();
        self.all.retain(|key, it| {
            let times = if it.trials.are_rejected() { Self::REJECTED } else { 1 };
            let is_idle = it.streams.is_empty() && now.since(it.last) >= since * times;
            idle.extend(is_idle.then(|| (key.clone(), it.look)));
            !is_idle
        });
        for (key, look) in idle {
            self.names -= key.names.len();
            self.woken.remove(&key);
            for subject in key.subjects() {
                if let Some(keys) = self.watchers.get_mut(&subject) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        self.watchers.remove(&subject);
                    }
                }
            }
            if let Some(time) = look {
                self.timers.remove(&(time, Deadline::Look(key)));
            }
        }
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

    fn key(name: &str) -> Rc<SubscriptionKey> {
        Rc::new(SubscriptionKey { kind: ResourceKind::Endpoints, names: vec![name.into()] })
    }

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn subscription_is_forgotten_when_nobody_asks_any_more() {
        let mut subscriptions = Subscriptions::default();
        for n in 0..3 * Subscriptions::MAX_HELD {
            let (stream, key) = (StreamId(n as u32), key(&n.to_string()));
            subscriptions.place(&key, at(0));
            subscriptions.hold(stream, &key, None, [at(0), at(25)]);
            subscriptions.look_at(&key, at(9));
            subscriptions.look_at(&key, at(7));
            subscriptions.look_at(&key, at(8));
            let mut release = || subscriptions.release(stream, at(0)).is_some();
            assert!(release() && !release());
            assert!(subscriptions.names <= Subscriptions::MAX_NAMES);
            assert_eq!(subscriptions.timers.len(), subscriptions.all.len());
        }
        assert_eq!(subscriptions.due(), Some(at(7)));
        while subscriptions.poll(at(60)).is_some() {}
        let Subscriptions { all, watchers, held, held_names, names, timers, .. } = subscriptions;
        assert!(all.is_empty() && watchers.is_empty() && held.is_empty() && timers.is_empty());
        assert_eq!((held_names, names), (0, 0));
    }

    #[test]
    fn names_of_held_requests_are_bounded_together() {
        let mut subscriptions = Subscriptions::default();
        let names = |n: u32| (0..100).map(|m| format!("{n}-{m}").into()).collect();
        let mut released = Vec::new();
        for n in 0..150 {
            let key = Rc::new(SubscriptionKey { kind: ResourceKind::Endpoints, names: names(n) });
            while let Some(stream) = subscriptions.in_the_way_of(&key) {
                assert!(subscriptions.release(stream, at(0)).is_some());
                released.push(stream.0);
            }
            subscriptions.place(&key, at(0));
            // The first ones are held for longer than those that come later.
            let until = at(if n < 50 { 600 } else { 25 });
            subscriptions.hold(StreamId(n), &key, None, [at(0), until]);
            assert!(subscriptions.held_names <= Subscriptions::MAX_HELD);
        }
        assert_eq!(released, (50..100).collect::<Vec<_>>());
        assert_eq!(subscriptions.held(), 100);
    }
}
