//! The relation of an orphan to the configuration of this VM.

use core::time::Duration;

use crate::election::lease::PERIOD;

/// The time for which an orphan's lease must be unchanged before its removal, because another
/// listener may have the registration.
const ORPHANED: Duration = Duration::from_secs(5);
/// The time for which a lease must be unchanged before a configuration that is not newer may claim
/// or remove the registration. It is longer than a lease period, so that followers of the same
/// configuration take over first.
pub(super) const ABANDONED: Duration = Duration::from_secs(4 * PERIOD.as_secs());

/// The relation of an orphan to the configuration of this VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrphanRelation {
    /// The orphan was registered through the same cluster.
    SameCluster,
    /// The orphan was registered through another cluster.
    OtherCluster,
    /// The orphan was registered through another cluster, and this configuration registers the same
    /// id. Both may be at the same agent.
    IdConfigured,
    /// Another configuration may register the same id through some cluster.
    IdMaybeConfigured,
}

impl OrphanRelation {
    /// Returns the time for which an orphan's lease must be unchanged before a VM claims it. The
    /// oldest VM comes first, but others follow in case it is dead. Configurations that know more
    /// about the orphan come before others.
    pub(super) fn claim_delay(self, is_oldest: bool) -> Duration {
        let deference = match self {
            Self::SameCluster | Self::IdConfigured => Duration::ZERO,
            Self::OtherCluster => ORPHANED,
            Self::IdMaybeConfigured => Duration::from_secs(60),
        };
        deference + if is_oldest { ORPHANED } else { ABANDONED }
    }
}
