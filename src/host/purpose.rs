//! The loads and stores of shared data, each with its purpose.

use crate::model::service::QueryKey;
use crate::shared::key::SharedKey;
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::Rank;

/// A load of shared data. Its purpose comes back with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Loads the record of a source.
    SourceRecord(QueryKey, SourceRecordLoad),
    /// Loads the slot of a snapshot.
    Snapshot(QueryKey, SnapshotVersion, SnapshotLoad),
    /// Loads the lease of a registration.
    RegistrationLease(QueryKey, LeaseLoad),
    /// Loads the index of registrations.
    RegistrationIndex,
    /// Loads the list of members.
    Members,
}

/// A store to shared data. Its purpose comes back with the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Stores the record of a source.
    SourceRecord(QueryKey, SourceRecordStore),
    /// Stores a snapshot, or empties its slot.
    Snapshot(QueryKey, SnapshotVersion),
    /// Stores the lease of a registration.
    RegistrationLease(QueryKey, LeaseStore),
    /// Stores the index of registrations.
    RegistrationIndex,
    /// Stores the list of members.
    Members,
}

/// The purpose of a load of a source record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceRecordLoad {
    /// Install a newer snapshot, for a waiting request or after a message.
    Update,
    /// Check the lease, too.
    Check {
        /// The rank of this VM.
        rank: Rank,
    },
    /// Continue the publication of a snapshot.
    Commit,
    /// Release the lease.
    Release {
        /// True if the snapshot slots are emptied, too.
        is_last: bool,
    },
}

/// The purpose of a store of a source record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceRecordStore {
    /// Claim the lease.
    Claim,
    /// Renew the lease.
    Renewal,
    /// Point to a new snapshot.
    Commit,
    /// Release the lease.
    Release {
        /// True if the snapshot slots are emptied then.
        is_last: bool,
    },
}

/// The purpose of a load of a snapshot's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotLoad {
    /// Install the snapshot.
    Install,
    /// Store a new snapshot there.
    Publish,
    /// Empty the slot when the lease is released.
    Empty,
}

/// The purpose of a load of a registration's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseLoad {
    /// Check the lease.
    Check {
        /// The rank of this VM.
        rank: Rank,
        /// True if this VM is the oldest.
        is_oldest: bool,
    },
    /// Release the lease.
    Leave,
}

/// The purpose of a store of a registration's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStore {
    /// Claim the lease.
    Claim,
    /// Renew the lease.
    Renewal,
    /// Release the lease.
    Leave,
}

impl Load {
    /// Returns the key of the value.
    pub const fn key(self) -> SharedKey {
        match self {
            Self::SourceRecord(query, _) => SharedKey::SourceRecord(query),
            Self::Snapshot(query, version, _) => SharedKey::Snapshot(query, version),
            Self::RegistrationLease(key, _) => SharedKey::RegistrationLease(key),
            Self::RegistrationIndex => SharedKey::RegistrationIndex,
            Self::Members => SharedKey::Members,
        }
    }
}

impl Store {
    /// Returns the key of the value.
    pub const fn key(self) -> SharedKey {
        match self {
            Self::SourceRecord(query, _) => SharedKey::SourceRecord(query),
            Self::Snapshot(query, version) => SharedKey::Snapshot(query, version),
            Self::RegistrationLease(key, _) => SharedKey::RegistrationLease(key),
            Self::RegistrationIndex => SharedKey::RegistrationIndex,
            Self::Members => SharedKey::Members,
        }
    }
}
