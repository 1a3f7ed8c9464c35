//! What vanishes from Consul's answers without a word: when it is believed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use consul_resolver::config::ShrinkGuard;
use consul_resolver::consul::decode::Decoded;
use consul_resolver::consul::error::QueryError;
use consul_resolver::consul::index::ConsulIndex;
use consul_resolver::consul::query::Freshness;
use consul_resolver::consul::response::Answer;
use consul_resolver::discovery::doubt::Doubt;
use consul_resolver::discovery::gate::{Pass, Want};
use consul_resolver::discovery::guard::Resolution;
use consul_resolver::discovery::line::Lane;
use consul_resolver::discovery::outcome::Outcome;
use consul_resolver::discovery::watch::{Ask, Watch};
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::rng::Rng;
use consul_resolver::time::Time;

const WAIT: Duration = Duration::from_secs(55);
const RESYNC: Duration = Duration::from_secs(600);

type Reply = Result<Answer, QueryError>;

/// An answer with endpoints of these ports.
fn reply(index: u64, ports: std::ops::Range<u16>) -> Reply {
    let endpoint = |port| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
    let snapshot = Snapshot::new(ports.map(endpoint).collect());
    let registered = u32::try_from(snapshot.len()).unwrap();
    let decoded = Decoded { snapshot, registered, ..Decoded::default() };
    let index = ConsulIndex::new(index);
    Ok(Answer::new(index, decoded))
}

fn filtered(reply: Reply) -> Reply {
    reply.map(|answer| Answer { filtered_by_acls: true, ..answer })
}

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// A watch of a service of which ten endpoints are published.
struct Bench {
    watch: Watch,
    rng: Rng,
    current: Option<Snapshot>,
}

impl Bench {
    fn with_ten(guard: ShrinkGuard) -> Self {
        let mut watch = Watch::new(WAIT, RESYNC, guard);
        watch.start(at(0));
        let mut bench = Self { watch, rng: Rng::new(1), current: None };
        let (_, outcome) = bench.round(0, reply(7, 1..11));
        assert!(matches!(outcome, Outcome::Changed(_)));
        bench
    }

    /// Asks what is due, answers it, and publishes what has changed.
    fn round(&mut self, now: u64, reply: Reply) -> (Ask, Outcome) {
        let want = self.watch.wants(true, at(now)).expect("a query is due");
        let ask = self.watch.ask(want, Pass::AsWanted, at(now), |_| WAIT);
        let current = self.current.as_ref();
        let outcome = self.watch.on_answer(ask.id, reply, current, at(now), &mut self.rng);
        self.publish(&outcome, now);
        (ask, outcome)
    }

    fn publish(&mut self, outcome: &Outcome, now: u64) {
        if let Outcome::Changed(snapshot) = outcome {
            self.current = Some(snapshot.clone());
            self.watch.on_applied(at(now));
        }
    }

    /// Lets the time of a held answer end.
    fn expire(&mut self, now: u64) -> bool {
        let outcome = self.watch.poll_expired(self.current.as_ref(), at(now), &mut self.rng);
        outcome.inspect(|outcome| self.publish(outcome, now)).is_some()
    }

    fn endpoints(&self) -> usize {
        self.current.as_ref().map_or(0, Snapshot::len)
    }
}

#[test]
fn nothing_is_asked_for_again_at_once_and_consistently() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    let (_, outcome) = bench.round(1_000, reply(8, 1..1));
    assert!(matches!(outcome, Outcome::Doubted(Doubt::Nothing { before: 10 })), "{outcome:?}");
    assert!(bench.watch.is_holding());
    assert_eq!(bench.watch.wants(true, at(1_000)), Some(Want::Read(Lane::Read)));
    let (ask, _) = bench.round(1_000, reply(8, 1..1));
    assert_eq!((ask.index, ask.freshness), (None, Freshness::Consistent));
    assert_eq!(bench.endpoints(), 10);
}

#[test]
fn a_lie_is_refuted_by_the_read_that_lists_more() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    bench.round(1_000, reply(8, 1..1));
    let (_, outcome) = bench.round(1_000, reply(8, 1..11));
    assert!(matches!(outcome, Outcome::Unchanged), "{outcome:?}");
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Refuted));
    assert_eq!(bench.watch.poll_resolution(), None, "told once");
    assert_eq!(bench.endpoints(), 10);
    let (ask, _) = bench.round(1_100, reply(9, 1..12));
    assert_eq!(ask.index, Some(ConsulIndex::new(8)), "it is watched as before");
    assert_eq!(ask.freshness, Freshness::AsConfigured);
}

