use super::*;
use crate::model::endpoint::Endpoint;
use crate::registry::consul::index::ConsulIndex;
use crate::registry::decoded::Decoded;
use crate::registry::response::CallFailure;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const WAIT: Duration = Duration::from_secs(55);
const RESYNC: Duration = Duration::from_secs(600);

fn index(n: u64) -> Resume {
    Resume::Consul(ConsulIndex::new(n))
}

/// An error that says nothing about the timeout.
fn error() -> RegistryError {
    RegistryError::of_failure(CallFailure::Lost, "consul")
}

fn answer(n: u64, ports: &[u16]) -> Result<QueryResponse, RegistryError> {
    let endpoint = |&port| Endpoint::new(core::net::SocketAddr::from(([10, 0, 0, 1], port)));
    let snapshot = Snapshot::new(ports.iter().map(endpoint).collect());
    let registered = u32::try_from(snapshot.len()).unwrap();
    let decoded = Decoded { snapshot, registered, ..Decoded::default() };
    Ok(QueryResponse::new(index(n), decoded))
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
        let mut watch = Watch::new(WAIT, RESYNC, ShrinkGuardConfig::default());
        watch.start(at(0));
        Self { watch, rng: Rng::new(1), current: None }
    }

    fn ask(&mut self, now: Time) -> Option<OutgoingQuery> {
        let want = self.watch.wants(true, now)?;
        Some(self.watch.ask(want, Permit::AsWanted, now, |_| WAIT))
    }

    /// Asks, answers, and applies what changed.
    fn round(
        &mut self,
        now: Time,
        reply: Result<QueryResponse, RegistryError>,
    ) -> (OutgoingQuery, ResponseOutcome) {
        let ask = self.ask(now).expect("a query is due");
        let outcome =
            self.watch.on_response(ask.id, reply, self.current.as_ref(), now, &mut self.rng);
        if let ResponseOutcome::Changed(snapshot) = &outcome {
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
    assert_eq!(ask.resume, None);
    assert!(matches!(outcome, ResponseOutcome::Changed(_)));
    assert_eq!(bench.ask(at(99)), None, "a new fetcher does not block yet");
    assert_eq!(bench.ask(at(100)).unwrap().resume, Some(index(7)));
    assert_eq!(bench.ask(at(100)), None, "one query at a time");
}

// Promise: R-206
#[test]
fn the_index_does_not_move_before_its_answer_is_applied() {
    let mut bench = Bench::started();
    let ask = bench.ask(at(0)).unwrap();
    bench.watch.on_response(ask.id, answer(7, &[1]), None, at(0), &mut bench.rng);
    assert_eq!(bench.ask(at(60_000)), None, "nothing is asked while it is applied");
    bench.watch.on_applied(at(60_000));
    assert_eq!(bench.ask(at(60_000)).unwrap().resume, Some(index(7)));
}

// Promise: R-206
#[test]
fn an_index_that_went_back_is_dropped_and_its_answer_is_not_applied() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(700, &[1]));
    let (_, outcome) = bench.round(at(1_000), answer(12, &[]));
    assert!(matches!(outcome, ResponseOutcome::Reread), "{outcome:?}");
    let (ask, outcome) = bench.round(at(1_000), answer(12, &[2]));
    assert_eq!(ask.resume, None);
    assert!(matches!(outcome, ResponseOutcome::Changed(_)));
}

#[test]
fn an_error_drops_the_index_and_the_next_query_is_a_plain_retry() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    let (_, outcome) = bench.round(at(1_000), Err(error()));
    assert!(matches!(outcome, ResponseOutcome::Failed(_)));
    assert_eq!(bench.watch.failures(), 1);
    assert_eq!(bench.watch.wants(true, at(1_200)), Some(CallKind::Read(CallClass::Retry)));
    let (ask, _) = bench.round(at(1_200), Err(error()));
    assert_eq!(ask.resume, None);
    let (_, outcome) = bench.round(at(1_600), answer(8, &[1]));
    assert!(matches!(outcome, ResponseOutcome::Unchanged));
    assert_eq!(bench.watch.failures(), 0);
}

/// The milliseconds after which a source is asked for again that has failed so often.
fn wait_after_failures(failures: u32, seed: u64) -> u64 {
    let mut bench = Bench { rng: Rng::new(seed), ..Bench::started() };
    let mut now = 0;
    for _ in 0..failures {
        now += 60_000;
        bench.round(at(now), Err(error()));
    }
    (0..).find(|wait| bench.watch.wants(true, at(now + wait)).is_some()).unwrap()
}

#[test]
fn the_wait_after_an_error_is_random_and_up_to_twice_as_long_each_time() {
    for (failures, most) in [(1, 200), (2, 400), (5, 3_200), (8, 25_600), (12, 30_000)] {
        let waits: Vec<u64> = (0..60).map(|seed| wait_after_failures(failures, seed)).collect();
        let (least, longest) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
        assert!(longest <= most + 1 && longest > most * 9 / 10, "{failures}: {longest} of {most}");
        assert!(least < most / 10, "{failures}: {least} of {most}");
    }
}

