//! The reads of a source beyond its regular queries: early refreshes and periodic full reads.

use core::time::Duration;

use crate::calls::caller::QueryId;
use crate::discovery::outgoing_query::QueryInFlight;
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// The burst of extra reads, and the interval after which another one may follow.
const PACE: (u32, Duration) = (1, Duration::from_secs(5));

/// The extra query of a source.
///
/// An endpoint that cannot be reached is mostly one that Consul is about to remove, or has removed
/// in a response that is on its way or was lost. One more read costs little, but many would cost
/// Consul much during an outage. However many requests fail, there is one extra query at a time and
/// few a minute.
#[derive(Debug)]
pub(super) struct EarlyRefresh {
    backoff: TokenBucket,
    state: State,
}

#[derive(Debug)]
enum State {
    /// No extra query is requested.
    Unwanted,
    /// The extra query is due at `due`.
    Wanted { due: Time },
    /// The extra query is out.
    InFlight(QueryInFlight),
}

impl EarlyRefresh {
    /// Starts without a requested query.
    pub(super) fn new() -> Self {
        let (burst, interval) = PACE;
        Self { backoff: TokenBucket::new(burst, interval), state: State::Unwanted }
    }

    /// Requests a query, unless one is requested or out already.
    pub(super) fn want(&mut self, now: Time) {
        if matches!(self.state, State::Unwanted) {
            self.state = State::Wanted { due: self.backoff.take(now) };
        }
    }

    /// Returns true if the query is due.
    pub(super) fn is_due(&self, now: Time) -> bool {
        matches!(self.state, State::Wanted { due } if now >= due)
    }

    /// Returns true if the query is out.
    pub(super) const fn is_out(&self) -> bool {
        matches!(self.state, State::InFlight(_))
    }

    /// Notes that the query, or another one in its place, was sent.
    pub(super) const fn on_sent(&mut self, in_flight: QueryInFlight) {
        self.state = State::InFlight(in_flight);
    }

    /// Returns the query that is out if it has that id.
    pub(super) fn in_flight(&self, id: QueryId) -> Option<QueryInFlight> {
        match self.state {
            State::InFlight(in_flight) if in_flight.ask.id == id => Some(in_flight),
            _ => None,
        }
    }

    /// Returns the id of the query that is out if it counts as lost.
    pub(super) fn lost(&self, now: Time) -> Option<QueryId> {
        match self.state {
            State::InFlight(QueryInFlight { ask, lost, .. }) if now >= lost => Some(ask.id),
            _ => None,
        }
    }

    /// Removes the query that is out if it has that id.
    pub(super) fn take(&mut self, answered: QueryId) -> Option<QueryInFlight> {
        let in_flight = self.in_flight(answered)?;
        self.state = State::Unwanted;
        Some(in_flight)
    }

    /// Cancels a requested query because the main query reads the same. A query that is out stays
    /// out.
    pub(super) const fn settle(&mut self) {
        if let State::Wanted { .. } = self.state {
            self.state = State::Unwanted;
        }
    }
}

/// The schedule of full reads of a source.
///
/// Watches that froze for days are a common fault of such clients (linkerd/linkerd#1230,
/// traefik/traefik#3944). A plain read at intervals repairs them whatever the cause was. The
/// interval varies by up to a tenth, so that sources that were read together at the start do not
/// stay together.
#[derive(Debug)]
pub(super) struct Resync {
    interval: Duration,
    due: Option<Time>,
}

impl Resync {
    /// Reads at this interval; 0 means never.
    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, due: None }
    }

    /// Notes a read without an index. The first read starts the schedule, and a fresh one restarts
    /// it.
    pub(super) fn on_read(&mut self, is_fresh: bool, now: Time, rng: &mut Rng) {
        if is_fresh || self.due.is_none() {
            self.due = (!self.interval.is_zero()).then(|| now + rng.about(self.interval));
        }
    }

    /// Returns true if a full read is due.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|due| now >= due)
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

    fn seconds(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn in_flight(id: u64, lost: u64) -> QueryInFlight {
        let ask = OutgoingQuery { id: QueryId(id), ..OutgoingQuery::default() };
        QueryInFlight { ask, blocks: false, floor: None, asked: at(0), lost: at(lost) }
    }

    #[test]
    fn first_refresh_is_sent_at_once_and_the_next_after_a_rest() {
        let mut early_refresh = EarlyRefresh::new();
        assert!(!early_refresh.is_due(at(0)));
        early_refresh.want(at(0));
        assert!(early_refresh.is_due(at(0)));
        early_refresh.on_sent(in_flight(1, 15_000));
        early_refresh.want(at(10));
        assert!(!early_refresh.is_due(at(14_999)), "one at a time");
        assert!(
            early_refresh.take(QueryId(1)).is_some() && early_refresh.take(QueryId(1)).is_none()
        );
        early_refresh.want(at(1_000));
        assert!(!early_refresh.is_due(at(4_999)) && early_refresh.is_due(at(5_000)));
    }

    #[test]
    fn refresh_takes_one_token_however_many_requests_there_are() {
        let (mut early_refresh, mut sent) = (EarlyRefresh::new(), 0);
        for millisecond in 0..60_000 {
            early_refresh.want(at(millisecond));
            if early_refresh.is_due(at(millisecond)) {
                sent += 1;
                early_refresh.on_sent(in_flight(sent, millisecond + 1));
                early_refresh.take(QueryId(sent));
            }
        }
        assert_eq!(sent, 12);
    }

    #[test]
    fn refresh_is_canceled_only_when_it_is_not_out() {
        let mut early_refresh = EarlyRefresh::new();
        early_refresh.want(at(0));
        early_refresh.settle();
        assert!(!early_refresh.is_due(at(60_000)));
        early_refresh.want(at(60_000));
        early_refresh.on_sent(in_flight(1, 75_000));
        early_refresh.settle();
        assert_eq!(
            (early_refresh.lost(at(74_999)), early_refresh.lost(at(75_000))),
            (None, Some(QueryId(1)))
        );
    }

    #[test]
    fn resync_is_due_an_interval_after_the_last_read() {
        let mut rng = Rng::new(1);
        let (mut early, mut late) = (0, 0);
        for _ in 0..1_000 {
            let mut resync = Resync::new(Duration::from_secs(600));
            assert!(!resync.is_due(seconds(1_000_000)), "it was never read");
            resync.on_read(true, seconds(100), &mut rng);
            assert!(!resync.is_due(seconds(639)) && resync.is_due(seconds(760)));
            early += u32::from(resync.is_due(seconds(660)));
            late += u32::from(!resync.is_due(seconds(740)));
        }
        assert!((100..250).contains(&early) && (100..250).contains(&late), "{early} {late}");
    }

    #[test]
    fn resync_is_never_due_when_the_interval_is_zero() {
        let mut resync = Resync::new(Duration::ZERO);
        resync.on_read(true, seconds(0), &mut Rng::new(1));
        assert!(!resync.is_due(seconds(1_000_000)));
    }
}
