//! What is read from an answer, for its service to learn from it.

use core::time::Duration;

use crate::balancer::ticket::RequestOutcome;
use crate::config::Protocol;
use crate::handoff::HandoffMethod;
use crate::router::Router;
use crate::router::feedback::Feedback;
use crate::router::forward::{Attempt, Forward};
use crate::util::time::Time;

/// An answer in its header or trailer phase.
pub trait ResponseStream {
    /// Reads `:status`; none where it is no number.
    fn status(&mut self) -> Option<u16>;
    /// Reads `grpc-status` from the headers, or the trailers in their phase; none where it is
    /// not there.
    fn grpc_status(&mut self, part: ResponsePart) -> Option<u32>;
    /// Reads which attempt Envoy's router has made last; none where it has made none, since a filter
    /// behind this one has not let the request go on.
    fn attempt(&mut self) -> Option<Attempt>;
    /// Reads the address that Envoy's router has sent the request to; none where it was sent
    /// nowhere.
    fn upstream(&mut self) -> Option<Vec<u8>>;
    /// Reads how long Envoy has waited for the answer after it had all of the request, in whole
    /// milliseconds; none where it does not say. Legal in the header phase.
    fn service_time(&mut self) -> Option<Duration>;
    /// Reads Envoy's response flags.
    fn flags(&mut self) -> ResponseFlags;
    /// Reads the clock.
    fn now(&mut self) -> Time;
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponsePart {
    /// Its headers.
    Headers,
    /// Its trailers.
    Trailers,
}

/// Why Envoy itself has answered, as its `response.flags` say; bits as in Envoy's
/// `CoreResponseFlag` (envoy/stream_info/stream_info.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFlags(pub u64);

impl ResponseFlags {
    /// The endpoint was not reached, did not answer in time, or broke off, or nobody knows its
    /// name: `UT`, `LR`, `UR`, `UF`, `UC`, `UPE`, `DF`.
    const LOCAL_ORIGIN: u64 =
        1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 23 | Self::UNRESOLVED;
    /// The name of the endpoint could not be resolved: `DF`.
    const UNRESOLVED: u64 = 1 << 26;
    /// Says nothing but that no retry was left: `URX`.
    const RETRY_LIMIT: u64 = 1 << 15;

    const fn are_local_origin(self) -> bool {
        self.0 & Self::LOCAL_ORIGIN != 0
    }

    /// Whether a failure is the endpoint's own. One that Envoy itself tells of is that only where
    /// the endpoint could not be reached or broke off: a filter may have answered, or a circuit
    /// breaker. (To a gRPC client Envoy, too, answers 200 with a `grpc-status`.)
    const fn blame_endpoint(self) -> bool {
        self.are_local_origin() || self.0 & !Self::RETRY_LIMIT == 0
    }
}

/// The `grpc-status` of a call that went well.
const GRPC_OK: u32 = 0;
/// The least HTTP status of an answer that is not what was asked for.
const BAD_REQUEST: u16 = 400;

/// What is still to come of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// Nothing: all that it teaches is learned.
    Nothing,
    /// The trailers, which may have the `grpc-status`.
    Trailers {
        /// Which attempt was answered.
        attempt: Attempt,
        /// How soon, where that is known.
        latency: Option<Duration>,
    },
}

