//! Why Consul could not be asked, or its answer not be used.

use core::fmt;
use core::time::Duration;

use crate::registry::consul::decode::{DecodeError, MAX_BODY};
use crate::registry::consul::index::IndexError;
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::{CallFailure, Refusal};
use crate::util::excerpt::BodyExcerpt;

/// Why a read of Consul brought no answer. None of it removes an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// Envoy did not send the request.
    Refused {
        /// The configured cluster.
        cluster: String,
        /// Why not.
        refusal: Refusal,
    },
    /// Envoy replied in Consul's place: 503 where there was no connection or it broke, 504
    /// where Consul did not begin to answer in time.
    Unreachable {
        /// The configured cluster.
        cluster: String,
        /// The status of Envoy's reply.
        code: u16,
        /// What Envoy says about it.
        excerpt: BodyExcerpt,
    },
    /// The answer broke off, took too long or was too long.
    NoAnswer,
    /// Nothing came back at all.
    Lost,
    /// Consul refused the token, or wants one.
    Denied {
        /// 401 or 403.
        code: u16,
        /// What Consul says about it.
        excerpt: BodyExcerpt,
        /// The variable that holds the token; `None` where the configuration names none.
        token_env: Option<String>,
    },
    /// A query that waits for a change was ended by something in between: a 504 that is not Envoy's.
    CutOff {
        /// After so long.
        after: Duration,
        /// What it says about it.
        excerpt: BodyExcerpt,
    },
    /// Consul refused the query for what it asks.
    Mistake {
        /// What is wrong with it.
        mistake: Mistake,
        /// The status, which may be 500.
        code: u16,
        /// What Consul says about it.
        excerpt: BodyExcerpt,
    },
    /// Consul answered with another status than 200.
    Status {
        /// The status.
        code: u16,
        /// What Consul says about it.
        excerpt: BodyExcerpt,
    },
    /// Consul has no such prepared query, nor a template for its name.
    UnknownQuery {
        /// Its name or id.
        query: String,
    },
    /// The token may not see all instances.
    FilteredByAcls {
        /// The variable that holds the token; `None` where the configuration names none.
        token_env: Option<String>,
    },
    /// The answer has no index.
    MissingIndex,
    /// The answer's index is no number.
    BadIndex(IndexError),
    /// The body is not a list of instances.
    Decode(DecodeError),
}

impl QueryError {
    /// The same for a query that was to wait for a change, and failed after so long. A balancer that
    /// waits no longer for an answer says nothing of Consul.
    pub fn while_blocking(self, after: Duration) -> Self {
        match self {
            Self::Status { code: 504, excerpt } => Self::CutOff { after, excerpt },
            other => other,
        }
    }

    /// Returns true if the error may come from a timeout that is too short for Consul.
    pub const fn hints_at_timeout(&self) -> bool {
        matches!(self, Self::Unreachable { code: 504, .. } | Self::NoAnswer)
    }

    /// What it means that no response came from a cluster.
    pub(in crate::registry) fn of_failure(failure: CallFailure, cluster: &str) -> Self {
        match failure {
            CallFailure::Refused(refusal) => Self::Refused { cluster: cluster.to_owned(), refusal },
            CallFailure::NoAnswer => Self::NoAnswer,
            CallFailure::Lost => Self::Lost,
        }
    }

