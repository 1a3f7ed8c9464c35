//! What is read from an answer, for its service to learn from it.

use core::time::Duration;

use crate::balance::outlier::outcome::Outcome;
use crate::balance::pool::Sample;
use crate::config::Protocol;
use crate::router::Router;
use crate::router::answer::{Attempt, Lesson};
use crate::router::decision::Forward;
use crate::router::wants::Wants;
use crate::time::Time;

/// An answer in its header or trailer phase.
pub trait AnswerStream {
    /// Reads `:status`; none where it is no number.
    fn status(&mut self) -> Option<u16>;
    /// Reads `grpc-status` from the headers, or the trailers in their phase; none where it is
    /// not there.
    fn grpc_status(&mut self, part: Part) -> Option<u32>;
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
    /// Adds a header; legal in the header phase.
    fn add_header(&mut self, name: &str, value: &str);
    /// Reads the clock.
    fn now(&mut self) -> Time;
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its headers.
    Headers,
    /// Its trailers.
    Trailers,
}

/// Why Envoy itself has answered, as its `response.flags` say; bits as in Envoy's
/// `CoreResponseFlag` (envoy/stream_info/stream_info.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// The `grpc-status` of a call that went well.
const GRPC_OK: u32 = 0;
/// The least HTTP status of an answer that is not what was asked for.
const BAD_REQUEST: u16 = 400;

/// What is still to come of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
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

/// Reads the headers of an answer, and learns what they teach. `ended` says that nothing
/// follows.
pub fn on_headers(
    router: &mut Router,
    forward: &mut Forward,
    ended: bool,
    stream: &mut impl AnswerStream,
) -> (Lesson, Next) {
    let Some(wants) = router.wants(forward.service()).filter(|wants| wants.answers()) else {
        return (Lesson::default(), Next::Nothing);
    };
    let now = if wants.latency { stream.now() } else { router.now() };
    let made = made(forward, stream);
    let mut attempt = made;
    let is_known = wants.latency || made.retries() > 0;
    if is_known {
        match answered(forward, made, stream) {
            Some(answered) => attempt = answered,
            None => return (Lesson::default(), Next::Nothing),
        }
    }
    let pin = wants.sticky.as_ref().and_then(|_| forward.new_pin(attempt));
    let is_asked = wants.judged_by.is_some() || pin.is_some();
    let status = if is_asked { stream.status() } else { None };
    let mut next = Next::Nothing;
    // What was answered, and whether that is what was asked for.
    let (answer, is_well) = match wants.judged_by.zip(status) {
        Some((Protocol::Grpc, 200)) => match stream.grpc_status(Part::Headers) {
            // What begins to answer is well enough to take its share: a stream may last for days,
            // and nobody else would be sent there until it ends.
            None if !ended && forward.is_probe() => (Some(Outcome::Success), true),
            None if !ended => {
                let latency = latency(forward, wants, attempt, now, stream);
                next = Next::Trailers { attempt, latency };
                (None, false)
            }
            None => (Some(Outcome::Success), true),
            Some(status) => (Some(Outcome::of_grpc(status)), status == GRPC_OK),
        },
        Some((_, status)) => (Some(Outcome::of_status(status)), status < BAD_REQUEST),
        None => (None, false),
    };
    let is_failure = answer.is_some_and(|outcome| outcome != Outcome::Success);
    let decides = is_failure || forward.is_probe();
    if decides && !is_known && answered(forward, attempt, stream).is_none() {
        return (Lesson::default(), Next::Nothing);
    }
    let outcome = answer.and_then(|outcome| blame(outcome, stream));
    // An endpoint that has failed is none to stay with, nor one in whose place a filter answers.
    let has_failed =
        is_failure || status.is_none_or(|status| Outcome::of_status(status) != Outcome::Success);
    if let Some(cookie) = pin.filter(|_| !has_failed).and_then(|pin| wants.cookie(pin)) {
        stream.add_header("set-cookie", &cookie);
    }
    let sample = match is_well {
        true => latency(forward, wants, attempt, now, stream).map(Sample::Latency),
        false => Some(Sample::Refusal),
    };
    let lesson = router.on_attempt(forward, made, attempt, now);
    let own = outcome.map(|outcome| router.on_outcome(forward, attempt, outcome, sample, now));
    (lesson.and(own.unwrap_or_default()), next)
}

