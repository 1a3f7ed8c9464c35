//! A query that does not block, beside the one that does: when it is sent, and when its answer
//! counts.

use std::net::SocketAddr;
use std::time::Duration;

use consul_resolver::calls::scheduler::Permit;
use consul_resolver::config::ShrinkGuardConfig;
use consul_resolver::consul::decode::Decoded;
use consul_resolver::consul::error::QueryError;
use consul_resolver::consul::index::ConsulIndex;
use consul_resolver::consul::response::QueryResponse;
use consul_resolver::discovery::response_outcome::ResponseOutcome;
use consul_resolver::discovery::watch::{OutgoingQuery, Watch};
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

/// How long a query may take that blocks, and one that does not.
const WAIT: Duration = Duration::from_secs(55);
const PLAIN: Duration = Duration::from_secs(10);
const RESYNC: Duration = Duration::from_secs(600);

type Reply = Result<QueryResponse, QueryError>;

fn reply(index: u64, ports: &[u16]) -> Reply {
    let endpoint = |&port| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
    let snapshot = Snapshot::new(ports.iter().map(endpoint).collect());
    let registered = u32::try_from(snapshot.len()).unwrap();
    let decoded = Decoded { snapshot, registered, ..Decoded::default() };
    Ok(QueryResponse::new(ConsulIndex::new(index), decoded))
}

