//! A request to a registry.

use core::time::Duration;

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
