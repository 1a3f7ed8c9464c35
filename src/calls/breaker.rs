//! Leaves Consul alone while it fails.

use core::fmt;
use core::time::Duration;

use crate::calls::caller::Caller;
use crate::calls::caller_history::CallerHistory;
use crate::calls::wait_queue::WaitRank;
use crate::config;
use crate::consul::error::ErrorKind;
use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::util::window::Window;

/// How many seconds of calls the share of failures is taken from.
const WINDOW: usize = 30;

/// A circuit breaker for the calls to Consul: closed, open, half-open.
///
/// It is the pattern of Nygard, *Release It!* (2007), by its usual names. Each service backs off
/// for itself; what the breaker adds is that a thousand services do not each have to find out that
/// the one Consul behind them is down. It opens at so many failures in a row, which is what an
/// agent that is gone looks like, or at a share of the calls, which is what one looks like that is
/// overloaded. Both must be failures of several callers, or of all: one that fails by itself, for
/// ever, opens nothing ([`CallerHistory`]). While it is open there is no call at all; then one, the
/// probe, and its outcome alone decides: what was sent before the breaker opened may still come back
/// and be used, but says little about now. An answer of that kind lets a probe go soon, also where
/// one is out: that may be of a caller that always waits in vain. The one that was out is a probe all
/// the same, whose answer closes the breaker; else a Consul that answers slowly would always answer the
/// one before the last.
#[derive(Debug)]
pub struct Breaker {
    settings: config::BreakerConfig,
    state: State,
    standings: CallerHistory,
    calls: Window<WINDOW>,
    failures: Window<WINDOW>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// Nothing is sent until then; whatever is sent next is the probe.
    Open {
        since: Time,
        until: Time,
    },
    /// The probe is out; without an outcome by then it has failed.
    HalfOpen {
        since: Time,
        lost: Time,
    },
}

/// Where a breaker stands, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerState {
    /// Calls go out.
    Closed,
    /// One call goes out, to see whether the others may.
    HalfOpen,
    /// No call goes out.
    Open,
}

/// What a breaker says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It may go out.
    Granted,
    /// It may go out as the probe, which must be one that Consul answers at once.
    Probe,
    /// It must wait.
    Denied,
}

impl Breaker {
    /// Starts closed.
    pub fn new(settings: config::BreakerConfig) -> Self {
        Self {
            settings,
            state: State::Closed,
            standings: CallerHistory::default(),
            calls: Window::new(),
            failures: Window::new(),
            backoff: Backoff::new(settings.base_open_time, settings.max_open_time, Jitter::Full),
        }
    }

