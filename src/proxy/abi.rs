//! Envoy's host calls (proxy-wasm ABI 0.2.1), as they are: the only file that imports them.
//!
//! Each function is total: a status that is not `OK` comes back as an error, whatever it is, and
//! nothing panics, since a panic takes the whole VM with it. What the host hands over lies in
//! memory that it has had from [`allocate`]; [`received`] makes a `Vec` of it, which frees it.

#![expect(unsafe_code, reason = "host calls pass pointers, and nothing else does")]

use core::ptr;
use core::time::Duration;
use std::alloc::{self, Layout};

/// The reason for which the host refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(u32);

impl Status {
    const OK: Self = Self(0);
    /// The named thing does not exist.
    pub(super) const NOT_FOUND: Self = Self(1);
    /// The host does not take an argument.
    pub(super) const BAD_ARGUMENT: Self = Self(2);

    const fn check(status: u32) -> Result<(), Self> {
        if status == Self::OK.0 { Ok(()) } else { Err(Self(status)) }
    }
}

/// A map of headers, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map(u32);

impl Map {
    pub(super) const REQUEST_HEADERS: Self = Self(0);
    pub(super) const RESPONSE_HEADERS: Self = Self(2);
    pub(super) const RESPONSE_TRAILERS: Self = Self(3);
    pub(super) const CALLOUT_HEADERS: Self = Self(6);
}

/// A buffer, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer(u32);

impl Buffer {
    pub(super) const REQUEST_BODY: Self = Self(0);
    pub(super) const CALLOUT_BODY: Self = Self(4);
    pub(super) const PLUGIN_CONFIGURATION: Self = Self(7);
}

/// A kind of metric, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric(u32);

impl Metric {
    pub(super) const COUNTER: Self = Self(0);
    pub(super) const GAUGE: Self = Self(1);
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        most: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_register_shared_queue(name: *const u8, name_size: usize, queue: *mut u32) -> u32;
    fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_enqueue_shared_queue(queue: u32, message: *const u8, size: usize) -> u32;
    fn proxy_continue_stream(kind: u32) -> u32;
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
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, metric: *mut u32) -> u32;
    fn proxy_increment_metric(metric: u32, by: i64) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

// SAFETY, of all calls below: the host reads the ranges that it is given during the call, and keeps
// none; each pointer and length are those of a slice that outlives the call. It writes to the places
// that it is given as pointers, which are variables of the caller, and of the type that the ABI says.

/// Allocates memory for data of the host. Returns null if there is no such memory or none is
/// wanted.
pub(super) fn allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the size is not zero.
        Ok(layout) if size > 0 => unsafe { alloc::alloc(layout) },
        _ => ptr::null_mut(),
    }
}

/// Takes over the data that a call hands over. The data is empty if the host leaves the pointer as
/// it is.
fn received(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    let status = call(&mut data, &mut size);
    let bytes = match data.is_null() || size == 0 {
        true => Vec::new(),
        // SAFETY: the host has asked `allocate` for so many bytes, has written them all, and hands
        // them over once.
        false => unsafe { Vec::from_raw_parts(data, size, size) },
    };
    Status::check(status).map(|()| bytes)
}

/// Takes over a number that a call writes.
fn written<T: Default>(call: impl FnOnce(*mut T) -> u32) -> Result<T, Status> {
    let mut value = T::default();
    let status = call(&mut value);
    Status::check(status).map(|()| value)
}