    /// The kind, to count it by.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Unreachable { code: 504, .. } | Self::Lost => ErrorKind::Timeout,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::NoAnswer => ErrorKind::NoAnswer,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::CutOff { .. } => ErrorKind::CutOff,
            Self::Mistake { .. } => ErrorKind::ClientError,
            Self::Status { code: 429, .. } => ErrorKind::RateLimited,
            Self::Status { code: 500.., .. } => ErrorKind::ServerError,
            Self::Status { .. } | Self::UnknownQuery { .. } => ErrorKind::ClientError,
            Self::FilteredByAcls { .. } => ErrorKind::Filtered,
            Self::MissingIndex | Self::BadIndex(_) => ErrorKind::BadIndex,
            Self::Decode(_) => ErrorKind::BadBody,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { cluster, refusal: Refusal::UnknownCluster } => write!(
                f,
                "could not send the call to consul: envoy has no cluster \"{cluster}\"; \
                 consul.cluster must name one of its clusters"
            ),
            Self::Refused { cluster, refusal: Refusal::NoCapacity } => write!(
                f,
                "could not send the call to consul: cluster \"{cluster}\" has no host or no \
                 free request; check its endpoints and circuit breakers"
            ),
            Self::Unreachable { cluster, code: 504, .. } => write!(
                f,
                "consul did not begin to answer in time (504 from envoy): check the load of \
                 the agent behind cluster \"{cluster}\" and the way to it"
            ),
            Self::Unreachable { cluster, code, excerpt } => write!(
                f,
                "could not reach consul ({} from envoy): check that an agent listens behind \
                 cluster \"{cluster}\"",
                StatusDetail(*code, excerpt)
            ),
            Self::NoAnswer => write!(
                f,
                "consul's answer broke off or took too long, or is over {} MiB: check the \
                 agent, or narrow the service down with tags or a filter",
                MAX_BODY >> 20
            ),
            Self::Lost => {
                f.write_str("nothing came back from consul or envoy: the call is given up")
            }
            Self::Denied { code, excerpt, token_env } => write!(
                f,
                "consul refused the read ({}): {} needs service:read and node:read",
                StatusDetail(*code, excerpt),
                TokenSource(token_env.as_deref())
            ),
            Self::CutOff { after, excerpt } => write!(
                f,
                "what is between this proxy and consul ended the query that waits for a change \
                 after {} s ({}): set consul.wait below its timeout",
                after.as_secs(),
                StatusDetail(504, excerpt)
            ),
            Self::Mistake { mistake, code, excerpt } => {
                write!(f, "consul refused the query ({}): {mistake}", StatusDetail(*code, excerpt))
            }
            Self::Status { code, excerpt } => {
                let status = StatusDetail(*code, excerpt);
                write!(f, "consul could not answer ({status}): {}", advice(*code))
            }
            Self::UnknownQuery { query } => write!(
                f,
                "consul has no prepared query {query:?} (404): create it, or mend the service's \
                 query"
            ),
            Self::FilteredByAcls { token_env } => write!(
                f,
                "consul hid instances from the read: {} needs service:read and node:read for \
                 all of them",
                TokenSource(token_env.as_deref())
            ),
            Self::MissingIndex => f.write_str(
                "the answer has no x-consul-index: check that consul.cluster leads to consul's \
                 HTTP API and that nothing in between removes headers",
            ),
            Self::BadIndex(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for QueryError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::BadIndex(error) => Some(error),
            Self::Decode(error) => Some(error),
            _ => None,
        }
    }
}

const fn advice(code: u16) -> &'static str {
    match code {
        429 => "its rate limit is reached; fewer watches or a higher limit would help",
        500.. => "check that its servers have a leader",
        400 => "check the service's filter, the datacenter, namespace and partition",
        _ => "check that consul.cluster leads to consul's HTTP API",
    }
}

/// A status with what was said about it, if anything.
struct StatusDetail<'e>(u16, &'e BodyExcerpt);

impl fmt::Display for StatusDetail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(code, excerpt) = self;
        let space = if excerpt.is_empty() { "" } else { " " };
        write!(f, "{code}{space}{excerpt}")
    }
}

/// The token, by the variable that holds it.
struct TokenSource<'e>(Option<&'e str>);

impl fmt::Display for TokenSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(variable) => write!(f, "the token in {variable}"),
            None => f.write_str("the anonymous token, used without consul.token_env,"),
        }
    }
}

/// A mistake in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// The filter is invalid or cannot be applied.
    Filter,
    /// Consul does not know the datacenter, or has no path to its servers.
    Datacenter,
    /// The prepared query of this name or id cannot be executed.
    Prepared(String),
}