    /// Where it stands.
    pub const fn position(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// What it says to a call now.
    pub fn admit(&self, now: Time) -> Admit {
        match self.state {
            State::Closed => Admit::Granted,
            State::Open { until, .. } if now >= until => Admit::Probe,
            State::Open { .. } | State::HalfOpen { .. } => Admit::Denied,
        }
    }

    /// Learns that the probe is out, and by when it will have had an outcome.
    pub const fn on_probe(&mut self, lost: Time, now: Time) {
        self.state = State::HalfOpen { since: now, lost };
    }

    /// Learns that nobody will tell of the probe that is out, which cannot be called back: another
    /// one may go after a while.
    pub fn on_probe_abandoned(&mut self, now: Time) {
        if let State::HalfOpen { .. } = self.state {
            self.state = State::Open { since: now, until: now + self.settings.base_open_time };
        }
    }

    /// Opens again where the probe has had no outcome in time: nobody may be left who would
    /// tell of it.
    pub fn on_tick(&mut self, now: Time, rng: &mut Rng) {
        if let State::HalfOpen { lost, .. } = self.state
            && now >= lost
        {
            self.open(now, rng);
        }
    }

    /// Learns that a caller asks.
    pub fn add(&mut self, caller: Caller) {
        self.standings.add(caller);
    }

    /// Forgets a caller that asks no longer.
    pub fn forget(&mut self, caller: Caller) {
        self.standings.forget(caller);
    }

    /// Whether nobody asks.
    pub fn is_unused(&self) -> bool {
        self.standings.is_empty()
    }

    /// Which of those who wait is to probe: the lowest one.
    pub fn rank(&self, caller: Caller) -> WaitRank {
        self.standings.rank(caller)
    }

    /// Takes the outcome of a call; where its caller does not count, only an answer says something.
    pub fn on_outcome(
        &mut self,
        caller: Option<Caller>,
        outcome: CallOutcome,
        is_probe: bool,
        now: Time,
        rng: &mut Rng,
    ) {
        match (outcome, caller) {
            (CallOutcome::Answers, _) => {
                let failures = self.standings.on_response(caller);
                self.count(1, failures, now);
            }
            (CallOutcome::Fails, Some(caller)) => {
                let counts = self.standings.on_failure(caller, now);
                self.count(0, counts.into(), now);
            }
            (CallOutcome::Fails, None) | (CallOutcome::Nothing, _) => {}
        }
        if let (true, Some(caller), true) = (is_probe, caller, outcome != CallOutcome::Answers) {
            self.standings.on_probe_failed(caller, now);
        }
        match (self.state, outcome) {
            (State::Closed, CallOutcome::Fails) if self.is_too_much(now) => self.open(now, rng),
            (State::Open { .. } | State::HalfOpen { .. }, CallOutcome::Answers) if is_probe => {
                self.close();
            }
            (State::HalfOpen { .. }, _) if is_probe => self.open(now, rng),
            (State::Open { since, .. } | State::HalfOpen { since, .. }, CallOutcome::Answers) => {
                let soon = since + self.settings.base_open_time;
                let until = match self.state {
                    State::Open { until, .. } => until.min(soon),
                    State::Closed | State::HalfOpen { .. } => soon,
                };
                self.state = State::Open { since, until };
            }
            _ => {}
        }
    }

    fn count(&mut self, responses: u32, failures: u32, now: Time) {
        self.calls.add(responses + failures, now);
        self.failures.add(failures, now);
    }

    fn is_too_much(&mut self, now: Time) -> bool {
        let config::BreakerConfig { consecutive_failures, failure_percent, minimum_calls, .. } =
            self.settings;
        let (failed, called) = (self.failures.sum(now), self.calls.sum(now));
        let tally = self.standings.tally(Duration::from_secs(WINDOW as u64), now);
        let is_share = |part: u64, all: u64| part * 100 >= all * u64::from(failure_percent);
        let several_in_a_row = tally.failing >= consecutive_failures;
        let all_in_a_row = tally.failing == tally.callers && tally.in_a_row >= consecutive_failures;
        let in_a_row = consecutive_failures > 0 && (several_in_a_row || all_in_a_row);
        let by_share = failure_percent > 0
            && called >= u64::from(minimum_calls)
            && is_share(failed, called)
            && is_share(tally.failed.into(), tally.callers.into())
            && (tally.failed > 1 || tally.callers == 1);
        in_a_row || by_share
    }

    fn open(&mut self, now: Time, rng: &mut Rng) {
        self.state = State::Open { since: now, until: now + self.backoff.on_failure(rng) };
    }

    /// Closes with a clean slate: what has failed before the probe succeeded is over.
    const fn close(&mut self) {
        self.state = State::Closed;
        self.calls.clear();
        self.failures.clear();
        self.backoff.on_success();
    }
}

/// What the outcome of a call says of Consul as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It answers.
    Answers,
    /// It cannot be reached, is overloaded, or has no leader.
    Fails,
    /// Nothing: something on the way has ended a call that was held, as it was asked to be.
    Nothing,
}

impl CallOutcome {
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
            Err(ErrorKind::CutOff) => Self::Nothing,
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

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the circuit breaker towards consul is closed again",
            Self::HalfOpen => "one call shows whether consul is well again",
            Self::Open => {
                "the circuit breaker towards consul is open: it fails whoever asks, so but for one \
                 call now and then nothing is asked until it is well again"
            }
        })
    }
}

#[cfg(test)]
mod tests;
