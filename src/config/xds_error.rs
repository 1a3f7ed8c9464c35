//! Why Envoy's own clusters and routes cannot be made.

use core::fmt;

use super::field_path::FieldPath;

/// Says why Envoy's own clusters and routes cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XdsError {
    /// A field that a message of Envoy's API does not have.
    UnknownField {
        /// The message.
        message: &'static str,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A field of Envoy's API that the filter sets itself.
    SetElsewhere {
        /// The setting by which it does.
        by: &'static str,
    },
    /// Subsets of a cluster whose subsets are the versions of its service.
    Subsets {
        /// The setting by which they are.
        versions: FieldPath,
    },
    /// A setting that Envoy's own clusters do not have.
    NotOfEnvoy,
    /// A feature for which Envoy's own clusters have no host.
    NoHost {
        /// A handoff that needs none.
        instead: &'static str,
    },
}

impl fmt::Display for XdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField { message, suggestion } => {
                write!(f, "unknown field of Envoy's {message}")?;
                match suggestion {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => Ok(()),
                }
            }
            Self::SetElsewhere { by } => write!(f, "{by} sets it; leave it out here"),
            Self::Subsets { versions } => write!(
                f,
                "{versions} makes the subsets of that cluster; give it as cluster of services \
                 without versions, or set handoff to stateful_session, by which the filter picks"
            ),
            Self::NotOfEnvoy => f.write_str(
                "Envoy's own clusters, which xds.clusters makes, cannot do it; set handoff to \
                 stateful_session, by which the filter picks, or choose another setting",
            ),
            Self::NoHost { instead } => write!(
                f,
                "stateful_session names hosts of Envoy's own clusters, which are addresses of \
                 configured or discovered services; set handoff to {instead}, or leave it out"
            ),
        }
    }
}

impl core::error::Error for XdsError {}
