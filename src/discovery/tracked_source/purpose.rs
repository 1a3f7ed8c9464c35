//! The purposes of loads and stores of the source record.

use crate::election::lease::ClaimReason;
use crate::shared::source_record::Rank;

/// The purpose of a load of the source record. All results of an event are handled before the next
/// event, so there is one purpose at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum SourceRecordLoad {
    /// Look for a newer snapshot, for a waiting request or after a message.
    Peek,
    /// Check the lease, too.
    Check { rank: Rank },
    /// Continue the publication of a snapshot.
    Commit,
    /// Release the lease.
    Leave,
    /// Release the lease and empty the snapshot slots.
    Retire,
}

/// The purpose of a store of the source record.
#[derive(Debug, Clone, Copy)]
pub(super) enum SourceRecordStore {
    Claim { reason: ClaimReason },
    Renewal,
    Commit,
    Leave,
    Retire,
}
