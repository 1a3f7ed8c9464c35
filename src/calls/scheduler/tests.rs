use super::*;
use core::time::Duration;

use crate::calls::caller::QueryId;
use crate::model::service::SourceId;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The groups of callers beside each other: services, registrations, and names that clients have
/// asked for.
mod classes;

/// The agent's own datacenter.
const OWN: Datacenter = None;
const READ: CallKind = CallKind::Read(CallClass::Read);
const RETRY: CallKind = CallKind::Read(CallClass::Retry);
const POLL: CallKind = CallKind::Read(CallClass::Poll);

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

fn sources(n: u16) -> impl Iterator<Item = SourceId> {
    (0..n).map(SourceId::nth)
}

fn scheduler(max_watches: u32) -> CallScheduler {
    CallScheduler::new(&config::Consul { max_watches, ..config::Consul::new("consul") })
}

fn fail(scheduler: &mut CallScheduler, now: Time) {
    let call = CallId::Query { source: SourceId::nth(0), query: QueryId(1) };
    let failed = Err(ErrorKind::Unreachable);
    scheduler.on_outcome(SourceId::nth(0), call, &OWN, failed, now, &mut Rng::new(1));
}

/// Serves all callers that may go.
fn served(scheduler: &mut CallScheduler, want: CallKind, now: Time) -> Vec<SourceId> {
    let mut served = Vec::new();
    while let Some((caller, turn)) = scheduler.poll_ready(now) {
        let Caller::Source(source) = caller else { panic!("{caller:?}") };
        assert!(scheduler.admit(source, &OWN, want, now).is_some(), "{source:?}");
        scheduler.remove(source, turn);
        served.push(source);
    }
    served
}

#[test]
fn hundred_reads_go_out_at_once_and_others_in_turn() {
    let mut scheduler = scheduler(100);
    let at_once =
        sources(1_000).filter(|s| scheduler.admit(*s, &OWN, READ, at(0)).is_some()).count();
    assert_eq!(at_once, 100);
    assert_eq!(
        scheduler.admit(SourceId::nth(999), &OWN, READ, at(20)),
        None,
        "others were here before"
    );
    assert_eq!(served(&mut scheduler, READ, at(20)), [SourceId::nth(100)]);
    scheduler.prioritize(SourceId::nth(700));
    assert_eq!(served(&mut scheduler, READ, at(60)), [SourceId::nth(700), SourceId::nth(101)]);
    let rest = (61..18_100).flat_map(|ms| served(&mut scheduler, READ, at(ms))).count();
    assert_eq!(rest, 900 - 3);
}

#[test]
fn watch_slot_is_taken_when_another_source_releases_it() {
    let mut scheduler = scheduler(2);
    let [a, b, c] = [0, 1, 2].map(SourceId::nth);
    assert_eq!(
        [a, b, c].map(|s| scheduler.admit(s, &OWN, CallKind::Watch, at(0)).is_some()),
        [true, true, false]
    );
    assert!(
        scheduler.has_slot(a) && !scheduler.has_slot(c),
        "a keeps its place between two queries"
    );
    scheduler.release_slot(a);
    assert!(scheduler.has_slot(c));
    assert_eq!(scheduler.admit(c, &OWN, CallKind::Watch, at(0)), Some(Permit::AsWanted));
    assert!(!scheduler.has_slot(a));
    assert_eq!(scheduler.watches(), 2);
}

#[test]
fn watch_slot_is_released_when_the_source_is_polled() {
    let mut scheduler = scheduler(1);
    let [a, b] = [0, 1].map(SourceId::nth);
    assert!(scheduler.admit(a, &OWN, CallKind::Watch, at(0)).is_some());
    assert!(
        scheduler.admit(a, &OWN, READ, at(1)).is_some() && !scheduler.has_slot(b),
        "it watches on"
    );
    assert!(scheduler.admit(a, &OWN, POLL, at(2)).is_some());
    assert_eq!(scheduler.admit(b, &OWN, CallKind::Watch, at(3)), Some(Permit::AsWanted));
}

