//! Where callers wait for their turn to ask Consul.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::discovery::caller::Caller;
use crate::time::Time;

/// What a call is for, as far as its pace goes by that; each kind has a pace of its own, so
/// that none has to wait for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The last call for it has failed.
    Retry,
    /// A source is read without waiting for a change: at first, afresh, or to be sure. Or a
    /// registration is looked after.
    Read,
    /// A source is read once more, because there is no place to watch it.
    Poll,
}

impl Lane {
    /// All of them, in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Read, Self::Poll];
}

/// Who comes first: by a moment, then by a number.
pub(super) type Rank = (Time, u32);

/// The callers that wait, the lowest rank first; of one rank who came first.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: HashMap<Caller, (Rank, u64)>,
    order: BTreeMap<(Rank, u64), Caller>,
    last_ticket: u64,
}

impl Line {
    /// Lets a caller wait; one that waits already keeps its place.
    pub(super) fn join(&mut self, caller: Caller, rank: Rank) {
        if !self.waiting.contains_key(&caller) {
            self.last_ticket = self.last_ticket.wrapping_add(1);
            let place = (rank, self.last_ticket);
            self.waiting.insert(caller, place);
            self.order.insert(place, caller);
        }
    }

    /// Gives a caller that waits a better rank.
    pub(super) fn promote(&mut self, caller: Caller, rank: Rank) {
        if self.waiting.get(&caller).is_some_and(|(old, _)| *old > rank) {
            self.leave(caller);
            self.join(caller, rank);
        }
    }

    /// Forgets a caller.
    pub(super) fn leave(&mut self, caller: Caller) {
        if let Some(place) = self.waiting.remove(&caller) {
            self.order.remove(&place);
        }
    }

    /// Whose turn it is.
    pub(super) fn front(&self) -> Option<Caller> {
        self.first().map(|(_, caller)| caller)
    }

    /// Whose turn it is, with their rank.
    pub(super) fn first(&self) -> Option<(Rank, Caller)> {
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
    const RANK: Rank = (Time::ZERO, 1);

    fn served(line: &mut Line) -> Vec<Caller> {
        let next = |line: &mut Line| {
            let source = line.front()?;
            line.leave(source);
            Some(source)
        };
        core::iter::from_fn(|| next(line)).collect()
    }

    #[test]
    fn who_comes_first_is_served_first_and_joining_again_changes_nothing() {
        let mut line = Line::default();
        for source in [B, A, B, C, A] {
            line.join(source, RANK);
        }
        assert_eq!(served(&mut line), [B, A, C]);
        assert_eq!(line.front(), None);
    }

    #[test]
    fn a_lower_rank_comes_before_who_came_first() {
        let mut line = Line::default();
        let later = Time::from_start(Duration::from_secs(1));
        line.join(A, (later, 0));
        line.join(B, (Time::ZERO, 2));
        line.join(C, RANK);
        assert_eq!(served(&mut line), [C, B, A]);
    }

    #[test]
    fn who_is_waited_for_comes_before_the_others_and_is_served_once() {
        let mut line = Line::default();
        [A, B, C].into_iter().for_each(|source| line.join(source, RANK));
        line.promote(C, (Time::ZERO, 0));
        line.promote(C, RANK);
        line.promote(SourceId::nth(9).into(), (Time::ZERO, 0));
        assert_eq!(served(&mut line), [C, A, B]);
    }

    #[test]
    fn who_does_not_want_any_more_makes_room() {
        let mut line = Line::default();
        [A, B].into_iter().for_each(|source| line.join(source, RANK));
        line.leave(A);
        assert_eq!(served(&mut line), [B]);
    }
}
