//! An extra reading of a service beside the query that blocks.

use core::time::Duration;

use crate::calls::caller::QueryId;
use crate::discovery::watch::ask::QueryInFlight;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// One reading, and after a rest one at once.
const PACE: (u32, Duration) = (1, Duration::from_secs(5));

/// Whether an extra query is wanted, or out.
///
/// An endpoint that cannot be reached is mostly one that Consul is about to drop, or has
/// dropped while the answer is on its way or was lost. One more look costs little, and many
/// would cost Consul much just when something is wrong: however many requests fail, there is
/// one extra query at a time and few a minute.
#[derive(Debug)]
pub(super) struct EarlyRefresh {
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
    Asking(QueryInFlight),
}

impl EarlyRefresh {
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

    /// Whether one is out.
    pub(super) const fn is_out(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// Learns that it was sent, or another one in its place.
    pub(super) const fn on_sent(&mut self, asking: QueryInFlight) {
        self.state = State::Asking(asking);
    }

    /// The query that is out, if it has that number.
    pub(super) fn asking(&self, id: QueryId) -> Option<QueryInFlight> {
        match self.state {
            State::Asking(asking) if asking.ask.id == id => Some(asking),
            _ => None,
        }
    }

    /// The query that is out and has not come back in time.
    pub(super) fn lost(&self, now: Time) -> Option<QueryId> {
        match self.state {
            State::Asking(QueryInFlight { ask, lost, .. }) if now >= lost => Some(ask.id),
            _ => None,
        }
    }

    /// Takes the query of that number back, if it is out.
    pub(super) fn take(&mut self, answered: QueryId) -> Option<QueryInFlight> {
        let asking = self.asking(answered)?;
        self.state = State::Unwanted;
        Some(asking)
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
    use crate::discovery::watch::OutgoingQuery;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn asking(id: u64, lost: u64) -> QueryInFlight {
        let ask = OutgoingQuery { id: QueryId(id), ..OutgoingQuery::default() };
        QueryInFlight { ask, blocks: false, floor: None, asked: at(0), lost: at(lost) }
    }

    #[test]
    fn one_is_sent_at_once_and_the_next_after_a_rest() {
        let mut reread = EarlyRefresh::new();
        assert!(!reread.is_due(at(0)));
        reread.want(at(0));
        assert!(reread.is_due(at(0)));
        reread.on_sent(asking(1, 15_000));
        reread.want(at(10));
        assert!(!reread.is_due(at(14_999)), "one at a time");
        assert!(reread.take(QueryId(1)).is_some() && reread.take(QueryId(1)).is_none());
        reread.want(at(1_000));
        assert!(!reread.is_due(at(4_999)) && reread.is_due(at(5_000)));
    }

    #[test]
    fn a_storm_of_wishes_takes_no_more_tokens_than_queries_are_sent() {
        let (mut reread, mut sent) = (EarlyRefresh::new(), 0);
        for millisecond in 0..60_000 {
            reread.want(at(millisecond));
            if reread.is_due(at(millisecond)) {
                sent += 1;
                reread.on_sent(asking(sent, millisecond + 1));
                reread.take(QueryId(sent));
            }
        }
        assert_eq!(sent, 12);
    }

    #[test]
    fn what_is_settled_is_not_sent_and_what_is_out_is_awaited() {
        let mut reread = EarlyRefresh::new();
        reread.want(at(0));
        reread.settle();
        assert!(!reread.is_due(at(60_000)));
        reread.want(at(60_000));
        reread.on_sent(asking(1, 75_000));
        reread.settle();
        assert_eq!((reread.lost(at(74_999)), reread.lost(at(75_000))), (None, Some(QueryId(1))));
        reread.stop();
        assert!(reread.take(QueryId(1)).is_none());
    }
}
