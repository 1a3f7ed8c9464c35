//! The errors of a registration.

use core::fmt;

use crate::registry::consul::error::QueryError;
use crate::registry::consul::registration::actual::AgentIdentity;
use crate::registry::consul::registration::drift::Drift;
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::Refusal;
use crate::util::excerpt::BodyExcerpt;

/// An error of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationError {
    /// The call to the agent has failed.
    Call(QueryError),
    /// The agent refuses the definition.
    Rejected {
        /// The status.
        code: u16,
        /// The agent's reason.
        excerpt: BodyExcerpt,
    },
    /// The token lacks a permission.
    Denied {
        /// The status.
        code: u16,
        /// The agent's reason.
        excerpt: BodyExcerpt,
        /// The environment variable that contains the token. `None` if the configuration names
        /// none.
        token_env: Option<String>,
        /// The service.
        service: String,
    },
    /// The agent's response is unreadable.
    Unreadable {
        /// The beginning of the response.
        excerpt: BodyExcerpt,
    },
    /// The agent has accepted the definition, and has another one all the same.
    InPart(Drift),
    /// The agent is of another datacenter than the configured one.
    Elsewhere {
        /// The agent's datacenter.
        found: String,
    },
    /// Several agents respond by turns, and a service belongs to one agent.
    SeveralAgents {
        /// The Envoy cluster of the agents.
        cluster: String,
        /// Two of the agents. `None` if the token may not read their identity.
        found: Option<Box<[AgentIdentity; 2]>>,
    },
}

impl RegistrationError {
    /// Returns true if Envoy has no cluster of that name.
    pub const fn is_unknown_cluster(&self) -> bool {
        matches!(self, Self::Call(QueryError::Refused { refusal: Refusal::UnknownCluster, .. }))
    }

    /// Returns the kind, for metrics.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::Rejected { .. } | Self::Elsewhere { .. } | Self::SeveralAgents { .. } => {
                ErrorKind::ClientError
            }
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Unreadable { .. } | Self::InPart(_) => ErrorKind::BadBody,
        }
    }
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Rejected { code, excerpt } => write!(
                f,
                "consul does not take the registration ({code} {excerpt}): mend it in the \
                 configuration, under register"
            ),
            Self::Denied { code, excerpt, token_env, service } => {
                write!(f, "consul refused the registration ({code} {excerpt}): ")?;
                match token_env {
                    Some(variable) => write!(f, "the token in {variable}")?,
                    None => f.write_str("the anonymous token, used without consul.token_env,")?,
                }
                write!(f, " needs service:write for {service:?}")
            }
            Self::Unreadable { excerpt } => write!(
                f,
                "what consul says of the registration cannot be read ({excerpt:?}): check that \
                 consul.cluster leads to the HTTP API of an agent"
            ),
            Self::InPart(difference) => write!(
                f,
                "consul took the registration only in part ({difference}), again and again: it is \
                 removed, and tried anew later; check the agent behind consul.cluster"
            ),
            Self::Elsewhere { found } => write!(
                f,
                "the agent is of datacenter {found:?}, not of the registration's: it is not \
                 registered there; let consul.cluster lead to an agent of that one, or change \
                 datacenter"
            ),
            Self::SeveralAgents { cluster, found } => {
                match found.as_deref() {
                    Some([one, other]) => write!(f, "two agents answer, {one} and {other}: ")?,
                    None => f.write_str("the agent does not have what it has just taken: ")?,
                }
                write!(
                    f,
                    "several seem to be behind cluster {cluster:?}, and a service belongs to one; \
                     let it lead to the agent of this machine alone"
                )
            }
        }
    }
}

impl core::error::Error for RegistrationError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            _ => None,
        }
    }
}