#[test]
fn polled_sources_take_turns_at_a_bounded_rate() {
    let mut scheduler = scheduler(1);
    let mut polled = std::collections::BTreeMap::new();
    for millisecond in (0..60_000).step_by(250) {
        let now = at(millisecond);
        let mut asks: Vec<_> =
            sources(300).filter(|s| scheduler.admit(*s, &OWN, POLL, now).is_some()).collect();
        asks.extend(served(&mut scheduler, POLL, now));
        asks.iter().for_each(|source| *polled.entry(*source).or_insert(0) += 1);
    }
    let total: u32 = polled.values().sum();
    assert!(total <= 20 + 60 * 20, "{total}");
    let (least, most) = (polled.values().min().unwrap(), polled.values().max().unwrap());
    assert!(
        polled.len() == 300 && *least >= 3 && most - least <= 1,
        "from {least} to {most} times"
    );
}

#[test]
fn retries_are_limited_and_do_not_delay_other_calls() {
    let mut scheduler = scheduler(100);
    let retries =
        sources(1_000).filter(|s| scheduler.admit(*s, &OWN, RETRY, at(0)).is_some()).count();
    assert_eq!(retries, 100, "ten a second for ten seconds");
    assert_eq!(served(&mut scheduler, RETRY, at(9_000)), []);
    assert_eq!(
        scheduler.admit(SourceId::nth(2_000), &OWN, READ, at(9_000)),
        Some(Permit::AsWanted)
    );
    assert_eq!(served(&mut scheduler, RETRY, at(10_000)).len(), 100);
}

#[test]
fn one_source_probes_when_the_breaker_is_open() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    (0..5).for_each(|_| fail(&mut scheduler, at(0)));
    assert_eq!(scheduler.position(), (BreakerState::Open, None));
    let [a, b, c] = [0, 1, 2].map(SourceId::nth);
    let wants = [(a, READ), (b, CallKind::Watch), (c, RETRY)];
    assert!(wants.iter().all(|(s, want)| scheduler.admit(*s, &OWN, *want, at(0)).is_none()));
    assert_eq!(scheduler.poll_ready(at(0)), None);

    assert_eq!(
        scheduler.poll_ready(at(1_000)),
        Some((b.into(), Turn::Probe)),
        "who fails least probes"
    );
    assert_eq!(scheduler.admit(b, &OWN, CallKind::Watch, at(1_000)), Some(Permit::Probe));
    let probe = CallId::Query { source: b, query: QueryId(9) };
    scheduler.on_probe(b, probe, &OWN, at(16_000), at(1_000));
    assert_eq!(scheduler.poll_ready(at(1_000)), None, "one at a time");
    scheduler.on_outcome(b, probe, &OWN, Ok(()), at(1_001), &mut rng);
    assert_eq!(scheduler.position(), (BreakerState::Closed, None));
    assert_eq!(scheduler.admit(a, &OWN, READ, at(1_001)), Some(Permit::AsWanted));
    assert_eq!(scheduler.admit(b, &OWN, CallKind::Watch, at(1_001)), Some(Permit::AsWanted));
}

#[test]
fn blocking_query_takes_no_slot_when_it_goes_out_as_a_probe() {
    let mut scheduler = scheduler(100);
    (0..5).for_each(|_| fail(&mut scheduler, at(0)));
    assert_eq!(
        scheduler.admit(SourceId::nth(0), &OWN, CallKind::Watch, at(1_000)),
        Some(Permit::Probe)
    );
    assert_eq!(scheduler.watches(), 0);
}

#[test]
fn next_probe_goes_out_when_the_last_has_no_outcome() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    (0..5).for_each(|_| fail(&mut scheduler, at(0)));
    assert_eq!(scheduler.admit(SourceId::nth(0), &OWN, READ, at(1_000)), Some(Permit::Probe));
    let probe = CallId::Query { source: SourceId::nth(0), query: QueryId(9) };
    scheduler.on_probe(SourceId::nth(0), probe, &OWN, at(16_000), at(1_000));
    assert_eq!(scheduler.admit(SourceId::nth(1), &OWN, READ, at(15_999)), None);
    scheduler.on_tick(at(16_000), &mut rng);
    let turn = scheduler.poll_ready(at(60_000));
    assert_eq!(turn, Some((SourceId::nth(1).into(), Turn::Probe)));
}

