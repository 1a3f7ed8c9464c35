//! What Envoy subscribes to, and the requests that are held for it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use hashbrown::HashMap;

use crate::util::time::Time;
use crate::xds::discovery_request::ResourceVersion;
use crate::xds::request::StreamId;
use crate::xds::subscription::{ResourceName, Subscription, SubscriptionKey};

/// What Envoy subscribes to, and the requests that are held for it. Their number is bounded, and so is
/// that of the names in them.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: BTreeMap<Rc<SubscriptionKey>, Subscription>,
    /// Who asks for what.
    watchers: BTreeMap<ResourceName, BTreeSet<Rc<SubscriptionKey>>>,
    held: HashMap<StreamId, Held>,
    /// The names in the held requests.
    held_names: usize,
    /// The names in the subscriptions.
    names: usize,
    timers: BTreeSet<(Time, Deadline)>,
    /// The subscriptions that there may be news for.
    woken: BTreeSet<Rc<SubscriptionKey>>,
    swept: Time,
}

/// A request that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: Rc<SubscriptionKey>,
    /// What its Envoy has.
    version: Option<ResourceVersion>,
    pub(super) since: Time,
    until: Time,
}

/// What is to be done at some moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    /// See whether there is news for a subscription.
    Look(Rc<SubscriptionKey>),
    /// Hold a request no longer.
    Hold(StreamId),
}

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Task {
    /// See whether there is news for a subscription.
    Look(Rc<SubscriptionKey>),
    /// Answer a request that is held no longer.
    Expired(StreamId),
}

impl Subscriptions {
    /// The most names in requests that are held, and so the most requests.
    pub(super) const MAX_HELD: usize = 10_000;
    /// The most names in subscriptions.
    const MAX_NAMES: usize = 2 * Self::MAX_HELD;
    /// How long a subscription is remembered that nobody asks for any more.
    const KEEP: Duration = Duration::from_secs(60);
    /// So many times as long it is remembered where Envoy has rejected what it was told: its questions
    /// may come to all other workers before the next one comes to this one, which goes on to back off.
    const REJECTED: u32 = 60;

    /// The request that is to be let go of to hold one more: the one whose time is over first; none:
    /// there is a place. Who holds all places so keeps nobody from asking.
    pub(super) fn in_the_way_of(&self, key: &SubscriptionKey) -> Option<StreamId> {
        if self.held_names + key.names.len() <= Self::MAX_HELD {
            return None;
        }
        self.timers.iter().find_map(|(_, timer)| match timer {
            Deadline::Hold(stream) => Some(*stream),
            Deadline::Look(_) => None,
        })
    }

    /// Takes note of a request, for which there is a place.
    pub(super) fn place(&mut self, key: &Rc<SubscriptionKey>, now: Time) {
        let names = key.names.len();
        if !self.all.contains_key(key) {
            if self.names + names > Self::MAX_NAMES {
                // What is left has requests that are held, which leaves room.
                self.forget_idle(now, Duration::ZERO);
            }
            self.names += names;
            for subject in key.subjects() {
                self.watchers.entry(subject).or_default().insert(key.clone());
            }
        }
        self.all.entry(key.clone()).or_default();
    }

    /// Holds a request that was taken note of, from a moment until another.
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

    /// Lets go of a request, if it was held.
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

    /// How many requests are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The requests that are held for a subscription, with what their Envoy has.
    pub(super) fn waiting(
        &self,
        key: &SubscriptionKey,
    ) -> impl Iterator<Item = (StreamId, Option<ResourceVersion>)> + '_ {
        let streams = self.all.get(key).into_iter().flat_map(|subscription| &subscription.streams);
        streams.filter_map(|stream| Some((*stream, self.held.get(stream)?.version)))
    }

    /// A subscription that has been asked for lately.
    pub(super) fn get_mut(&mut self, key: &SubscriptionKey) -> Option<&mut Subscription> {
        self.all.get_mut(key)
    }

    /// Notes that there may be news of a subject; tells whether anybody asks for it.
    pub(super) fn wake(&mut self, subject: &ResourceName) -> bool {
        let watchers = self.watchers.get(subject);
        self.woken.extend(watchers.into_iter().flatten().cloned());
        watchers.is_some()
    }

    /// Notes that there may be news of anything.
    pub(super) fn wake_all(&mut self) {
        self.woken.extend(self.all.keys().cloned());
    }

    /// Sees at that moment, or earlier, whether there is news for a subscription.
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

    /// What is to be done next, until nothing is left to be done now.
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

    /// Whether something is to be done at once.
    pub(super) fn is_awake(&self) -> bool {
        !self.woken.is_empty()
    }

    /// When something is to be done, if nothing is at once.
    pub(super) fn due(&self) -> Option<Time> {
        self.timers.first().map(|(time, _)| *time)
    }

    /// Forgets now and then what nobody has asked for in a while.
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
    use crate::xds::resource_kind::ResourceKind;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

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
