//! A request and its response as [`request`](crate::request) sees them, on Envoy's host calls.

use core::str::{self, FromStr};
use core::time::Duration;

use crate::handoff::encoded_handoff::HandoffStream;
use crate::proxy::host::{self, Headers, Start};
use crate::request::inputs::Stream;
use crate::request::response::{ResponseFlags, ResponsePart, ResponseStream};
use crate::router::forward::Attempt;
use crate::router::reply::Reply;
use crate::util::time::Time;

/// The request of the effective context in its header phase, or its response in its phases.
#[derive(Debug)]
pub(super) struct EnvoyStream {
    pub(super) start: Start,
    /// True if a body follows the request's headers.
    pub(super) has_body: bool,
}

impl Stream for EnvoyStream {
    fn authority(&mut self) -> Option<Vec<u8>> {
        host::header(Headers::Request, ":authority")
    }

    fn route_service(&mut self) -> Option<Vec<u8>> {
        host::route_service()
    }

    fn header(&mut self, name: &str) -> Option<Vec<u8>> {
        host::header(Headers::Request, name)
    }

    fn values(&mut self, name: &str) -> Option<Vec<u8>> {
        host::request_header_values(name)
    }

    fn has_body(&self) -> bool {
        self.has_body
    }

    fn source_address(&mut self) -> Option<Vec<u8>> {
        host::source_address()
    }

    fn now(&mut self) -> Time {
        self.start.time()
    }
}

impl HandoffStream for EnvoyStream {
    fn has_header(&mut self, name: &str) -> bool {
        host::has_request_header(name)
    }

    fn set_header(&mut self, name: &str, value: &[u8]) -> bool {
        host::set_request_header(name, value)
    }

    fn remove_header(&mut self, name: &str) -> bool {
        host::remove_request_header(name)
    }

    fn set_filter_state(&mut self, argument: &[u8]) -> bool {
        host::set_filter_state(argument)
    }
}

impl ResponseStream for EnvoyStream {
    fn status(&mut self) -> Option<u16> {
        parse(&host::header(Headers::Answer, ":status")?)
    }

    fn grpc_status(&mut self, part: ResponsePart) -> Option<u32> {
        let headers = match part {
            ResponsePart::Headers => Headers::Answer,
            ResponsePart::Trailers => Headers::AnswerTrailers,
        };
        parse(&host::header(headers, "grpc-status")?)
    }

    fn attempt(&mut self) -> Option<Attempt> {
        host::attempt_count().filter(|count| *count > 0).map(Attempt::new)
    }

    fn upstream(&mut self) -> Option<Vec<u8>> {
        host::upstream_address()
    }

    fn service_time(&mut self) -> Option<Duration> {
        let header = host::header(Headers::Answer, "x-envoy-upstream-service-time")?;
        parse(&header).map(Duration::from_millis)
    }

    fn flags(&mut self) -> ResponseFlags {
        ResponseFlags(host::response_flags().unwrap_or(0))
    }

    fn now(&mut self) -> Time {
        self.start.time()
    }
}

/// Reads a number that an endpoint has sent. It may be any bytes.
fn parse<T: FromStr>(value: &[u8]) -> Option<T> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// Replies to the request of the effective context.
pub(super) fn send(reply: &Reply) {
    host::reply(reply.status, reply.details, reply.headers, reply.body.as_bytes());
}
