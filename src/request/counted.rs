//! A request and a response that count the calls to the host.

use core::time::Duration;

use crate::handoff::encoded_handoff::HandoffStream;
use crate::request::inputs::Stream;
use crate::request::response::{ResponseFlags, ResponsePart, ResponseStream};
use crate::router::forward::Attempt;
use crate::util::time::Time;

/// A request that counts the calls to the host.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) has_body: bool,
    pub(super) source_address: Option<&'static str>,
    pub(super) route_service: Option<&'static str>,
    pub(super) filter_states: Vec<Vec<u8>>,
    /// The number of filter states that Envoy takes before it refuses one; none if it takes all.
    pub(super) takes: Option<usize>,
    /// True if Envoy refuses to write headers.
    pub(super) refuses_headers: bool,
    pub(super) calls: usize,
}

impl Counted {
    pub(super) fn to(authority: &str) -> Self {
        let mut stream = Self::default();
        stream.headers.push((":authority".to_owned(), authority.as_bytes().to_vec()));
        stream
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| std::str::from_utf8(value).unwrap())
    }
}

impl Stream for Counted {
    fn authority(&mut self) -> Option<Vec<u8>> {
        self.calls += 1;
        self.value(":authority").map(|value| value.as_bytes().to_vec())
    }

    fn route_service(&mut self) -> Option<Vec<u8>> {
        self.calls += 1;
        self.route_service.map(|name| name.as_bytes().to_vec())
    }

    fn header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.calls += 1;
        self.value(name).map(|value| value.as_bytes().to_vec())
    }

    fn values(&mut self, name: &str) -> Option<Vec<u8>> {
        self.calls += 1;
        let values = self.headers.iter().filter(|(known, _)| known == name);
        let values: Vec<_> = values.map(|(_, value)| value.as_slice()).collect();
        Some(values.join(&b',')).filter(|_| !values.is_empty())
    }

    fn has_body(&self) -> bool {
        self.has_body
    }

    fn source_address(&mut self) -> Option<Vec<u8>> {
        self.calls += 1;
        self.source_address.map(|address| address.as_bytes().to_vec())
    }

    fn now(&mut self) -> Time {
        self.calls += 1;
        Time::ZERO
    }
}

impl HandoffStream for Counted {
    fn has_header(&mut self, name: &str) -> bool {
        self.calls += 1;
        self.value(name).is_some()
    }

    fn set_header(&mut self, name: &str, value: &[u8]) -> bool {
        let is_taken = self.remove_header(name);
        if is_taken {
            self.headers.push((name.to_owned(), value.to_vec()));
        }
        is_taken
    }

    fn remove_header(&mut self, name: &str) -> bool {
        self.calls += 1;
        if !self.refuses_headers {
            self.headers.retain(|(known, _)| known != name);
        }
        !self.refuses_headers
    }

    fn set_filter_state(&mut self, argument: &[u8]) -> bool {
        self.calls += 1;
        let is_taken = self.takes != Some(self.filter_states.len());
        if is_taken {
            self.filter_states.push(argument.to_vec());
        }
        is_taken
    }
}

/// A response that counts the calls to the host.
pub(super) struct CountedResponse {
    pub(super) status: u16,
    pub(super) grpc_status: Option<u32>,
    pub(super) attempt: u64,
    pub(super) upstream: Option<&'static str>,
    pub(super) flags: u64,
    pub(super) service_time: Option<Duration>,
    pub(super) now: Time,
    pub(super) calls: usize,
}

impl CountedResponse {
    /// Returns a response to the first attempt, from that address.
    pub(super) fn from(upstream: &'static str, status: u16) -> Self {
        Self {
            status,
            grpc_status: None,
            attempt: 1,
            upstream: Some(upstream),
            flags: 0,
            service_time: None,
            now: Time::ZERO,
            calls: 0,
        }
    }
}

impl ResponseStream for CountedResponse {
    fn status(&mut self) -> Option<u16> {
        self.calls += 1;
        Some(self.status)
    }

    fn grpc_status(&mut self, _: ResponsePart) -> Option<u32> {
        self.calls += 1;
        self.grpc_status
    }

    fn attempt(&mut self) -> Option<Attempt> {
        self.calls += 1;
        Some(self.attempt).filter(|count| *count > 0).map(Attempt::new)
    }

    fn upstream(&mut self) -> Option<Vec<u8>> {
        self.calls += 1;
        self.upstream.map(|address| address.as_bytes().to_vec())
    }

    fn service_time(&mut self) -> Option<Duration> {
        self.calls += 1;
        self.service_time
    }

    fn flags(&mut self) -> ResponseFlags {
        self.calls += 1;
        ResponseFlags(self.flags)
    }

    fn now(&mut self) -> Time {
        self.calls += 1;
        self.now
    }
}
