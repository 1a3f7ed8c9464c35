//! What vanishes from Consul's answers without a word: when it is believed.

use std::net::SocketAddr;
use std::time::Duration;

use consul_resolver::calls::scheduler::{CallKind, Permit};
use consul_resolver::calls::wait_queue::CallClass;
use consul_resolver::config::ShrinkGuardConfig;
use consul_resolver::discovery::response_outcome::ResponseOutcome;
use consul_resolver::discovery::watch::{OutgoingQuery, Watch};
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::registry::consul::index::ConsulIndex;
use consul_resolver::registry::decoded::{Decoded, QueryOrigin};
use consul_resolver::registry::error::RegistryError;
use consul_resolver::registry::query_response::{NextRead, QueryResponse};
use consul_resolver::registry::request::ReadMode;
use consul_resolver::registry::response::CallFailure;
use consul_resolver::registry::resume::Resume;
use consul_resolver::telemetry::Doubt;
use consul_resolver::telemetry::Resolution;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

const WAIT: Duration = Duration::from_secs(55);
const RESYNC: Duration = Duration::from_secs(600);

type Reply = Result<QueryResponse, RegistryError>;

fn at_index(index: u64) -> Resume {
    Resume::Consul(ConsulIndex::new(index))
}

/// An answer with endpoints of these ports.
fn reply(index: u64, ports: std::ops::Range<u16>) -> Reply {
    let endpoint = |port| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
    let snapshot = Snapshot::new(ports.map(endpoint).collect());
    let registered = u32::try_from(snapshot.len()).unwrap();
    let decoded = Decoded { snapshot, registered, ..Decoded::default() };
    Ok(QueryResponse::new(at_index(index), decoded))
}

fn failed() -> RegistryError {
    RegistryError::of_failure(CallFailure::NoAnswer, "consul")
}

fn filtered(reply: Reply) -> Reply {
    reply.map(|answer| QueryResponse { is_partial: true, ..answer })
}

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// A watch of a service of which ten endpoints are published.
struct Bench {
    watch: Watch,
    rng: Rng,
    current: Option<Snapshot>,
    /// Whether a query may block.
    may_watch: bool,
}

impl Bench {
    fn with_ten(guard: ShrinkGuardConfig) -> Self {
        let mut watch = Watch::new(WAIT, RESYNC, guard);
        watch.start(at(0));
        let mut bench = Self { watch, rng: Rng::new(1), current: None, may_watch: true };
        let (_, outcome) = bench.round(0, reply(7, 1..11));
        assert!(matches!(outcome, ResponseOutcome::Changed(_)));
        bench
    }

    /// Sends the query that is due.
    fn ask(&mut self, now: u64) -> Option<OutgoingQuery> {
        let want = self.watch.wants(self.may_watch, at(now))?;
        Some(self.watch.ask(want, Permit::AsWanted, at(now), |_| WAIT))
    }

    /// Answers a query, and publishes what has changed.
    fn answer(&mut self, ask: OutgoingQuery, now: u64, reply: Reply) -> ResponseOutcome {
        let current = self.current.as_ref();
        let outcome = self.watch.on_response(ask.id, reply, current, at(now), &mut self.rng);
        let (ResponseOutcome::Changed(snapshot)
        | ResponseOutcome::Held(Some(snapshot))
        | ResponseOutcome::Doubted(_, Some(snapshot))) = &outcome
        else {
            return outcome;
        };
        self.current = Some(snapshot.clone());
        self.watch.on_applied(at(now));
        outcome
    }

    /// Sends the query that is due, and answers it.
    fn round(&mut self, now: u64, reply: Reply) -> (OutgoingQuery, ResponseOutcome) {
        let ask = self.ask(now).expect("a query is due");
        (ask, self.answer(ask, now, reply))
    }