/// Reads the trailers of an answer whose headers had no `grpc-status`, and learns what they
/// teach. Trailers without one say nothing.
pub fn on_trailers(
    router: &mut Router,
    forward: &Forward,
    attempt: Attempt,
    latency: Option<Duration>,
    stream: &mut impl AnswerStream,
) -> Lesson {
    let Some(status) = stream.grpc_status(Part::Trailers) else {
        return Lesson::default();
    };
    let outcome = Outcome::of_grpc(status);
    if outcome != Outcome::Success && answered(forward, attempt, stream).is_none() {
        return Lesson::default();
    }
    let sample = match status {
        GRPC_OK => latency.map(Sample::Latency),
        _ => Some(Sample::Refusal),
    };
    router.on_outcome(forward, attempt, outcome, sample, router.now())
}

/// Learns from a request that ends without an answer: its client has left. An endpoint that hangs
/// would else keep its share, where no client waits for as long as Envoy would.
pub fn on_unanswered(router: &mut Router, forward: &Forward, stream: &mut impl AnswerStream) {
    let wants_latency = router.wants(forward.service()).is_some_and(|wants| wants.latency);
    // Of a body that is to come it is the client who may be slow.
    if !wants_latency || forward.has_body() {
        return;
    }
    let may_retry = forward.preparation().attempts() > 1;
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
fn made(forward: &Forward, stream: &mut impl AnswerStream) -> Attempt {
    match forward.preparation().attempts() {
        1 => Attempt::FIRST,
        _ => stream.attempt().unwrap_or(Attempt::FIRST),
    }
}

/// Which attempt was answered, of those that were made; none where the answer is of no endpoint of
/// the request. The route may be one to another cluster, or have no cluster at all (a redirect), and
/// a filter may have answered. That takes a call to the host, and is asked where much follows from
/// an answer: a single success says little, but for its latency.
fn answered(forward: &Forward, made: Attempt, stream: &mut impl AnswerStream) -> Option<Attempt> {
    match stream.upstream() {
        Some(address) => forward.attempt_to(&address, made),
        // The dynamic forward proxy answers before the router where it cannot resolve a name.
        None if !forward.goes_by_name() => None,
        None => (stream.flags().0 & ResponseFlags::UNRESOLVED != 0).then_some(made),
    }
}

/// How long the endpoint took that has answered, where that is wanted and known.
///
/// A body that was still to come is waited for, and how long that takes is up to the client. Then
/// Envoy's own measure counts, which begins at the last byte of the request: it is in whole
/// milliseconds, and is taken to be in the middle of one.
fn latency(
    forward: &Forward,
    wants: &Wants,
    attempt: Attempt,
    now: Time,
    stream: &mut impl AnswerStream,
) -> Option<Duration> {
    let latency = forward.latency(attempt, now).filter(|_| wants.latency)?;
    if !forward.has_body() {
        return Some(latency);
    }
    let time = stream.service_time()?;
    Some(latency.min(time.saturating_add(Duration::from_micros(500))))
}

/// How the endpoint did, where a failure is its own. One that Envoy itself tells of is that only
/// where the endpoint could not be reached or broke off: a filter may have answered, or a circuit
/// breaker. (To a gRPC client Envoy, too, answers 200 with a `grpc-status`.)
fn blame(outcome: Outcome, stream: &mut impl AnswerStream) -> Option<Outcome> {
    if outcome == Outcome::Success {
        return Some(outcome);
    }
    match stream.flags().0 {
        flags if flags & ResponseFlags::LOCAL_ORIGIN != 0 => Some(Outcome::LocalOrigin),
        flags if flags & !ResponseFlags::RETRY_LIMIT == 0 => Some(outcome),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
