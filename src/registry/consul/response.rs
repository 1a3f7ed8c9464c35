//! What came of a request to Consul, and its reading.

use core::time::Duration;

use crate::config::Consistency;
use crate::model::service_names::ServiceNames;
use crate::model::snapshot::Snapshot;
use crate::registry::consul::catalog;
use crate::registry::consul::decode::{DecodeError, Decoded, decode, decode_executed};
use crate::registry::consul::error::QueryError;
use crate::registry::consul::excerpt::BodyExcerpt;
use crate::registry::consul::index::ConsulIndex;
use crate::registry::consul::mistake::Mistake;
use crate::registry::consul::query::{Query, QueryTarget};
pub use crate::registry::consul::query_response::QueryResponse;

/// The header with the answer's [`ConsulIndex`].
pub const INDEX_HEADER: &str = "x-consul-index";

/// The header that says `true` where the token may not see all of the answer (Consul 1.11
/// and later; earlier versions say nothing).
pub const FILTERED_HEADER: &str = "x-consul-results-filtered-by-acls";

/// The header with the milliseconds since the server that answered heard from the leader.
pub const LAST_CONTACT_HEADER: &str = "x-consul-lastcontact";

/// The header with the seconds for which an agent's cache has not heard of the servers.
pub const AGE_HEADER: &str = "age";

/// The header that Envoy adds to what came from an upstream, and not to its own replies.
pub const UPSTREAM_HEADER: &str = "x-envoy-upstream-service-time";

/// What Consul says where it has no such prepared query.
const UNKNOWN_QUERY: &str = "Query not found";

/// Why a request to Consul brought no response at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailure {
    /// Envoy did not send it.
    Refused(Refusal),
    /// Headers may have come, but not all of the body: a reset or the timeout in between,
    /// or a body over Envoy's limit. Envoy does not say which.
    NoAnswer,
    /// Envoy never called back; noticed by a watchdog.
    Lost,
}

/// Why Envoy did not send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It knows no cluster of that name (yet).
    UnknownCluster,
    /// The cluster has no host, or its circuit breaker is open.
    NoCapacity,
}

/// A response, borrowed from the host.
///
/// `X-Consul-KnownLeader` is left out on purpose: newer agents report no leader where there is
/// one (hashicorp/consul#9776).
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Whether Envoy itself replied: there is no [`UPSTREAM_HEADER`].
    pub from_envoy: bool,
    /// The value of [`INDEX_HEADER`].
    pub index: Option<&'a [u8]>,
    /// Whether [`FILTERED_HEADER`] says `true`.
    pub filtered_by_acls: bool,
    /// The value of [`LAST_CONTACT_HEADER`].
    pub last_contact: Option<&'a [u8]>,
    /// The value of [`AGE_HEADER`].
    pub age: Option<&'a [u8]>,
    /// The whole body.
    pub body: &'a [u8],
}

impl Query {
    /// Reads what came of a request. Everything but a whole answer of Consul is an error,
    /// whatever its status says: an answer without an index cannot be followed.
    ///
    /// A reply of Envoy itself is never taken for Consul's. With status 200 the index tells
    /// them apart as well, and then counts more than the header of Envoy, which a cluster
    /// may have been told not to add.
    pub fn read(
        &self,
        result: Result<Response<'_>, CallFailure>,
    ) -> Result<QueryResponse, QueryError> {
        self.read_by(result, |body| self.decode(body))
    }

    /// Reads what came of a request for the [instances](Query::instances) of a service, by the same
    /// rules.
    ///
    /// # Errors
    ///
    /// As those of [`Query::read`].
    pub fn read_instances(
        &self,
        result: Result<Response<'_>, CallFailure>,
    ) -> Result<QueryResponse, QueryError> {
        self.read_by(result, |body| match self.subject() {
            QueryTarget::Prepared { selection, .. } => decode(body, selection),
            QueryTarget::Instances(_) | QueryTarget::Catalog(_) => self.decode(body),
        })
    }

