//! The response to a request, read for the pool of its service.

use core::time::Duration;

use crate::balancer::ticket::RequestOutcome;
use crate::config::Protocol;
use crate::handoff::HandoffMethod;
use crate::router::Router;
use crate::router::forward::{Attempt, Forward};
use crate::util::time::Time;

/// A response in its header or trailer phase.
pub trait ResponseStream {
    /// Reads `:status`. Returns `None` if it is no number.
    fn status(&mut self) -> Option<u16>;
    /// Reads `grpc-status` from the headers, or from the trailers in their phase.
    fn grpc_status(&mut self, part: ResponsePart) -> Option<u32>;
    /// Reads the number of the last attempt of Envoy's router. Returns `None` if there was none: a filter behind
    /// this one has kept the request.
    fn attempt(&mut self) -> Option<Attempt>;
    /// Reads the address that Envoy's router has sent the request to, if any.
    fn upstream(&mut self) -> Option<Vec<u8>>;
    /// Reads the time from the end of the request to the response in whole milliseconds, if Envoy tells it.
    /// Legal in the header phase.
    fn service_time(&mut self) -> Option<Duration>;
    /// Reads Envoy's response flags.
    fn flags(&mut self) -> ResponseFlags;
    /// Reads the clock.
    fn now(&mut self) -> Time;
}

/// A part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponsePart {
    /// The headers.
    Headers,
    /// The trailers.
    Trailers,
}

/// The reasons for a response of Envoy itself, its `response.flags`. The bits are those of Envoy's
/// `CoreResponseFlag` (envoy/stream_info/stream_info.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFlags(pub u64);

impl ResponseFlags {
    /// The endpoint was not reached, did not respond in time, or broke off, or its name is unknown: `UT`, `LR`,
    /// `UR`, `UF`, `UC`, `UPE`, `DF`.
    const LOCAL_ORIGIN: u64 =
        1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 23 | Self::UNRESOLVED;
    /// The name of the endpoint could not be resolved: `DF`.
    const UNRESOLVED: u64 = 1 << 26;
    /// No retry was left: `URX`.
    const RETRY_LIMIT: u64 = 1 << 15;

    const fn are_local_origin(self) -> bool {
        self.0 & Self::LOCAL_ORIGIN != 0
    }

    /// Returns true if a failure is the endpoint's. A failure with flags is so only if the endpoint could not be
    /// reached or broke off: else a filter has replied, or a circuit breaker. (To a gRPC client Envoy, too,
    /// responds 200 with a `grpc-status`.)
    const fn blame_endpoint(self) -> bool {
        self.are_local_origin() || self.0 & !Self::RETRY_LIMIT == 0
    }
}

/// The `grpc-status` of a success.
const GRPC_OK: u32 = 0;
/// The least HTTP status that is no success.
const BAD_REQUEST: u16 = 400;

/// The feedback of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// The number of endpoints that have failed.
    pub failures: u32,
    /// True if one of them could perhaps not be reached.
    pub suspects: bool,
}

/// The part of a response that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// Nothing: the feedback is complete.
    Nothing,
    /// The trailers, which may have the `grpc-status`.
    Trailers {
        /// The attempt that has responded.
        attempt: Attempt,
        /// The latency, if it is known.
        latency: Option<Duration>,
    },
}

/// Reads the headers of a response, and gives the pool its feedback. Makes no call to the host if the service
/// needs no responses. `ended` says that nothing follows.
pub fn on_headers(
    router: &mut Router,
    forward: &Forward,
    ended: bool,
    stream: &mut impl ResponseStream,
) -> (Feedback, Remaining) {
    let Some(protocol) = router.required_inputs(forward.service()).and_then(|it| it.responses)
    else {
        return (Feedback::default(), Remaining::Nothing);
    };
    let now = stream.now();
    let made = made(forward, stream);
    let upstream = stream.upstream();
    let Some(attempt) = responding(forward, made, upstream.as_deref(), stream) else {
        let feedback = moved(router, forward, upstream.as_deref(), now, stream);
        return (feedback, Remaining::Nothing);
    };
    let mut remaining = Remaining::Nothing;
    // None while the outcome is not known.
    let is_success = match (protocol, stream.status()) {
        (Protocol::Grpc, Some(200)) => match stream.grpc_status(ResponsePart::Headers) {
            None if !ended => {
                remaining = Remaining::Trailers {
                    attempt,
                    latency: latency(forward, attempt, now, stream),
                };
                None
            }
            status => Some(status.unwrap_or(GRPC_OK) == GRPC_OK),
        },
        (_, status) => status.map(|status| status < BAD_REQUEST),
    };
    let flags = if is_success == Some(false) { stream.flags() } else { ResponseFlags::default() };
    let outcome = match is_success {
        Some(true) => Some(RequestOutcome::Success(latency(forward, attempt, now, stream))),
        Some(false) if flags.blame_endpoint() => Some(RequestOutcome::Failure),
        Some(false) | None => None,
    };
    let earlier = router.on_response(forward, attempt, now);
    let own = outcome.map_or(0, |outcome| router.on_outcome(forward, attempt, outcome, now));
    let suspects = attempt.retries() > 0 || flags.are_local_origin();
    (Feedback { failures: earlier.saturating_add(own), suspects }, remaining)
}

