//! Where callers wait for their turn to ask Consul.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::discovery::caller::Caller;

/// What a call is for, as far as its pace goes by that; each kind has a pace of its own, so
/// that none has to wait for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The last call for it has failed.
    Retry,
    /// A registration is looked after.
    Errand,
    /// A source is read without waiting for a change: at first, afresh, or to be sure.
    Read,
    /// A source is read once more, because there is no place to watch it.
    Poll,
}

impl Lane {
    /// All of them, in the order in which they are served.
    pub const ALL: [Self; 4] = [Self::Errand, Self::Retry, Self::Read, Self::Poll];
}

/// The callers that wait, in a line for each lane: first come, first served.
///
/// A caller waits in one lane at a time. One that leaves, or changes over, stays in its old
/// line until it would be its turn; the number of its ticket tells that it has gone.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: HashMap<Caller, (Lane, u64)>,
    lanes: [VecDeque<(Caller, u64)>; Lane::ALL.len()],
    last_ticket: u64,
}

impl Line {
    /// Puts a caller at the end of a lane, unless it waits there already.
    pub(super) fn join(&mut self, caller: Caller, lane: Lane) {
        if self.waiting.get(&caller).is_none_or(|(old, _)| *old != lane) {
            let ticket = self.draw(caller, lane);
            self.lane(lane).push_back((caller, ticket));
        }
    }

    /// Puts a caller that waits before all others of its lane.
    pub(super) fn hurry(&mut self, caller: Caller) {
        let Some(&(lane, _)) = self.waiting.get(&caller) else {
            return;
        };
        if self.front(lane) != Some(caller) {
            let ticket = self.draw(caller, lane);
            self.lane(lane).push_front((caller, ticket));
        }
    }

    /// Forgets a caller.
    pub(super) fn leave(&mut self, caller: Caller) {
        self.waiting.remove(&caller);
    }

    /// Forgets a caller if it still waits in that lane.
    pub(super) fn dismiss(&mut self, caller: Caller, lane: Lane) {
        if self.waiting.get(&caller).is_some_and(|(current, _)| *current == lane) {
            self.leave(caller);
        }
    }

    /// Whose turn it is in a lane.
    pub(super) fn front(&mut self, lane: Lane) -> Option<Caller> {
        loop {
            let &(caller, ticket) = self.lane(lane).front()?;
            if self.waiting.get(&caller) == Some(&(lane, ticket)) {
                return Some(caller);
            }
            self.lane(lane).pop_front();
        }
    }

    fn draw(&mut self, caller: Caller, lane: Lane) -> u64 {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        self.waiting.insert(caller, (lane, self.last_ticket));
        self.last_ticket
    }

    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<(Caller, u64)> {
        let [errands, retries, reads, polls] = &mut self.lanes;
        match lane {
            Lane::Retry => retries,
            Lane::Errand => errands,
            Lane::Read => reads,
            Lane::Poll => polls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::SourceId;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const A: Caller = Caller::Source(SourceId::nth(1));
    const B: Caller = Caller::Source(SourceId::nth(2));
    const C: Caller = Caller::Source(SourceId::nth(3));

    fn served(line: &mut Line, lane: Lane) -> Vec<Caller> {
        let next = |line: &mut Line| {
            let source = line.front(lane)?;
            line.leave(source);
            Some(source)
        };
        core::iter::from_fn(|| next(line)).collect()
    }

    #[test]
    fn who_comes_first_is_served_first_and_joining_again_changes_nothing() {
        let mut line = Line::default();
        for source in [B, A, B, C, A] {
            line.join(source, Lane::Read);
        }
        assert_eq!(served(&mut line, Lane::Read), [B, A, C]);
        assert_eq!(line.front(Lane::Read), None);
    }

    #[test]
    fn who_changes_over_goes_to_the_end_and_loses_the_old_place() {
        let mut line = Line::default();
        [A, B].into_iter().for_each(|source| line.join(source, Lane::Poll));
        line.join(C, Lane::Retry);
        line.join(A, Lane::Retry);
        assert_eq!(served(&mut line, Lane::Poll), [B]);
        line.join(A, Lane::Poll);
        assert_eq!(served(&mut line, Lane::Retry), [C]);
        assert_eq!(served(&mut line, Lane::Poll), [A]);
    }

    #[test]
    fn who_is_waited_for_comes_before_the_others_and_is_served_once() {
        let mut line = Line::default();
        [A, B, C].into_iter().for_each(|source| line.join(source, Lane::Read));
        line.hurry(C);
        line.hurry(C);
        line.hurry(SourceId::nth(9).into());
        assert_eq!(served(&mut line, Lane::Read), [C, A, B]);
    }

    #[test]
    fn who_does_not_want_any_more_makes_room() {
        let mut line = Line::default();
        [A, B].into_iter().for_each(|source| line.join(source, Lane::Read));
        line.dismiss(A, Lane::Poll);
        assert_eq!(line.front(Lane::Read), Some(A));
        line.dismiss(A, Lane::Read);
        assert_eq!(served(&mut line, Lane::Read), [B]);
    }
}
