//! The host calls of Envoy ([`abi`]), and the phases in which each is legal.
//!
//! Header values are read as bytes only, because any client can send a value that is not UTF-8.

use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use crate::handoff::filter_state::FILTER_STATE_FUNCTION;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::host::Expect;
use crate::proxy::abi::{self, Buffer, Map, Metric, Status};
use crate::shared::key::Cas;
use crate::shared::members::QueueId;
use crate::util::time::Time;

/// A metric, by the id that Envoy gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricId(u32);

/// A callout, by the token that Envoy gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CalloutId(pub(super) u32);

/// The reason for which Envoy did not send a callout.
#[derive(Debug, Clone, Copy)]
pub(super) enum CalloutRefused {
    /// There is no such cluster (yet).
    NoCluster,
    /// The cluster has no host, or its circuit breaker is open.
    NoCapacity,
}

/// The header maps of a request, of its response, and of a callout's response.
#[derive(Debug, Clone, Copy)]
pub(super) enum Headers {
    /// The headers of the request: in its header phase, or while it is paused in it.
    Request,
    /// The headers of the response to a callout: in its callback, if it has headers at all.
    CalloutAnswer,
    /// The headers of the response to a request: in its header phase.
    Answer,
    /// The trailers of the response to a request: in their phase.
    AnswerTrailers,
}

impl Headers {
    const fn map(self) -> Map {
        match self {
            Self::Request => Map::REQUEST_HEADERS,
            Self::CalloutAnswer => Map::CALLOUT_HEADERS,
            Self::Answer => Map::RESPONSE_HEADERS,
            Self::AnswerTrailers => Map::RESPONSE_TRAILERS,
        }
    }
}

/// Reads a header's first value. Legal in the phases that [`Headers`] names.
pub(super) fn header(headers: Headers, name: &str) -> Option<Vec<u8>> {
    abi::map_value(headers.map(), name).ok()
}

/// Reads all values of a request header, with commas between them. Legal in the request's header
/// phase.
pub(super) fn request_header_values(name: &str) -> Option<Vec<u8>> {
    property(&[b"request\0headers\0", name.as_bytes()].concat())
}

/// Returns true if the request has a header, or if Envoy does not say. Legal in the request's
/// header phase.
pub(super) fn has_request_header(name: &str) -> bool {
    abi::map_value(Map::REQUEST_HEADERS, name) != Err(Status::NOT_FOUND)
}

/// Sets a request header, and replaces all its values. Returns false if Envoy refuses. Legal in the
/// request's header phase. Clears Envoy's route cache.
pub(super) fn set_request_header(name: &str, value: &[u8]) -> bool {
    abi::replace_map_value(Map::REQUEST_HEADERS, name, value).is_ok()
}

/// Removes a request header. Returns false if Envoy refuses. Legal in the request's header phase.
/// Clears Envoy's route cache.
pub(super) fn remove_request_header(name: &str) -> bool {
    abi::remove_map_value(Map::REQUEST_HEADERS, name).is_ok()
}

/// Calls Envoy's `set_envoy_filter_state` with its encoded argument. Returns false if Envoy refuses
/// the value. Legal in the request's header phase.
pub(super) fn set_filter_state(argument: &[u8]) -> bool {
    abi::call_foreign_function(FILTER_STATE_FUNCTION, argument).is_ok()
}

/// Reads the address that the request came from, `10.0.0.7:8080` or `[::1]:8080`. Legal in the
/// request's header phase.
pub(super) fn source_address() -> Option<Vec<u8>> {
    property(b"source\0address")
}

/// Reads the address that the request came to: `10.0.0.7:8080`, `[::1]:8080`, or the path of a pipe.
/// Legal in the request's header phase.
pub(super) fn destination_address() -> Option<Vec<u8>> {
    property(b"destination\0address")
}

/// Reads the number of attempts of Envoy's router: 0 or `None` before the first. Legal in the
/// response's phases, and when the request ends.
pub(super) fn attempt_count() -> Option<u64> {
    number(b"upstream\0request_attempt_count")
}

/// Reads the address of the host that Envoy's router has chosen last. Returns `None` if the request
/// went nowhere. Legal in the response's phases, and when the request ends.
pub(super) fn upstream_address() -> Option<Vec<u8>> {
    property(b"upstream\0address")
}

/// Reads Envoy's response flags. Legal in the response's phases.
pub(super) fn response_flags() -> Option<u64> {
    number(b"response\0flags")
}