    /// Is doubted at the first second, and sends what follows: a query that blocks and, beside it, a
    /// read that is to confirm it.
    fn doubted(&mut self, reply: Reply) -> (OutgoingQuery, OutgoingQuery) {
        let (_, outcome) = self.round(1_000, reply);
        assert!(matches!(outcome, ResponseOutcome::Doubted(..)), "{outcome:?}");
        (self.ask(1_000).expect("a query that blocks"), self.ask(1_000).expect("a read"))
    }

    fn endpoints(&self) -> usize {
        self.current.as_ref().map_or(0, Snapshot::len)
    }
}

#[test]
fn nothing_is_asked_for_again_at_once_and_consistently() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (_, outcome) = bench.round(1_000, reply(8, 1..1));
    assert!(
        matches!(outcome, ResponseOutcome::Doubted(Doubt::Nothing { before: 10 }, None)),
        "{outcome:?}"
    );
    assert!(bench.watch.is_holding());
    assert_eq!(bench.watch.wants(true, at(1_000)), Some(CallKind::Watch));
    let blocking = bench.ask(1_000).unwrap();
    assert_eq!(blocking.resume, Some(at_index(8)), "what is held was received");
    assert_eq!(blocking.freshness, ReadMode::AsConfigured);
    assert_eq!(bench.watch.wants(true, at(1_000)), Some(CallKind::Read(CallClass::Read)));
    let (ask, _) = bench.round(1_000, reply(8, 1..1));
    assert_eq!((ask.resume, ask.freshness), (None, ReadMode::Authoritative));
    assert_eq!(bench.endpoints(), 10);
}

#[test]
fn source_is_read_consistently_when_it_has_no_watch() {
    let mut bench = Bench { may_watch: false, ..Bench::with_ten(ShrinkGuardConfig::default()) };
    bench.round(6_000, reply(8, 1..1));
    let (ask, outcome) = bench.round(6_000, reply(8, 1..1));
    assert_eq!((ask.resume, ask.freshness), (None, ReadMode::Authoritative));
    assert!(matches!(outcome, ResponseOutcome::Held(None)), "{outcome:?}");
    assert_eq!(bench.ask(10_000), None, "not again at once");
    bench.round(12_000, reply(9, 1..12));
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (11, false));
}

#[test]
fn a_lie_is_refuted_by_the_read_that_lists_more() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (blocking, read) = bench.doubted(reply(8, 1..1));
    let outcome = bench.answer(read, 1_000, reply(8, 1..11));
    assert!(matches!(outcome, ResponseOutcome::Unchanged), "{outcome:?}");
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Refuted));
    assert_eq!(bench.watch.poll_resolution(), None, "told once");
    assert_eq!(bench.endpoints(), 10);
    assert_eq!(bench.ask(1_100), None, "the query that blocks is out");
    bench.answer(blocking, 1_100, reply(9, 1..12));
    assert_eq!(bench.endpoints(), 11, "it is watched as before");
}

#[test]
fn servers_that_contradict_each_other_make_no_hot_loop() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (mut asked, mut out) = (0, Vec::new());
    for now in (1_000..61_000).step_by(10) {
        while let Some(ask) = bench.ask(now) {
            asked += 1;
            out.push((now + 20, ask));
        }
        for (_, ask) in out.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
            let is_consistent = ask.freshness == ReadMode::Authoritative;
            bench.answer(ask, now, if is_consistent { reply(7, 1..11) } else { reply(7, 1..1) });
        }
    }
    assert!((30..=200).contains(&asked), "{asked} queries in a minute");
}

#[test]
fn few_are_believed_when_a_second_answer_says_the_same() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (blocking, read) = bench.doubted(reply(8, 1..3));
    bench.answer(read, 1_000, reply(8, 1..3));
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Confirmed));
    assert_eq!(bench.endpoints(), 2);
    bench.answer(blocking, 1_100, reply(9, 1..2));
    assert_eq!(bench.endpoints(), 1, "fewer by one is no matter");
}

