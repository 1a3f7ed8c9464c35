//! What an operator may want to know of a registration.

use core::fmt;

use log::Level;

use crate::consul::error::ErrorKind;
use crate::consul::registration::{CheckStatus, Drift, RegistrationError, Report};

/// Something about a registration that is counted, shown or logged. Those that are logged are
/// transitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// This VM keeps the registration from now on. Logged.
    Keeping,
    /// Another VM keeps it. Logged.
    Left,
    /// The configuration that has it is in use no longer. Shown and logged.
    GivenUp,
    /// Another configuration has taken the id. Logged.
    Superseded,
    /// A call has ended. Counted.
    Called(Result<(), ErrorKind>),
    /// It is registered as configured. Shown and logged.
    Standing,
    /// The agent has it otherwise than it was registered, and it is registered anew. Logged.
    Drifted(Drift),
    /// It is not registered, or nobody knows. Shown and logged.
    Failing(RegistrationError),
    /// A check is reported otherwise than before. Shown and logged.
    Reported {
        /// Its id.
        check: String,
        /// What is reported.
        report: Report,
    },
    /// How the service stands by all that is reported of it: the worst of it. Shown.
    Health(CheckStatus),
    /// It is removed, because the configuration does not have it any more. Logged.
    Removed,
    /// The configuration does not have it any more, and it may still be registered. Logged.
    Remains(Remains),
    /// A cluster that is probed does not exist. Logged.
    NoCluster(String),
    /// A cluster that did not exist does now. Logged.
    ClusterFound(String),
}

/// Why something that is wanted no more may still be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// The cluster by which it was registered has gone.
    OutOfReach,
    /// The agent behind that cluster may be the one that has what is wanted.
    Unsure,
    /// Several agents answer.
    Several,
}

impl RegistrationEvent {
    /// Returns the event of a VM that has lost the lease, to another configuration or to another VM.
    pub const fn deposed(is_superseded: bool) -> Self {
        if is_superseded { Self::Superseded } else { Self::Left }
    }

    /// How loudly it is logged; none for what is only counted or shown.
    pub const fn level(&self) -> Option<Level> {
        match self {
            Self::Called(_) | Self::Health(_) => None,
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
