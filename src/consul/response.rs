//! What came of a request to Consul, and its reading.

use crate::consul::decode::{Decoded, decode};
use crate::consul::error::QueryError;
use crate::consul::excerpt::Excerpt;
use crate::consul::index::ConsulIndex;
use crate::consul::query::Query;
use crate::model::snapshot::Snapshot;

/// The header with the answer's [`ConsulIndex`].
pub const INDEX_HEADER: &str = "x-consul-index";

/// The header that says `true` where the token may not see all of the answer (Consul 1.11
/// and later; earlier versions say nothing).
pub const FILTERED_HEADER: &str = "x-consul-results-filtered-by-acls";

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
/// `X-Consul-LastContact` and `X-Consul-KnownLeader` are left out on purpose: newer agents
/// omit them or report no leader where there is one (hashicorp/consul#9776), so neither
/// may fail a read.
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
    /// The whole body.
    pub body: &'a [u8],
}

/// Consul's answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The version of the state; may be lower than the one asked for.
    pub index: ConsulIndex,
    /// The state.
    pub decoded: Decoded,
}

impl Answer {
    /// Refuses an answer that would take away all of the `current` endpoints for nothing but
    /// entries that make no sense: a mistake in the registrations, or a body that was
    /// mangled on its way. Where there is nothing to lose it is an answer like any other.
    ///
    /// # Errors
    ///
    /// [`QueryError::Nonsense`].
    pub fn instead_of(self, current: Option<&Snapshot>) -> Result<Self, QueryError> {
        let Decoded { snapshot, dropped } = &self.decoded;
        let loses_all = snapshot.is_empty() && current.is_some_and(|old| !old.is_empty());
        if loses_all && dropped.is_nonsense() {
            return Err(QueryError::Nonsense(*dropped));
        }
        Ok(self)
    }
}

impl Query {
    /// Reads what came of a request. Everything but a whole answer of Consul is an error,
    /// whatever its status says: an answer without an index cannot be followed, a filtered
    /// one would take instances for gone that are only hidden.
    ///
    /// A reply of Envoy itself is never taken for Consul's. With status 200 the index tells
    /// them apart as well, and then counts more than the header of Envoy, which a cluster
    /// may have been told not to add.
    pub fn read(&self, result: Result<Response<'_>, CallFailure>) -> Result<Answer, QueryError> {
        let response = result.map_err(|failure| self.failed(failure))?;
        if response.status != 200 {
            return Err(self.not_ok(&response));
        }
        if response.filtered_by_acls {
            return Err(QueryError::FilteredByAcls {
                token_env: self.token_env().map(str::to_owned),
            });
        }
        let index = response.index.ok_or(QueryError::MissingIndex)?;
        let index = ConsulIndex::parse(index).map_err(QueryError::BadIndex)?;
        let decoded = decode(response.body, self.selection()).map_err(QueryError::Decode)?;
        Ok(Answer { index, decoded })
    }

    fn failed(&self, failure: CallFailure) -> QueryError {
        match failure {
            CallFailure::Refused(refusal) => {
                QueryError::Refused { cluster: self.cluster().to_owned(), refusal }
            }
            CallFailure::NoAnswer => QueryError::NoAnswer,
            CallFailure::Lost => QueryError::Lost,
        }
    }

    fn not_ok(&self, response: &Response<'_>) -> QueryError {
        let (code, excerpt) = (response.status, Excerpt::new(response.body));
        if response.from_envoy {
            return QueryError::Unreachable { cluster: self.cluster().to_owned(), code, excerpt };
        }
        match code {
            401 | 403 => {
                let token_env = self.token_env().map(str::to_owned);
                QueryError::Denied { code, excerpt, token_env }
            }
            _ => QueryError::Status { code, excerpt },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
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
        Response { status, from_envoy: false, index: Some(b"7"), filtered_by_acls: false, body }
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
    fn a_filtered_answer_is_none_even_where_it_is_whole() {
        let filtered = Response { filtered_by_acls: true, ..response(200, ONE) };
        let (kind, text) = error(filtered);
        assert_eq!(kind, ErrorKind::Filtered);
        assert!(text.contains("CONSUL_HTTP_TOKEN"), "{text}");
    }

    #[test]
    fn an_answer_without_a_usable_index_is_an_error() {
        assert_eq!(error(Response { index: None, ..response(200, ONE) }).0, ErrorKind::BadIndex);
        let bad = Response { index: Some(b"\xff"), ..response(200, ONE) };
        assert_eq!(error(bad).0, ErrorKind::BadIndex);
    }

    #[test]
    fn nothing_but_nonsense_is_refused_where_it_would_take_endpoints_away() {
        const NONSENSE: &[u8] = br#"[{"Service": {"Address": "db.internal", "Port": 80}}]"#;
        let read = |body| query(None).read(Ok(response(200, body)));
        let current = read(ONE).unwrap().decoded.snapshot;
        let error =
            read(NONSENSE).and_then(|answer| answer.instead_of(Some(&current))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadBody);
        assert!(error.to_string().contains("1 with a name"), "{error}");

        let nothing = Snapshot::default();
        for (body, current) in [
            (NONSENSE, None),
            (NONSENSE, Some(&nothing)),
            (b"[]".as_slice(), Some(&current)),
            (ONE, Some(&current)),
        ] {
            let answer = read(body).and_then(|answer| answer.instead_of(current));
            assert!(answer.is_ok(), "{answer:?}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_decoded_is_an_error_with_its_cause() {
        let truncated = query(None).read(Ok(response(200, b"[{"))).unwrap_err();
        assert_eq!(truncated.kind(), ErrorKind::BadBody);
        assert!(core::error::Error::source(&truncated).is_some());
    }
}
