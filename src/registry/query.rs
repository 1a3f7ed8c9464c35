//! The query of a source.

use crate::config::{Config, Discover, DnsNames, Service};
use crate::model::service::QueryKey;
use crate::model::snapshot::Snapshot;
use crate::registry::consul::dns_name::DnsName;
use crate::registry::consul::query::ConsulQuery;
use crate::registry::error::RegistryError;
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse, ReadMode};
#[cfg(feature = "polled-registry")]
use crate::registry::polled::PolledQuery;
use crate::registry::query_response::QueryOrigin;
use crate::registry::query_response::QueryResponse;
use crate::registry::resume::Resume;

/// The query of a source to its registry, and the reader of the responses. Built once, at
/// configuration.
#[cfg_attr(
    feature = "polled-registry",
    allow(clippy::large_enum_variant, reason = "the small variant exists in tests only")
)]
#[derive(Debug, Clone)]
pub enum Query {
    /// A query to Consul.
    Consul(ConsulQuery),
    /// A query to the polled registry of tests.
    #[cfg(feature = "polled-registry")]
    Polled(PolledQuery),
}

/// The way in which a registry tells of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A request may wait at the registry for a change.
    Blocks,
    /// The registry responds at once, and is read again and again.
    Polls,
}

impl Query {
    /// Builds the query of a service in a datacenter; `None` is the registry's own.
    pub fn new(config: &Config, service: &Service, datacenter: Option<&str>) -> Self {
        Self::Consul(ConsulQuery::new(config, service, datacenter))
    }

    /// Builds the query of the catalog, which lists the services.
    pub fn catalog(config: &Config, discover: &Discover) -> Self {
        Self::Consul(ConsulQuery::catalog(config, discover))
    }

    /// Returns the hash of all that decides the response or its reading.
    pub const fn key(&self) -> QueryKey {
        match self {
            Self::Consul(query) => query.key(),
            #[cfg(feature = "polled-registry")]
            Self::Polled(query) => query.key(),
        }
    }

    /// Returns the way in which the registry tells of changes.
    pub const fn style(&self) -> Style {
        match self {
            Self::Consul(query) if query.blocks() => Style::Blocks,
            Self::Consul(_) => Style::Polls,
            #[cfg(feature = "polled-registry")]
            Self::Polled(_) => Style::Polls,
        }
    }

    /// Returns the request for the state after `resume`, or for the current state.
    pub fn request(&self, resume: Option<Resume>, mode: ReadMode) -> HttpRequest {
        match self {
            Self::Consul(query) => query.request(resume.and_then(Resume::index), mode),
            #[cfg(feature = "polled-registry")]
            Self::Polled(query) => query.request(),
        }
    }

    /// Reads a response. Everything but a whole response of the registry is an error.
    ///
    /// # Errors
    ///
    /// All that keeps the response from being used. None of it removes an endpoint.
    pub fn read(
        &self,
        result: Result<HttpResponse<'_>, CallFailure>,
    ) -> Result<QueryResponse, RegistryError> {
        match self {
            Self::Consul(query) => Ok(query.read(result)?),
            #[cfg(feature = "polled-registry")]
            Self::Polled(query) => Ok(query.read(result)?),
        }
    }

    /// Returns the request for the instances of the service in which a query looks. Unlike the
    /// query's response it lists instances that are out of service.
    pub fn instances(&self, of: &QueryOrigin) -> HttpRequest {
        match self {
            Self::Consul(query) => query.instances(of),
            #[cfg(feature = "polled-registry")]
            Self::Polled(query) => query.request(),
        }
    }

    /// Reads the response to a request for [instances](Self::instances).
    ///
    /// # Errors
    ///
    /// The errors of [`Query::read`].
    pub fn read_instances(
        &self,
        result: Result<HttpResponse<'_>, CallFailure>,
    ) -> Result<QueryResponse, RegistryError> {
        match self {
            Self::Consul(query) => Ok(query.read_instances(result)?),
            #[cfg(feature = "polled-registry")]
            Self::Polled(query) => Ok(query.read(result)?),
        }
    }

    /// Reduces a catalog to the number of services that may be served, and keeps those of
    /// `current`.
    pub fn limit(&self, mut response: QueryResponse, current: Option<&Snapshot>) -> QueryResponse {
        response.decoded.snapshot = self.within_limit(response.decoded.snapshot, current);
        response
    }

    /// Reduces the snapshot of a catalog likewise.
    pub fn within_limit(&self, snapshot: Snapshot, current: Option<&Snapshot>) -> Snapshot {
        match self {
            Self::Consul(query) => query.within_limit(snapshot, current),
            #[cfg(feature = "polled-registry")]
            Self::Polled(_) => snapshot,
        }
    }

    /// Refuses a partial response, whose hidden instances would count as gone.
    ///
    /// # Errors
    ///
    /// An error that names the token.
    pub fn reject_partial(&self, response: QueryResponse) -> Result<QueryResponse, RegistryError> {
        match self {
            Self::Consul(query) => Ok(query.reject_filtered(response)?),
            #[cfg(feature = "polled-registry")]
            Self::Polled(_) => Ok(response),
        }
    }

    /// Replaces the error that the registry does not know the name by a response that lists
    /// nothing. If a client has named it, that is no mistake of the configuration.
    ///
    /// # Errors
    ///
    /// Any other error.
    pub fn unknown_is_empty(error: RegistryError) -> Result<QueryResponse, RegistryError> {
        match error {
            RegistryError::Consul(error) => Ok(ConsulQuery::unknown_is_empty(error)?),
            #[cfg(feature = "polled-registry")]
            error => Err(error),
        }
    }
}

/// Returns the service that a host names in the DNS of the registry, and its datacenter if the host
/// names one. The host is in lower case; `None` if it is no such name.
pub fn service_of_host(host: &[u8], names: &DnsNames) -> Option<(Service, Option<String>)> {
    DnsName::parse(host, &names.domain)?.service(&names.service)
}
