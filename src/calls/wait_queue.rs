//! Where callers wait for their turn to ask Consul.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::calls::caller::Caller;
use crate::util::time::Time;

/// What a call is for, as far as its pace goes by that; each kind has a pace of its own, so
/// that none has to wait for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallClass {
    /// The last call for it has failed.
    Retry,
    /// A source is read without waiting for a change: at first, afresh, or to be sure. Or a
    /// registration is looked after.
    Read,
    /// A source is read once more, because there is no place to watch it.
    Poll,
}

impl CallClass {
    /// All of them, in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Read, Self::Poll];
}

/// Who comes first: by a moment, then by a number.
pub type WaitRank = (Time, u32);

/// The callers that wait, the lowest rank first; of one rank who came first.
#[derive(Debug, Default)]
pub struct WaitQueue {
    waiting: HashMap<Caller, (WaitRank, u64)>,
    order: BTreeMap<(WaitRank, u64), Caller>,
    last_ticket: u64,
}

impl WaitQueue {
    /// Lets a caller wait; one that waits already keeps its place.
    pub fn enqueue(&mut self, caller: Caller, rank: WaitRank) {
        if !self.waiting.contains_key(&caller) {
            self.last_ticket = self.last_ticket.wrapping_add(1);
            let place = (rank, self.last_ticket);
            self.waiting.insert(caller, place);
            self.order.insert(place, caller);
        }
    }

    /// Gives a caller that waits a better rank.
    pub fn promote(&mut self, caller: Caller, rank: WaitRank) {
        if self.waiting.get(&caller).is_some_and(|(old, _)| *old > rank) {
            self.remove(caller);
            self.enqueue(caller, rank);
        }
    }

    /// Forgets a caller.
    pub fn remove(&mut self, caller: Caller) {
        if let Some(place) = self.waiting.remove(&caller) {
            self.order.remove(&place);
        }
    }

    /// Whose turn it is.
    pub fn head(&self) -> Option<Caller> {
        self.first().map(|(_, caller)| caller)
    }

    /// Whose turn it is, with their rank.
    pub fn first(&self) -> Option<(WaitRank, Caller)> {
        self.order.first_key_value().map(|((rank, _), caller)| (*rank, *caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::SourceId;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const A: Caller = Caller::Source(SourceId::nth(1));
    const B: Caller = Caller::Source(SourceId::nth(2));
    const C: Caller = Caller::Source(SourceId::nth(3));
    const RANK: WaitRank = (Time::ZERO, 1);

    fn served(queue: &mut WaitQueue) -> Vec<Caller> {
        let next = |queue: &mut WaitQueue| {
            let source = queue.head()?;
            queue.remove(source);
            Some(source)
        };
        core::iter::from_fn(|| next(queue)).collect()
    }

    #[test]
    fn who_comes_first_is_served_first_and_joining_again_changes_nothing() {
        let mut queue = WaitQueue::default();
        for source in [B, A, B, C, A] {
            queue.enqueue(source, RANK);
        }
        assert_eq!(served(&mut queue), [B, A, C]);
        assert_eq!(queue.head(), None);
    }

    #[test]
    fn a_lower_rank_comes_before_who_came_first() {
        let mut queue = WaitQueue::default();
        let later = Time::from_start(Duration::from_secs(1));
        queue.enqueue(A, (later, 0));
        queue.enqueue(B, (Time::ZERO, 2));
        queue.enqueue(C, RANK);
        assert_eq!(served(&mut queue), [C, B, A]);
    }

    #[test]
    fn who_is_waited_for_comes_before_the_others_and_is_served_once() {
        let mut queue = WaitQueue::default();
        [A, B, C].into_iter().for_each(|source| queue.enqueue(source, RANK));
        queue.promote(C, (Time::ZERO, 0));
        queue.promote(C, RANK);
        queue.promote(SourceId::nth(9).into(), (Time::ZERO, 0));
        assert_eq!(served(&mut queue), [C, A, B]);
    }

    #[test]
    fn who_does_not_want_any_more_makes_room() {
        let mut queue = WaitQueue::default();
        [A, B].into_iter().for_each(|source| queue.enqueue(source, RANK));
        queue.remove(A);
        assert_eq!(served(&mut queue), [B]);
    }
}
