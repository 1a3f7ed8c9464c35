//! What fails by itself is its own trouble: the bounds of all others hold while it lasts.

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::config::{Consul, RetryBudgetConfig};
use consul_resolver::model::service::SourceId;
use proptest::prelude::*;

use super::moods::{Bench, Mood};

const HOUR: u64 = 3_600_000;
/// The longest time without a query for a service whose calls go well: a tick, the pace of many
/// changes, and the time until its first read where a hundred are sent at once.
const NORMAL: u64 = 1_000;
/// A third of the TTL, and two ticks.
const REPORT: u64 = 10_000 / 3 + 500;
/// The same where one report has failed: the first backoff, and a tick.
const REPORT_AGAIN: u64 = REPORT + 500 + 250;

/// Every way in which one source fails by itself.
const WAYS: [Mood; 11] = [
    Mood::Failing,
    Mood::Mistaken,
    Mood::Nowhere,
    Mood::Denying,
    Mood::Missing,
    Mood::TooLarge,
    Mood::Slow,
    Mood::OftenSlow,
    Mood::Unusable,
    Mood::Silent,
    Mood::Balanced,
];

fn sources(range: core::ops::Range<u16>) -> impl Iterator<Item = SourceId> + Clone {
    range.map(SourceId::nth)
}

/// Lets so much time pass, in which one good service after the other changes.
fn run_with_changes(bench: &mut Bench, milliseconds: u64, good: u16) {
    let end = bench.now() + milliseconds;
    for turn in (0..good).cycle() {
        if bench.now() >= end {
            break;
        }
        bench.change(SourceId::nth(turn));
        bench.run(7_000, Mood::Well);
    }
}

// Promise: R-403
#[test]
fn few_that_fail_for_ever_delay_no_other_service_in_an_hour() {
    for way in WAYS {
        let mut bench = Bench::new(15, Consul::new("consul"), 1);
        bench.world().moods.extend(sources(10..15).map(|source| (source, way)));
        run_with_changes(&mut bench, HOUR, 10);
        for source in sources(0..10) {
            let gap = bench.longest_gap(source);
            assert!(gap <= NORMAL, "{way:?}: {source:?} was not asked for in {gap} ms");
        }
        let asked = bench.asked_since(0);
        let calls: usize = sources(10..15).map(|source| asked[&source]).sum();
        assert!(calls < 5 * (3_600 / 10), "{way:?}: {calls} calls in vain");
        assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed), "{way:?}");
        assert!(bench.vm.host.opens <= 1, "{way:?}: it has opened {} times", bench.vm.host.opens);
    }
}

// Promise: R-403
#[test]
fn the_breaker_stays_closed_when_one_of_eleven_fails_for_ever() {
    for way in WAYS {
        let mut bench = Bench::new(11, Consul::new("consul"), 1);
        bench.world().moods.insert(SourceId::nth(10), way);
        run_with_changes(&mut bench, HOUR, 10);
        assert_eq!(bench.vm.host.opens, 0, "{way:?}");
        let mut bench = Bench::new(11, Consul::new("consul"), 1);
        bench.run(60_000, Mood::Well);
        bench.world().moods.insert(SourceId::nth(10), way);
        bench.change(SourceId::nth(10));
        bench.run(HOUR, Mood::Well);
        assert_eq!(bench.vm.host.opens, 0, "{way:?}, after it was well");
    }
}

#[test]
fn services_that_begin_to_fail_delay_no_other_when_all_is_quiet() {
    for way in WAYS {
        let mut bench = Bench::new(15, Consul::new("consul"), 1);
        bench.run(60_000, Mood::Well);
        for source in sources(10..15) {
            bench.world().moods.insert(source, way);
            bench.change(source);
        }
        run_with_changes(&mut bench, HOUR, 10);
        for source in sources(0..10) {
            // Once, while it is not known yet whose trouble it is.
            let gap = bench.longest_gap(source);
            assert!(gap <= NORMAL + 1_000, "{way:?}: {source:?} was not asked for in {gap} ms");
        }
        assert!(bench.vm.host.opens <= 1, "{way:?}: it has opened {} times", bench.vm.host.opens);
    }
}

// Promise: R-403
#[test]
fn a_report_is_repeated_in_time_when_250_services_fail_for_ever() {
    for way in [Mood::Missing, Mood::Denying, Mood::Failing, Mood::Slow] {
        let mut bench = Bench::registering(250, 1, Consul::new("consul"), 1);
        bench.world().moods.extend(sources(0..250).map(|source| (source, way)));
        bench.run(120_000, Mood::Well);
        bench.world().refused_reports = 1;
        bench.run(60_000, Mood::Well);
        let silence = bench.longest_silence(0);
        assert!(silence <= REPORT_AGAIN, "{way:?}: nothing was reported for {silence} ms");
    }
}

#[test]
fn reports_are_no_retries_while_looks_at_registrations_fail() {
    let retry_budget = RetryBudgetConfig { percent: 0, min_per_second: 1 };
    let consul = Consul { retry_budget, ..Consul::new("consul") };
    let mut bench = Bench::registering(1, 24, consul, 1);
    bench.run(60_000, Mood::Well);
    bench.world().refuses_looks = true;
    bench.run(300_000, Mood::Well);
    for registration in 0..24 {
        let silence = bench.longest_silence(registration);
        assert!(silence < 10_000, "{registration}: {silence} ms without a report");
    }
}

