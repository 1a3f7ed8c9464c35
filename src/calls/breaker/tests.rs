use super::*;
use crate::model::service::SourceId;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn at(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

fn caller(number: u16) -> Caller {
    SourceId::nth(number).into()
}

struct Bench(Breaker, Rng);

impl Bench {
    fn new(settings: config::BreakerConfig) -> Self {
        Self(Breaker::new(settings), Rng::new(5))
    }

    /// Ends a call of the first caller.
    fn outcome(&mut self, outcome: CallOutcome, now: Time) -> BreakerState {
        self.outcome_of(0, outcome, now)
    }

    fn outcome_of(&mut self, number: u16, outcome: CallOutcome, now: Time) -> BreakerState {
        self.0.on_outcome(Some(caller(number)), outcome, false, now, &mut self.1);
        self.0.position()
    }

    /// Sends the probe and ends it.
    fn probe(&mut self, outcome: CallOutcome, now: Time) -> BreakerState {
        assert_eq!(self.0.admit(now), Admit::Probe);
        self.0.on_probe(now + Duration::from_secs(15), now);
        assert_eq!((self.0.admit(now), self.0.position()), (Admit::Denied, BreakerState::HalfOpen));
        self.0.on_outcome(Some(caller(0)), outcome, true, now, &mut self.1);
        self.0.position()
    }
}

const BY_SHARE: config::BreakerConfig = config::BreakerConfig {
    consecutive_failures: 0,
    failure_percent: 50,
    minimum_calls: 20,
    ..IN_A_ROW
};

const IN_A_ROW: config::BreakerConfig = config::BreakerConfig {
    consecutive_failures: 5,
    failure_percent: 0,
    minimum_calls: 1,
    base_open_time: Duration::from_secs(1),
    max_open_time: Duration::from_secs(30),
};

#[test]
fn breaker_opens_when_failures_come_in_a_row() {
    let mut bench = Bench::new(IN_A_ROW);
    for _ in 0..4 {
        assert_eq!(bench.outcome(CallOutcome::Fails, at(0)), BreakerState::Closed);
    }
    bench.outcome(CallOutcome::Answers, at(0));
    for _ in 0..4 {
        assert_eq!(bench.outcome(CallOutcome::Fails, at(0)), BreakerState::Closed);
    }
    assert_eq!(bench.outcome(CallOutcome::Fails, at(0)), BreakerState::Open);
}

#[test]
fn breaker_opens_by_share_when_recent_calls_are_enough() {
    let mut bench = Bench::new(BY_SHARE);
    for _ in 0..18 {
        assert_eq!(bench.outcome(CallOutcome::Fails, at(0)), BreakerState::Closed);
    }
    bench.outcome(CallOutcome::Answers, at(30_000));
    assert_eq!(
        bench.outcome(CallOutcome::Fails, at(30_000)),
        BreakerState::Closed,
        "they are too old"
    );
    for _ in 0..9 {
        bench.outcome(CallOutcome::Answers, at(30_000));
    }
    for _ in 0..8 {
        assert_eq!(bench.outcome(CallOutcome::Fails, at(31_000)), BreakerState::Closed);
    }
    assert_eq!(bench.outcome(CallOutcome::Fails, at(32_000)), BreakerState::Open, "10 of 20");
}

// Promise: R-402
#[test]
fn probe_decides_when_the_breaker_is_open() {
    let mut bench = Bench::new(config::BreakerConfig { consecutive_failures: 1, ..IN_A_ROW });
    assert_eq!(bench.0.admit(at(0)), Admit::Granted);
    bench.outcome(CallOutcome::Fails, at(0));
    assert_eq!(bench.probe(CallOutcome::Fails, at(1_000)), BreakerState::Open);
    assert_eq!(bench.probe(CallOutcome::Answers, at(3_000)), BreakerState::Closed);
    assert_eq!(bench.0.admit(at(3_000)), Admit::Granted);
}

#[test]
fn breaker_stays_open_when_an_earlier_call_succeeds() {
    let mut bench = Bench::new(config::BreakerConfig { consecutive_failures: 1, ..IN_A_ROW });
    bench.outcome(CallOutcome::Fails, at(0));
    assert_eq!(bench.outcome(CallOutcome::Answers, at(1)), BreakerState::Open);
    bench.0.on_probe(at(20_000), at(1_000));
    assert_eq!(bench.outcome(CallOutcome::Fails, at(1_002)), BreakerState::HalfOpen);
    assert_eq!(bench.outcome(CallOutcome::Answers, at(1_003)), BreakerState::Open);
    assert_eq!(bench.0.admit(at(1_999)), Admit::Denied, "one probe is out");
    assert_eq!(bench.0.admit(at(2_000)), Admit::Probe, "another one may go beside it");
}

#[test]
fn probe_has_failed_when_it_has_no_outcome_in_time() {
    let mut bench = Bench::new(config::BreakerConfig { consecutive_failures: 1, ..IN_A_ROW });
    bench.outcome(CallOutcome::Fails, at(0));
    bench.0.on_probe(at(20_000), at(1_000));
    let Bench(breaker, rng) = &mut bench;
    breaker.on_tick(at(19_999), rng);
    assert_eq!(breaker.position(), BreakerState::HalfOpen);
    breaker.on_tick(at(20_000), rng);
    assert_eq!(breaker.position(), BreakerState::Open);
    assert_eq!(breaker.admit(at(60_000)), Admit::Probe);
}

// Promise: R-402
#[test]
fn open_time_grows_with_full_jitter_up_to_the_maximum() {
    let (mut longest, mut shortest) = (Duration::ZERO, Duration::MAX);
    for seed in 0..200 {
        let mut bench = Bench::new(config::BreakerConfig { consecutive_failures: 1, ..IN_A_ROW });
        bench.1 = Rng::new(seed);
        bench.outcome(CallOutcome::Fails, at(0));
        for failed in 0..10_u32 {
            let State::Open { until, .. } = bench.0.state else { panic!("{:?}", bench.0.state) };
            let open = until.since_start();
            let most = Duration::from_secs(1 << failed.min(10)).min(Duration::from_secs(30));
            assert!(open <= most, "{open:?} after {failed} probes");
            (longest, shortest) = (longest.max(open), shortest.min(open));
            bench.0.on_probe(Time::ZERO, Time::ZERO);
            bench.0.on_tick(Time::ZERO, &mut bench.1);
        }
    }
    assert!(longest > Duration::from_secs(29) && shortest < Duration::from_millis(10));
}

#[test]
fn breaker_stays_closed_when_one_caller_fails_alone() {
    let mut bench = Bench::new(config::BreakerConfig { failure_percent: 50, ..IN_A_ROW });
    (0..11).for_each(|number| bench.0.add(caller(number)));
    for second in 0..3_600 {
        let position = bench.outcome_of(0, CallOutcome::Fails, at(second * 1_000));
        assert_eq!(position, BreakerState::Closed, "after {second} s");
        if second % 55 == 54 {
            bench.outcome_of(1, CallOutcome::Answers, at(second * 1_000));
        }
    }
}

#[test]
fn breaker_opens_once_when_several_callers_fail() {
    let mut bench = Bench::new(IN_A_ROW);
    (0..15).for_each(|number| bench.0.add(caller(number)));
    for number in 10..14 {
        assert_eq!(bench.outcome_of(number, CallOutcome::Fails, at(0)), BreakerState::Closed);
    }
    assert_eq!(bench.outcome_of(14, CallOutcome::Fails, at(0)), BreakerState::Open);
    assert_eq!(bench.probe(CallOutcome::Answers, at(60_000)), BreakerState::Closed);
    for second in 60..3_600 {
        for number in 10..15 {
            let position = bench.outcome_of(number, CallOutcome::Fails, at(second * 1_000));
            assert_eq!(position, BreakerState::Closed, "after {second} s");
        }
    }
    for number in 1..5 {
        bench.outcome_of(number, CallOutcome::Fails, at(3_600_000));
    }
    let position = bench.outcome_of(5, CallOutcome::Fails, at(3_600_000));
    assert_eq!(position, BreakerState::Open, "five others are news");
}

#[test]
fn breaker_opens_when_all_remaining_callers_fail() {
    let mut bench = Bench::new(IN_A_ROW);
    bench.outcome_of(1, CallOutcome::Fails, at(0));
    bench.outcome_of(0, CallOutcome::Answers, at(0));
    let failing = (0..5).map(|_| bench.outcome_of(0, CallOutcome::Fails, at(1_000)));
    assert_eq!(failing.last(), Some(BreakerState::Open), "the only one that was well");

    let mut bench = Bench::new(IN_A_ROW);
    bench.outcome_of(1, CallOutcome::Fails, at(0));
    bench.outcome_of(0, CallOutcome::Answers, at(0));
    bench.0.forget(caller(0));
    let failing = (0..5).map(|_| bench.outcome_of(1, CallOutcome::Fails, at(1_000)));
    assert_eq!(failing.last(), Some(BreakerState::Open));
}

#[test]
fn breaker_opens_by_share_when_consul_is_overloaded() {
    let opens = |percent: u32| {
        let (mut bench, mut rng) = (Bench::new(BY_SHARE), Rng::new(7));
        (0..20_000).any(|call| {
            let fails = rng.below(100) < percent;
            let outcome = if fails { CallOutcome::Fails } else { CallOutcome::Answers };
            let number = u16::try_from(rng.below(40)).unwrap();
            bench.outcome_of(number, outcome, at(call * 20)) == BreakerState::Open
        })
    };
    assert_eq!([20, 35, 65, 80].map(opens), [false, false, true, true]);
}

#[test]
fn breaker_stays_closed_when_few_of_many_callers_fail() {
    let mut bench = Bench::new(BY_SHARE);
    (0..12).for_each(|number| bench.0.add(caller(number)));
    for call in 0..2_000 {
        let outcome = if call % 2 == 0 { CallOutcome::Fails } else { CallOutcome::Answers };
        let number = u16::try_from(call / 2 % 3).unwrap();
        let position = bench.outcome_of(number, outcome, at(call * 100));
        assert_eq!(position, BreakerState::Closed, "three of twelve");
    }
}

#[test]
fn probe_goes_soon_when_a_response_comes_while_open() {
    let mut bench = Bench::new(config::BreakerConfig { consecutive_failures: 1, ..IN_A_ROW });
    bench.outcome(CallOutcome::Fails, at(0));
    (1..9).for_each(|minute| {
        bench.probe(CallOutcome::Fails, at(minute * 60_000));
    });
    assert_eq!(bench.0.admit(at(481_000)), Admit::Denied);
    bench.outcome_of(1, CallOutcome::Answers, at(480_500));
    assert_eq!(bench.0.admit(at(480_999)), Admit::Denied);
    assert_eq!(bench.0.admit(at(481_000)), Admit::Probe);
}

#[test]
fn breaker_stays_closed_when_both_causes_are_off() {
    let mut bench = Bench::new(config::BreakerConfig { consecutive_failures: 0, ..IN_A_ROW });
    for _ in 0..1_000 {
        assert_eq!(bench.outcome(CallOutcome::Fails, at(0)), BreakerState::Closed);
    }
}

#[test]
fn outcome_is_a_failure_only_when_consul_does_not_respond() {
    let fails = [
        ErrorKind::Refused,
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
        ErrorKind::NoAnswer,
        ErrorKind::RateLimited,
        ErrorKind::ServerError,
    ];
    assert_eq!(CallOutcome::of(Ok(())), CallOutcome::Answers);
    for kind in ErrorKind::ALL {
        let expected = match kind {
            ErrorKind::CutOff => CallOutcome::Nothing,
            _ if fails.contains(&kind) => CallOutcome::Fails,
            _ => CallOutcome::Answers,
        };
        assert_eq!(CallOutcome::of(Err(kind)), expected, "{kind:?}");
    }
}