/// Writes a line into Envoy's log, at one of the levels from 0 (trace) to 5 (critical).
pub(super) fn log(level: u32, message: &str) {
    unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// Reads the wall clock, in nanoseconds.
pub(super) fn current_time() -> Result<u64, Status> {
    written(|time| unsafe { proxy_get_current_time_nanoseconds(time) })
}

/// Sets the timer's period, in whole milliseconds; 0 stops it.
pub(super) fn set_tick_period(period: Duration) -> Result<(), Status> {
    Status::check(unsafe { proxy_set_tick_period_milliseconds(millis(period)) })
}

/// Reads a part of a buffer.
pub(super) fn buffer(buffer: Buffer, start: usize, most: usize) -> Result<Vec<u8>, Status> {
    received(|data, size| unsafe { proxy_get_buffer_bytes(buffer.0, start, most, data, size) })
}

/// Reads a header's first value.
pub(super) fn map_value(map: Map, name: &str) -> Result<Vec<u8>, Status> {
    received(|data, size| unsafe {
        proxy_get_header_map_value(map.0, name.as_ptr(), name.len(), data, size)
    })
}

/// Sets a header, whatever values it had.
pub(super) fn replace_map_value(map: Map, name: &str, value: &[u8]) -> Result<(), Status> {
    let (name, name_size) = (name.as_ptr(), name.len());
    Status::check(unsafe {
        proxy_replace_header_map_value(map.0, name, name_size, value.as_ptr(), value.len())
    })
}

/// Removes a header.
pub(super) fn remove_map_value(map: Map, name: &str) -> Result<(), Status> {
    Status::check(unsafe { proxy_remove_header_map_value(map.0, name.as_ptr(), name.len()) })
}

/// Reads a property; the parts of its path have a zero byte between them.
pub(super) fn property(path: &[u8]) -> Result<Vec<u8>, Status> {
    received(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Reads from shared data: a value, and the number of its last change.
pub(super) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), Status> {
    let mut cas = 0;
    let value = received(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    });
    value.map(|value| (value, cas))
}

/// Writes to shared data, where a value has that number, or none is there.
pub(super) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    Status::check(unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Registers a queue.
pub(super) fn register_queue(name: &str) -> Result<u32, Status> {
    written(|queue| unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), queue) })
}

/// Takes a message from a queue.
pub(super) fn dequeue(queue: u32) -> Result<Vec<u8>, Status> {
    received(|data, size| unsafe { proxy_dequeue_shared_queue(queue, data, size) })
}

/// Puts a message into a queue.
pub(super) fn enqueue(queue: u32, message: &[u8]) -> Result<(), Status> {
    Status::check(unsafe { proxy_enqueue_shared_queue(queue, message.as_ptr(), message.len()) })
}

/// Continues a paused request.
pub(super) fn continue_request() -> Result<(), Status> {
    const REQUEST: u32 = 0;
    Status::check(unsafe { proxy_continue_stream(REQUEST) })
}

/// Answers a request; `headers` are in the ABI's form.
pub(super) fn send_local_response(
    status: u16,
    details: &str,
    body: &[u8],
    headers: &[u8],
) -> Result<(), Status> {
    const NO_GRPC_STATUS: i32 = -1;
    Status::check(unsafe {
        proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Sends a request to a cluster; `headers` are in the ABI's form. A timeout of 0 is none.
pub(super) fn http_call(
    cluster: &str,
    headers: &[u8],
    body: &str,
    timeout: Duration,
) -> Result<u32, Status> {
    const NO_TRAILERS: [u8; 4] = 0_u32.to_le_bytes();
    written(|token| unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            NO_TRAILERS.as_ptr(),
            NO_TRAILERS.len(),
            millis(timeout),
            token,
        )
    })
}

/// Makes the following calls apply to that context.
pub(super) fn set_effective_context(context: u32) -> Result<(), Status> {
    Status::check(unsafe { proxy_set_effective_context(context) })
}

/// Defines a metric.
pub(super) fn define_metric(kind: Metric, name: &str) -> Result<u32, Status> {
    written(|metric| unsafe { proxy_define_metric(kind.0, name.as_ptr(), name.len(), metric) })
}

/// Adds to a metric.
pub(super) fn increment_metric(metric: u32, by: i64) -> Result<(), Status> {
    Status::check(unsafe { proxy_increment_metric(metric, by) })
}

/// Sets a metric.
pub(super) fn record_metric(metric: u32, value: u64) -> Result<(), Status> {
    Status::check(unsafe { proxy_record_metric(metric, value) })
}

/// Calls a function of Envoy's beyond the ABI.
pub(super) fn call_foreign_function(name: &str, argument: &[u8]) -> Result<Vec<u8>, Status> {
    let (name, name_size) = (name.as_ptr(), name.len());
    received(|data, size| unsafe {
        let (argument, argument_size) = (argument.as_ptr(), argument.len());
        proxy_call_foreign_function(name, name_size, argument, argument_size, data, size)
    })
}

/// Encodes a duration for the ABI.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
