//! The events of a registration, for logs and metrics.

use core::fmt;

use log::Level;

use crate::registry::consul::registration::{CheckStatus, Drift, RegistrationError, Report};
use crate::registry::error_kind::ErrorKind;

/// An event of a registration that is counted, shown or logged. Logged events are transitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// No configuration contains the registration with this id at the agent. It will be removed.
    Orphaned {
        /// The id.
        id: String,
    },
    /// This VM keeps the registration from now on. Logged.
    Keeping,
    /// Another VM keeps it. Logged.
    Left,
    /// The configuration of this VM has been replaced, and the registration is released. Shown and
    /// logged.
    GivenUp,
    /// Another configuration has taken the id. Logged.
    Superseded,
    /// A call has ended. Counted.
    Called(Result<(), ErrorKind>),
    /// The service is registered as configured. Shown and logged.
    Standing,
    /// The registration at the agent has changed, and the service is registered again. Logged.
    Drifted(Drift),
    /// The service is not registered, or its state is unknown. Shown and logged.
    Failing(RegistrationError),
    /// The report on a check has changed. Shown and logged.
    Reported {
        /// The id of the check.
        check: String,
        /// The report.
        report: Report,
    },
    /// The health of the service: the worst of its reports. Shown.
    Health(CheckStatus),
    /// The service is deregistered because no configuration contains it. Logged.
    Removed,
    /// No configuration contains the service, and it may still be registered. Logged.
    Remains(Remains),
    /// A cluster to probe does not exist. Logged.
    NoCluster(String),
    /// A cluster that did not exist exists now. Logged.
    ClusterFound(String),
}

/// The reason why a service that no configuration contains may still be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Envoy does not have the cluster any more by which the service was registered.
    OutOfReach,
    /// The agent behind that cluster may be the one that has the wanted registration.
    Unsure,
    /// Several agents respond.
    Several,
}

impl RegistrationEvent {
    /// Returns the event of a VM that has lost the lease, to another configuration or to another VM.
    pub const fn deposed(is_superseded: bool) -> Self {
        if is_superseded { Self::Superseded } else { Self::Left }
    }

    /// Returns the log level, if the event is logged.
    pub const fn level(&self) -> Option<Level> {
        match self {
            Self::Orphaned { .. } | Self::Called(_) | Self::Health(_) => None,
            Self::Keeping
            | Self::Left
            | Self::GivenUp
            | Self::Superseded
            | Self::Standing
            | Self::Removed
            | Self::ClusterFound(_) => Some(Level::Info),
            Self::Reported { report, .. } => match report.status {
                CheckStatus::Passing => Some(Level::Info),
                CheckStatus::Warning | CheckStatus::Critical => Some(Level::Warn),
            },
            Self::Drifted(_) | Self::Failing(_) | Self::Remains(_) | Self::NoCluster(_) => {
                Some(Level::Warn)
            }
        }
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfReach => "envoy has no longer the cluster by which it was registered",
            Self::Unsure => {
                "it was registered by another cluster, of which the token may not know (agent:read) \
                 whether it leads to the same agent"
            }
            Self::Several => "several agents answer behind the cluster, or somebody registers it",
        })
    }
}

impl fmt::Display for RegistrationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphaned { id } => write!(f, "no configuration contains {id}, which is removed"),
            Self::Keeping => f.write_str("this VM keeps the registration from now on"),
            Self::Left => f.write_str("this VM keeps the registration no longer"),
            Self::GivenUp => f.write_str("this configuration is in use no longer, and leaves it"),
            Self::Superseded => f.write_str(
                "a newer configuration of this proxy registers this id, as that of an updated \
                 listener does: this one leaves it alone",
            ),
            Self::Called(Ok(())) => f.write_str("consul answered"),
            Self::Called(Err(kind)) => write!(f, "consul did not answer ({})", kind.label()),
            Self::Standing => f.write_str("registered"),
            Self::Drifted(difference) => {
                write!(f, "consul has it otherwise ({difference}); it is registered anew")?;
                match difference.is_of_another() {
                    true => f.write_str(
                        ", but another proxy seems to have the same id: give each its own, or \
                         leave id out",
                    ),
                    false => Ok(()),
                }
            }
            Self::Failing(error) => write!(f, "{error}"),
            Self::Reported { check, report: Report { status, output } } => {
                write!(f, "check {check} is {status}: {output}")
            }
            Self::Health(status) => write!(f, "{status}"),
            Self::Removed => f.write_str("deregistered: the configuration has it no more"),
            Self::Remains(remains) => write!(
                f,
                "the configuration has it no more, and {remains}: what is left goes by its \
                 deregister_critical_service_after, or is for you to deregister"
            ),
            Self::NoCluster(cluster) => write!(
                f,
                "envoy has no cluster {cluster:?}, which is to be probed: add it, or mend probe or \
                 drain"
            ),
            Self::ClusterFound(cluster) => write!(f, "envoy has the cluster {cluster:?} now"),
        }
    }
}
