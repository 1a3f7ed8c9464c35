//! The calls to an agent, a slot for one call at a time, and the effects of a response.

use core::mem::discriminant;
use core::time::Duration;

use crate::calls::caller::AgentCallId;
use crate::registry::consul::registration::{CheckStatus, RegistrationError};
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::HttpRequest;
use crate::telemetry::RegistrationEvent;
use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The number of deregistrations if several agents may have a registration. Each agent is reached if
/// they take turns, and most likely if they are chosen at random.
pub(super) const ROUNDS: u32 = 8;

/// A call to an agent for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentCall {
    /// Read the service under the id.
    Read,
    /// Read the checks of the service.
    ReadChecks,
    /// Read the identity of the agent.
    Identify,
    /// Register the service and its checks.
    Register,
    /// Report the state of a check.
    Report {
        /// The position of the check in the registration.
        check: usize,
        /// The status of the check.
        status: CheckStatus,
    },
    /// Deregister the service under the id.
    Deregister,
}

/// The wait after the first of several failures in a row.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest timeout of a call, however slow the agent is.
const LONGEST: Duration = Duration::from_secs(60);
/// The time after its timeout at which a call counts as lost. Envoy calls back before that.
const GRACE: Duration = Duration::from_secs(1);
/// The factor between the duration of the last good call and the timeout of the next.
const RESERVE: u32 = 4;

/// A slot for one call at a time.
#[derive(Debug)]
pub(super) struct CallSlot {
    out: Option<Call>,
    /// No call goes out before this time.
    pause: Time,
    /// The timeout of the next call; at most `longest`.
    timeout: Duration,
    longest: Duration,
    failures: Backoff,
    refusals: Backoff,
}

/// A call that is out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) id: AgentCallId,
    pub(super) kind: AgentCall,
    since: Time,
    deadline: Time,
}

impl CallSlot {
    /// Starts a slot whose timeout adapts to the agent: it grows after each call that timed out.
    /// `failure` and `refusal` are the longest pauses after failed and after refused calls. A
    /// refused call will hardly succeed soon.
    pub(super) const fn new(failure: Duration, refusal: Duration) -> Self {
        Self {
            out: None,
            pause: Time::ZERO,
            timeout: Duration::ZERO,
            longest: LONGEST,
            failures: Backoff::new(FIRST_BACKOFF, failure, Jitter::Equal),
            refusals: Backoff::new(FIRST_BACKOFF, refusal, Jitter::Equal),
        }
    }

    /// Limits the timeout of calls.
    pub(super) fn bounded(self, timeout: Duration) -> Self {
        let longest = timeout.min(LONGEST);
        Self { timeout: longest, longest, ..self }
    }

    /// Returns true if a call may go out.
    pub(super) fn is_free(&self, now: Time) -> bool {
        self.out.is_none() && now >= self.pause
    }

    /// Returns true if the last call has failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures.failures() > 0 || self.refusals.failures() > 0
    }

    /// Stops calls until `until`.
    pub(super) const fn not_before(&mut self, until: Time) {
        self.pause = until;
    }

    /// Occupies the slot with a call, and returns the request with its timeout.
    pub(super) fn send(
        &mut self,
        id: AgentCallId,
        kind: AgentCall,
        request: HttpRequest,
        now: Time,
    ) -> HttpRequest {
        let timeout = request.timeout.max(self.timeout).min(self.longest);
        self.out = Some(Call { id, kind, since: now, deadline: now + timeout + GRACE });
        HttpRequest { timeout, ..request }
    }

    /// Returns the call that is out if it counts as lost.
    pub(super) fn poll_lost(&self, now: Time) -> Option<AgentCallId> {
        self.out.filter(|call| now >= call.deadline).map(|call| call.id)
    }

    /// Removes the call of that id, which has ended.
    pub(super) fn take(&mut self, id: AgentCallId) -> Option<Call> {
        self.out.take_if(|call| call.id == id)
    }

    /// Notes that a call succeeded. The next timeout is a multiple of its duration.
    pub(super) fn on_success(&mut self, call: Call, now: Time) {
        self.failures.on_success();
        self.refusals.on_success();
        self.timeout = self.timeout.min(now.since(call.since) * RESERVE);
    }

    /// Notes that a call failed.
    pub(super) fn on_failure(&mut self, call: Call, kind: ErrorKind, now: Time, rng: &mut Rng) {
        if matches!(kind, ErrorKind::Timeout | ErrorKind::NoAnswer) {
            // Without the grace time after the timeout.
            let took = now.since(call.since).min(call.deadline.since(call.since)) * 2;
            self.timeout = self.timeout.max(took).min(self.longest);
        }
        let backoff = match kind {
            ErrorKind::Denied | ErrorKind::ClientError => &mut self.refusals,
            _ => &mut self.failures,
        };
        self.pause = now + backoff.on_failure(rng);
    }

    /// Extends the wait for the call that is out, because this VM stood still and may not have read
    /// the response yet.
    pub(super) fn extend(&mut self, by: Duration) {
        if let Some(call) = &mut self.out {
            call.deadline = call.deadline + by;
        }
    }
}

