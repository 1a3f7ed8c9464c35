//! The verdict on the response to a probe.

use core::fmt;

use crate::config::HealthCheck;
use crate::util::excerpt::BodyExcerpt;

/// The response to a probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeResponse<'a> {
    /// The HTTP status.
    pub status: u16,
    /// True if Envoy itself responded because the host could not be reached.
    pub from_envoy: bool,
    /// The body.
    pub body: &'a [u8],
}

/// The verdict on a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// The target works.
    Good(ProbeReason),
    /// The target works and warns.
    Warning(ProbeReason),
    /// The target does not work.
    Bad(ProbeReason),
}

/// The reason of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeReason {
    /// The status of the response decides.
    Status(u16),
    /// The status is expected, and the body is not.
    Body,
    /// The host could not be reached, as Envoy's status and text say.
    Unreachable(u16, BodyExcerpt),
    /// The response broke off or took too long.
    NoAnswer,
    /// Envoy has no such cluster.
    UnknownCluster,
    /// The cluster has no host, or no free request.
    NoCapacity,
}

impl ProbeVerdict {
    /// Judges a response.
    pub fn of(check: &HealthCheck, response: ProbeResponse<'_>) -> Self {
        let ProbeResponse { status, from_envoy, body } = response;
        if from_envoy {
            return Self::Bad(ProbeReason::Unreachable(status, BodyExcerpt::new(body)));
        }
        let is_one_of = |statuses: &[core::ops::RangeInclusive<u16>]| {
            statuses.iter().any(|range| range.contains(&status))
        };
        if is_one_of(&check.expected_statuses) {
            let wanted = check.expected_body.as_deref().unwrap_or_default().as_bytes();
            return match wanted.is_empty() || body.windows(wanted.len()).any(|it| it == wanted) {
                true => Self::Good(ProbeReason::Status(status)),
                false => Self::Bad(ProbeReason::Body),
            };
        }
        match is_one_of(&check.warning_statuses) {
            true => Self::Warning(ProbeReason::Status(status)),
            false => Self::Bad(ProbeReason::Status(status)),
        }
    }

    /// Returns the reason.
    pub const fn reason(&self) -> &ProbeReason {
        match self {
            Self::Good(reason) | Self::Warning(reason) | Self::Bad(reason) => reason,
        }
    }
}

impl ProbeReason {
    /// Returns true if Envoy did not send the probe. The result then says nothing about the target.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::UnknownCluster | Self::NoCapacity => true,
            // Envoy's text if the circuit breaker of the cluster is open.
            Self::Unreachable(503, excerpt) => excerpt.as_str().contains("overflow"),
            Self::Unreachable(..) | Self::Status(_) | Self::Body | Self::NoAnswer => false,
        }
    }
}

impl fmt::Display for ProbeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Body => f.write_str("the body is not as expected"),
            Self::Unreachable(504, _) => f.write_str("no answer in time"),
            Self::Unreachable(status, excerpt) => {
                write!(f, "could not be reached ({status} from Envoy: {excerpt})")
            }
            Self::NoAnswer => f.write_str("the answer broke off or took too long"),
            Self::UnknownCluster => f.write_str("Envoy has no such cluster"),
            Self::NoCapacity => f.write_str("the cluster has no host or no free request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn verdict(status: u16, body: &[u8]) -> ProbeVerdict {
        let check = HealthCheck {
            expected_statuses: vec![200..=200, 204..=299],
            warning_statuses: vec![429..=429, 250..=260],
            expected_body: Some("\"ok\"".to_owned()),
            ..HealthCheck::default()
        };
        ProbeVerdict::of(&check, ProbeResponse { status, from_envoy: false, body })
    }

    #[test]
    fn expected_status_is_good_only_when_the_body_matches() {
        let body = br#"{"db": "ok"}"#;
        assert_eq!(verdict(200, body), ProbeVerdict::Good(ProbeReason::Status(200)));
        assert_eq!(verdict(255, body), ProbeVerdict::Good(ProbeReason::Status(255)));
        assert_eq!(verdict(200, b""), ProbeVerdict::Bad(ProbeReason::Body));
        assert_eq!(verdict(201, body), ProbeVerdict::Bad(ProbeReason::Status(201)));
        assert_eq!(verdict(429, b""), ProbeVerdict::Warning(ProbeReason::Status(429)));
        assert_eq!(verdict(503, body), ProbeVerdict::Bad(ProbeReason::Status(503)));
    }

    #[test]
    fn verdict_is_unreachable_when_envoy_itself_responds() {
        let check = HealthCheck { expected_statuses: vec![503..=503], ..HealthCheck::default() };
        let response =
            ProbeResponse { status: 503, from_envoy: true, body: b"upstream connect error" };
        assert!(matches!(
            ProbeVerdict::of(&check, response),
            ProbeVerdict::Bad(ProbeReason::Unreachable(503, _))
        ));
    }
}
