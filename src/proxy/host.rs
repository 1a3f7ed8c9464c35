//! Envoy's host calls: the only file that names them.
//!
//! The SDK panics on a status that it does not list for a call, and a panic takes the whole
//! VM with it. So each function here says in which phases it is legal, and asks nothing that
//! the host could refuse in them. Header values are read as bytes only: the SDK's text
//! functions panic on a value that is not UTF-8, which any client can send.

use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};

use crate::discovery::event::Expect;
use crate::router::handoff::FILTER_STATE_FUNCTION;
use crate::shared::key::Cas;
use crate::shared::members::QueueId;

/// A metric, by the id that Envoy gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricId(u32);

/// A callout, by the token that Envoy gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CalloutId(pub(super) u32);

/// Why Envoy did not send a callout.
#[derive(Debug, Clone, Copy)]
pub(super) enum CalloutRefused {
    /// There is no such cluster (yet).
    NoCluster,
    /// The cluster has no host, or its circuit breaker is open.
    NoCapacity,
}

/// The header maps of a request, of its answer, and of a callout's answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Headers {
    /// Of the request: in its header phase, or while it is paused in it.
    Request,
    /// Of the answer to a callout: in its callback, where it has headers at all.
    CalloutAnswer,
    /// Of the answer to a request: in its header phase.
    Answer,
    /// The trailers of the answer to a request: in their phase.
    AnswerTrailers,
}

impl Headers {
    const fn map(self) -> MapType {
        match self {
            Self::Request => MapType::HttpRequestHeaders,
            Self::CalloutAnswer => MapType::HttpCallResponseHeaders,
            Self::Answer => MapType::HttpResponseHeaders,
            Self::AnswerTrailers => MapType::HttpResponseTrailers,
        }
    }
}

#[expect(unsafe_code, reason = "the SDK's function cannot pass the response code details")]
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// Reads a header's first value. Legal in the phases that [`Headers`] names.
pub(super) fn header(headers: Headers, name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(headers.map(), name).ok().flatten()
}

/// Reads all values of a request header, with commas between them. Legal in the request's header
/// phase.
pub(super) fn request_header_values(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["request", "headers", name]).ok().flatten()
}

/// Sets a request header, whatever values it had. Legal in the request's header phase.
/// Clears Envoy's route cache.
pub(super) fn set_request_header(name: &str, value: &[u8]) {
    let _ = hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value));
}

/// Removes a request header. Legal in the request's header phase. Clears Envoy's route cache.
pub(super) fn remove_request_header(name: &str) {
    let _ = hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, None);
}

/// Calls Envoy's `set_envoy_filter_state` with its encoded argument; false when Envoy
/// refused the value. Legal in the request's header phase.
pub(super) fn set_filter_state(argument: &[u8]) -> bool {
    hostcalls::call_foreign_function(FILTER_STATE_FUNCTION, Some(argument)).is_ok()
}

/// Adds a header to the answer to a request. Legal in its header phase.
pub(super) fn add_answer_header(name: &str, value: &str) {
    let _ = hostcalls::add_map_value_bytes(MapType::HttpResponseHeaders, name, value.as_bytes());
}

/// Reads the address that the request came from, `10.0.0.7:8080` or `[::1]:8080`. Legal in the
/// request's header phase.
pub(super) fn source_address() -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["source", "address"]).ok().flatten()
}

/// Reads how many attempts Envoy's router has made; 0 or none before the first. Legal in the
/// answer's phases, and when the request ends.
pub(super) fn attempt_count() -> Option<u64> {
    number(vec!["upstream", "request_attempt_count"])
}

/// Reads the address of the host that Envoy's router has chosen last; none where the request went
/// nowhere. Legal in the answer's phases, and when the request ends.
pub(super) fn upstream_address() -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["upstream", "address"]).ok().flatten()
}

/// Reads Envoy's response flags. Legal in the answer's phases.
pub(super) fn response_flags() -> Option<u64> {
    number(vec!["response", "flags"])
}

/// Reads the zone of Envoy's node. Legal everywhere; every thread reads the same.
pub(super) fn node_zone() -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["xds", "node", "locality", "zone"]).ok().flatten()
}

/// Reads the id of Envoy's node. Legal everywhere; every thread reads the same.
pub(super) fn node_id() -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["xds", "node", "id"]).ok().flatten()
}

/// Reads a field of what the metadata of Envoy's node says of this filter: a text as it is, a number
/// as 8 bytes of a double. Legal everywhere; every thread reads the same.
pub(super) fn node_metadata(field: &str) -> Option<Vec<u8>> {
    hostcalls::get_property(vec!["xds", "node", "metadata", "consul", field]).ok().flatten()
}

/// Reads a whole number: 8 bytes, the least significant first.
fn number(path: Vec<&str>) -> Option<u64> {
    let bytes = hostcalls::get_property(path).ok().flatten()?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Reads the service's name from the route's metadata. Where Envoy refuses to tell it, that is the
/// empty one, which no service has: the client's host must not decide instead. Legal in the
/// request's header phase.
pub(super) fn route_service() -> Option<Vec<u8>> {
    let path = vec!["xds", "route_metadata", "filter_metadata", "consul", "service"];
    hostcalls::get_property(path).unwrap_or_else(|_| Some(Vec::new()))
}

/// Answers the request of the effective context itself. `headers` are in the form of
/// [`encode_headers`]. Legal until the request's headers went on.
pub(super) fn reply(status: u16, details: &str, headers: &[u8], body: &str) {
    const NO_GRPC_STATUS: i32 = -1;
    // SAFETY: the host reads the four ranges during the call and keeps none of them; each
    // pointer and length are those of a slice that outlives the call.
    #[expect(unsafe_code, reason = "as at the declaration")]
    unsafe {
        proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        );
    }
}

