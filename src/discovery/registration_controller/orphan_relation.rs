//! How an orphan is related to what the configuration of this VM registers.

use core::time::Duration;

use crate::election::lease::PERIOD;

/// How long the charge of a registration that nobody has in its configuration must be left alone
/// before it is taken away: another listener may have it.
const ORPHANED: Duration = Duration::from_secs(5);
/// How long a charge must not have changed before another configuration may take it that is not
/// newer, or take away what it stands for: its own followers have come first by then.
pub(super) const ABANDONED: Duration = Duration::from_secs(4 * PERIOD.as_secs());

/// How an orphan is related to what the configuration of this VM registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::discovery) enum OrphanRelation {
    /// It was registered by the same cluster.
    Own,
    /// It was registered by another cluster.
    Foreign,
    /// It was registered by another cluster, and the configuration registers the same id: what is
    /// wanted may be at the same agent.
    Wanted,
    /// Another configuration may register the same id, by whatever cluster.
    Doubtful,
}

impl OrphanRelation {
    /// How long an orphan's charge must be left alone before a VM takes it: the VM that was made first
    /// comes first, but it may be dead, and nobody know it; and configurations that know better come
    /// before others.
    pub(super) fn patience(self, is_oldest: bool) -> Duration {
        let deference = match self {
            Self::Own | Self::Wanted => Duration::ZERO,
            Self::Foreign => ORPHANED,
            Self::Doubtful => Duration::from_secs(60),
        };
        deference + if is_oldest { ORPHANED } else { ABANDONED }
    }
}