#[test]
fn few_are_not_believed_by_the_query_that_blocks() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (blocking, read) = bench.doubted(reply(8, 1..3));
    let outcome = bench.answer(blocking, 1_010, reply(9, 1..4));
    assert!(matches!(outcome, ResponseOutcome::Held(None)), "{outcome:?}");
    assert_eq!(bench.endpoints(), 10);
    bench.answer(read, 1_020, reply(9, 1..4));
    assert_eq!(bench.endpoints(), 3);
}

#[test]
fn additions_are_used_at_once_while_what_is_gone_is_held() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (_, outcome) = bench.round(1_000, reply(8, 1..1));
    assert!(matches!(outcome, ResponseOutcome::Doubted(_, None)), "{outcome:?}");
    let (blocking, read) = (bench.ask(1_000).unwrap(), bench.ask(1_000).unwrap());
    bench.answer(blocking, 1_050, reply(9, 10..13));
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (12, true));
    // An older one, which was under way, takes nothing back.
    let outcome = bench.answer(read, 1_060, reply(8, 1..1));
    assert!(matches!(outcome, ResponseOutcome::Older), "{outcome:?}");
    assert_eq!(bench.endpoints(), 12);
    let (blocking, read) = (bench.ask(1_300).unwrap(), bench.ask(1_300).unwrap());
    assert_eq!(blocking.resume, Some(at_index(9)));
    bench.answer(read, 1_310, reply(9, 10..13));
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (3, false));
}

#[test]
fn a_lower_index_is_believed_when_it_is_read_twice() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (_, read) = bench.doubted(reply(8, 1..3));
    assert!(matches!(bench.answer(read, 1_000, reply(3, 1..3)), ResponseOutcome::Older));
    assert_eq!(bench.endpoints(), 10);
    bench.round(1_300, reply(3, 1..3));
    assert_eq!(bench.endpoints(), 2, "Consul was restored");
}

/// Lets time pass in steps until what is held is believed; how many reads that took, and when it was.
fn believed(bench: &mut Bench, mut now: u64, says: impl Fn() -> Reply) -> (usize, u64) {
    let (before, mut reads) = (bench.endpoints(), 0);
    loop {
        while let Some(ask) = bench.ask(now) {
            if ask.resume.is_none() {
                reads += 1;
                bench.answer(ask, now, says());
            }
        }
        if bench.endpoints() != before {
            return (reads, now);
        }
        now += 250;
        assert!(now < 700_000, "it is never believed");
    }
}

// Promise: R-107
#[test]
fn nothing_is_believed_only_when_its_time_is_over() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (_, outcome) = bench.round(1_000, reply(8, 1..1));
    assert!(matches!(outcome, ResponseOutcome::Doubted(..)), "{outcome:?}");
    let (reads, when) = believed(&mut bench, 1_000, || reply(8, 1..1));
    assert_eq!((bench.endpoints(), when), (0, 31_000));
    assert!((6..=10).contains(&reads), "{reads} reads in 30 s");
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Expired));
    assert!(!bench.watch.is_holding());
}

#[test]
fn what_was_asked_before_the_time_was_over_does_not_end_it() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (_, read) = bench.doubted(reply(8, 1..1));
    let outcome = bench.answer(read, 40_000, reply(8, 1..1));
    assert!(matches!(outcome, ResponseOutcome::Held(None)), "it may be as old: {outcome:?}");
    bench.round(40_000, reply(8, 1..1));
    assert_eq!(bench.endpoints(), 0);
}

