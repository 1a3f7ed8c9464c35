//! The doubts about responses of the registry: their reasons and their ends.

use core::fmt;

use crate::registry::rejected_instances::RejectedInstances;

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
