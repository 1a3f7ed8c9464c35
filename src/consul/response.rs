//! What came of a request to Consul, and its reading.

use core::time::Duration;

use crate::config::Consistency;
pub use crate::consul::answer::Answer;
use crate::consul::catalog;
use crate::consul::decode::{DecodeError, Decoded, decode, decode_executed};
use crate::consul::error::QueryError;
use crate::consul::excerpt::Excerpt;
use crate::consul::index::ConsulIndex;
use crate::consul::mistake::Mistake;
use crate::consul::query::{Query, Subject};
use crate::model::services::Services;
use crate::model::snapshot::Snapshot;

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
    pub fn read(&self, result: Result<Response<'_>, CallFailure>) -> Result<Answer, QueryError> {
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
    ) -> Result<Answer, QueryError> {
        self.read_by(result, |body| match self.subject() {
            Subject::Prepared { selection, .. } => decode(body, selection),
            Subject::Instances(_) | Subject::Catalog(_) => self.decode(body),
        })
    }

    fn read_by(
        &self,
        result: Result<Response<'_>, CallFailure>,
        decode: impl FnOnce(&[u8]) -> Result<Decoded, DecodeError>,
    ) -> Result<Answer, QueryError> {
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
        Ok(Answer { index, decoded, filtered_by_acls, last_contact, age, is_too_old })
    }

    fn decode(&self, body: &[u8]) -> Result<Decoded, DecodeError> {
        match self.subject() {
            Subject::Instances(selection) => decode(body, selection),
            Subject::Prepared { selection, .. } => decode_executed(body, selection),
            Subject::Catalog(discover) => {
                let snapshot = Snapshot::of_services(catalog::decode(body, discover)?);
                let registered = u32::try_from(snapshot.len()).unwrap_or(u32::MAX);
                Ok(Decoded { snapshot, registered, ..Decoded::default() })
            }
        }
    }

    /// Leaves out of a catalog what is more than is to be served, but keeps what is `current`.
    pub fn limit(&self, mut answer: Answer, current: Option<&Snapshot>) -> Answer {
        answer.decoded.snapshot = self.within_limit(answer.decoded.snapshot, current);
        answer
    }

    /// The same of a snapshot.
    pub fn within_limit(&self, snapshot: Snapshot, current: Option<&Snapshot>) -> Snapshot {
        let Subject::Catalog(discover) = self.subject() else { return snapshot };
        let names = current.and_then(Snapshot::services).map(Services::names);
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
    pub fn unfiltered(&self, answer: Answer) -> Result<Answer, QueryError> {
        let is_part = matches!(self.subject(), Subject::Catalog(_));
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
    pub fn unknown_is_empty(error: QueryError) -> Result<Answer, QueryError> {
        match error {
            QueryError::UnknownQuery { .. } => {
                Ok(Answer::new(ConsulIndex::ONE, Decoded::default()))
            }
            error => Err(error),
        }
    }

    fn not_ok(&self, response: &Response<'_>) -> QueryError {
        let (code, excerpt) = (response.status, Excerpt::new(response.body));
        if response.from_envoy {
            return QueryError::Unreachable { cluster: self.cluster().to_owned(), code, excerpt };
        }
        let prepared = match self.subject() {
            Subject::Prepared { name, .. } => Some(name.as_str()),
            Subject::Instances(_) | Subject::Catalog(_) => None,
        };
        if let Some(mistake) = Mistake::of(code, &excerpt, prepared) {
            return QueryError::Mistake { mistake, code, excerpt };
        }
        match code {
            401 | 403 => {
                let token_env = self.token_env().map(str::to_owned);
                QueryError::Denied { code, excerpt, token_env }
            }
            404 => match prepared {
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
mod tests {
    use super::*;
    use crate::config::{self, CacheAges, PreparedQuery};
    use crate::consul::error::ErrorKind;
    use crate::consul::fixtures;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ONE: &[u8] = br#"[{"Service": {"Address": "10.0.0.1", "Port": 80}}]"#;

    fn query(token_env: Option<&str>) -> Query {
        let consul =
            config::Consul { token_env: token_env.map(str::to_owned), ..fixtures::consul() };
        let config = config::Config { consul, ..fixtures::config() };
        Query::new(&config, &fixtures::service("web"), None)
    }

    fn response(status: u16, body: &[u8]) -> Response<'_> {
        Response {
            status,
            from_envoy: false,
            index: Some(b"7"),
            filtered_by_acls: false,
            last_contact: None,
            age: None,
            body,
        }
    }

    fn error(response: Response<'_>) -> (ErrorKind, String) {
        let error = query(Some("CONSUL_HTTP_TOKEN")).read(Ok(response)).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn a_whole_answer_is_an_index_and_endpoints() {
        let answer = query(None).read(Ok(response(200, ONE))).unwrap();
        assert_eq!((answer.index, answer.decoded.snapshot.len()), (ConsulIndex::new(7), 1));
        let empty = query(None).read(Ok(Response { index: Some(b"0"), ..response(200, b"[]") }));
        let empty = empty.unwrap();
        assert_eq!((empty.index, empty.decoded.snapshot.len()), (ConsulIndex::ONE, 0));
    }

    #[test]
    fn a_call_without_a_response_says_what_to_look_at() {
        let failed = |failure| {
            let error = query(None).read(Err(failure)).unwrap_err();
            (error.kind(), error.to_string())
        };
        let (kind, text) = failed(CallFailure::Refused(Refusal::UnknownCluster));
        assert_eq!(kind, ErrorKind::Refused);
        assert!(text.contains("\"consul\"") && text.contains("consul.cluster"), "{text}");
        let (kind, text) = failed(CallFailure::Refused(Refusal::NoCapacity));
        assert_eq!(kind, ErrorKind::Refused);
        assert!(text.contains("circuit breakers"), "{text}");
        assert_eq!(failed(CallFailure::NoAnswer).0, ErrorKind::NoAnswer);
        assert_eq!(failed(CallFailure::Lost).0, ErrorKind::Timeout);
    }

    #[test]
    fn a_local_reply_of_envoy_is_not_taken_for_consuls() {
        let body = b"upstream connect error or disconnect/reset before headers. reset reason: \
                     connection failure";
        let local = |status| Response { from_envoy: true, index: None, ..response(status, body) };
        let (kind, text) = error(local(503));
        assert_eq!(kind, ErrorKind::Unreachable);
        assert!(text.contains("connection failure"), "{text}");
        assert_eq!(error(local(504)).0, ErrorKind::Timeout);
        assert_eq!(error(local(403)).0, ErrorKind::Unreachable);
        assert_eq!(error(local(200)).0, ErrorKind::BadIndex);
        assert_eq!(error(response(503, body)).0, ErrorKind::ServerError);
    }

    #[test]
    fn a_refused_token_is_named_by_its_variable() {
        let (kind, text) = error(response(403, b"Permission denied\n"));
        assert_eq!(kind, ErrorKind::Denied);
        let expected = "consul refused the read (403 Permission denied): the token in \
                        CONSUL_HTTP_TOKEN needs service:read and node:read";
        assert_eq!(text, expected);
        let anonymous = query(None).read(Ok(response(403, b"ACL not found"))).unwrap_err();
        assert!(anonymous.to_string().contains("consul.token_env"), "{anonymous}");
    }

    #[test]
    fn each_status_has_its_kind() {
        for (status, kind) in [
            (400, ErrorKind::ClientError),
            (404, ErrorKind::ClientError),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::ServerError),
            (503, ErrorKind::ServerError),
            (301, ErrorKind::ClientError),
            (204, ErrorKind::ClientError),
            (0, ErrorKind::ClientError),
        ] {
            let (found, text) = error(response(status, b"No cluster leader"));
            assert_eq!(found, kind, "{status}");
            assert!(text.contains(&format!("{status} No cluster leader")), "{text}");
        }
    }

    #[test]
    fn a_filtered_answer_says_so_and_may_be_refused() {
        let query = query(Some("CONSUL_HTTP_TOKEN"));
        let whole = query.read(Ok(response(200, ONE))).unwrap();
        assert!(!whole.filtered_by_acls);
        assert_eq!(query.unfiltered(whole.clone()), Ok(whole));

        let filtered = Response { filtered_by_acls: true, ..response(200, ONE) };
        let filtered = query.read(Ok(filtered)).unwrap();
        assert!(filtered.filtered_by_acls);
        let error = query.unfiltered(filtered).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Filtered);
        assert!(error.to_string().contains("CONSUL_HTTP_TOKEN"), "{error}");
    }

    #[test]
    fn the_last_contact_with_the_leader_is_told_where_it_can_be_read() {
        let read = |header: &[u8]| {
            let response = Response { last_contact: Some(header), ..response(200, ONE) };
            query(None).read(Ok(response)).unwrap().last_contact
        };
        assert_eq!(read(b"0"), Some(Duration::ZERO));
        assert_eq!(read(b"1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(read(b"18446744073709551615"), Some(Duration::from_millis(u64::MAX)));
        let bad: [&[u8]; 7] =
            [b"", b"+1", b" 1", b"1.5", b"\xff", b"18446744073709551616", &[b'0'; 21]];
        for header in bad {
            assert_eq!(read(header), None, "{header:?}");
        }
    }

    #[test]
    fn an_answer_older_than_the_configuration_admits_says_so() {
        let seconds = |n| Some(Duration::from_secs(n));
        let is_too_old = |consistency, last_contact, age| {
            let consul = config::Consul { consistency, ..fixtures::consul() };
            let config = config::Config { consul, ..fixtures::config() };
            let query = Query::new(&config, &fixtures::service("web"), None);
            query.read(Ok(Response { last_contact, age, ..response(200, ONE) })).unwrap().is_too_old
        };
        let contact = |max_stale, header| {
            is_too_old(Consistency::Stale { max_stale }, Some(header), Some(b"99".as_slice()))
        };
        assert!(contact(seconds(2), b"2001"));
        assert!(!contact(seconds(2), b"2000"));
        assert!(!contact(seconds(2), b"soon"));
        assert!(!contact(None, b"99999"));
        assert!(!is_too_old(Consistency::Stale { max_stale: seconds(2) }, None, None));

        let age = |max_age, stale_if_error, header| {
            let ages = CacheAges { max_age, stale_if_error };
            is_too_old(Consistency::Cached(ages), Some(b"99999".as_slice()), Some(header))
        };
        assert!(age(seconds(2), None, b"3"));
        assert!(!age(seconds(2), None, b"2"));
        assert!(!age(seconds(2), seconds(60), b"60"));
        assert!(age(seconds(2), seconds(60), b"61"));
        assert!(!age(None, None, b"99999"));
        assert!(!is_too_old(Consistency::Default, Some(b"99999"), Some(b"99999")));
    }

    #[test]
    fn a_prepared_query_is_read_and_one_that_is_not_there_is_named() {
        let prepared = PreparedQuery { name: "geo".into(), near: None, limit: None };
        let service = config::Service { query: Some(prepared), ..fixtures::service("web") };
        let query = Query::new(&fixtures::config(), &service, None);
        let body = format!("{{\"Nodes\": {}}}", String::from_utf8_lossy(ONE));
        let answer = query.read(Ok(response(200, body.as_bytes()))).unwrap();
        assert_eq!((answer.index, answer.decoded.snapshot.len()), (ConsulIndex::new(7), 1));
        assert_eq!(query.read(Ok(response(200, ONE))).unwrap_err().kind(), ErrorKind::BadBody);
        let unknown = query.read(Ok(response(404, b"Query not found"))).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::ClientError);
        assert!(unknown.to_string().contains("prepared query \"geo\""), "{unknown}");
    }

    #[test]
    fn an_answer_without_a_usable_index_is_an_error() {
        assert_eq!(error(Response { index: None, ..response(200, ONE) }).0, ErrorKind::BadIndex);
        let bad = Response { index: Some(b"\xff"), ..response(200, ONE) };
        assert_eq!(error(bad).0, ErrorKind::BadIndex);
    }

    #[test]
    fn a_body_that_cannot_be_decoded_is_an_error_with_its_cause() {
        let truncated = query(None).read(Ok(response(200, b"[{"))).unwrap_err();
        assert_eq!(truncated.kind(), ErrorKind::BadBody);
        assert!(core::error::Error::source(&truncated).is_some());
    }
}
