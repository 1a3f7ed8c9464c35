//! The responses of the filter itself.

use std::rc::Rc;

use serde::Serialize;

/// A response of the filter itself. It is made when the configuration is read or a state begins, for all
/// requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The reason why the request is not forwarded.
    pub reason: ReplyReason,
    /// The HTTP status.
    pub status: u16,
    /// The value of `%RESPONSE_CODE_DETAILS%`: `consul_resolver.` and the reason.
    pub details: &'static str,
    /// The body: `{"error":"no_healthy_endpoints","service":"web"}`.
    pub body: String,
    /// The headers beside `:status`.
    pub headers: &'static [(&'static str, &'static str)],
}

/// The reason for a response of the filter itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyReason {
    /// Consul says that no instance of the service is healthy.
    NoHealthyEndpoints,
    /// The service has not been resolved within the warm-up.
    NotResolvedYet,
    /// Consul has not confirmed the service's endpoints for too long.
    StaleEndpoints,
    /// A dependency of the service is down.
    DependencyDown,
    /// The name is new, and there are too many, or too many new ones.
    TooManyNames,
    /// The request is of no configured service, and such are rejected.
    UnknownService,
    /// Envoy does not take the endpoint that was picked.
    HandoffRefused,
}

const CONTENT_TYPE: (&str, &str) = ("content-type", "application/json");

/// The retry time of a 503: one second, the shortest that is not at once.
///
/// A longer time would be a guess. A change in Consul ends the condition, and reaches the workers within
/// milliseconds.
const RETRY_AFTER: (&str, &str) = ("retry-after", "1");

impl Reply {
    /// Returns the reply when no instance of `service` is healthy.
    pub fn no_healthy_endpoints(service: &str) -> Self {
        Self::new(ReplyReason::NoHealthyEndpoints, Some(service))
    }

    /// Returns the reply when `service` has not been resolved within the warm-up.
    pub fn not_resolved_yet(service: &str) -> Self {
        Self::new(ReplyReason::NotResolvedYet, Some(service))
    }

    /// Returns the reply when Consul has not confirmed the endpoints of `service` for too long.
    pub fn stale_endpoints(service: &str) -> Self {
        Self::new(ReplyReason::StaleEndpoints, Some(service))
    }

    /// Returns the reply when these dependencies of `service` are down.
    pub fn dependency_down(service: &str, dependencies: &[Rc<str>]) -> Self {
        Self::about(ReplyReason::DependencyDown, Some(service), dependencies)
    }

    /// Returns the reply when no more names are added. It does not repeat what the client has sent.
    pub fn too_many_names() -> Self {
        Self::new(ReplyReason::TooManyNames, None)
    }

    /// Returns the reply to a request of no service. It does not repeat what the client has sent.
    pub fn unknown_service() -> Self {
        Self::new(ReplyReason::UnknownService, None)
    }

    /// Returns the reply when Envoy does not take the endpoint that was picked.
    pub fn handoff_refused() -> Self {
        Self::new(ReplyReason::HandoffRefused, None)
    }

    fn new(reason: ReplyReason, service: Option<&str>) -> Self {
        Self::about(reason, service, &[])
    }

    fn about(reason: ReplyReason, service: Option<&str>, dependencies: &[Rc<str>]) -> Self {
        let dependencies = dependencies.iter().map(AsRef::as_ref).collect();
        let body = Body { error: reason.label(), service, dependencies };
        Self {
            reason,
            status: reason.status(),
            details: reason.details(),
            // Nothing but strings: there is nothing in it that JSON could not express.
            body: serde_json::to_string(&body).unwrap_or_default(),
            headers: match reason {
                ReplyReason::UnknownService | ReplyReason::HandoffRefused => &[CONTENT_TYPE],
                ReplyReason::NoHealthyEndpoints
                | ReplyReason::NotResolvedYet
                | ReplyReason::TooManyNames
                | ReplyReason::DependencyDown
                | ReplyReason::StaleEndpoints => &[CONTENT_TYPE, RETRY_AFTER],
            },
        }
    }
}

impl ReplyReason {
    /// All reasons, for a counter of each.
    pub const ALL: [Self; 7] = [
        Self::NoHealthyEndpoints,
        Self::NotResolvedYet,
        Self::StaleEndpoints,
        Self::DependencyDown,
        Self::TooManyNames,
        Self::UnknownService,
        Self::HandoffRefused,
    ];

    /// Returns the name of the reason in the body and in a counter.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoHealthyEndpoints => "no_healthy_endpoints",
            Self::NotResolvedYet => "not_resolved_yet",
            Self::StaleEndpoints => "stale_endpoints",
            Self::DependencyDown => "dependency_down",
            Self::TooManyNames => "too_many_names",
            Self::UnknownService => "unknown_service",
            Self::HandoffRefused => "handoff_refused",
        }
    }

    const fn details(self) -> &'static str {
        match self {
            Self::NoHealthyEndpoints => "consul_resolver.no_healthy_endpoints",
            Self::NotResolvedYet => "consul_resolver.not_resolved_yet",
            Self::StaleEndpoints => "consul_resolver.stale_endpoints",
            Self::DependencyDown => "consul_resolver.dependency_down",
            Self::TooManyNames => "consul_resolver.too_many_names",
            Self::UnknownService => "consul_resolver.unknown_service",
            Self::HandoffRefused => "consul_resolver.handoff_refused",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::NoHealthyEndpoints
            | Self::NotResolvedYet
            | Self::StaleEndpoints
            | Self::DependencyDown
            | Self::TooManyNames => 503,
            Self::UnknownService => 404,
            Self::HandoffRefused => 500,
        }
    }
}

/// The JSON of a reply.
#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn bodies_are_exactly_as_documented() {
        let body = Reply::no_healthy_endpoints("web").body;
        assert_eq!(body, r#"{"error":"no_healthy_endpoints","service":"web"}"#);
        let body = Reply::not_resolved_yet(r#"a"b"#).body;
        assert_eq!(body, r#"{"error":"not_resolved_yet","service":"a\"b"}"#);
        let body = Reply::dependency_down("web", &["db".into(), "c\"".into()]).body;
        let others = r#""dependencies":["db","c\""]"#;
        assert_eq!(body, format!(r#"{{"error":"dependency_down","service":"web",{others}}}"#));
        let body = Reply::unknown_service().body;
        assert_eq!(body, r#"{"error":"unknown_service"}"#);
    }

    #[test]
    fn only_a_503_says_when_to_try_again() {
        for reply in [
            Reply::no_healthy_endpoints("web"),
            Reply::not_resolved_yet("web"),
            Reply::too_many_names(),
            Reply::dependency_down("web", &["db".into()]),
            Reply::unknown_service(),
            Reply::handoff_refused(),
        ] {
            assert_eq!(reply.headers.contains(&RETRY_AFTER), reply.status == 503);
            assert!(reply.headers.contains(&CONTENT_TYPE));
        }
        assert_eq!(Reply::unknown_service().status, 404);
        assert_eq!(Reply::handoff_refused().status, 500);
    }

    #[test]
    fn details_are_the_label_under_the_name_of_the_filter() {
        for reason in ReplyReason::ALL {
            let details = format!("consul_resolver.{}", reason.label());
            assert_eq!(reason.details(), details);
        }
    }
}