/// Reads the `root_id` of the plugin. Legal everywhere; every thread reads the same.
pub(super) fn root_id() -> Option<Vec<u8>> {
    property(b"plugin_root_id")
}

/// Reads the zone of Envoy's node. Legal everywhere; every thread reads the same.
pub(super) fn node_zone() -> Option<Vec<u8>> {
    property(b"xds\0node\0locality\0zone")
}

/// Reads the id of Envoy's node. Legal everywhere; every thread reads the same.
pub(super) fn node_id() -> Option<Vec<u8>> {
    property(b"xds\0node\0id")
}

/// Reads a field of this filter's metadata of Envoy's node: a text as it is, or a number as the 8
/// bytes of a double. Legal everywhere; every thread reads the same.
pub(super) fn node_metadata(field: &str) -> Option<Vec<u8>> {
    property(&[b"xds\0node\0metadata\0consul\0", field.as_bytes()].concat())
}

/// Reads a whole number: 8 bytes, the least significant first.
fn number(path: &[u8]) -> Option<u64> {
    property(path)?.try_into().ok().map(u64::from_le_bytes)
}

/// Reads a property. Returns `None` if Envoy has none, or an empty one.
fn property(path: &[u8]) -> Option<Vec<u8>> {
    abi::property(path).ok().filter(|value| !value.is_empty())
}

/// Reads the service's name from the route's metadata. If Envoy refuses, the name is empty, which
/// no service has: the client's host must not decide instead. Legal in the request's header phase.
pub(super) fn route_service() -> Option<Vec<u8>> {
    match abi::property(b"xds\0route_metadata\0filter_metadata\0consul\0service") {
        Ok(name) => Some(name).filter(|name| !name.is_empty()),
        Err(Status::NOT_FOUND) => None,
        Err(_) => Some(Vec::new()),
    }
}

/// Replies to the request of the effective context. Legal until the request's headers went on.
pub(super) fn reply(status: u16, details: &str, headers: &[(&str, &str)], body: &[u8]) {
    let _ = abi::send_local_response(status, details, body, &encode_headers(headers));
}

