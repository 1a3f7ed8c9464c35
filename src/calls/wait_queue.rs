//! The queue of callers that wait to call Consul.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::calls::caller::Caller;
use crate::util::time::Time;

/// The class of a call. Each class has a pace of its own, so that none waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallClass {
    /// A call after a failure.
    Retry,
    /// A read of a source that does not wait for a change, or a call for a registration.
    Read,
    /// A repeated read of a source that has no watch slot.
    Poll,
}

impl CallClass {
    /// All classes in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Read, Self::Poll];
}

/// The rank of a waiting caller: a time, then a number. The lowest is first.
pub type WaitRank = (Time, u32);

/// The waiting callers, the lowest rank first. Callers of the same rank are served in the order of
/// their arrival.
#[derive(Debug, Default)]
pub struct WaitQueue {
    waiting: HashMap<Caller, (WaitRank, u64)>,
    order: BTreeMap<(WaitRank, u64), Caller>,
    last_ticket: u64,
}

impl WaitQueue {
    /// Adds a caller. A caller that waits already keeps its place.
    pub fn enqueue(&mut self, caller: Caller, rank: WaitRank) {
        if !self.waiting.contains_key(&caller) {
            self.last_ticket = self.last_ticket.wrapping_add(1);
            let place = (rank, self.last_ticket);
            self.waiting.insert(caller, place);
            self.order.insert(place, caller);
        }
    }

    /// Gives a waiting caller a better rank.
    pub fn promote(&mut self, caller: Caller, rank: WaitRank) {
        if self.waiting.get(&caller).is_some_and(|(old, _)| *old > rank) {
            self.remove(caller);
            self.enqueue(caller, rank);
        }
    }

    /// Removes a caller.
    pub fn remove(&mut self, caller: Caller) {
        if let Some(place) = self.waiting.remove(&caller) {
            self.order.remove(&place);
        }
    }

    /// Returns the first caller.
    pub fn head(&self) -> Option<Caller> {
        self.first().map(|(_, caller)| caller)
    }

    /// Returns the first caller and its rank.
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
    fn first_caller_is_first_when_it_joins_again() {
        let mut queue = WaitQueue::default();
        for source in [B, A, B, C, A] {
            queue.enqueue(source, RANK);
        }
        assert_eq!(served(&mut queue), [B, A, C]);
        assert_eq!(queue.head(), None);
    }

    #[test]
    fn lower_rank_comes_before_an_earlier_arrival() {
        let mut queue = WaitQueue::default();
        let later = Time::from_start(Duration::from_secs(1));
        queue.enqueue(A, (later, 0));
        queue.enqueue(B, (Time::ZERO, 2));
        queue.enqueue(C, RANK);
        assert_eq!(served(&mut queue), [C, B, A]);
    }

    #[test]
    fn promoted_caller_is_first_and_served_once() {
        let mut queue = WaitQueue::default();
        [A, B, C].into_iter().for_each(|source| queue.enqueue(source, RANK));
        queue.promote(C, (Time::ZERO, 0));
        queue.promote(C, RANK);
        queue.promote(SourceId::nth(9).into(), (Time::ZERO, 0));
        assert_eq!(served(&mut queue), [C, A, B]);
    }

    #[test]
    fn next_caller_is_first_when_the_first_is_removed() {
        let mut queue = WaitQueue::default();
        [A, B].into_iter().for_each(|source| queue.enqueue(source, RANK));
        queue.remove(A);
        assert_eq!(served(&mut queue), [B]);
    }
}
