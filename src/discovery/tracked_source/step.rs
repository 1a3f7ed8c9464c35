//! Why a tracker looks at its head, or writes it.

use crate::election::lease::ClaimReason;
use crate::shared::source_record::Rank;

/// Why the head was asked for. One at a time: all that follows from an event is carried out before the next event.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeadLoad {
    /// For a request that cannot be routed yet, or because this VM was woken.
    Peek,
    /// For the lease, too.
    Check { rank: Rank },
    /// To go on with the publication of a record.
    Commit,
    /// To give the lease away.
    Leave,
    /// To give it away, and leave nothing behind that takes room.
    Retire,
}

/// Why the head was written.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeadStore {
    Claim { vacancy: ClaimReason },
    Renewal,
    Commit,
    Leave,
    Retire,
}
