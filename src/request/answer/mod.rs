//! What is read from an answer, for its service to learn from it.

use core::time::Duration;

use crate::balance::outlier::outcome::Outcome;
use crate::config::Protocol;
use crate::router::Router;
use crate::router::answer::{Attempt, Lesson};
use crate::router::decision::Forward;
use crate::time::Time;

/// An answer in its header or trailer phase.
pub trait AnswerStream {
    /// Reads `:status`; none where it is no number.
    fn status(&mut self) -> Option<u16>;
    /// Reads `grpc-status` from the headers, or the trailers in their phase; none where it is
    /// not there.
    fn grpc_status(&mut self, part: Part) -> Option<u32>;
    /// Reads which attempt it is the answer to.
    fn attempt(&mut self) -> Attempt;
    /// Reads the address that Envoy's router has sent the request to; none where it was sent
    /// nowhere.
    fn upstream(&mut self) -> Option<Vec<u8>>;
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
    let attempt = match forward.preparation().attempts() {
        1 => Attempt::FIRST,
        _ => stream.attempt(),
    };
    let latency = forward.latency(attempt, now).filter(|_| wants.latency);
    let pin = wants.sticky.as_ref().and_then(|_| forward.new_pin(attempt));
    let is_asked = wants.judged_by.is_some() || pin.is_some();
    let status = if is_asked { stream.status() } else { None };
    let mut next = Next::Nothing;
    let answered = match wants.judged_by.zip(status) {
        Some((Protocol::Grpc, 200)) => match stream.grpc_status(Part::Headers) {
            // What begins to answer is well enough to take its share: a stream may last for days,
            // and nobody else would be sent there until it ends.
            None if !ended && forward.is_probe() => Some(Outcome::Success),
            None if !ended => {
                next = Next::Trailers { attempt, latency };
                None
            }
            status => Some(status.map_or(Outcome::Success, Outcome::of_grpc)),
        },
        Some((_, status)) => Some(Outcome::of_status(status)),
        None => None,
    };
    let is_failure = answered.is_some_and(|outcome| outcome != Outcome::Success);
    let decides = is_failure || attempt.retries() > 0 || forward.is_probe();
    if decides && !is_of_endpoint(forward, stream) {
        return (Lesson::default(), Next::Nothing);
    }
    let outcome = answered.and_then(|outcome| blame(outcome, stream));
    // An endpoint that has failed is none to stay with, nor one in whose place a filter answers.
    let has_failed =
        is_failure || status.is_none_or(|status| Outcome::of_status(status) != Outcome::Success);
    if let Some(cookie) = pin.filter(|_| !has_failed).and_then(|pin| wants.cookie(pin)) {
        stream.add_header("set-cookie", &cookie);
    }
    let lesson = router.on_attempt(forward, attempt, now);
    let own = outcome.map(|outcome| router.on_outcome(forward, attempt, outcome, latency, now));
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
    if outcome != Outcome::Success && !is_of_endpoint(forward, stream) {
        return Lesson::default();
    }
    router.on_outcome(forward, attempt, outcome, latency, router.now())
}

/// Whether the answer is of an endpoint of the request. The route may be one to another cluster, or
/// have no cluster at all (a redirect), and a filter may have answered. That takes a call to the
/// host, and is asked where much follows from an answer: a single success says little.
fn is_of_endpoint(forward: &Forward, stream: &mut impl AnswerStream) -> bool {
    match stream.upstream() {
        Some(address) => forward.went_to(&address),
        // The dynamic forward proxy answers before the router where it cannot resolve a name.
        None => forward.goes_by_name() && stream.flags().0 & ResponseFlags::UNRESOLVED != 0,
    }
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