// Promise: R-107
#[test]
fn empty_response_is_not_believed_when_consul_is_silent() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    bench.round(1_000, reply(8, 1..1));
    let mut asked = 0;
    for now in (1_000..600_000).step_by(250) {
        while let Some(ask) = bench.ask(now) {
            if ask.resume.is_none() {
                asked += 1;
                bench.answer(ask, now, Err(failed()));
            }
        }
        assert_eq!(bench.endpoints(), 10, "after {now} ms");
    }
    assert!((20..=80).contains(&asked), "{asked} reads in ten minutes");
    believed(&mut bench, 600_000, || reply(8, 1..1));
    assert_eq!(bench.endpoints(), 0, "its time was over, and now it has been said again");
    assert_eq!(bench.watch.poll_resolution(), Some(Resolution::Expired));
}

#[test]
fn a_truth_that_comes_while_it_is_held_back_is_used_at_once() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (blocking, read) = bench.doubted(reply(8, 1..1));
    bench.answer(read, 1_000, Err(failed()));
    bench.answer(blocking, 1_000, Err(failed()));
    let (ask, outcome) = bench.round(2_000, reply(9, 2..12));
    assert_eq!(ask.freshness, ReadMode::Authoritative);
    assert!(matches!(outcome, ResponseOutcome::Changed(_)), "{outcome:?}");
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (10, false));
}

// Promise: R-107
#[test]
fn a_partial_answer_is_held_back_until_a_whole_one_comes() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let (_, outcome) = bench.round(1_000, filtered(reply(8, 1..10)));
    assert!(
        matches!(outcome, ResponseOutcome::Doubted(Doubt::Filtered { removed: 1 }, None)),
        "{outcome:?}"
    );
    let (blocking, read) = (bench.ask(1_000).unwrap(), bench.ask(1_000).unwrap());
    let outcome = bench.answer(read, 1_000, filtered(reply(8, 1..10)));
    assert!(matches!(outcome, ResponseOutcome::Held(None)), "{outcome:?}");
    assert_eq!(bench.ask(5_499), None);
    bench.answer(blocking, 5_500, reply(8, 1..10));
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (9, false));
}

#[test]
fn one_who_has_taken_over_doubts_by_what_was_listed_before() {
    let mut watch = Watch::new(WAIT, RESYNC, ShrinkGuardConfig::default());
    watch.restore_listed(4);
    watch.start(at(0));
    let current = Some(Snapshot::default());
    let mut bench = Bench { watch, rng: Rng::new(1), current, may_watch: true };
    let (_, outcome) = bench.round(0, reply(8, 1..1));
    assert!(
        matches!(outcome, ResponseOutcome::Doubted(Doubt::Nothing { before: 4 }, None)),
        "{outcome:?}"
    );
    let (ask, _) = bench.round(0, reply(8, 1..1));
    assert_eq!(ask.freshness, ReadMode::Authoritative, "before any query may block");
}

#[test]
fn an_early_look_that_would_be_doubted_changes_nothing() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    let blocking = bench.ask(1_000).unwrap();
    bench.watch.on_suspicion(at(2_000));
    let (_, outcome) = bench.round(2_000, reply(8, 1..1));
    assert!(matches!(outcome, ResponseOutcome::Older), "{outcome:?}");
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (10, false));
    let told = bench.answer(blocking, 2_001, reply(8, 1..1));
    assert!(
        matches!(told, ResponseOutcome::Doubted(..)),
        "the query that blocks says so too: {told:?}"
    );
}

#[test]
fn without_a_hold_consul_is_believed_at_once() {
    let mut bench =
        Bench::with_ten(ShrinkGuardConfig { hold: Duration::ZERO, ..ShrinkGuardConfig::default() });
    bench.round(1_000, reply(8, 1..1));
    assert_eq!(bench.endpoints(), 0);
}

#[test]
fn one_who_stops_fetching_forgets_what_it_held_back() {
    let mut bench = Bench::with_ten(ShrinkGuardConfig::default());
    bench.round(1_000, reply(8, 1..1));
    bench.watch.stop();
    assert!(!bench.watch.is_holding());
}