/// Encodes headers for the ABI: the number of pairs, the sizes, then each name and value with a
/// zero byte behind it.
fn encode_headers(pairs: &[(&str, &str)]) -> Vec<u8> {
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = Vec::new();
    out.extend(u32::try_from(pairs.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (name, value) in pairs {
        out.extend(size(name));
        out.extend(size(value));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend(text.as_bytes());
        out.push(0);
    }
    out
}

/// Continues the paused request of the effective context. Legal outside its own callbacks.
pub(super) fn resume() {
    let _ = abi::continue_request();
}

/// Makes the following calls apply to that context. Returns false if the context is gone.
pub(super) fn enter(context: u32) -> bool {
    abi::set_effective_context(context).is_ok()
}

/// Sends a request to a cluster. Legal in a root context's callbacks, except `on_done`. In a
/// request's callbacks the response would belong to that request, and be lost with it.
pub(super) fn request(
    cluster: &str,
    headers: &[(&str, &str)],
    body: &str,
    timeout: Duration,
) -> Result<CalloutId, CalloutRefused> {
    match abi::http_call(cluster, &encode_headers(headers), body, timeout) {
        Ok(token) => Ok(CalloutId(token)),
        Err(Status::BAD_ARGUMENT) => Err(CalloutRefused::NoCluster),
        Err(_) => Err(CalloutRefused::NoCapacity),
    }
}

/// Reads the body of a callout's response. Legal in its callback.
pub(super) fn callout_body(size: usize) -> Vec<u8> {
    buffer(Buffer::CALLOUT_BODY, size)
}

/// Reads the part of a request's body that has come. Legal in its callback.
pub(super) fn request_body(size: usize) -> Vec<u8> {
    buffer(Buffer::REQUEST_BODY, size)
}

/// Reads the plugin's configuration. Legal in `on_configure`.
pub(super) fn configuration(size: usize) -> Vec<u8> {
    buffer(Buffer::PLUGIN_CONFIGURATION, size)
}

/// Reads a buffer of that size, from its beginning.
fn buffer(buffer: Buffer, size: usize) -> Vec<u8> {
    match size {
        0 => Vec::new(),
        _ => abi::buffer(buffer, 0, size).unwrap_or_default(),
    }
}

/// Reads from shared data. Legal everywhere but in `on_vm_start` and `on_configure`, which
/// the canary runs too.
pub(super) fn load(key: &str) -> Option<(Vec<u8>, Cas)> {
    abi::shared_data(key).ok().map(|(value, cas)| (value, Cas(cas)))
}

/// Writes to shared data. Returns false if the condition does not hold. Legal as [`load`] is.
pub(super) fn store(key: &str, value: &[u8], expect: Expect) -> bool {
    /// The host compares numbers only where the key exists, and an absent key takes any
    /// value: a number that no value can have makes a store that only creates. Envoy counts
    /// up from 1, so this one comes after four thousand million writes.
    const NO_VALUE_HAS_THIS: u32 = u32::MAX;
    let cas = match expect {
        Expect::Absent => NO_VALUE_HAS_THIS,
        Expect::Unchanged(Cas(cas)) => cas,
    };
    abi::set_shared_data(key, value, cas).is_ok()
}

/// Registers a queue that wakes this root context. Legal as [`load`] is.
pub(super) fn register_queue(name: &str) -> QueueId {
    QueueId(abi::register_queue(name).unwrap_or_default())
}

/// Puts a message into a queue, if the queue still exists. Legal as [`load`] is, except in
/// `on_done`: a worker that has ended would be woken by a dangling pointer.
pub(super) fn enqueue(queue: QueueId, message: &[u8]) {
    let _ = abi::enqueue(queue.0, message);
}

/// Takes a message from a queue, if there is one. Legal as [`load`] is.
pub(super) fn dequeue(queue: QueueId) -> Option<Vec<u8>> {
    abi::dequeue(queue.0).ok()
}

/// Sets the timer of the root context. A period below a millisecond would stop it.
pub(super) fn set_tick_period(period: Duration) {
    let _ = abi::set_tick_period(period.max(Duration::from_millis(1)));
}

/// Stops the timer of the root context.
pub(super) fn stop_ticking() {
    let _ = abi::set_tick_period(Duration::ZERO);
}

/// Defines a counter. To be called once in each VM, because a repetition costs memory in the host.
pub(super) fn define_counter(name: &str) -> Option<MetricId> {
    abi::define_metric(Metric::COUNTER, name).ok().map(MetricId)
}

/// Defines a gauge. To be called once in each VM.
pub(super) fn define_gauge(name: &str) -> Option<MetricId> {
    abi::define_metric(Metric::GAUGE, name).ok().map(MetricId)
}

/// Adds to a counter. Adding 0 makes no host call, since the host would refuse it.
pub(super) fn add(metric: Option<MetricId>, by: u64) {
    if let (Some(metric), Ok(by @ 1..)) = (metric, i64::try_from(by)) {
        let _ = abi::increment_metric(metric.0, by);
    }
}

/// Sets a gauge. The VMs share it, and the last one to write wins.
pub(super) fn record(metric: Option<MetricId>, value: u64) {
    if let Some(metric) = metric {
        let _ = abi::record_metric(metric.0, value);
    }
}

/// Reads this VM's monotonic clock.
fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads a clock")]
    Instant::now()
}

/// Reads the clock that all VMs share, in nanoseconds.
pub(super) fn wall_clock() -> u64 {
    abi::current_time().unwrap_or(u64::MAX)
}

/// Draws a random number from the host. All VMs are clones, so each needs a seed of its own.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// Writes a line into Envoy's log, at a level from 0 (trace) to 5 (critical). Legal everywhere.
fn write_line(level: u32, line: &str) {
    abi::log(level, line);
}

/// The start from which a root context counts time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start(Instant);

impl Start {
    /// Starts now.
    pub(super) fn now() -> Self {
        Self(clock())
    }

    /// Returns the time since the start.
    pub(super) fn time(self) -> Time {
        Time::from_start(clock().saturating_duration_since(self.0))
    }
}

/// The logger that writes into Envoy's log.
struct EnvoyLog;

/// Starts to log, from level `info` on. The configuration sets the level later.
pub(super) fn start_logging() {
    /// The level of a panic, the highest of all.
    const CRITICAL: u32 = 5;
    if log::set_logger(&EnvoyLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
        std::panic::set_hook(Box::new(|panic| write_line(CRITICAL, &panic.to_string())));
    }
}

impl Log for EnvoyLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // The macros have checked the level already.
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        match record.args().as_str() {
            Some(line) => write_line(level, line),
            None => write_line(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
