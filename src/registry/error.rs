//! The reasons why a registry could not be read.

use core::fmt;
use core::time::Duration;

use crate::registry::consul::error::QueryError;
use crate::registry::error_kind::ErrorKind;
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