// Promise: R-407
#[test]
fn where_only_queries_that_block_fail_asking_becomes_rare() {
    let mut bench = Bench::started();
    let mut calls = 0;
    for tick in 0..480 {
        let now = at(tick * 250);
        let reply = match bench.watch.wants(true, now) {
            None => continue,
            Some(CallKind::Watch) => Err(error()),
            Some(CallKind::Read(_)) => answer(7, &[1]),
        };
        bench.round(now, reply);
        calls += 1;
    }
    assert!((20..=60).contains(&calls), "{calls} calls in two minutes");
}

// Promise: R-207
#[test]
fn a_query_that_stays_away_is_lost_and_its_answer_is_late() {
    let mut bench = Bench::started();
    let ask = bench.ask(at(0)).unwrap();
    assert_eq!(bench.watch.poll_lost(at(59_999)), None);
    assert_eq!(bench.watch.poll_lost(at(60_000)), Some(ask.id));
    let lost = Err(error());
    bench.watch.on_response(ask.id, lost, None, at(60_000), &mut bench.rng);
    let late = bench.watch.on_response(ask.id, answer(7, &[1]), None, at(60_001), &mut bench.rng);
    assert!(matches!(late, ResponseOutcome::Late));
    // Nor is it the answer to the query that is out by then.
    let next = bench.ask(at(100_000)).unwrap();
    let late = bench.watch.on_response(ask.id, answer(7, &[1]), None, at(100_001), &mut bench.rng);
    assert!(matches!(late, ResponseOutcome::Late));
    let taken =
        bench.watch.on_response(next.id, answer(8, &[2]), None, at(100_002), &mut bench.rng);
    assert!(matches!(taken, ResponseOutcome::Changed(_)));
}

#[test]
fn a_stopped_watch_asks_nothing_and_takes_nothing() {
    let mut bench = Bench::started();
    let ask = bench.ask(at(0)).unwrap();
    bench.watch.stop();
    let late = bench.watch.on_response(ask.id, answer(7, &[1]), None, at(1), &mut bench.rng);
    assert!(matches!(late, ResponseOutcome::Late));
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
                bench.watch.on_response(ask.id, reply, current, at(millisecond), &mut bench.rng);
        }
    }
    assert!(asked < 50, "{asked} queries in 10 s");
}

#[test]
fn without_a_place_it_is_polled_by_the_same_rules() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    let poll = CallKind::Read(CallClass::Poll);
    assert_eq!(bench.watch.wants(false, at(4_499)), None);
    assert_eq!(bench.watch.wants(false, at(5_500)), Some(poll));
    assert_eq!(
        bench.watch.wants(true, at(4_499)),
        Some(CallKind::Watch),
        "a place has become free"
    );
    let ask = bench.watch.ask(poll, Permit::AsWanted, at(5_500), |_| WAIT);
    assert_eq!(ask.resume, None);
    let current = bench.current.clone();
    let older = bench.watch.on_response(
        ask.id,
        answer(6, &[2]),
        current.as_ref(),
        at(5_500),
        &mut bench.rng,
    );
    assert!(matches!(older, ResponseOutcome::Reread), "{older:?}");
    assert_eq!(bench.watch.wants(false, at(5_500)), Some(CallKind::Read(CallClass::Read)));
}

#[test]
fn a_suspicion_brings_a_poll_forward() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    bench.watch.on_suspicion(at(1_000));
    assert_eq!(bench.watch.wants(false, at(1_000)), Some(CallKind::Read(CallClass::Read)));
    let ask =
        bench.watch.ask(CallKind::Read(CallClass::Read), Permit::AsWanted, at(1_000), |_| WAIT);
    let current = bench.current.clone();
    bench.watch.on_response(ask.id, answer(7, &[1]), current.as_ref(), at(1_000), &mut bench.rng);
    assert_eq!(bench.watch.wants(false, at(1_001)), None, "once");
}

#[test]
fn a_probe_is_answered_at_once_whatever_was_wanted() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    let ask = bench.watch.ask(CallKind::Watch, Permit::Probe, at(1_000), |_| WAIT);
    assert_eq!(ask.resume, None);
    let current = bench.current.clone();
    let older = bench.watch.on_response(
        ask.id,
        answer(6, &[2]),
        current.as_ref(),
        at(1_000),
        &mut bench.rng,
    );
    assert!(
        matches!(older, ResponseOutcome::Reread),
        "an older index is not applied for it: {older:?}"
    );
}