    fn read_by(
        &self,
        result: Result<Response<'_>, CallFailure>,
        decode: impl FnOnce(&[u8]) -> Result<Decoded, DecodeError>,
    ) -> Result<QueryResponse, QueryError> {
        let response = result.map_err(|failure| QueryError::of_failure(failure, self.cluster()))?;
        if response.status != 200 {
            return Err(self.not_ok(&response));
        }
        // A prepared query has an index, too, though it is always the same one.
        let index = response.index.ok_or(QueryError::MissingIndex)?;
        let index = ConsulIndex::parse(index).map_err(QueryError::BadIndex)?;
        let decoded = decode(response.body).map_err(QueryError::Decode)?;
        let last_contact = response.last_contact.and_then(number).map(Duration::from_millis);
        let age = response.age.and_then(number).map(Duration::from_secs);
        let is_above = |found: Option<Duration>, limit: Option<Duration>| {
            found.zip(limit).is_some_and(|(found, limit)| found > limit)
        };
        let is_too_old = match self.consistency() {
            Consistency::Default | Consistency::Consistent => false,
            Consistency::Stale { max_stale } => is_above(last_contact, max_stale),
            // One beyond the first age comes while the servers cannot be asked.
            Consistency::Cached(ages) => is_above(age, ages.stale_if_error.or(ages.max_age)),
        };
        let filtered_by_acls = response.filtered_by_acls;
        Ok(QueryResponse { index, decoded, filtered_by_acls, last_contact, age, is_too_old })
    }

    fn decode(&self, body: &[u8]) -> Result<Decoded, DecodeError> {
        match self.subject() {
            QueryTarget::Instances(selection) => decode(body, selection),
            QueryTarget::Prepared { selection, .. } => decode_executed(body, selection),
            QueryTarget::Catalog(discover) => {
                let snapshot = Snapshot::of_services(catalog::decode(body, discover)?);
                let registered = u32::try_from(snapshot.len()).unwrap_or(u32::MAX);
                Ok(Decoded { snapshot, registered, ..Decoded::default() })
            }
        }
    }

    /// Leaves out of a catalog what is more than is to be served, but keeps what is `current`.
    pub fn limit(&self, mut answer: QueryResponse, current: Option<&Snapshot>) -> QueryResponse {
        answer.decoded.snapshot = self.within_limit(answer.decoded.snapshot, current);
        answer
    }

    /// The same of a snapshot.
    pub fn within_limit(&self, snapshot: Snapshot, current: Option<&Snapshot>) -> Snapshot {
        let QueryTarget::Catalog(discover) = self.subject() else { return snapshot };
        let names = current.and_then(Snapshot::services).map(ServiceNames::names);
        let most = discover.max_services as usize;
        let services = snapshot.services().cloned().unwrap_or_default();
        Snapshot::of_services(services.within(most, names.unwrap_or_default()))
    }

    /// Refuses an answer of which Consul has left something out: it would take instances for
    /// gone that are only hidden. A token may well be meant to see a part of the catalog alone;
    /// but not nothing of it.
    ///
    /// # Errors
    ///
    /// [`QueryError::FilteredByAcls`].
    pub fn reject_filtered(&self, answer: QueryResponse) -> Result<QueryResponse, QueryError> {
        let is_part = matches!(self.subject(), QueryTarget::Catalog(_));
        if answer.filtered_by_acls && (!is_part || answer.decoded.snapshot.is_empty()) {
            let token_env = self.token_env().map(str::to_owned);
            return Err(QueryError::FilteredByAcls { token_env });
        }
        Ok(answer)
    }

    /// Takes it for an answer that lists nothing, that Consul has no such prepared query: where a
    /// client has named it, that is no mistake of the configuration's.
    ///
    /// # Errors
    ///
    /// Any other error.
    pub fn unknown_is_empty(error: QueryError) -> Result<QueryResponse, QueryError> {
        match error {
            QueryError::UnknownQuery { .. } => {
                Ok(QueryResponse::new(ConsulIndex::ONE, Decoded::default()))
            }
            error => Err(error),
        }
    }

    fn not_ok(&self, response: &Response<'_>) -> QueryError {
        let (code, excerpt) = (response.status, BodyExcerpt::new(response.body));
        if response.from_envoy {
            return QueryError::Unreachable { cluster: self.cluster().to_owned(), code, excerpt };
        }
        let prepared = match self.subject() {
            QueryTarget::Prepared { name, .. } => Some(name.as_str()),
            QueryTarget::Instances(_) | QueryTarget::Catalog(_) => None,
        };
        if let Some(mistake) = Mistake::of(code, &excerpt, prepared) {
            return QueryError::Mistake { mistake, code, excerpt };
        }
        match code {
            401 | 403 => {
                let token_env = self.token_env().map(str::to_owned);
                QueryError::Denied { code, excerpt, token_env }
            }
            // Something in between may know no such place, too, and says so in other words.
            404 => match prepared.filter(|_| excerpt.as_str().contains(UNKNOWN_QUERY)) {
                Some(name) => QueryError::UnknownQuery { query: name.to_owned() },
                None => QueryError::Status { code, excerpt },
            },
            _ => QueryError::Status { code, excerpt },
        }
    }
}

/// Reads a header of decimal digits. There are at most 20 in a number of 64 bits.
fn number(header: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(header).ok().filter(|text| text.len() <= 20)?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
