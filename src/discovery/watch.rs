//! One source's blocking queries, one after the other.
//!
//! The rules are Consul's (<https://developer.hashicorp.com/consul/api-docs/features/blocking>):
//! the first query carries no index; an index that went back is dropped and the service
//! read again before anything is applied; an error drops the index; an answer is no proof of
//! a change; and the index moves on only after its answer was applied.
//!
//! Beside a query that blocks there may be an extra one that does not, when an endpoint is
//! suspected to be gone ([`Watch::on_suspicion`]). It never disturbs the one that blocks. Its
//! answer counts only if its index is higher than that of what was applied last: a lower one
//! comes from a server that lags behind, or from a Consul that was restored, which the
//! blocking query finds out by the rules above. And once it was applied, an answer to the
//! blocking query is old news up to that index.

use core::time::Duration;

use crate::backoff::Backoff;
use crate::consul::error::QueryError;
use crate::consul::index::ConsulIndex;
use crate::consul::response::Answer;
use crate::discovery::outcome::Outcome;
use crate::discovery::pace::Pace;
use crate::discovery::reread::Reread;
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::time::Time;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long after its timeout a callout that never came back is given up.
const GIVE_UP: Duration = Duration::from_secs(5);

/// How long a new fetcher asks plainly only: until then a more suitable VM has taken the
/// lease from it, if there is one, and no query of its own stays behind at Consul.
const SETTLING: Duration = Duration::from_millis(100);

/// The number of a query, so that an answer that comes too late is not taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueryId(pub u64);

/// The blocking queries of one service.
#[derive(Debug)]
pub struct Watch {
    state: State,
    last: QueryId,
    index: Option<ConsulIndex>,
    retry: Backoff,
    pace: Pace,
    reread: Reread,
    held: Duration,
    /// From when on queries may block.
    settled: Time,
}

#[derive(Debug)]
enum State {
    /// Another VM fetches.
    Stopped,
    /// The next query is due then.
    Idle { due: Time },
    /// A query is out. Its answer must not be older than `index`, on which it blocks unless an
    /// extra query has moved it on.
    Asking { id: QueryId, index: Option<ConsulIndex>, asked: Time, lost: Time },
    /// An answer waits to be published.
    Applying { index: ConsulIndex },
}

/// A query to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Its number, to come back with the answer.
    pub id: QueryId,
    /// The index to block on; `None` asks for an answer at once.
    pub index: Option<ConsulIndex>,
}

impl Watch {
    /// Starts stopped. `wait` is how long Consul may hold a query.
    pub fn new(wait: Duration) -> Self {
        Self {
            state: State::Stopped,
            last: QueryId::default(),
            index: None,
            retry: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            pace: Pace::new(),
            reread: Reread::new(),
            held: wait / 2,
            settled: Time::ZERO,
        }
    }

    /// Begins to watch: reads the service at once, whatever is known of it.
    pub fn start(&mut self, now: Time) {
        self.index = None;
        self.retry.on_success();
        self.settled = now + SETTLING;
        self.state = State::Idle { due: now };
    }

    /// Stops watching. A query that is out cannot be called back; its answer will be late.
    pub const fn stop(&mut self) {
        self.state = State::Stopped;
        self.reread.stop();
    }

    /// Wants an extra query beside the one that blocks. Where none blocks, the next answer is
    /// as good: it was asked for by now, or is asked for as soon as Consul's errors allow.
    pub fn on_suspicion(&mut self, now: Time) {
        if let State::Asking { index: Some(_), .. } = self.state {
            self.reread.want(now);
        }
    }

    /// Errors in a row until now.
    pub const fn failures(&self) -> u32 {
        self.retry.failures()
    }

    /// The next query, if one is due; it is out from now on.
    ///
    /// `timeout` tells how long a query with that index may take. A query that stayed away
    /// for much longer is counted as lost: [`Outcome::Failed`] by way of [`Self::poll_lost`].
    pub fn poll_query(
        &mut self,
        now: Time,
        timeout: impl FnOnce(Option<ConsulIndex>) -> Duration,
    ) -> Option<Ask> {
        let index = match self.state {
            State::Idle { due } if now >= due => self.index,
            State::Asking { index: Some(_), .. } if self.reread.is_due(now) => None,
            _ => return None,
        };
        if index.is_some() && now < self.settled {
            return None;
        }
        self.last = QueryId(self.last.0.wrapping_add(1));
        let id = self.last;
        let lost = now + timeout(index) + GIVE_UP;
        match self.state {
            State::Asking { .. } => self.reread.on_sent(id, lost),
            _ => self.state = State::Asking { id, index, asked: now, lost },
        }
        Some(Ask { id, index })
    }

