//! The events of a source, for logs and metrics.

use core::fmt;
use core::time::Duration;

use log::Level;

use crate::model::snapshot::{Snapshot, SnapshotChange};
use crate::registry::error::RegistryError;
use crate::registry::error_kind::ErrorKind;
use crate::registry::rejected_instances::RejectedInstances;
use crate::shared::CodecError;
use crate::shared::source_record::Term;

/// An event of a source that is counted, shown or logged.
///
/// Logged events are transitions. None of them occurs with every query.
#[derive(Debug)]
pub enum SourceEvent {
    /// The source lists the services of the catalog.
    ListsCatalog,
    /// This VM leads from now on. Logged.
    Elected(Term),
    /// Another VM has taken the lease. Logged.
    Deposed,
    /// This VM has released its lease, and another VM will take it. Shown.
    Left,
    /// The leader did not renew its lease for a lease period. Logged.
    FetcherLost,
    /// A call to Consul has ended. Counted.
    Called(Result<(), ErrorKind>),
    /// Consul has begun to fail, or fails in another way. Logged.
    Failing(RegistryError),
    /// Consul fails for a name that a client has asked for, which is no cause for concern. Logged.
    Unresolved(RegistryError),
    /// Consul responds again after this number of errors. Logged.
    Recovered(u32),
    /// New endpoints are published. Counted, shown and logged.
    Published {
        /// The difference to the last snapshot.
        change: SnapshotChange,
        /// The number of endpoints.
        endpoints: usize,
    },
    /// The services of the catalog are published. Counted, shown and logged.
    Listed {
        /// The number of new services.
        added: usize,
        /// The number of removed services.
        removed: usize,
        /// The number of services.
        services: usize,
        /// The number of services that match and are not used, because they are too many or their
        /// names fit no host.
        left_out: u32,
    },
    /// The rejected instances have changed. Logged.
    Dropped(RejectedInstances),
    /// The age and number of the endpoints. Shown.
    Age {
        /// The time since the last good response.
        age: Duration,
        /// The number of endpoints.
        endpoints: usize,
    },
    /// A response lists fewer instances, and the missing endpoints are kept until that is
    /// confirmed. Counted, shown and logged.
    Doubted(Doubt),
    /// A doubt has ended. Counted if the response was refuted, shown, and logged.
    Resolved(Resolution),
    /// Shared data contains a value that this version cannot read. Logged.
    Unreadable(CodecError),
}

impl SourceEvent {
    /// Returns the event of a snapshot that replaces `old`.
    pub fn published(new: &Snapshot, old: Option<&Snapshot>) -> Self {
        let change = new.since(old.unwrap_or(&Snapshot::default()));
        match new.services() {
            Some(services) => Self::Listed {
                added: change.added,
                removed: change.removed,
                services: new.len(),
                left_out: services.left_out(),
            },
            None => Self::Published { change, endpoints: new.len() },
        }
    }

    /// Returns the log level, if the event is logged.
    pub const fn level(&self) -> Option<Level> {
        match self {
            Self::ListsCatalog | Self::Called(_) | Self::Age { .. } | Self::Left => None,
            Self::Elected(_)
            | Self::Deposed
            | Self::Unresolved(_)
            | Self::Recovered(_)
            | Self::Published { .. } => Some(Level::Info),
            Self::Resolved(Resolution::Confirmed) => Some(Level::Info),
            Self::Listed { left_out: 1.., .. } => Some(Level::Warn),
            Self::Listed { .. } => Some(Level::Info),
            // An instance that is out of service is no cause for concern.
            Self::Dropped(dropped) if dropped.total() + dropped.denied.count == 0 => {
                Some(Level::Info)
            }
            Self::FetcherLost
            | Self::Failing(_)
            | Self::Dropped(_)
            | Self::Doubted(_)
            | Self::Resolved(Resolution::Refuted | Resolution::Expired)
            | Self::Unreadable(_) => Some(Level::Warn),
        }
    }
}