fn at(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

/// A watch of a service, and what of it is published.
struct Bench {
    watch: Watch,
    rng: Rng,
    current: Option<Snapshot>,
}

impl Bench {
    /// A watch whose query blocks on index 10, since second 1, with port 1 published.
    fn blocking() -> (Self, OutgoingQuery) {
        let mut watch = Watch::new(WAIT, RESYNC, ShrinkGuardConfig::default());
        watch.start(at(0));
        let mut bench = Self { watch, rng: Rng::new(1), current: None };
        let first = bench.ask(at(0)).expect("the first query");
        assert!(matches!(bench.answer(first, reply(10, &[1]), at(0)), ResponseOutcome::Changed(_)));
        let blocking = bench.ask(at(1)).expect("the query that blocks");
        assert_eq!(blocking.index, Some(ConsulIndex::new(10)));
        (bench, blocking)
    }

    fn ask(&mut self, now: Time) -> Option<OutgoingQuery> {
        let want = self.watch.wants(true, now)?;
        let timeout = |ask: &OutgoingQuery| if ask.index.is_some() { WAIT } else { PLAIN };
        Some(self.watch.ask(want, Permit::AsWanted, now, timeout))
    }

    /// Suspects, and asks because of it.
    fn suspect(&mut self, now: Time) -> OutgoingQuery {
        self.watch.on_suspicion(now);
        let extra = self.ask(now).expect("an extra query");
        assert_eq!(extra.index, None);
        extra
    }

    /// Answers a query, and publishes what has changed.
    fn answer(&mut self, ask: OutgoingQuery, reply: Reply, now: Time) -> ResponseOutcome {
        let current = self.current.as_ref();
        let outcome = self.watch.on_response(ask.id, reply, current, now, &mut self.rng);
        if let ResponseOutcome::Changed(snapshot) = &outcome {
            self.current = Some(snapshot.clone());
            self.watch.on_applied(now);
        }
        outcome
    }
}

#[test]
fn a_suspicion_asks_once_beside_the_query_that_blocks() {
    let (mut bench, _) = Bench::blocking();
    assert_eq!(bench.ask(at(2)), None, "nobody suspects anything");
    bench.suspect(at(2));
    bench.watch.on_suspicion(at(2));
    assert_eq!(bench.ask(at(12)), None, "one at a time");
}

#[test]
fn nothing_extra_is_asked_where_no_query_blocks() {
    let (mut bench, blocking) = Bench::blocking();
    let failed = bench.answer(blocking, Err(QueryError::NoAnswer), at(2));
    assert!(matches!(failed, ResponseOutcome::Failed(_)));
    bench.watch.on_suspicion(at(2));
    assert_eq!(bench.ask(at(2)), None, "the backoff is kept");
    let plain = bench.ask(at(3)).expect("the retry");
    bench.watch.on_suspicion(at(3));
    assert_eq!((plain.index, bench.ask(at(3))), (None, None), "a plain query is out already");
    bench.watch.stop();
    bench.watch.on_suspicion(at(4));
    assert_eq!(bench.ask(at(60)), None, "another VM fetches");
}

#[test]
fn a_suspicion_that_waits_is_settled_by_the_answer_to_the_query_that_blocks() {
    let (mut bench, blocking) = Bench::blocking();
    let extra = bench.suspect(at(2));
    assert!(matches!(bench.answer(extra, reply(10, &[1]), at(2)), ResponseOutcome::Unchanged));
    bench.watch.on_suspicion(at(3));
    assert_eq!(bench.ask(at(3)), None, "the next extra query is due at second 7");
    assert!(matches!(bench.answer(blocking, reply(11, &[2]), at(4)), ResponseOutcome::Changed(_)));
    assert_eq!(bench.ask(at(4)).unwrap().index, Some(ConsulIndex::new(11)));
    assert_eq!(bench.ask(at(8)), None);
}

#[test]
fn a_newer_state_is_applied_and_the_query_that_blocks_stays_out() {
    let (mut bench, blocking) = Bench::blocking();
    let extra = bench.suspect(at(2));
    assert!(matches!(bench.answer(extra, reply(12, &[2]), at(2)), ResponseOutcome::Changed(_)));
    assert_eq!(bench.ask(at(2)), None, "the query that blocks is still out");
    let same = bench.answer(blocking, reply(12, &[2]), at(3));
    assert!(matches!(same, ResponseOutcome::Unchanged), "{same:?}");
    assert_eq!(bench.ask(at(3)).unwrap().index, Some(ConsulIndex::new(12)));
}

#[test]
fn what_was_applied_is_not_taken_back_by_an_older_answer_to_the_query_that_blocks() {
    let (mut bench, blocking) = Bench::blocking();
    let extra = bench.suspect(at(2));
    assert!(matches!(bench.answer(extra, reply(12, &[2]), at(2)), ResponseOutcome::Changed(_)));
    let older = bench.answer(blocking, reply(11, &[1, 2]), at(3));
    assert!(matches!(older, ResponseOutcome::Reread), "{older:?}");
    let again = bench.ask(at(4)).expect("the service is read again");
    assert_eq!(again.index, None);
    assert!(matches!(bench.answer(again, reply(12, &[2]), at(4)), ResponseOutcome::Unchanged));
}

#[test]
fn a_state_that_is_not_newer_changes_nothing() {
    for index in [9, 10] {
        let (mut bench, blocking) = Bench::blocking();
        let extra = bench.suspect(at(2));
        let outcome = bench.answer(extra, reply(index, &[7]), at(2));
        assert!(
            matches!(outcome, ResponseOutcome::Older | ResponseOutcome::Unchanged),
            "{index}: {outcome:?}"
        );
        assert_eq!(bench.ask(at(6)), None, "the query that blocks is still out");
        assert!(matches!(
            bench.answer(blocking, reply(11, &[1, 2]), at(6)),
            ResponseOutcome::Changed(_)
        ));
    }
}

#[test]
fn an_extra_query_that_fails_or_is_lost_does_not_disturb_the_one_that_blocks() {
    let (mut bench, blocking) = Bench::blocking();
    let extra = bench.suspect(at(2));
    let failed = bench.answer(extra, Err(QueryError::NoAnswer), at(2));
    assert!(matches!(failed, ResponseOutcome::Wasted(_)), "{failed:?}");
    let lost = bench.suspect(at(7));
    let gone = at(7) + PLAIN + Duration::from_secs(5);
    assert_eq!(bench.watch.poll_lost(at(21)), None);
    assert_eq!(bench.watch.poll_lost(gone), Some(lost.id));
    assert!(matches!(bench.answer(lost, Err(QueryError::Lost), gone), ResponseOutcome::Wasted(_)));
    assert!(matches!(bench.answer(lost, reply(12, &[2]), gone), ResponseOutcome::Late));
    assert_eq!(bench.watch.failures(), 0);
    assert!(matches!(bench.answer(blocking, reply(11, &[2]), gone), ResponseOutcome::Changed(_)));
}

#[test]
fn an_answer_that_comes_between_two_queries_moves_the_index_on() {
    let (mut bench, blocking) = Bench::blocking();
    let extra = bench.suspect(at(2));
    assert!(matches!(
        bench.answer(blocking, reply(11, &[1, 2]), at(3)),
        ResponseOutcome::Changed(_)
    ));
    assert!(matches!(bench.answer(extra, reply(13, &[2]), at(3)), ResponseOutcome::Changed(_)));
    assert_eq!(bench.ask(at(3)).unwrap().index, Some(ConsulIndex::new(13)));
}

#[test]
fn an_answer_that_comes_while_the_service_is_read_anew_is_left_alone() {
    let (mut bench, blocking) = Bench::blocking();
    let extra = bench.suspect(at(2));
    // Consul was restored: the extra query was answered before, the blocking one after.
    assert!(matches!(bench.answer(blocking, reply(3, &[4]), at(3)), ResponseOutcome::Reread));
    assert!(matches!(bench.answer(extra, reply(12, &[2]), at(3)), ResponseOutcome::Older));
    let again = bench.ask(at(4)).expect("the service is read again");
    assert!(matches!(bench.answer(again, reply(3, &[4]), at(4)), ResponseOutcome::Changed(_)));
}
