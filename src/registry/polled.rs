//! A registry without an order: polled by the time to live of its responses.
//!
//! It exists for tests alone, as the second kind behind the seam: no position, no blocking query, no
//! health, and no fresher read. A response is a list of addresses (`["10.0.0.1:80"]`), with its time
//! to live in seconds as the header `ttl`. An unknown name has an empty list.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::model::endpoint::Endpoint;
use crate::model::service::QueryKey;
use crate::model::snapshot::Snapshot;
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse, Method, PLAIN_TIMEOUT};
use crate::registry::query_response::{Decoded, MAX_ENDPOINTS, NextRead, QueryResponse};
use crate::registry::resume::Resume;

/// The header with the time to live of a response, in seconds.
const TTL_HEADER: &str = "ttl";

/// A query to the polled registry.
#[derive(Debug, Clone)]
pub struct PolledQuery {
    cluster: String,
    path: String,
    key: QueryKey,
}

impl PolledQuery {
    /// Builds the query of a name.
    pub fn new(cluster: &str, name: &str) -> Self {
        let key = QueryKey::of(["polled", cluster, name]);
        Self { cluster: cluster.to_owned(), path: format!("/polled/{name}"), key }
    }

    pub(super) const fn key(&self) -> QueryKey {
        self.key
    }

    pub(super) fn request(&self) -> HttpRequest {
        HttpRequest {
            cluster: self.cluster.clone(),
            method: Method::Get,
            path: self.path.clone(),
            headers: Vec::new(),
            body: String::new(),
            timeout: PLAIN_TIMEOUT,
            response_headers: &[TTL_HEADER],
        }
    }

    pub(super) fn read(
        &self,
        result: Result<HttpResponse<'_>, CallFailure>,
    ) -> Result<QueryResponse, PolledError> {
        let response = result.map_err(PolledError::Call)?;
        let addresses: Vec<SocketAddr> = match (response.status, response.from_envoy) {
            (200, false) => serde_json::from_slice(response.body).ok().ok_or(PolledError::Body)?,
            (404, false) => Vec::new(),
            (status, from_envoy) => return Err(PolledError::Status { status, from_envoy }),
        };
        if addresses.len() > MAX_ENDPOINTS {
            return Err(PolledError::Body);
        }
        let ttl = response.header(TTL_HEADER).and_then(|ttl| core::str::from_utf8(ttl).ok());
        let ttl = ttl.and_then(|ttl| ttl.parse().ok()).ok_or(PolledError::MissingTtl)?;
        let snapshot = Snapshot::new(addresses.into_iter().map(Endpoint::new).collect());
        let registered = u32::try_from(snapshot.len()).unwrap_or(u32::MAX);
        let decoded = Decoded { snapshot, registered, ..Decoded::default() };
        let next = NextRead::Poll(Duration::from_secs(ttl));
        Ok(QueryResponse { next, ..QueryResponse::new(Resume::Unordered, decoded) })
    }
}

/// The reason why the polled registry could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolledError {
    /// The call brought no response.
    Call(CallFailure),
    /// The status is neither 200 nor 404.
    Status {
        /// The status.
        status: u16,
        /// True if Envoy itself responded.
        from_envoy: bool,
    },
    /// The body is no list of addresses.
    Body,
    /// The response has no time to live.
    MissingTtl,
}

impl PolledError {
    pub(super) const fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(CallFailure::Refused(_)) => ErrorKind::Refused,
            Self::Call(CallFailure::Lost) | Self::Status { status: 504, from_envoy: true } => {
                ErrorKind::Timeout
            }
            Self::Call(CallFailure::NoAnswer) => ErrorKind::NoAnswer,
            Self::Status { from_envoy: true, .. } => ErrorKind::Unreachable,
            Self::Status { status: 500.., .. } => ErrorKind::ServerError,
            Self::Status { .. } => ErrorKind::ClientError,
            Self::Body | Self::MissingTtl => ErrorKind::BadBody,
        }
    }

    pub(super) const fn hints_at_timeout(&self) -> bool {
        matches!(
            self,
            Self::Call(CallFailure::NoAnswer) | Self::Status { status: 504, from_envoy: true }
        )
    }
}

impl fmt::Display for PolledError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not read the polled registry ({})", self.kind().label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn read(status: u16, body: &[u8]) -> Result<QueryResponse, PolledError> {
        let headers = [(TTL_HEADER, Cow::Borrowed(&b"3"[..]))];
        let response = HttpResponse { status, from_envoy: false, headers: &headers, body };
        PolledQuery::new("c", "web").read(Ok(response))
    }

    #[test]
    fn response_has_addresses_and_the_time_until_the_next_poll() {
        let response = read(200, br#"["10.0.0.1:80"]"#).unwrap();
        assert_eq!(response.decoded.snapshot.len(), 1);
        assert_eq!(response.next, NextRead::Poll(Duration::from_secs(3)));
        assert!(!response.is_ordered() && !response.went_back_from(Resume::Unordered));
        assert!(read(404, b"").unwrap().decoded.snapshot.is_empty());
        assert_eq!(read(200, b"[").unwrap_err().kind(), ErrorKind::BadBody);
        assert_eq!(read(500, b"[]").unwrap_err().kind(), ErrorKind::ServerError);
    }
}
