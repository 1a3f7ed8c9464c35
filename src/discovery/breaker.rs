//! Leaves Consul alone while it fails.

use core::fmt;
use core::time::Duration;

use crate::backoff::{Backoff, Jitter};
use crate::config;
use crate::consul::error::ErrorKind;
use crate::rng::Rng;
use crate::time::Time;
use crate::window::Window;

/// How many seconds of calls the share of failures is taken from.
const WINDOW: usize = 30;

/// A circuit breaker for the calls to Consul: closed, open, half-open.
///
/// It is the pattern of Nygard, *Release It!* (2007), by its usual names. Each service backs off
/// for itself; what the breaker adds is that a thousand services do not each have to find out that
/// the one Consul behind them is down. It opens at so many failures in a row, which is what an
/// agent that is gone looks like, or at a share of the calls, which is what one looks like that is
/// overloaded. While it is open there is no call at all; then one, the probe, and its outcome alone
/// decides: what was sent before the breaker opened may still come back and be used, but says
/// nothing about now.
#[derive(Debug)]
pub struct Breaker {
    settings: config::Breaker,
    state: State,
    in_a_row: u32,
    calls: Window<WINDOW>,
    failures: Window<WINDOW>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// Nothing is sent until then; whatever is sent next is the probe.
    Open {
        until: Time,
    },
    /// The probe is out; without an outcome by then it has failed.
    HalfOpen {
        lost: Time,
    },
}

/// Where a breaker stands, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// Calls go out.
    Closed,
    /// One call goes out, to see whether the others may.
    HalfOpen,
    /// No call goes out.
    Open,
}

/// What a breaker says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It may go out.
    Granted,
    /// It may go out as the probe, which must be one that Consul answers at once.
    Probe,
    /// It must wait.
    Denied,
}

/// How long after its time a breaker waits for a probe before it is given up: longer than any
/// service that is still wanted waits for its next attempt.
const ABANDONED: Duration = Duration::from_secs(60);

impl Breaker {
    /// Starts closed.
    pub const fn new(settings: config::Breaker) -> Self {
        Self {
            settings,
            state: State::Closed,
            in_a_row: 0,
            calls: Window::new(),
            failures: Window::new(),
            backoff: Backoff::new(settings.base_open_time, settings.max_open_time, Jitter::Full),
        }
    }

    /// Where it stands.
    pub const fn position(&self) -> Position {
        match self.state {
            State::Closed => Position::Closed,
            State::Open { .. } => Position::Open,
            State::HalfOpen { .. } => Position::HalfOpen,
        }
    }

    /// What it says to a call now.
    pub fn leave(&self, now: Time) -> Leave {
        match self.state {
            State::Closed => Leave::Granted,
            State::Open { until } if now >= until => Leave::Probe,
            State::Open { .. } | State::HalfOpen { .. } => Leave::Denied,
        }
    }

    /// Learns that the probe is out, and by when it will have had an outcome.
    pub const fn on_probe(&mut self, lost: Time) {
        self.state = State::HalfOpen { lost };
    }

    /// Learns that nobody will tell of the probe that is out, which cannot be called back: another
    /// one may go after a while.
    pub fn on_probe_abandoned(&mut self, now: Time) {
        if let State::HalfOpen { .. } = self.state {
            self.state = State::Open { until: now + self.settings.base_open_time };
        }
    }

    /// Opens again where the probe has had no outcome in time: nobody may be left who would
    /// tell of it.
    pub fn on_tick(&mut self, now: Time, rng: &mut Rng) {
        if let State::HalfOpen { lost } = self.state
            && now >= lost
        {
            self.open(now, rng);
        }
    }

    /// Whether it remembers no call, and is closed, or has waited in vain for somebody to probe.
    pub fn is_unused(&mut self, now: Time) -> bool {
        let is_left = match self.state {
            State::Closed => true,
            State::Open { until } => now.since(until) >= ABANDONED,
            State::HalfOpen { .. } => false,
        };
        is_left && self.calls.sum(now) == 0
    }