    /// A query that is out, when its callout has neither returned nor failed in time.
    pub fn poll_lost(&self, now: Time) -> Option<QueryId> {
        match self.state {
            State::Asking { id, lost, .. } if now >= lost => Some(id),
            _ => self.reread.lost(now),
        }
    }

    /// Takes the answer to a query; `current` is what is published now.
    pub fn on_answer(
        &mut self,
        id: QueryId,
        answer: Result<Answer, QueryError>,
        current: Option<&Snapshot>,
        now: Time,
        rng: &mut Rng,
    ) -> Outcome {
        if self.reread.take(id) {
            return self.on_reread(answer, current);
        }
        let State::Asking { id: expected, index: sent, asked, .. } = self.state else {
            return Outcome::Late;
        };
        if id != expected {
            return Outcome::Late;
        }
        self.reread.settle();
        let answer = match answer.and_then(|answer| answer.instead_of(current)) {
            Ok(answer) => answer,
            Err(error) => {
                self.index = None;
                let due = now + self.retry.on_failure(rng);
                self.state = State::Idle { due };
                return Outcome::Failed(error);
            }
        };
        self.retry.on_success();
        if sent.is_some_and(|sent| answer.index < sent) {
            self.index = None;
            // Paced like an answer without a change: an index that always goes back must not
            // make a hot loop.
            let due = self.pace.on_repeat(false, false, now, rng);
            self.state = State::Idle { due };
            return Outcome::Reread;
        }
        let snapshot = answer.decoded.snapshot;
        if current == Some(&snapshot) {
            self.index = Some(answer.index);
            let held = now.since(asked) >= self.held;
            // A plain read is no sign of a hot loop, and no sign that there is none.
            let due = match sent {
                None => now,
                Some(_) => self.pace.on_repeat(held, snapshot.is_empty(), now, rng),
            };
            self.state = State::Idle { due };
            return Outcome::Unchanged;
        }
        self.state = State::Applying { index: answer.index };
        Outcome::Changed(snapshot)
    }

    /// Learns that the changed endpoints are published, and moves the index on.
    pub fn on_applied(&mut self, now: Time) {
        if let State::Applying { index } = self.state {
            self.index = Some(index);
            self.state = State::Idle { due: self.pace.on_change(now) };
        }
    }