// Promise: R-403
#[test]
fn a_service_that_failed_once_is_retried_when_250_fail_for_ever() {
    for way in [Mood::Missing, Mood::Denying, Mood::Failing, Mood::TooLarge] {
        let mut bench = Bench::new(251, Consul { max_watches: 300, ..Consul::new("consul") }, 1);
        bench.run(30_000, Mood::Well);
        for source in sources(1..251) {
            bench.world().moods.insert(source, way);
            bench.change(source);
        }
        bench.run(600_000, Mood::Well);
        let one = SourceId::nth(0);
        bench.world().forget_gaps();
        for _ in 0..20 {
            bench.world().moods.insert(one, Mood::Failing);
            bench.change(one);
            bench.run(6, Mood::Well);
            bench.world().moods.remove(&one);
            let since = bench.now();
            bench.run(9_001, Mood::Well);
            assert!(bench.asked_since(since).contains_key(&one), "{way:?}");
            let gap = bench.longest_gap(one);
            assert!(gap <= NORMAL, "{way:?}: it was retried after {gap} ms");
            // A query that waits for a change is answered, and what was cut off before is forgotten.
            bench.change(one);
            bench.run(1_000, Mood::Well);
        }
        let since = bench.now();
        bench.run(600_000, Mood::Well);
        let asked = bench.asked_since(since);
        assert_eq!(asked.len(), 251, "{way:?}: everyone has a turn");
        let calls = bench.calls_since(since);
        assert!(calls <= 600 * 5 + 100, "{way:?}: {calls} calls in ten minutes");
    }
}

// Promise: R-403
#[test]
fn names_that_clients_make_up_delay_no_configured_service() {
    let mut bench = Bench::registering(2, 1, Consul::new("consul"), 1);
    bench.run(60_000, Mood::Well);
    let warnings = bench.vm.host.warnings;
    let (one, mut names) = (SourceId::nth(0), std::collections::VecDeque::new());
    for n in 0..3_600 {
        let name = bench.name(&format!("s{n}"), Some(&format!("no{n}")));
        bench.world().moods.insert(name, Mood::Nowhere);
        bench.follow(name);
        names.push_back(name);
        if names.len() > 256 {
            names.pop_front().into_iter().for_each(|name| bench.forget(name));
        }
        if n % 300 == 150 {
            bench.world().moods.insert(one, Mood::Failing);
            bench.change(one);
            bench.run(6, Mood::Well);
            bench.world().moods.remove(&one);
        }
        if n % 300 == 0 {
            bench.change(one);
        }
        bench.run(17, Mood::Well);
    }
    let gap = bench.longest_gap(one);
    assert!(gap <= NORMAL, "it was retried after {gap} ms");
    assert!(bench.longest_silence(0) <= REPORT);
    assert_eq!(bench.vm.host.opens, 0);
    // Those of the configured service that did fail.
    assert_eq!(bench.vm.host.warnings - warnings, 12);
}

#[test]
fn an_outage_is_noticed_also_when_few_ask() {
    for (services, mood) in [(1, Mood::Failing), (2, Mood::Refused), (1, Mood::Silent)] {
        let mut bench = Bench::new(services, Consul::new("consul"), 1);
        bench.run(10_000, Mood::Well);
        sources(0..services).for_each(|source| bench.change(source));
        bench.run(300_000, mood);
        assert_eq!(bench.vm.host.breaker, Some(BreakerState::Open), "{services}, {mood:?}");
    }
}

#[test]
fn a_consul_that_hangs_while_all_wait_for_changes_is_noticed() {
    let mut bench = Bench::new(100, Consul::new("consul"), 1);
    bench.run(10_000, Mood::Well);
    bench.world().hang();
    bench.run(64_000, Mood::Slow);
    assert_ne!(bench.vm.host.breaker, Some(BreakerState::Closed));
}

#[test]
fn an_outage_is_noticed_beside_those_that_always_fail() {
    let mut bench = Bench::new(40, Consul::new("consul"), 1);
    bench.world().moods.extend(sources(20..40).map(|source| (source, Mood::Mistaken)));
    bench.run(600_000, Mood::Well);
    assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed));
    bench.run(300_000, Mood::Failing);
    assert_ne!(bench.vm.host.breaker, Some(BreakerState::Closed));
    let since = bench.now();
    // The longest that it stays open, and the longest backoff.
    bench.run(60_000, Mood::Well);
    assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed));
    let asked = bench.asked_since(since);
    assert!(sources(0..20).all(|source| asked.contains_key(&source)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    // Promise: R-403
    #[test]
    fn each_has_its_own_trouble_and_the_others_their_bounds(
        seed in any::<u64>(),
        moods in prop::collection::vec(prop::sample::select(&WAYS[..]), 1..120),
        registrations in 1..24_u16,
    ) {
        let (good, bad) = (20_u16, u16::try_from(moods.len()).unwrap());
        let consul = Consul { max_watches: 200, ..Consul::new("consul") };
        let mut bench = Bench::registering(good + bad, registrations, consul, seed);
        let moods = sources(good..good + bad).zip(moods);
        bench.world().moods.extend(moods);
        // Until it is known whose trouble it is.
        run_with_changes(&mut bench, 60_000, good);
        bench.world().forget_gaps();
        let opens = bench.vm.host.opens;
        run_with_changes(&mut bench, 1_200_000, good);
        for source in sources(0..good) {
            let gap = bench.longest_gap(source);
            prop_assert!(gap <= NORMAL, "{:?} was not asked for in {} ms", source, gap);
        }
        for registration in 0..registrations {
            let silence = bench.longest_silence(registration);
            prop_assert!(silence <= REPORT, "{} was not reported on in {} ms", registration, silence);
        }
        prop_assert_eq!(bench.vm.host.opens, opens);
        prop_assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed));
    }
}
