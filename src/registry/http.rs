//! A request to a registry, and its response as the host lends it.

use core::time::Duration;
use std::borrow::Cow;

/// The timeout of a read that does not wait for a change, unless the registry is known to be slower.
pub const PLAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The freshness that a response must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadMode {
    /// The mode of the configuration.
    #[default]
    AsConfigured,
    /// At least the state that the registry itself takes for the current one, even if the
    /// configuration is content with less.
    Fresher,
    /// The state that the registry has confirmed as the current one, read at once. It is believed
    /// where it contradicts another response.
    Authoritative,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads the resource of the path.
    Get,
    /// Writes it.
    Put,
}

impl Method {
    /// Returns the method's name in HTTP.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// A request to send to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The cluster of Envoy behind which the registry is.
    pub cluster: String,
    /// The method.
    pub method: Method,
    /// The path with its parameters; never a token.
    pub path: String,
    /// The headers beside those that every request has; never a token.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty if there is none.
    pub body: String,
    /// The longest time until the whole response.
    pub timeout: Duration,
    /// The headers of the response that are read, in lower case.
    pub response_headers: &'static [&'static str],
}

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