    /// Takes the answer to an extra query. Without an index to compare it with, a plain query
    /// is out or due, and that one is believed. The index moves on before the answer is
    /// applied: should that fail, another VM has the lease, and this watch stops.
    fn on_reread(
        &mut self,
        answer: Result<Answer, QueryError>,
        current: Option<&Snapshot>,
    ) -> Outcome {
        let answer = match answer.and_then(|answer| answer.instead_of(current)) {
            Ok(answer) => answer,
            Err(error) => return Outcome::Wasted(error.kind()),
        };
        let known = match (&mut self.state, &mut self.index) {
            (State::Asking { index: Some(index), .. }, _) | (State::Idle { .. }, Some(index)) => {
                index
            }
            _ => return Outcome::Older,
        };
        if answer.index < *known {
            return Outcome::Older;
        }
        let snapshot = answer.decoded.snapshot;
        let is_known = answer.index == *known || current == Some(&snapshot);
        *known = answer.index;
        if is_known {
            return Outcome::Unchanged;
        }
        Outcome::Changed(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::decode::Decoded;
    use crate::consul::dropped::Dropped;
    use crate::model::endpoint::Endpoint;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const WAIT: Duration = Duration::from_secs(55);

    fn index(n: u64) -> ConsulIndex {
        ConsulIndex::parse(n.to_string().as_bytes()).unwrap()
    }

    fn answer(n: u64, ports: &[u16]) -> Result<Answer, QueryError> {
        let endpoint = |&port| Endpoint::new(core::net::SocketAddr::from(([10, 0, 0, 1], port)));
        let snapshot = Snapshot::new(ports.iter().map(endpoint).collect());
        Ok(Answer { index: index(n), decoded: Decoded { snapshot, dropped: Dropped::default() } })
    }

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    struct Bench {
        watch: Watch,
        rng: Rng,
        current: Option<Snapshot>,
    }

    impl Bench {
        fn started() -> Self {
            let mut watch = Watch::new(WAIT);
            watch.start(at(0));
            Self { watch, rng: Rng::new(1), current: None }
        }

        fn ask(&mut self, now: Time) -> Option<Ask> {
            self.watch.poll_query(now, |_| WAIT)
        }

        /// Asks, answers, and applies what changed.
        fn round(&mut self, now: Time, reply: Result<Answer, QueryError>) -> (Ask, Outcome) {
            let ask = self.ask(now).expect("a query is due");
            let outcome =
                self.watch.on_answer(ask.id, reply, self.current.as_ref(), now, &mut self.rng);
            if let Outcome::Changed(snapshot) = &outcome {
                self.current = Some(snapshot.clone());
                self.watch.on_applied(now);
            }
            (ask, outcome)
        }
    }

    #[test]
    fn the_first_query_has_no_index_and_the_next_has_the_applied_one() {
        let mut bench = Bench::started();
        let (ask, outcome) = bench.round(at(0), answer(7, &[1]));
        assert_eq!(ask.index, None);
        assert!(matches!(outcome, Outcome::Changed(_)));
        assert_eq!(bench.ask(at(99)), None, "a new fetcher does not block yet");
        assert_eq!(bench.ask(at(100)).unwrap().index, Some(index(7)));
        assert_eq!(bench.ask(at(100)), None, "one query at a time");
    }

    #[test]
    fn the_index_does_not_move_before_its_answer_is_applied() {
        let mut bench = Bench::started();
        let ask = bench.ask(at(0)).unwrap();
        bench.watch.on_answer(ask.id, answer(7, &[1]), None, at(0), &mut bench.rng);
        assert_eq!(bench.ask(at(60_000)), None, "nothing is asked while it is applied");
        bench.watch.on_applied(at(60_000));
        assert_eq!(bench.ask(at(60_000)).unwrap().index, Some(index(7)));
    }

    #[test]
    fn an_index_that_went_back_is_dropped_and_its_answer_is_not_applied() {
        let mut bench = Bench::started();
        bench.round(at(0), answer(700, &[1]));
        let (_, outcome) = bench.round(at(1_000), answer(12, &[]));
        assert!(matches!(outcome, Outcome::Reread), "{outcome:?}");
        let (ask, outcome) = bench.round(at(1_000), answer(12, &[2]));
        assert_eq!(ask.index, None);
        assert!(matches!(outcome, Outcome::Changed(_)));
    }

    #[test]
    fn an_error_drops_the_index_and_waits_longer_each_time() {
        let mut bench = Bench::started();
        bench.round(at(0), answer(7, &[1]));
        let (_, outcome) = bench.round(at(1_000), Err(QueryError::MissingIndex));
        assert!(matches!(outcome, Outcome::Failed(_)));
        assert_eq!(bench.watch.failures(), 1);
        assert_eq!(bench.ask(at(1_099)), None);
        let (ask, _) = bench.round(at(1_200), Err(QueryError::MissingIndex));
        assert_eq!(ask.index, None);
        assert_eq!(bench.ask(at(1_399)), None);
        let (_, outcome) = bench.round(at(1_600), answer(8, &[1]));
        assert!(matches!(outcome, Outcome::Unchanged));
        assert_eq!(bench.watch.failures(), 0);
    }

    #[test]
    fn a_query_that_stays_away_is_lost_and_its_answer_is_late() {
        let mut bench = Bench::started();
        let ask = bench.ask(at(0)).unwrap();
        assert_eq!(bench.watch.poll_lost(at(59_999)), None);
        assert_eq!(bench.watch.poll_lost(at(60_000)), Some(ask.id));
        let lost = Err(QueryError::MissingIndex);
        bench.watch.on_answer(ask.id, lost, None, at(60_000), &mut bench.rng);
        let late = bench.watch.on_answer(ask.id, answer(7, &[1]), None, at(60_001), &mut bench.rng);
        assert!(matches!(late, Outcome::Late));
    }

    #[test]
    fn a_stopped_watch_asks_nothing_and_takes_nothing() {
        let mut bench = Bench::started();
        let ask = bench.ask(at(0)).unwrap();
        bench.watch.stop();
        let late = bench.watch.on_answer(ask.id, answer(7, &[1]), None, at(1), &mut bench.rng);
        assert!(matches!(late, Outcome::Late));
        assert_eq!(bench.ask(at(1_000_000)), None);
    }

    #[test]
    fn an_index_that_always_goes_back_makes_no_hot_loop() {
        let mut bench = Bench::started();
        bench.round(at(0), answer(1_000, &[1]));
        let mut asked = 0;
        for millisecond in 0..10_000 {
            if let Some(ask) = bench.ask(at(millisecond)) {
                asked += 1;
                // Every answer is lower than the one before it.
                let reply = answer(1_000 - asked, &[1]);
                let current = bench.current.as_ref();
                let _ =
                    bench.watch.on_answer(ask.id, reply, current, at(millisecond), &mut bench.rng);
            }
        }
        assert!(asked < 50, "{asked} queries in 10 s");
    }
}