/// Writes headers in the ABI's form: the number of pairs, then the sizes, then each name and
/// value with a zero byte behind it.
pub(super) fn encode_headers(pairs: &[(&str, &str)]) -> Vec<u8> {
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

/// Lets the paused request of the effective context go on. Legal outside its own callbacks.
pub(super) fn resume() {
    let _ = hostcalls::resume_http_request();
}

/// Makes the calls that follow speak of that context; false when it is gone.
pub(super) fn enter(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

/// Sends a request to a cluster. Legal in a root context's callbacks, but for `on_done`; in a
/// request's the answer would be that request's, and lost with it.
pub(super) fn request(
    cluster: &str,
    headers: Vec<(&str, &str)>,
    body: &str,
    timeout: Duration,
) -> Result<CalloutId, CalloutRefused> {
    let body = (!body.is_empty()).then_some(body.as_bytes());
    match hostcalls::dispatch_http_call(cluster, headers, body, vec![], timeout) {
        Ok(token) => Ok(CalloutId(token)),
        Err(Status::BadArgument) => Err(CalloutRefused::NoCluster),
        Err(_) => Err(CalloutRefused::NoCapacity),
    }
}

/// Reads the body of a callout's answer. Legal in its callback.
pub(super) fn callout_body(size: usize) -> Vec<u8> {
    match size {
        0 => Vec::new(),
        _ => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size)
            .ok()
            .flatten()
            .unwrap_or_default(),
    }
}

/// Reads from shared data. Legal everywhere but in `on_vm_start` and `on_configure`, which
/// the canary runs too.
pub(super) fn load(key: &str) -> Option<(Vec<u8>, Cas)> {
    match hostcalls::get_shared_data(key) {
        Ok((value, Some(cas))) => Some((value.unwrap_or_default(), Cas(cas))),
        Ok((_, None)) | Err(_) => None,
    }
}

/// Writes to shared data; false when the value was not as expected. Legal as [`load`] is.
pub(super) fn store(key: &str, value: &[u8], expect: Expect) -> bool {
    /// The host compares numbers only where the key exists, and an absent key takes any
    /// value: a number that no value can have makes a store that only creates. Envoy counts
    /// up from 1, so this one comes after four thousand million writes.
    const NO_VALUE_HAS_THIS: u32 = u32::MAX;
    let cas = match expect {
        Expect::Absent => NO_VALUE_HAS_THIS,
        Expect::Unchanged(Cas(cas)) => cas,
    };
    hostcalls::set_shared_data(key, Some(value), Some(cas)).is_ok()
}

/// Registers a queue that wakes this root context. Legal as [`load`] is.
pub(super) fn register_queue(name: &str) -> QueueId {
    QueueId(hostcalls::register_shared_queue(name).unwrap_or_default())
}

/// Puts a message into a queue; a queue that is gone is passed over. Legal as [`load`] is,
/// but not in `on_done`: a worker that has ended is woken by a dead pointer.
pub(super) fn enqueue(queue: QueueId, message: &[u8]) {
    let _ = hostcalls::enqueue_shared_queue(queue.0, Some(message));
}

/// Takes a message from a queue, if there is one. Legal as [`load`] is.
pub(super) fn dequeue(queue: QueueId) -> Option<Vec<u8>> {
    hostcalls::dequeue_shared_queue(queue.0).ok().flatten()
}

/// Sets the timer of the root context. A period below a millisecond would stop it.
pub(super) fn set_tick_period(period: Duration) {
    let _ = hostcalls::set_tick_period(period.max(Duration::from_millis(1)));
}

/// Stops the timer of the root context.
pub(super) fn stop_ticking() {
    let _ = hostcalls::set_tick_period(Duration::ZERO);
}

/// Defines a counter. Once for each VM: a repetition costs memory in the host.
pub(super) fn define_counter(name: &str) -> Option<MetricId> {
    hostcalls::define_metric(MetricType::Counter, name).ok().map(MetricId)
}

/// Defines a gauge. Once for each VM.
pub(super) fn define_gauge(name: &str) -> Option<MetricId> {
    hostcalls::define_metric(MetricType::Gauge, name).ok().map(MetricId)
}

/// Adds to a counter; adding nothing is not asked of the host, which would refuse it.
pub(super) fn add(metric: Option<MetricId>, by: u64) {
    if let (Some(metric), Ok(by @ 1..)) = (metric, i64::try_from(by)) {
        let _ = hostcalls::increment_metric(metric.0, by);
    }
}

/// Sets a gauge. The VMs share it, and the last one to write wins.
pub(super) fn record(metric: Option<MetricId>, value: u64) {
    if let Some(metric) = metric {
        let _ = hostcalls::record_metric(metric.0, value);
    }
}

/// Reads this VM's monotonic clock.
pub(super) fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads a clock")]
    Instant::now()
}

/// Reads the clock that all VMs share, in nanoseconds.
pub(super) fn wall_clock() -> u64 {
    let now = hostcalls::get_current_time().ok();
    let since = now.and_then(|now| now.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(u64::MAX, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Draws a random number from the host: all VMs are clones, and each needs a seed of its own.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