    /// Takes the outcome of a call.
    pub fn on_outcome(&mut self, outcome: Evidence, is_probe: bool, now: Time, rng: &mut Rng) {
        self.calls.add(1, now);
        match outcome {
            Evidence::Answers => self.in_a_row = 0,
            Evidence::Fails => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.failures.add(1, now);
            }
        }
        match (self.state, outcome) {
            (State::Closed, Evidence::Fails) if self.is_too_much(now) => self.open(now, rng),
            (State::HalfOpen { .. }, Evidence::Fails) if is_probe => self.open(now, rng),
            (State::HalfOpen { .. }, Evidence::Answers) if is_probe => self.close(),
            _ => {}
        }
    }

    fn is_too_much(&mut self, now: Time) -> bool {
        let config::Breaker { consecutive_failures, failure_percent, minimum_calls, .. } =
            self.settings;
        let (failed, called) = (self.failures.sum(now), self.calls.sum(now));
        let in_a_row = consecutive_failures > 0 && self.in_a_row >= consecutive_failures;
        let by_share = failure_percent > 0
            && called >= u64::from(minimum_calls)
            && failed * 100 >= called * u64::from(failure_percent);
        in_a_row || by_share
    }

    fn open(&mut self, now: Time, rng: &mut Rng) {
        self.state = State::Open { until: now + self.backoff.on_failure(rng) };
    }

    /// Closes with a clean slate: what has failed before the probe succeeded is over.
    const fn close(&mut self) {
        self.state = State::Closed;
        self.in_a_row = 0;
        self.calls.clear();
        self.failures.clear();
        self.backoff.on_success();
    }
}

/// What the outcome of a call says of Consul as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It answers.
    Answers,
    /// It cannot be reached, is overloaded, or has no leader.
    Fails,
}

