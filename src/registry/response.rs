//! The response to a request, as the host lends it.

use std::borrow::Cow;

/// The header that Envoy adds to a response of an upstream, and not to its own responses.
pub const UPSTREAM_HEADER: &str = "x-envoy-upstream-service-time";

/// The reason why a request has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailure {
    /// Envoy did not send the request.
    Refused(Refusal),
    /// Headers may have come, but not all of the body: a reset or the timeout in between,
    /// or a body over Envoy's limit. Envoy does not say which.
    NoAnswer,
    /// Envoy never called back; noticed by a watchdog.
    Lost,
}

/// The reason why Envoy did not send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Envoy has no cluster of that name (yet).
    UnknownCluster,
    /// The cluster has no host, or its circuit breaker is open.
    NoCapacity,
}

/// A header by its name in lower case.
pub type Header<'a> = (&'a str, Cow<'a, [u8]>);

/// A response, borrowed from the host.
#[derive(Debug, Clone, Copy)]
pub struct HttpResponse<'a> {
    /// The HTTP status.
    pub status: u16,
    /// True if Envoy itself responded: there is no [`UPSTREAM_HEADER`].
    pub from_envoy: bool,
    /// The headers of which the request says that they are read, as far as they are there.
    pub headers: &'a [Header<'a>],
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> HttpResponse<'a> {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| &**value)
    }
}
