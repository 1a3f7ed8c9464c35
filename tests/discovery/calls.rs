//! How much one proxy asks of Consul, whatever happens: many services, one VM, time in steps.

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::config::Consul;
use consul_resolver::host::Event;
use consul_resolver::model::service::SourceId;
use proptest::prelude::*;

use super::moods::{Bench, Mood};

/// What a gate lets through in a minute at the most, of calls that do not block: the bursts and
/// rates of its lanes, and as many calls after failures as the budget has, whose share of the good
/// ones is a fifth of all others.
fn bound(watches: usize) -> usize {
    let (reads, polls) = (100 + 60 * 50, 20 + 60 * 20);
    // A query that blocks follows on another at the pace of changes, or of repeats.
    let watching = watches * (10 + 60 * 4);
    let good = reads + polls + watching;
    let retries = 10 * (60 + 10) + good / 5;
    good + retries
}

// Promise: R-405
#[test]
fn a_hundred_services_are_read_first_when_a_thousand_start() {
    let mut bench = Bench::new(1_000, Consul::new("consul"), 1);
    bench.run(200, Mood::Well);
    assert_eq!(bench.asked_since(0).len(), 100);
    bench.run(19_800, Mood::Well);
    assert_eq!(bench.resolved(), 1_000);
    assert_eq!(bench.world().most_blocking, 100);
}

#[test]
fn one_that_a_request_waits_for_is_read_before_the_others() {
    let mut bench = Bench::new(1_000, Consul::new("consul"), 1);
    bench.run(1_000, Mood::Well);
    let last = SourceId::nth(999);
    assert!(!bench.asked_since(0).contains_key(&last));
    bench.vm.handle(Event::NeedSnapshot(last));
    bench.run(251, Mood::Well);
    assert!(bench.asked_since(0).contains_key(&last));
}

// Promise: R-405
#[test]
fn services_are_polled_in_turn_when_the_watches_are_taken() {
    let mut bench = Bench::new(300, Consul { max_watches: 50, ..Consul::new("consul") }, 1);
    bench.run(60_000, Mood::Well);
    let since = bench.now();
    bench.run(60_000, Mood::Well);
    assert_eq!(bench.world().most_blocking, 50);
    let asked = bench.asked_since(since);
    assert_eq!(asked.len(), 300);
    // 250 services at 20 a second: each once in 12.5 s.
    let (least, most) = (asked.values().min().unwrap(), asked.values().max().unwrap());
    assert!(*least >= 1 && *most <= 6, "from {least} to {most}");
    let polls: usize = asked.values().filter(|times| **times > 2).sum();
    assert!((1_000..=1_220).contains(&polls), "{polls} polls in a minute");
}

#[test]
fn a_few_that_are_polled_are_so_every_five_seconds() {
    let mut bench = Bench::new(12, Consul { max_watches: 2, ..Consul::new("consul") }, 1);
    bench.run(10_000, Mood::Well);
    let since = bench.now();
    bench.run(60_000, Mood::Well);
    let asked = bench.asked_since(since);
    let polled = asked.values().filter(|times| (9..=13).contains(*times)).count();
    assert_eq!(polled, 10, "{asked:?}");
}

#[test]
fn an_owner_of_many_leases_looks_at_each_head_once_a_second() {
    for (services, looks) in [(64, 40), (1_000, 10)] {
        let mut bench = Bench::new(services, Consul::new("consul"), 1);
        bench.run(60_000, Mood::Well);
        let before = bench.vm.host.loads;
        bench.run(10_000, Mood::Well);
        let loads = bench.vm.host.loads - before;
        let expected = usize::from(services) * looks;
        // The list of members is loaded besides.
        assert!((expected..expected + 100).contains(&loads), "{services}: {loads} loads in 10 s");
    }
}

// Promise: R-402
#[test]
fn single_probes_are_sent_when_a_thousand_services_fail() {
    for mood in [Mood::Failing, Mood::Refused] {
        let mut bench = Bench::new(1_000, Consul::new("consul"), 1);
        bench.run(60_000, Mood::Well);
        let since = bench.now();
        bench.run(300_000, mood);
        assert_eq!(bench.vm.host.breaker, Some(BreakerState::Open));
        let calls = bench.calls_since(since);
        assert!((10..200).contains(&calls), "{mood:?}: {calls} calls in five minutes");

        let since = bench.now();
        bench.run(180_000, Mood::Well);
        assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed));
        assert_eq!(bench.asked_since(since).len(), 1_000, "all are read again");
        assert_eq!(bench.resolved(), 1_000, "and none has lost its endpoints");
    }
}

// Promise: R-404
#[test]
fn breaker_stays_closed_when_the_token_is_refused() {
    let mut bench = Bench::new(300, Consul::new("consul"), 1);
    bench.run(20_000, Mood::Denying);
    let since = bench.now();
    bench.run(120_000, Mood::Denying);
    assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed));
    let asked = bench.asked_since(since);
    assert_eq!(asked.len(), 300, "everyone has a turn");
    let calls = bench.calls_since(since);
    assert!(calls <= 10 * (120 + 10), "{calls} calls in two minutes");
}

// Promise: R-207
#[test]
fn calls_that_never_come_back_stop_nobody_for_ever() {
    let mut bench = Bench::new(50, Consul::new("consul"), 1);
    bench.run(60_000, Mood::Silent);
    bench.run(120_000, Mood::Well);
    assert_eq!(bench.resolved(), 50);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_stay_under_their_bound_whatever_happens(
        seed in any::<u64>(),
        watches in 1..20_u16,
        moods in prop::collection::vec(
            (
                prop::sample::select(&[
                    Mood::Well, Mood::Refused, Mood::Failing, Mood::Denying, Mood::Flaky,
                    Mood::Silent, Mood::Restless,
                ][..]),
                1..40_000_u64,
            ),
            1..6,
        ),
    ) {
        let consul = Consul { max_watches: watches.into(), ..Consul::new("consul") };
        let mut bench = Bench::new(60, consul, seed);
        for (mood, milliseconds) in &moods {
            bench.run(*milliseconds, *mood);
        }
        prop_assert!(bench.world().most_blocking <= usize::from(watches));
        let most = bench.most_in_a_minute();
        prop_assert!(most <= bound(watches.into()), "{} calls in a minute", most);

        // The longest that a call may be out, the longest backoff, and all in turn.
        bench.run(180_000, Mood::Well);
        let since = bench.now();
        bench.run(60_000, Mood::Well);
        prop_assert_eq!(bench.resolved(), 60);
        prop_assert_eq!(bench.asked_since(since).len(), 60);
        prop_assert_eq!(bench.vm.host.breaker, Some(BreakerState::Closed));
    }
}