#[test]
fn other_datacenters_are_called_when_one_fails() {
    let mut scheduler = scheduler(100);
    let far: Datacenter = Some("dc2".into());
    let call = CallId::Query { source: SourceId::nth(0), query: QueryId(1) };
    for _ in 0..5 {
        let failed = Err(ErrorKind::ServerError);
        scheduler.on_outcome(SourceId::nth(0), call, &far, failed, at(0), &mut Rng::new(1));
    }
    assert_eq!(scheduler.position(), (BreakerState::Open, Some("dc2")));
    for source in sources(50) {
        assert_eq!(scheduler.admit(source, &far, RETRY, at(0)), None);
        assert_eq!(scheduler.admit(source, &far, READ, at(0)), None);
    }
    for source in sources(200).skip(100) {
        assert_eq!(
            scheduler.admit(source, &OWN, READ, at(1)),
            Some(Permit::AsWanted),
            "{source:?}"
        );
    }
    let mut rng = Rng::new(1);
    scheduler.on_tick(at(1), &mut rng);
    assert_eq!(scheduler.admit(SourceId::nth(0), &far, READ, at(30_000)), None, "others fail less");
    assert_eq!(scheduler.admit(SourceId::nth(1), &far, READ, at(30_000)), Some(Permit::Probe));
}

#[test]
fn slot_is_free_when_its_source_is_forgotten() {
    let mut scheduler = scheduler(100);
    for n in 0..100 {
        let call = CallId::Query { source: SourceId::nth(n), query: QueryId(1) };
        let datacenter: Datacenter = Some(format!("dc{n}").into());
        scheduler.on_outcome(SourceId::nth(n), call, &datacenter, Ok(()), at(0), &mut Rng::new(1));
    }
    scheduler.on_tick(at(31_000), &mut Rng::new(1));
    assert_eq!(scheduler.circuits.len(), 100, "who may ask again is remembered");
    sources(100).for_each(|source| scheduler.forget(source, at(31_000)));
    scheduler.on_tick(at(31_000), &mut Rng::new(1));
    assert_eq!(scheduler.circuits.len(), 0);
}

#[test]
fn circuit_is_forgotten_when_it_has_no_callers() {
    let mut scheduler = scheduler(100);
    let datacenter: Datacenter = Some("dc9".into());
    let one = SourceId::nth(1);
    for query in 1..=5 {
        let call = CallId::Query { source: one, query: QueryId(query) };
        let failed = Err(ErrorKind::ServerError);
        scheduler.on_outcome(one, call, &datacenter, failed, at(0), &mut Rng::new(1));
    }
    scheduler.on_tick(at(120_000), &mut Rng::new(1));
    assert_eq!(scheduler.position(), (BreakerState::Open, Some("dc9")), "it may ask again");
    scheduler.forget(one, at(120_000));
    scheduler.on_tick(at(120_000), &mut Rng::new(1));
    assert_eq!(scheduler.position(), (BreakerState::Closed, None));
}

#[test]
fn next_source_probes_when_the_prober_is_forgotten() {
    let mut scheduler = scheduler(100);
    let (one, other) = (SourceId::nth(1), SourceId::nth(2));
    let call = |query| CallId::Query { source: one, query: QueryId(query) };
    let failed = Err(ErrorKind::Unreachable);
    for query in 1..=5 {
        scheduler.on_outcome(one, call(query), &None, failed, at(0), &mut Rng::new(1));
    }
    assert_eq!(scheduler.admit(one, &None, RETRY, at(60_000)), Some(Permit::Probe));
    scheduler.on_probe(one, call(6), &None, at(75_000), at(60_000));
    assert_eq!(scheduler.admit(other, &None, RETRY, at(60_000)), None, "one probe at a time");
    scheduler.forget(one, at(60_000));
    assert_eq!(scheduler.admit(other, &None, RETRY, at(60_999)), None, "it is still out");
    assert_eq!(scheduler.admit(other, &None, RETRY, at(61_000)), Some(Permit::Probe));
}

/// Lets the probe of a source fail. The source then waits again.
fn fail_as_probe(scheduler: &mut CallScheduler, source: SourceId, now: Time) {
    let call = CallId::Query { source, query: QueryId(99) };
    scheduler.on_probe(source, call, &OWN, now + Duration::from_secs(15), now);
    let failed = Err(ErrorKind::Unreachable);
    scheduler.on_outcome(source, call, &OWN, failed, now, &mut Rng::new(1));
    assert_eq!(scheduler.admit(source, &OWN, RETRY, now), None);
}