/// The time, the randomness and the outputs while a response of the agent is handled.
pub(super) struct Effects<'a> {
    pub(super) now: Time,
    pub(super) rng: &'a mut Rng,
    /// The slot of all calls but reports.
    pub(super) calls: &'a mut CallSlot,
    /// The last error that was reported.
    pub(super) failing: &'a mut Option<RegistrationError>,
    pub(super) events: &'a mut Vec<RegistrationEvent>,
}

impl Effects<'_> {
    /// Adds an event.
    pub(super) fn emit(&mut self, event: RegistrationEvent) {
        self.events.push(event);
    }

    /// Stops calls for about `pause`. Returns the end of the pause.
    pub(super) fn pause(&mut self, pause: Duration) -> Time {
        let until = self.now + self.rng.about(pause);
        self.calls.not_before(until);
        until
    }

    /// Reports an error, unless it is of the same kind as the last one.
    pub(super) fn report_error(&mut self, error: RegistrationError) {
        let is_same = self.failing.as_ref().is_some_and(|last| {
            discriminant(last) == discriminant(&error) && last.kind() == error.kind()
        });
        if !is_same {
            self.emit(RegistrationEvent::Failing(error.clone()));
            *self.failing = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::http::Method;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    /// Sends a call of five seconds and ends it. Returns the timeout of the request in
    /// milliseconds.
    fn call(slot: &mut CallSlot, from: u64, took: u64, failure: Option<ErrorKind>) -> u128 {
        let (method, timeout) = (Method::Get, Duration::from_secs(5));
        let (headers, path) = (Vec::new(), String::new());
        let request = HttpRequest {
            cluster: String::new(),
            method,
            path,
            headers,
            body: String::new(),
            timeout,
            response_headers: &[],
        };
        let request = slot.send(AgentCallId(1), AgentCall::Read, request, at(from));
        let call = slot.take(AgentCallId(1)).unwrap();
        let end = at(from + took);
        match failure {
            Some(kind) => slot.on_failure(call, kind, end, &mut Rng::new(1)),
            None => slot.on_success(call, end),
        }
        request.timeout.as_millis()
    }

    #[test]
    fn timeout_grows_when_it_was_too_short() {
        let minutes = Duration::from_secs(240);
        let mut slot = CallSlot::new(Duration::from_secs(5), minutes);
        let late = Some(ErrorKind::Timeout);
        assert_eq!(call(&mut slot, 0, 5_000, late), 5_000);
        assert_eq!(call(&mut slot, 10_000, 10_000, late), 10_000);
        assert_eq!(call(&mut slot, 30_000, 12_000, None), 20_000);
        assert_eq!(call(&mut slot, 60_000, 100, None), 20_000, "an agent that was slow just now");
        assert_eq!(call(&mut slot, 70_000, 100, None), 5_000);
        (0..9).for_each(|n| {
            call(&mut slot, 100_000 * (n + 1), 60_000, late);
        });
        assert_eq!(call(&mut slot, 2_000_000, 1, None), 60_000, "a minute at most");
        let mut bounded = CallSlot::new(Duration::from_secs(1), minutes).bounded(minutes / 96);
        assert_eq!(call(&mut bounded, 0, 2_500, late), 2_500);
        assert_eq!(call(&mut bounded, 10_000, 1, None), 2_500, "whatever happens");
    }

    #[test]
    fn pause_is_longer_when_the_call_was_refused() {
        let pause = |kind| {
            let mut slot = CallSlot::new(Duration::from_secs(5), Duration::from_secs(240));
            let mut now = 0;
            let mut pause = 0;
            for _ in 0..12 {
                call(&mut slot, now, 0, Some(kind));
                pause = (0..).step_by(250).find(|ms| slot.is_free(at(now + ms))).unwrap();
                now += pause;
            }
            pause
        };
        assert!((2_000..=5_000).contains(&pause(ErrorKind::ServerError)));
        assert!((120_000..=240_000).contains(&pause(ErrorKind::Denied)));
        assert!((120_000..=240_000).contains(&pause(ErrorKind::ClientError)));
    }
}