impl Evidence {
    /// What an outcome says. That a token is refused, a query makes no sense to Consul, or one
    /// answer cannot be used, is the trouble of one service: Consul has answered, and asking for
    /// the others is as good as before.
    pub const fn of(outcome: Result<(), ErrorKind>) -> Self {
        match outcome {
            Err(
                ErrorKind::Refused
                | ErrorKind::Unreachable
                | ErrorKind::Timeout
                | ErrorKind::NoAnswer
                | ErrorKind::RateLimited
                | ErrorKind::ServerError,
            ) => Self::Fails,
            Ok(())
            | Err(
                ErrorKind::Denied
                | ErrorKind::ClientError
                | ErrorKind::Filtered
                | ErrorKind::BadIndex
                | ErrorKind::BadBody,
            ) => Self::Answers,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the circuit breaker towards consul is closed again",
            Self::HalfOpen => "one call shows whether consul is well again",
            Self::Open => {
                "the circuit breaker towards consul is open: most calls fail, so but for one now \
                 and then nothing is asked until it is well again"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    struct Bench(Breaker, Rng);

    impl Bench {
        fn new(settings: config::Breaker) -> Self {
            Self(Breaker::new(settings), Rng::new(5))
        }

        fn outcome(&mut self, outcome: Evidence, now: Time) -> Position {
            self.0.on_outcome(outcome, false, now, &mut self.1);
            self.0.position()
        }

        /// Sends the probe and gives it an outcome.
        fn probe(&mut self, outcome: Evidence, now: Time) -> Position {
            assert_eq!(self.0.leave(now), Leave::Probe);
            self.0.on_probe(now + Duration::from_secs(15));
            assert_eq!((self.0.leave(now), self.0.position()), (Leave::Denied, Position::HalfOpen));
            self.0.on_outcome(outcome, true, now, &mut self.1);
            self.0.position()
        }
    }

    const IN_A_ROW: config::Breaker = config::Breaker {
        consecutive_failures: 5,
        failure_percent: 0,
        minimum_calls: 1,
        base_open_time: Duration::from_secs(1),
        max_open_time: Duration::from_secs(30),
    };

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_starts_anew() {
        let mut bench = Bench::new(IN_A_ROW);
        for _ in 0..4 {
            assert_eq!(bench.outcome(Evidence::Fails, at(0)), Position::Closed);
        }
        bench.outcome(Evidence::Answers, at(0));
        for _ in 0..4 {
            assert_eq!(bench.outcome(Evidence::Fails, at(0)), Position::Closed);
        }
        assert_eq!(bench.outcome(Evidence::Fails, at(0)), Position::Open);
    }

    #[test]
    fn a_share_of_failures_opens_it_only_among_enough_calls_of_the_last_seconds() {
        let by_share = config::Breaker {
            consecutive_failures: 0,
            failure_percent: 50,
            minimum_calls: 20,
            ..IN_A_ROW
        };
        let mut bench = Bench::new(by_share);
        for _ in 0..18 {
            assert_eq!(bench.outcome(Evidence::Fails, at(0)), Position::Closed);
        }
        bench.outcome(Evidence::Answers, at(30_000));
        assert_eq!(
            bench.outcome(Evidence::Fails, at(30_000)),
            Position::Closed,
            "they are too old"
        );
        for _ in 0..9 {
            bench.outcome(Evidence::Answers, at(30_000));
        }
        for _ in 0..8 {
            assert_eq!(bench.outcome(Evidence::Fails, at(31_000)), Position::Closed);
        }
        assert_eq!(bench.outcome(Evidence::Fails, at(32_000)), Position::Open, "10 of 20");
    }

    #[test]
    fn while_it_is_open_there_is_one_call_at_a_time_and_its_outcome_decides() {
        let mut bench = Bench::new(config::Breaker { consecutive_failures: 1, ..IN_A_ROW });
        assert_eq!(bench.0.leave(at(0)), Leave::Granted);
        bench.outcome(Evidence::Fails, at(0));
        assert_eq!(bench.probe(Evidence::Fails, at(1_000)), Position::Open);
        assert_eq!(bench.probe(Evidence::Answers, at(3_000)), Position::Closed);
        assert_eq!(bench.0.leave(at(3_000)), Leave::Granted);
    }

    #[test]
    fn what_was_sent_before_it_opened_changes_nothing_when_it_comes_back() {
        let mut bench = Bench::new(config::Breaker { consecutive_failures: 1, ..IN_A_ROW });
        bench.outcome(Evidence::Fails, at(0));
        assert_eq!(bench.outcome(Evidence::Answers, at(1)), Position::Open);
        bench.0.on_probe(at(20_000));
        assert_eq!(bench.outcome(Evidence::Answers, at(1_001)), Position::HalfOpen);
        assert_eq!(bench.outcome(Evidence::Fails, at(1_002)), Position::HalfOpen);
    }

    #[test]
    fn a_probe_without_an_outcome_has_failed_in_the_end() {
        let mut bench = Bench::new(config::Breaker { consecutive_failures: 1, ..IN_A_ROW });
        bench.outcome(Evidence::Fails, at(0));
        bench.0.on_probe(at(20_000));
        let Bench(breaker, rng) = &mut bench;
        breaker.on_tick(at(19_999), rng);
        assert_eq!(breaker.position(), Position::HalfOpen);
        breaker.on_tick(at(20_000), rng);
        assert_eq!(breaker.position(), Position::Open);
        assert_eq!(breaker.leave(at(60_000)), Leave::Probe);
    }

    #[test]
    fn it_stays_open_longer_each_time_with_full_jitter_and_at_most_as_long_as_is_set() {
        let (mut longest, mut shortest) = (Duration::ZERO, Duration::MAX);
        for seed in 0..200 {
            let mut bench = Bench::new(config::Breaker { consecutive_failures: 1, ..IN_A_ROW });
            bench.1 = Rng::new(seed);
            bench.outcome(Evidence::Fails, at(0));
            for failed in 0..10_u32 {
                let State::Open { until } = bench.0.state else { panic!("{:?}", bench.0.state) };
                let open = until.since_start();
                let most = Duration::from_secs(1 << failed.min(10)).min(Duration::from_secs(30));
                assert!(open <= most, "{open:?} after {failed} probes");
                (longest, shortest) = (longest.max(open), shortest.min(open));
                bench.0.on_probe(Time::ZERO);
                bench.0.on_tick(Time::ZERO, &mut bench.1);
            }
        }
        assert!(longest > Duration::from_secs(29) && shortest < Duration::from_millis(10));
    }

    #[test]
    fn both_causes_can_be_turned_off() {
        let mut bench = Bench::new(config::Breaker { consecutive_failures: 0, ..IN_A_ROW });
        for _ in 0..1_000 {
            assert_eq!(bench.outcome(Evidence::Fails, at(0)), Position::Closed);
        }
    }

    #[test]
    fn an_answer_of_any_kind_is_one_and_what_brings_none_is_a_failure() {
        let fails = [
            ErrorKind::Refused,
            ErrorKind::Unreachable,
            ErrorKind::Timeout,
            ErrorKind::NoAnswer,
            ErrorKind::RateLimited,
            ErrorKind::ServerError,
        ];
        assert_eq!(Evidence::of(Ok(())), Evidence::Answers);
        for kind in ErrorKind::ALL {
            let expected = if fails.contains(&kind) { Evidence::Fails } else { Evidence::Answers };
            assert_eq!(Evidence::of(Err(kind)), expected, "{kind:?}");
        }
    }
}