#[test]
fn probe_goes_first_to_sources_that_had_a_response() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    let [bad, good, new] = [0, 1, 2].map(SourceId::nth);
    let call = CallId::Query { source: good, query: QueryId(1) };
    scheduler.on_outcome(good, call, &OWN, Ok(()), at(0), &mut rng);
    for source in [bad, good, bad, good, bad, good] {
        let call = CallId::Query { source, query: QueryId(2) };
        scheduler.on_outcome(source, call, &OWN, Err(ErrorKind::Timeout), at(0), &mut rng);
    }
    assert_eq!(scheduler.position().0, BreakerState::Open);
    assert!([bad, new, good].iter().all(|s| scheduler.admit(*s, &OWN, READ, at(0)).is_none()));
    let mut probed = Vec::new();
    for minute in 1..=6 {
        let now = at(minute * 60_000);
        let Some((Caller::Source(source), Turn::Probe)) = scheduler.poll_ready(now) else {
            panic!()
        };
        assert_eq!(scheduler.admit(source, &OWN, RETRY, now), Some(Permit::Probe));
        fail_as_probe(&mut scheduler, source, now);
        probed.push(source);
    }
    assert_eq!(probed, [good, new, bad, good, new, bad]);
}

#[test]
fn breaker_closes_when_a_slow_probe_is_answered_late() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    (0..5).for_each(|_| fail(&mut scheduler, at(0)));
    let probe = |source| CallId::Query { source, query: QueryId(9) };
    let [one, other, watcher] = [1, 2, 3].map(SourceId::nth);
    assert_eq!(scheduler.admit(one, &OWN, READ, at(1_000)), Some(Permit::Probe));
    scheduler.on_probe(one, probe(one), &OWN, at(16_000), at(1_000));
    // A response to a call from before the breaker opened lets another probe go.
    scheduler.on_outcome(watcher, probe(watcher), &OWN, Ok(()), at(3_000), &mut rng);
    assert_eq!(scheduler.admit(other, &OWN, READ, at(3_000)), Some(Permit::Probe));
    scheduler.on_probe(other, probe(other), &OWN, at(18_000), at(3_000));
    scheduler.on_outcome(one, probe(one), &OWN, Ok(()), at(9_000), &mut rng);
    assert_eq!(scheduler.position().0, BreakerState::Closed);

    // A source that was sent as a probe is not a probe for ever.
    let five = sources(15).skip(10);
    for source in five {
        let failed = Err(ErrorKind::Unreachable);
        scheduler.on_outcome(source, probe(source), &OWN, failed, at(9_001), &mut rng);
    }
    assert_eq!(scheduler.position().0, BreakerState::Open);
    scheduler.on_outcome(other, probe(other), &OWN, Ok(()), at(9_002), &mut rng);
    assert_eq!(scheduler.position().0, BreakerState::Open);
}

#[test]
fn probe_goes_round_when_another_went_before_its_outcome() {
    let (mut scheduler, mut rng) = (scheduler(100), Rng::new(1));
    (0..5).for_each(|_| fail(&mut scheduler, at(0)));
    let call = |source| CallId::Query { source, query: QueryId(9) };
    let [bad, good, watcher] = [1, 2, 3].map(SourceId::nth);
    scheduler.on_outcome(bad, call(bad), &OWN, Ok(()), at(500), &mut rng);
    assert_eq!(scheduler.admit(bad, &OWN, READ, at(1_000)), Some(Permit::Probe));
    scheduler.on_probe(bad, call(bad), &OWN, at(16_000), at(1_000));
    scheduler.on_outcome(watcher, call(watcher), &OWN, Ok(()), at(3_000), &mut rng);
    assert_eq!(scheduler.admit(watcher, &OWN, READ, at(3_000)), Some(Permit::Probe));
    scheduler.on_probe(watcher, call(watcher), &OWN, at(18_000), at(3_000));
    scheduler.on_outcome(bad, call(bad), &OWN, Err(ErrorKind::Timeout), at(11_000), &mut rng);
    let failed = Err(ErrorKind::Timeout);
    scheduler.on_outcome(watcher, call(watcher), &OWN, failed, at(11_000), &mut rng);
    assert_eq!(scheduler.admit(bad, &OWN, RETRY, at(11_000)), None);
    assert_eq!(scheduler.admit(good, &OWN, READ, at(11_000)), None);
    assert_eq!(scheduler.poll_ready(at(90_000)), Some((good.into(), Turn::Probe)));
}
