//! An extra reading of a service beside the query that blocks.

use core::time::Duration;

use crate::discovery::watch::QueryId;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// One reading, and after a rest one at once.
const PACE: (u32, Duration) = (1, Duration::from_secs(5));

/// Whether an extra query is wanted, or out.
///
/// An endpoint that cannot be reached is mostly one that Consul is about to drop, or has
/// dropped while the answer is on its way or was lost. One more look costs little, and many
/// would cost Consul much just when something is wrong: however many requests fail, there is
/// one extra query at a time and few a minute.
#[derive(Debug)]
pub(super) struct Reread {
    pace: TokenBucket,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked for it.
    Unwanted,
    /// It is to be sent then.
    Wanted { due: Time },
    /// It is out.
    Asking { id: QueryId, lost: Time },
}

impl Reread {
    /// Starts with nothing wanted.
    pub(super) fn new() -> Self {
        let (burst, interval) = PACE;
        Self { pace: TokenBucket::new(burst, interval), state: State::Unwanted }
    }

    /// Wants one, unless one is wanted or out already.
    pub(super) fn want(&mut self, now: Time) {
        if matches!(self.state, State::Unwanted) {
            self.state = State::Wanted { due: self.pace.take(now) };
        }
    }

    /// Whether it is to be sent now.
    pub(super) fn is_due(&self, now: Time) -> bool {
        matches!(self.state, State::Wanted { due } if now >= due)
    }

    /// Learns that it was sent, and from when on it counts as lost.
    pub(super) const fn on_sent(&mut self, id: QueryId, lost: Time) {
        self.state = State::Asking { id, lost };
    }

    /// The query that is out and has not come back in time.
    pub(super) fn lost(&self, now: Time) -> Option<QueryId> {
        match self.state {
            State::Asking { id, lost } if now >= lost => Some(id),
            _ => None,
        }
    }

    /// Takes it back if it is the query of that number; tells whether it was.
    pub(super) fn take(&mut self, answered: QueryId) -> bool {
        let is_it = matches!(self.state, State::Asking { id, .. } if id == answered);
        if is_it {
            self.state = State::Unwanted;
        }
        is_it
    }

    /// Wants none any more: the blocking query has answered what it was to ask. One that is
    /// out stays out.
    pub(super) const fn settle(&mut self) {
        if let State::Wanted { .. } = self.state {
            self.state = State::Unwanted;
        }
    }

    /// Forgets it, wanted or out.
    pub(super) const fn stop(&mut self) {
        self.state = State::Unwanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn one_is_sent_at_once_and_the_next_after_a_rest() {
        let mut reread = Reread::new();
        assert!(!reread.is_due(at(0)));
        reread.want(at(0));
        assert!(reread.is_due(at(0)));
        reread.on_sent(QueryId(1), at(15_000));
        reread.want(at(10));
        assert!(!reread.is_due(at(14_999)), "one at a time");
        assert!(reread.take(QueryId(1)) && !reread.take(QueryId(1)));
        reread.want(at(1_000));
        assert!(!reread.is_due(at(4_999)) && reread.is_due(at(5_000)));
    }

    #[test]
    fn a_storm_of_wishes_takes_no_more_tokens_than_queries_are_sent() {
        let (mut reread, mut sent) = (Reread::new(), 0);
        for millisecond in 0..60_000 {
            reread.want(at(millisecond));
            if reread.is_due(at(millisecond)) {
                sent += 1;
                reread.on_sent(QueryId(sent), at(millisecond + 1));
                reread.take(QueryId(sent));
            }
        }
        assert_eq!(sent, 12);
    }

    #[test]
    fn what_is_settled_is_not_sent_and_what_is_out_is_awaited() {
        let mut reread = Reread::new();
        reread.want(at(0));
        reread.settle();
        assert!(!reread.is_due(at(60_000)));
        reread.want(at(60_000));
        reread.on_sent(QueryId(1), at(75_000));
        reread.settle();
        assert_eq!((reread.lost(at(74_999)), reread.lost(at(75_000))), (None, Some(QueryId(1))));
        reread.stop();
        assert!(!reread.take(QueryId(1)));
    }
}
