//! The keys of Envoy's shared data, and the names of its queues.

use core::fmt;

use crate::model::service::QueryKey;
use crate::shared::snapshot_record::SnapshotVersion;

/// The version of every format in this folder. It is part of every key.
pub(super) const FORMAT: &str = "consul_resolver.5";

/// The version of a value in shared data: Envoy's compare-and-set number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cas(pub u32);

/// The root context of one VM, as a random number that the VM draws at its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u64);

impl VmId {
    /// Returns the name of the queue that wakes this VM. The name is unique: Envoy wakes only the
    /// VM that registered last under a name.
    pub fn queue_name(self) -> String {
        format!("{FORMAT}/wake/{self}")
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key of shared data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SharedKey {
    /// The [`SourceRecord`](crate::shared::source_record::SourceRecord) of a source: its leader and
    /// its published version.
    SourceRecord(QueryKey),
    /// The [`SnapshotRecord`](crate::shared::snapshot_record::SnapshotRecord) of a source in that
    /// version.
    ///
    /// Two slots alternate, so the published record stays intact while the next record is written.
    /// There are only two slots because a key in shared data is never removed.
    Snapshot(QueryKey, SnapshotVersion),
    /// The [`Members`](crate::shared::members::Members): the queues of all VMs.
    Members,
    /// The [`RegistrationLease`](crate::shared::registration_lease::RegistrationLease) of a
    /// registration: its leader.
    RegistrationLease(QueryKey),
    /// The [`RegistrationIndex`](crate::shared::registration_index::RegistrationIndex): all
    /// registrations of this process.
    RegistrationIndex,
}

impl fmt::Display for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceRecord(query) => write!(f, "{FORMAT}/{query}/head"),
            Self::Snapshot(query, SnapshotVersion { generation, .. }) => {
                write!(f, "{FORMAT}/{query}/record/{}", generation & 1)
            }
            Self::Members => write!(f, "{FORMAT}/members"),
            Self::RegistrationLease(registration) => write!(f, "{FORMAT}/{registration}/charge"),
            Self::RegistrationIndex => write!(f, "{FORMAT}/book"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::source_record::Term;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn snapshots_alternate_between_two_slots_in_all_terms() {
        let key = |term, generation| {
            SharedKey::Snapshot(QueryKey(7), SnapshotVersion { term: Term(term), generation })
                .to_string()
        };
        assert_eq!(key(1, 4), key(1, 6));
        assert_ne!(key(1, 4), key(1, 5));
        assert_eq!(key(1, 4), key(2, 4));
    }
}
