//! Reads Consul's responses to queries.

use core::time::Duration;

use crate::config::Consistency;
use crate::model::service_names::ServiceNames;
use crate::model::snapshot::Snapshot;
use crate::registry::consul::catalog;
use crate::registry::consul::decode::{DecodeError, decode};
use crate::registry::consul::error::{Mistake, QueryError};
use crate::registry::consul::headers::{
    AGE_HEADER, FILTERED_HEADER, INDEX_HEADER, LAST_CONTACT_HEADER,
};
use crate::registry::consul::index::ConsulIndex;
use crate::registry::consul::prepared_query::decode_executed;
use crate::registry::consul::query::{ConsulQuery, QueryTarget};
use crate::registry::http::{CallFailure, HttpResponse};
use crate::registry::query_response::{Decoded, NextRead, QueryResponse};
use crate::registry::resume::Resume;
use crate::util::excerpt::BodyExcerpt;

/// The interval between two executions of a prepared query, for which Consul does not wait.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// What Consul says where it has no such prepared query.
const UNKNOWN_QUERY: &str = "Query not found";

impl ConsulQuery {
    /// Reads what came of a request. Everything but a whole answer of Consul is an error,
    /// whatever its status says: an answer without an index cannot be followed.
    ///
    /// A reply of Envoy itself is never taken for Consul's. With status 200 the index tells
    /// them apart as well, and then counts more than the header of Envoy, which a cluster
    /// may have been told not to add.
    pub fn read(
        &self,
        result: Result<HttpResponse<'_>, CallFailure>,
    ) -> Result<QueryResponse, QueryError> {
        self.read_by(result, |body| self.decode(body))
    }

    /// Reads what came of a request for the [instances](ConsulQuery::instances) of a service, by the same
    /// rules.
    ///
    /// # Errors
    ///
    /// As those of [`ConsulQuery::read`].
    pub fn read_instances(
        &self,
        result: Result<HttpResponse<'_>, CallFailure>,
    ) -> Result<QueryResponse, QueryError> {
        self.read_by(result, |body| match self.subject() {
            QueryTarget::Prepared { selection, .. } => decode(body, selection),
            QueryTarget::Instances(_) | QueryTarget::Catalog(_) => self.decode(body),
        })
    }

    fn read_by(
        &self,
        result: Result<HttpResponse<'_>, CallFailure>,
        decode: impl FnOnce(&[u8]) -> Result<Decoded, DecodeError>,
    ) -> Result<QueryResponse, QueryError> {
        let response = result.map_err(|failure| QueryError::of_failure(failure, self.cluster()))?;
        if response.status != 200 {
            return Err(self.not_ok(&response));
        }
        // A prepared query has an index, too, though it is always the same one.
        let index = response.header(INDEX_HEADER).ok_or(QueryError::MissingIndex)?;
        let index = ConsulIndex::parse(index).map_err(QueryError::BadIndex)?;
        let decoded = decode(response.body).map_err(QueryError::Decode)?;
        let duration =
            |header, unit: fn(u64) -> Duration| response.header(header).and_then(number).map(unit);
        let last_contact = duration(LAST_CONTACT_HEADER, Duration::from_millis);
        let cached = duration(AGE_HEADER, Duration::from_secs);
        let (age, limit) = match self.consistency() {
            Consistency::Default | Consistency::Consistent => (last_contact, None),
            Consistency::Stale { max_stale } => (last_contact, max_stale),
            // A state beyond the first age comes while the servers cannot be asked.
            Consistency::Cached(ages) => (cached, ages.stale_if_error.or(ages.max_age)),
        };
        Ok(QueryResponse {
            resume: Resume::Consul(index),
            decoded,
            is_partial: is_filtered(&response),
            age,
            is_too_old: age.zip(limit).is_some_and(|(age, limit)| age > limit),
            next: match self.blocks() {
                true => NextRead::Block,
                false => NextRead::Poll(POLL_INTERVAL),
            },
        })
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
        if answer.is_partial && (!is_part || answer.decoded.snapshot.is_empty()) {
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
                Ok(QueryResponse::new(Resume::Consul(ConsulIndex::ONE), Decoded::default()))
            }
            error => Err(error),
        }
    }

    fn not_ok(&self, response: &HttpResponse<'_>) -> QueryError {
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

/// Returns true if the token may not see all of a response.
pub(super) fn is_filtered(response: &HttpResponse<'_>) -> bool {
    let filtered = response.header(FILTERED_HEADER);
    filtered.is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
}

/// Reads a header of decimal digits. There are at most 20 in a number of 64 bits.
fn number(header: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(header).ok().filter(|text| text.len() <= 20)?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