/// A service of ten instances that a prepared query finds, of which these are left.
fn found(ports: std::ops::Range<u16>, service: &str) -> Reply {
    let origin = QueryOrigin { service: service.to_owned(), datacenter: String::new() };
    reply(1, ports).map(|mut answer| {
        answer.decoded.origin = Some(origin);
        answer.next = NextRead::Poll(Duration::from_secs(5));
        answer
    })
}

/// The instances of the service that are critical.
fn critical(ports: std::ops::Range<u16>) -> Reply {
    let unhealthy = reply(1, ports).unwrap().decoded.snapshot;
    let decoded = Decoded { unhealthy, ..Decoded::default() };
    Ok(QueryResponse::new(at_index(30), decoded))
}

/// A watch of a prepared query, whose answer was doubted: the read that confirms it, and the one that
/// looks at the instances, if one does.
fn doubted_query(
    left: std::ops::Range<u16>,
    service: &str,
) -> (Bench, OutgoingQuery, Option<OutgoingQuery>) {
    let mut watch = Watch::new(WAIT, RESYNC, ShrinkGuardConfig::default());
    watch.start(at(0));
    let mut bench = Bench { watch, rng: Rng::new(1), current: None, may_watch: false };
    bench.round(0, found(1..11, service));
    let (_, outcome) = bench.round(6_000, found(left, service));
    assert!(matches!(outcome, ResponseOutcome::Doubted(..)), "{outcome:?}");
    let read = bench.ask(6_000).unwrap();
    assert!(!read.instances && read.freshness == ReadMode::Authoritative);
    let looks = bench.ask(6_000);
    assert!(looks.is_none_or(|ask| ask.instances));
    (bench, read, looks)
}

#[test]
fn what_is_critical_has_not_vanished_from_a_prepared_query() {
    let (mut bench, read, looks) = doubted_query(1..1, "web");
    assert_eq!(bench.watch.origin().unwrap().service, "web");
    let outcome = bench.answer(looks.unwrap(), 6_000, critical(1..11));
    assert!(matches!(outcome, ResponseOutcome::Changed(_)), "{outcome:?}");
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (0, false));
    let outcome = bench.answer(read, 6_001, found(1..1, "web"));
    assert!(matches!(outcome, ResponseOutcome::Unchanged), "{outcome:?}");
    let (_, outcome) = bench.round(12_000, found(1..1, "web"));
    assert!(matches!(outcome, ResponseOutcome::Unchanged), "nor does it later: {outcome:?}");
}

#[test]
fn what_is_not_critical_is_held_when_the_rest_of_a_query_is() {
    let (mut bench, read, looks) = doubted_query(1..1, "web");
    let outcome = bench.answer(looks.unwrap(), 6_000, critical(1..10));
    assert!(matches!(outcome, ResponseOutcome::Held(Some(_))), "{outcome:?}");
    assert_eq!((bench.endpoints(), bench.watch.is_holding()), (1, true));
    bench.answer(read, 6_001, found(1..1, "web"));
    assert_eq!(believed(&mut bench, 6_250, || found(1..1, "web")).1, 36_000);
}

#[test]
fn query_is_held_for_five_seconds_when_nobody_explains_it() {
    let (mut bench, read, looks) = doubted_query(1..1, "");
    assert_eq!((bench.watch.origin(), looks), (None, None));
    bench.answer(read, 6_000, found(1..1, ""));
    assert_eq!(believed(&mut bench, 6_000, || found(1..1, "")).1, 11_000);

    let (mut bench, read, looks) = doubted_query(1..1, "web");
    let outcome = bench.answer(looks.unwrap(), 6_000, Err(failed()));
    assert!(matches!(outcome, ResponseOutcome::Wasted(_)), "{outcome:?}");
    bench.answer(read, 6_000, found(1..1, "web"));
    let when = believed(&mut bench, 6_000, || found(1..1, "web")).1;
    assert_eq!((when, bench.endpoints()), (11_000, 0));
}
