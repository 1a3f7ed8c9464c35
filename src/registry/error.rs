//! The reasons why a registry could not be read.

use core::fmt;
use core::time::Duration;

use crate::registry::consul::error::QueryError;
use crate::registry::http::CallFailure;
#[cfg(feature = "polled-registry")]
use crate::registry::polled::PolledError;

/// The reason why a query has no response. None of them removes an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// A query to Consul.
    Consul(QueryError),
    /// A query to the polled registry of tests.
    #[cfg(feature = "polled-registry")]
    Polled(PolledError),
}

impl RegistryError {
    /// Returns the error of a call to Consul through this cluster that brought no response.
    pub fn of_failure(failure: CallFailure, cluster: &str) -> Self {
        Self::Consul(QueryError::of_failure(failure, cluster))
    }

    /// Returns the error of a query that was to wait for a change, and failed after this time.
    pub fn while_blocking(self, after: Duration) -> Self {
        match self {
            Self::Consul(error) => Self::Consul(error.while_blocking(after)),
            #[cfg(feature = "polled-registry")]
            Self::Polled(error) => Self::Polled(error),
        }
    }

    /// Returns the kind.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Consul(error) => error.kind(),
            #[cfg(feature = "polled-registry")]
            Self::Polled(error) => error.kind(),
        }
    }

    /// Returns true if the error may come from a timeout that is too short for the registry.
    pub const fn hints_at_timeout(&self) -> bool {
        match self {
            Self::Consul(error) => error.hints_at_timeout(),
            #[cfg(feature = "polled-registry")]
            Self::Polled(error) => error.hints_at_timeout(),
        }
    }
}

impl From<QueryError> for RegistryError {
    fn from(error: QueryError) -> Self {
        Self::Consul(error)
    }
}

#[cfg(feature = "polled-registry")]
impl From<PolledError> for RegistryError {
    fn from(error: PolledError) -> Self {
        Self::Polled(error)
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consul(error) => error.fmt(f),
            #[cfg(feature = "polled-registry")]
            Self::Polled(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Consul(error) => error.source(),
            #[cfg(feature = "polled-registry")]
            Self::Polled(_) => None,
        }
    }
}

/// The kind of a [`RegistryError`], by which it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Envoy did not send the request.
    Refused,
    /// There is no connection to Consul.
    Unreachable,
    /// Consul did not begin to answer in time, or nothing ever came back.
    Timeout,
    /// The answer broke off, or was too long.
    NoAnswer,
    /// The token is not good enough.
    Denied,
    /// Something in between ended a query that waited for a change.
    CutOff,
    /// Consul's rate limit.
    RateLimited,
    /// Another status of 500 or above.
    ServerError,
    /// Any other status.
    ClientError,
    /// Instances are hidden from the token.
    Filtered,
    /// No index, or none that can be read.
    BadIndex,
    /// A body that cannot be decoded.
    BadBody,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::NoAnswer,
        Self::Denied,
        Self::CutOff,
        Self::RateLimited,
        Self::ServerError,
        Self::ClientError,
        Self::Filtered,
        Self::BadIndex,
        Self::BadBody,
    ];

    /// Its part of a counter's name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::NoAnswer => "no_answer",
            Self::Denied => "denied",
            Self::CutOff => "cut_off",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::ClientError => "client_error",
            Self::Filtered => "filtered",
            Self::BadIndex => "bad_index",
            Self::BadBody => "bad_body",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_kind_is_listed_once_and_has_a_label_of_its_own() {
        let mut labels = ErrorKind::ALL.map(ErrorKind::label).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
        // The discriminant is the position, so a kind that is not listed shows here.
        for (position, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position);
        }
    }
}