/// Reads the headers of an answer, and learns what they teach; where its service learns nothing,
/// without a call to the host. `ended` says that nothing follows.
pub fn on_headers(
    router: &mut Router,
    forward: &Forward,
    ended: bool,
    stream: &mut impl ResponseStream,
) -> (Feedback, Remaining) {
    let Some(protocol) = router.required_inputs(forward.service()).and_then(|wants| wants.answers)
    else {
        return (Feedback::default(), Remaining::Nothing);
    };
    let now = stream.now();
    let made = made(forward, stream);
    let upstream = stream.upstream();
    let Some(attempt) = answered(forward, made, upstream.as_deref(), stream) else {
        let lesson = moved(router, forward, upstream.as_deref(), now, stream);
        return (lesson, Remaining::Nothing);
    };
    let mut next = Remaining::Nothing;
    // Whether it is what was asked for; none while that is not known.
    let is_well = match (protocol, stream.status()) {
        (Protocol::Grpc, Some(200)) => match stream.grpc_status(ResponsePart::Headers) {
            None if !ended => {
                next = Remaining::Trailers {
                    attempt,
                    latency: latency(forward, attempt, now, stream),
                };
                None
            }
            status => Some(status.unwrap_or(GRPC_OK) == GRPC_OK),
        },
        (_, status) => status.map(|status| status < BAD_REQUEST),
    };
    let flags = if is_well == Some(false) { stream.flags() } else { ResponseFlags::default() };
    let outcome = match is_well {
        Some(true) => Some(RequestOutcome::Success(latency(forward, attempt, now, stream))),
        Some(false) if flags.blame_endpoint() => Some(RequestOutcome::Failure),
        Some(false) | None => None,
    };
    let earlier = router.on_response(forward, attempt, now);
    let own = outcome.map_or(0, |outcome| router.on_outcome(forward, attempt, outcome, now));
    let suspects = attempt.retries() > 0 || flags.are_local_origin();
    (Feedback { failures: earlier.saturating_add(own), suspects }, next)
}

/// Reads the trailers of an answer whose headers had no `grpc-status`, and learns what they
/// teach. Trailers without one say nothing.
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

/// Learns from a request that ends without an answer: its client has left. An endpoint that hangs
/// would else keep its share, where no client waits for as long as Envoy would.
pub fn on_unanswered(router: &mut Router, forward: &Forward, stream: &mut impl ResponseStream) {
    let learns =
        router.required_inputs(forward.service()).is_some_and(|wants| wants.answers.is_some());
    // Of a body that is to come it is the client who may be slow.
    if !learns || forward.has_body() {
        return;
    }
    let may_retry = forward.handoff().attempts() > 1;
    let made = if may_retry { stream.attempt() } else { None };
    // With a second attempt under way the first one has failed, or is one of two that are.
    if made.is_some_and(|made| made.retries() > 0) {
        return;
    }
    let is_of_endpoint = match stream.upstream() {
        Some(address) => forward.attempt_to(&address, Attempt::FIRST).is_some(),
        // Before there is a connection Envoy names no address: the endpoint may not even accept one.
        // But a filter behind this one may have kept the request: then there is no attempt either.
        None if may_retry => made.is_some(),
        None => stream.attempt().is_some(),
    };
    if is_of_endpoint {
        router.on_silence(forward, stream.now());
    }
}

/// How many attempts Envoy has made, where there may be several.
fn made(forward: &Forward, stream: &mut impl ResponseStream) -> Attempt {
    match forward.handoff().attempts() {
        1 => Attempt::FIRST,
        _ => stream.attempt().unwrap_or(Attempt::FIRST),
    }
}

/// Which attempt was answered, of those that were made; none where the answer is of no endpoint of
/// the request. The route may be one to another cluster, or have no cluster at all (a redirect), and
/// a filter may have answered.
fn answered(
    forward: &Forward,
    made: Attempt,
    upstream: Option<&[u8]>,
    stream: &mut impl ResponseStream,
) -> Option<Attempt> {
    match upstream {
        Some(address) => forward.attempt_to(address, made),
        // The dynamic forward proxy answers before the router where it cannot resolve a name.
        None if !forward.goes_by_name() => None,
        None => (stream.flags().0 & ResponseFlags::UNRESOLVED != 0).then_some(made),
    }
}

/// Learns from a request that is not answered by its endpoint. Where Envoy has tried several hosts of its
/// own cluster, the first was that endpoint, and has failed; where it has tried one, that endpoint was
/// ejected, or failed its checks, or a client's cookie named another: only the last is no failure.
///
/// Envoy names the last host alone. So where a cookie's host fails, the pick is taken for it; that falls
/// on all endpoints alike.
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

/// How long the endpoint took that has answered, where that is known.
///
/// A body that was still to come is waited for, and how long that takes is up to the client. Then
/// Envoy's own measure counts, which begins at the last byte of the request: it is in whole
/// milliseconds, and is taken to be in the middle of one.
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
