//! Stops calls to Consul while Consul fails.

use core::fmt;
use core::time::Duration;

use crate::calls::caller::Caller;
use crate::calls::caller_history::CallerHistory;
use crate::calls::wait_queue::WaitRank;
use crate::config;
use crate::registry::error_kind::ErrorKind;
use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::util::window::Window;

/// The seconds over which the share of failed calls is computed.
const WINDOW: usize = 30;

/// A circuit breaker for the calls to Consul: closed, open, half-open.
///
/// The pattern and its terms are Nygard's, *Release It!* (2007). Each source backs off for itself;
/// with the breaker a thousand sources need not each find out that the one Consul behind them is
/// down.
///
/// The breaker opens after a number of failures in a row, which shows an agent that is gone, or at
/// a share of failed calls, which shows an overloaded agent. Both need failures of several callers,
/// or of all: one caller that fails by itself for ever opens nothing ([`CallerHistory`]).
///
/// No call goes out while the breaker is open. Then one call, the probe, goes out, and its outcome
/// alone decides. Responses to earlier calls may still arrive and are used, but they say little
/// about the present. A good one lets the next probe go soon, even if a probe is out, because that
/// probe's caller may never get a response. The earlier probe stays valid, and its response closes
/// the breaker; otherwise a slow Consul would always respond to a probe that no longer counts.
#[derive(Debug)]
pub struct Breaker {
    settings: config::BreakerConfig,
    state: State,
    history: CallerHistory,
    calls: Window<WINDOW>,
    failures: Window<WINDOW>,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    /// No call goes out before `until`. The next call is the probe.
    Open {
        since: Time,
        until: Time,
    },
    /// The probe is out. Without an outcome by `lost` it has failed.
    HalfOpen {
        since: Time,
        deadline: Time,
    },
}

/// The state of a breaker as reported to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerState {
    /// Calls go out.
    Closed,
    /// One call goes out to test Consul.
    HalfOpen,
    /// No call goes out.
    Open,
}

/// The breaker's reply to a call that wants to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// The call may go out.
    Granted,
    /// The call may go out as the probe. Consul must be able to respond to it at once.
    Probe,
    /// The call must wait.
    Denied,
}

impl Breaker {
    /// Starts closed.
    pub fn new(settings: config::BreakerConfig) -> Self {
        Self {
            settings,
            state: State::Closed,
            history: CallerHistory::default(),
            calls: Window::new(),
            failures: Window::new(),
            backoff: Backoff::new(settings.base_open_time, settings.max_open_time, Jitter::Full),
        }
    }

    /// Returns the state.
    pub const fn position(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns whether a call may go out now.
    pub fn admit(&self, now: Time) -> Admit {
        match self.state {
            State::Closed => Admit::Granted,
            State::Open { until, .. } if now >= until => Admit::Probe,
            State::Open { .. } | State::HalfOpen { .. } => Admit::Denied,
        }
    }

    /// Notes that the probe is out and has an outcome by `lost` at the latest.
    pub const fn on_probe(&mut self, deadline: Time, now: Time) {
        self.state = State::HalfOpen { since: now, deadline };
    }

    /// Notes that no caller waits for the probe any more, which cannot be called back. Another
    /// probe may go out after a while.
    pub fn on_probe_abandoned(&mut self, now: Time) {
        if let State::HalfOpen { .. } = self.state {
            self.state = State::Open { since: now, until: now + self.settings.base_open_time };
        }
    }

    /// Opens again if the probe has had no outcome in time, because its caller may be gone.
    pub fn on_tick(&mut self, now: Time, rng: &mut Rng) {
        if let State::HalfOpen { deadline, .. } = self.state
            && now >= deadline
        {
            self.open(now, rng);
        }
    }

    /// Adds a caller.
    pub fn add(&mut self, caller: Caller) {
        self.history.add(caller);
    }

    /// Forgets a caller that has stopped calling.
    pub fn forget(&mut self, caller: Caller) {
        self.history.forget(caller);
    }

    /// Returns true if there is no caller.
    pub fn is_unused(&self) -> bool {
        self.history.is_empty()
    }

    /// Returns the rank of a caller among those that wait to probe. The lowest rank probes.
    pub fn rank(&self, caller: Caller) -> WaitRank {
        self.history.rank(caller)
    }

    /// Takes the outcome of a call. The failure of a caller that does not count (`None`) is
    /// ignored.
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
                let failures = self.history.on_response(caller);
                self.count(1, failures, now);
            }
            (CallOutcome::Fails, Some(caller)) => {
                let counts = self.history.on_failure(caller, now);
                self.count(0, counts.into(), now);
            }
            (CallOutcome::Fails, None) | (CallOutcome::Nothing, _) => {}
        }
        if let (true, Some(caller), true) = (is_probe, caller, outcome != CallOutcome::Answers) {
            self.history.on_probe_failed(caller, now);
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
        let tally = self.history.tally(Duration::from_secs(WINDOW as u64), now);
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

    /// Closes and forgets the failures before the probe.
    const fn close(&mut self) {
        self.state = State::Closed;
        self.calls.clear();
        self.failures.clear();
        self.backoff.on_success();
    }
}

/// The outcome of a call as a statement about Consul as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// Consul responds.
    Answers,
    /// Consul cannot be reached, is overloaded or has no leader.
    Fails,
    /// No statement: a proxy on the way has cut off a blocking query.
    Nothing,
}

impl CallOutcome {
    /// Returns the statement of a result. A refused token, a query that Consul rejects and a
    /// response that cannot be used are troubles of one source: Consul has responded, and calls for
    /// other sources are as good as before.
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
