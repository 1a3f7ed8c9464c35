//! A request as [`request`](crate::request) sees it, on Envoy's host calls.

use crate::proxy::host::{self, Headers};
use crate::request::Stream;
use crate::router::reply::Reply;

/// The request of the effective context, in its header phase.
#[derive(Debug)]
pub(super) struct EnvoyStream;

impl Stream for EnvoyStream {
    fn authority(&mut self) -> Option<Vec<u8>> {
        host::header(Headers::Request, ":authority")
    }

    fn route_service(&mut self) -> Option<Vec<u8>> {
        host::route_service()
    }

    fn has_header(&mut self, name: &str) -> bool {
        host::header(Headers::Request, name).is_some()
    }

    fn set_header(&mut self, name: &str, value: &[u8]) {
        host::set_request_header(name, value);
    }

    fn remove_header(&mut self, name: &str) {
        host::remove_request_header(name);
    }

    fn set_filter_state(&mut self, argument: &[u8]) -> bool {
        host::set_filter_state(argument)
    }
}

/// Answers the request of the effective context.
pub(super) fn send(reply: &Reply) {
    host::reply(reply.status, reply.details, &host::encode_headers(reply.headers), &reply.body);
}