#[test]
fn few_are_believed_when_a_second_answer_says_the_same() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    let (_, outcome) = bench.round(1_000, reply(8, 1..3));
    assert!(matches!(outcome, Outcome::Doubted(Doubt::Shrunk { before: 10, left: 2 })));
    bench.round(1_000, reply(8, 1..3));
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Confirmed));
    assert_eq!(bench.endpoints(), 2);
    bench.round(1_100, reply(9, 1..2));
    assert_eq!(bench.endpoints(), 1, "fewer by one is no matter");
}

#[test]
fn nothing_is_believed_only_when_its_time_is_over() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    bench.round(1_000, reply(8, 1..1));
    let (mut reads, mut now) = (0, 1_000);
    while !bench.expire(now) {
        if bench.watch.wants(true, at(now)).is_some() {
            reads += 1;
            bench.round(now, reply(8, 1..1));
        }
        assert_eq!(bench.endpoints(), 10, "after {now} ms");
        now += 250;
    }
    assert_eq!(now, 31_000);
    assert!((6..=40).contains(&reads), "{reads} reads in 30 s");
    assert_eq!(bench.endpoints(), 0);
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Expired));
    assert!(!bench.watch.is_holding());
}

#[test]
fn nothing_that_was_said_once_is_not_believed_while_consul_cannot_be_asked_again() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    bench.round(1_000, reply(8, 1..1));
    for now in (1_000..600_000).step_by(250) {
        assert!(!bench.expire(now));
        if bench.watch.wants(true, at(now)).is_some() {
            bench.round(now, Err(QueryError::NoAnswer));
        }
        assert_eq!(bench.endpoints(), 10, "after {now} ms");
    }
    let mut now = 600_000;
    while bench.watch.wants(true, at(now)).is_none() {
        now += 250;
    }
    bench.round(now, reply(8, 1..1));
    assert_eq!(bench.endpoints(), 0, "its time was over, and now it has been said again");
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Expired));
}

#[test]
fn a_truth_that_comes_while_it_is_held_back_is_used_at_once() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    bench.round(1_000, reply(8, 1..1));
    bench.round(1_000, Err(QueryError::NoAnswer));
    let (ask, outcome) = bench.round(2_000, reply(9, 2..12));
    assert_eq!(ask.freshness, Freshness::Consistent);
    assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (10, false));
    assert!(!bench.expire(60_000));
}

#[test]
fn a_partial_answer_is_held_back_until_a_whole_one_comes() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    let (_, outcome) = bench.round(1_000, filtered(reply(8, 1..10)));
    assert!(matches!(outcome, Outcome::Doubted(Doubt::Filtered { removed: 1 })), "{outcome:?}");
    let (_, outcome) = bench.round(1_000, filtered(reply(8, 1..10)));
    assert!(matches!(outcome, Outcome::Held), "{outcome:?}");
    assert_eq!(bench.watch.wants(true, at(5_499)), None);
    bench.round(6_500, reply(8, 1..10));
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (9, false));
}

#[test]
fn one_who_has_taken_over_doubts_by_what_was_listed_before() {
    let mut watch = Watch::new(WAIT, RESYNC, ShrinkGuard::default());
    watch.recall(4);
    watch.start(at(0));
    let mut bench = Bench { watch, rng: Rng::new(1), current: Some(Snapshot::default()) };
    let (_, outcome) = bench.round(0, reply(8, 1..1));
    assert!(matches!(outcome, Outcome::Doubted(Doubt::Nothing { before: 4 })), "{outcome:?}");
}

#[test]
fn an_early_look_that_would_be_doubted_changes_nothing() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    let blocking = bench.watch.ask(Want::Watch, Pass::AsWanted, at(1_000), |_| WAIT);
    bench.watch.on_suspicion(at(2_000));
    let (_, outcome) = bench.round(2_000, reply(8, 1..1));
    assert!(matches!(outcome, Outcome::Older), "{outcome:?}");
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (10, false));
    let current = bench.current.clone();
    let answer = reply(8, 1..1);
    let told =
        bench.watch.on_answer(blocking.id, answer, current.as_ref(), at(2_001), &mut bench.rng);
    assert!(matches!(told, Outcome::Doubted(_)), "the query that blocks says so too: {told:?}");
}

#[test]
fn without_a_hold_consul_is_believed_at_once() {
    let mut bench = Bench::with_ten(ShrinkGuard { hold: Duration::ZERO, ..ShrinkGuard::default() });
    bench.round(1_000, reply(8, 1..1));
    assert_eq!(bench.endpoints(), 0);
}

#[test]
fn one_who_stops_fetching_forgets_what_it_held_back() {
    let mut bench = Bench::with_ten(ShrinkGuard::default());
    bench.round(1_000, reply(8, 1..1));
    bench.watch.stop();
    assert!(!bench.watch.is_holding() && !bench.expire(60_000));
}