// Promise: R-208
#[test]
fn it_is_read_afresh_once_in_a_while_and_what_differs_at_the_same_index_is_applied() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    assert_eq!(bench.watch.wants(true, at(539_999)), Some(CallKind::Watch));
    assert_eq!(bench.watch.wants(true, at(660_000)), Some(CallKind::Read(CallClass::Read)));
    let ask =
        bench.watch.ask(CallKind::Read(CallClass::Read), Permit::AsWanted, at(660_000), |_| WAIT);
    assert_eq!(ask.resume, None);
    let current = bench.current.clone();
    let outcome = bench.watch.on_response(
        ask.id,
        answer(7, &[1, 2]),
        current.as_ref(),
        at(660_000),
        &mut bench.rng,
    );
    assert!(matches!(outcome, ResponseOutcome::Changed(_)), "{outcome:?}");
    bench.watch.on_applied(at(660_000));
    assert_eq!(bench.watch.wants(true, at(660_000)), Some(CallKind::Watch), "not again at once");
}

#[test]
fn an_answer_that_is_never_applied_does_not_stop_the_watch() {
    let mut bench = Bench::started();
    let ask = bench.ask(at(0)).unwrap();
    bench.watch.on_response(ask.id, answer(7, &[1]), None, at(0), &mut bench.rng);
    assert!(!bench.watch.abandon_publish(at(4_999)));
    assert!(bench.watch.abandon_publish(at(5_000)));
    assert_eq!(bench.ask(at(5_000)).map(|ask| ask.resume), Some(None));
}

fn too_old(n: u64, ports: &[u16]) -> Result<QueryResponse, RegistryError> {
    Ok(QueryResponse { is_too_old: true, ..answer(n, ports)? })
}

#[test]
fn an_answer_that_is_too_old_is_read_again_from_the_leader_and_not_applied() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    let too_old = too_old(8, &[2]);
    let (_, outcome) = bench.round(at(1_000), too_old.clone());
    assert!(matches!(outcome, ResponseOutcome::Reread), "{outcome:?}");
    let (ask, _) =
        bench.round(at(1_000), Err(RegistryError::of_failure(CallFailure::NoAnswer, "consul")));
    assert_eq!((ask.resume, ask.freshness), (None, ReadMode::Fresher));
    let (ask, outcome) = bench.round(at(2_000), too_old);
    assert_eq!(ask.freshness, ReadMode::Fresher, "an error does not make an old answer good");
    assert!(matches!(outcome, ResponseOutcome::Changed(_)), "there is none fresher: {outcome:?}");
    let (ask, _) = bench.round(at(3_000), answer(9, &[2]));
    assert_eq!(ask.freshness, ReadMode::AsConfigured);
}

#[test]
fn the_leader_is_asked_at_once_and_the_next_query_is_as_configured() {
    let mut bench = Bench::started();
    bench.round(at(0), answer(7, &[1]));
    let (ask, outcome) = bench.round(at(1_000), too_old(8, &[2]));
    assert_eq!((ask.resume, ask.freshness), (Some(index(7)), ReadMode::AsConfigured));
    assert!(matches!(outcome, ResponseOutcome::Reread), "{outcome:?}");
    let (ask, outcome) = bench.round(at(1_000), answer(9, &[3]));
    assert_eq!((ask.resume, ask.freshness), (None, ReadMode::Fresher));
    assert!(matches!(outcome, ResponseOutcome::Changed(_)), "{outcome:?}");
    let ask = bench.ask(at(2_000)).unwrap();
    assert_eq!((ask.resume, ask.freshness), (Some(index(9)), ReadMode::AsConfigured));
}

#[test]
fn an_answer_that_is_too_old_is_better_than_none() {
    let mut bench = Bench::started();
    let (_, outcome) = bench.round(at(0), too_old(7, &[1]));
    assert!(matches!(outcome, ResponseOutcome::Changed(_)), "{outcome:?}");
    let (ask, outcome) = bench.round(at(10), Err(error()));
    assert_eq!((ask.resume, ask.freshness), (None, ReadMode::Fresher));
    assert!(matches!(outcome, ResponseOutcome::Failed(_)), "{outcome:?}");
    assert_eq!(bench.ask(at(60_000)).unwrap().freshness, ReadMode::Fresher, "until it answers");
}

#[test]
fn leader_is_asked_at_a_resync_when_the_source_is_polled() {
    let mut bench = Bench::started();
    let mut asked = Vec::new();
    for second in 0..700 {
        let now = at(second * 1_000);
        let Some(want) = bench.watch.wants(false, now) else { continue };
        let ask = bench.watch.ask(want, Permit::AsWanted, now, |_| WAIT);
        let reply = answer(7, &[1]);
        let current = bench.current.take();
        let outcome = bench.watch.on_response(ask.id, reply, current.as_ref(), now, &mut bench.rng);
        bench.current = current;
        if let ResponseOutcome::Changed(snapshot) = outcome {
            bench.current = Some(snapshot);
            bench.watch.on_applied(now);
        }
        asked.push(ask.freshness);
    }
    let leader = asked.iter().filter(|freshness| **freshness == ReadMode::Fresher).count();
    assert!(asked.len() > 100 && leader == 1, "{leader} of {}", asked.len());
}