impl Mistake {
    /// The words of Consul's errors that tell a mistake. Other text may stand around them,
    /// depending on the version and on agents that forward the error.
    const WORDS: [(&str, Self); 3] = [
        ("boolean expression evaluator", Self::Filter),
        ("filter expression", Self::Filter),
        ("No path to datacenter", Self::Datacenter),
    ];
    /// Words of errors that any query may meet, even a prepared one.
    const OF_CONSUL: [&str; 4] = ["leader", "Consul servers", "rpc error", "consistent reads"];

    /// Returns the mistake that an error response tells, if any. `prepared` is the name of the
    /// prepared query.
    pub(super) fn of(code: u16, excerpt: &BodyExcerpt, prepared: Option<&str>) -> Option<Self> {
        let text = excerpt.as_str();
        if !matches!(code, 400 | 500) || text.is_empty() {
            return None;
        }
        let known = Self::WORDS.into_iter().find(|(words, _)| text.contains(words));
        let is_of_consul = || Self::OF_CONSUL.iter().any(|words| text.contains(words));
        let prepared = || prepared.filter(|_| code == 500 && !is_of_consul());
        known.map(|(_, mistake)| mistake).or_else(|| Some(Self::Prepared(prepared()?.to_owned())))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter => f.write_str("mend the service's filter"),
            Self::Datacenter => f.write_str(
                "check the name of the datacenter, and that its servers are joined with the agent's",
            ),
            Self::Prepared(name) => write!(f, "mend the prepared query {name:?}, or what it finds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_status_without_a_text_is_printed_without_one() {
        let error = QueryError::Status { code: 500, excerpt: BodyExcerpt::new(b"") };
        assert!(error.to_string().starts_with("consul could not answer (500): "), "{error}");
    }

    #[test]
    fn a_balancers_504_names_wait_where_the_query_blocks() {
        let error =
            QueryError::Status { code: 504, excerpt: BodyExcerpt::new(b"Gateway Time-out") };
        let plain = error.clone();
        let error = error.while_blocking(Duration::from_secs(30));
        assert_eq!(error.kind(), ErrorKind::CutOff);
        let text = error.to_string();
        assert!(text.contains("30 s") && text.contains("consul.wait"), "{text}");
        assert_eq!(plain.kind(), ErrorKind::ServerError, "a plain read needs no patience");
        let other = QueryError::NoAnswer.while_blocking(Duration::from_secs(30));
        assert_eq!(other, QueryError::NoAnswer);
    }

    #[test]
    fn a_rate_limit_says_what_would_help() {
        let error =
            QueryError::Status { code: 429, excerpt: BodyExcerpt::new(b"rate limit exceeded") };
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert!(error.to_string().contains("fewer watches"), "{error}");
    }

    const FILTER: &str = "Failed to create boolean expression evaluator: 1:18 (17): no match found";

    fn of(code: u16, body: &str, prepared: Option<&str>) -> Option<Mistake> {
        Mistake::of(code, &BodyExcerpt::new(body.as_bytes()), prepared)
    }

    #[test]
    fn a_500_for_what_is_asked_is_the_querys_own_mistake() {
        let passed_on = format!("rpc error making call: {FILTER}");
        assert_eq!(of(500, FILTER, None), Some(Mistake::Filter));
        assert_eq!(of(500, &passed_on, Some("geo")), Some(Mistake::Filter));
        assert!(Mistake::Filter.to_string().contains("the service's filter"));
        assert_eq!(of(500, "No path to datacenter", None), Some(Mistake::Datacenter));
        assert_eq!(of(500, "something else", None), None);
        assert_eq!(of(503, FILTER, None), None);
    }

    #[test]
    fn a_prepared_query_that_fails_is_named_unless_consul_is_ill() {
        let geo = Some("geo");
        let failed = of(500, "Bad limit: parsing \"abc\": invalid syntax", geo);
        assert_eq!(failed, Some(Mistake::Prepared("geo".into())));
        let ill = ["No cluster leader", "rpc error getting client: EOF", ""];
        assert!(ill.iter().all(|body| of(500, body, geo).is_none()));
    }
}