/// Reads the trailers of a response whose headers had no `grpc-status`, and gives the pool their feedback.
/// Trailers without a `grpc-status` give none.
pub fn on_trailers(
    router: &mut Router,
    forward: &Forward,
    attempt: Attempt,
    latency: Option<Duration>,
    stream: &mut impl ResponseStream,
) -> Feedback {
    let outcome = match stream.grpc_status(ResponsePart::Trailers) {
        None => return Feedback::default(),
        Some(GRPC_OK) => RequestOutcome::Success(latency),
        Some(_) => RequestOutcome::Failure,
    };
    let failures = router.on_outcome(forward, attempt, outcome, router.now());
    Feedback { failures, suspects: false }
}

/// Gives the pool the feedback of a request without a response, whose client has left. Else an endpoint that
/// hangs would keep its share if no client waits for as long as Envoy would.
pub fn on_unanswered(router: &mut Router, forward: &Forward, stream: &mut impl ResponseStream) {
    let inputs = router.required_inputs(forward.service());
    let needs_responses = inputs.is_some_and(|inputs| inputs.responses.is_some());
    // A client may be slow to send its body.
    if !needs_responses || forward.has_body() {
        return;
    }
    let may_retry = forward.handoff().attempts() > 1;
    let made = if may_retry { stream.attempt() } else { None };
    // With a second attempt under way, the first one has failed or is under way, too.
    if made.is_some_and(|made| made.retries() > 0) {
        return;
    }
    let is_of_endpoint = match stream.upstream() {
        Some(address) => forward.attempt_to(&address, Attempt::FIRST).is_some(),
        // Before there is a connection, Envoy names no address: the endpoint may not even accept one.
        // If a filter behind this one has kept the request, there is no attempt either.
        None if may_retry => made.is_some(),
        None => stream.attempt().is_some(),
    };
    if is_of_endpoint {
        router.on_silence(forward, stream.now());
    }
}

/// Returns the last attempt that Envoy has made. Reads it only if there may be several.
fn made(forward: &Forward, stream: &mut impl ResponseStream) -> Attempt {
    match forward.handoff().attempts() {
        1 => Attempt::FIRST,
        _ => stream.attempt().unwrap_or(Attempt::FIRST),
    }
}

/// Returns the attempt that has responded. Returns `None` if the response is that of no endpoint of the request:
/// the route may lead to another cluster or to none (a redirect), or a filter has replied.
fn responding(
    forward: &Forward,
    made: Attempt,
    upstream: Option<&[u8]>,
    stream: &mut impl ResponseStream,
) -> Option<Attempt> {
    match upstream {
        Some(address) => forward.attempt_to(address, made),
        // The dynamic forward proxy replies before the router if it cannot resolve a name.
        None if !forward.goes_by_name() => None,
        None => (stream.flags().0 & ResponseFlags::UNRESOLVED != 0).then_some(made),
    }
}

/// Gives the pool the feedback of a response from another host of Envoy's own cluster than the pick. If Envoy has
/// tried several hosts, the pick was the first and has failed. If it has tried one, the pick was ejected, or
/// failed its checks, or a client's cookie names another host. Only the cookie is no failure.
///
/// Envoy names the last host alone. So the failure of a cookie's host counts for the pick; that falls on all
/// endpoints alike.
fn moved(
    router: &mut Router,
    forward: &Forward,
    upstream: Option<&[u8]>,
    now: Time,
    stream: &mut impl ResponseStream,
) -> Feedback {
    if forward.handoff() != HandoffMethod::StatefulSession {
        return Feedback::default();
    }
    let Some(made) = stream.attempt().filter(|made| made.retries() > 0) else {
        if let Some(upstream) = upstream {
            router.on_passed_over(forward, upstream, now);
        }
        return Feedback::default();
    };
    let is_of_service = upstream.is_some_and(|it| router.has_endpoint(forward.service(), it));
    let failures = if is_of_service { router.on_response(forward, made, now) } else { 0 };
    Feedback { failures, suspects: true }
}

/// Returns the latency of the endpoint that has responded, if it is known.
///
/// The client decides how long a body takes that was still to come. Then Envoy's own measure counts, which begins
/// at the last byte of the request. It is in whole milliseconds, and stands for the middle of one.
fn latency(
    forward: &Forward,
    attempt: Attempt,
    now: Time,
    stream: &mut impl ResponseStream,
) -> Option<Duration> {
    let latency = forward.latency(attempt, now)?;
    if !forward.has_body() {
        return Some(latency);
    }
    let time = stream.service_time()?;
    Some(latency.min(time.saturating_add(Duration::from_micros(500))))
}

#[cfg(test)]
mod tests;