impl fmt::Display for SourceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListsCatalog => write!(f, "the source lists the services of the catalog"),
            Self::Elected(Term(term)) => write!(f, "this VM asks Consul from now on (term {term})"),
            Self::Deposed => write!(f, "another VM asks Consul from now on"),
            Self::Left => write!(f, "this VM asks Consul no longer"),
            Self::FetcherLost => write!(f, "the VM that asked Consul is silent; taking over"),
            Self::Called(Ok(())) => write!(f, "consul answered"),
            Self::Called(Err(kind)) => write!(f, "consul did not answer ({})", kind.label()),
            Self::Failing(error) | Self::Unresolved(error) => {
                write!(f, "{error}; the endpoints stay as they are")
            }
            Self::Recovered(errors) => {
                write!(f, "consul answers again after {errors} failed attempts")
            }
            Self::Published { change, endpoints } => {
                let SnapshotChange { added, removed, reweighted, relabelled, others_unhealthy } = change;
                write!(f, "{endpoints} endpoints ({added} added, {removed} removed")?;
                write!(f, ", {reweighted} with another weight")?;
                if *relabelled > 0 {
                    write!(f, ", {relabelled} with another zone, version or metadata")?;
                }
                if *others_unhealthy {
                    f.write_str(", others unhealthy")?;
                }
                f.write_str(")")
            }
            Self::Listed { added, removed, services, left_out } => {
                write!(f, "{services} services ({added} added, {removed} removed)")?;
                match left_out {
                    0 => Ok(()),
                    _ => write!(
                        f,
                        "; {left_out} are left out: beyond max_services, named as no host can be, or \
                         by xds.clusters.name as another cluster of Envoy's (exclude these)"
                    ),
                }
            }
            Self::Dropped(dropped) => write!(f, "left out of the answer: {dropped}"),
            Self::Age { age, endpoints } => {
                write!(f, "{endpoints} endpoints, confirmed {} ms ago", age.as_millis())
            }
            Self::Doubted(doubt) => {
                write!(f, "{doubt}: what is gone stays until a fresh, consistent read confirms it")
            }
            Self::Resolved(Resolution::Refuted) => f.write_str(
                "a later answer lists more instances than the answer that was doubted, or some that \
                 can be reached, and is used",
            ),
            Self::Resolved(Resolution::Confirmed) => {
                f.write_str("a fresh, consistent read confirms what was doubted, and is used")
            }
            Self::Resolved(Resolution::Expired) => f.write_str(
                "nothing has contradicted the answer that was doubted (shrink_guard.hold is over), \
                 and it is used",
            ),
            Self::Unreadable(error) => write!(f, "{error}; it is replaced"),
        }
    }
}

/// The reason to doubt a response.
///
/// Doubt concerns instances that *vanish without a statement*: an agent that was just restarted, or
/// whose token was revoked, responds with 200 and lists nothing, or less (hashicorp/consul#20790,
/// #17424, hashicorp/consul-template#1131). An instance that is listed as critical, in maintenance
/// or with weight 0 has not vanished. Consul has made a statement about it and is believed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// No instance is listed any more.
    Nothing {
        /// The number of instances that were listed before.
        before: u32,
    },
    /// Far fewer instances are listed.
    Shrunk {
        /// The number of instances that were listed before.
        before: u32,
        /// The number of instances that are listed now.
        left: u32,
    },
    /// Endpoints are missing from a response that ACLs have filtered.
    Filtered {
        /// The number of missing endpoints.
        removed: usize,
    },
    /// No endpoint is left, and the listed instances are unusable: a mistake in the registrations,
    /// or a body that was damaged on its way.
    Unusable(RejectedInstances),
}

/// The end of a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// A later response has listed more, or reachable instances: the doubted response is outdated
    /// or was wrong.
    Refuted,
    /// A fresh, consistent read has confirmed the response, or has explained what is missing.
    Confirmed,
    /// The hold time is over without a contradiction, and Consul is believed.
    Expired,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { before } => {
                write!(f, "consul lists no instance any more, of {before} before")
            }
            Self::Shrunk { before, left } => {
                write!(f, "consul lists {left} instances, of {before} before")
            }
            Self::Filtered { removed } => write!(
                f,
                "consul hid instances from the read, and {removed} endpoints are gone; check the \
                 token's service:read and node:read"
            ),
            Self::Unusable(dropped) => write!(
                f,
                "consul lists only instances that cannot be reached ({dropped}; mend their \
                 registrations)"
            ),
        }
    }
}
