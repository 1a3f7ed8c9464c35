//! The keys of Envoy's shared data, and the names of its queues.

use core::fmt;

use crate::model::service::QueryKey;
use crate::shared::snapshot_record::SnapshotVersion;

/// The version of everything that this floor writes; part of every key.
pub(super) const FORMAT: &str = "consul_resolver.5";

/// Which version of a value in shared data: Envoy's compare-and-set number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cas(pub u32);

/// One VM's root context, by a random number that it draws when it starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u64);

impl VmId {
    /// The name of the queue by which this one is woken. It is never another's: a queue
    /// wakes only the VM that registered last under its name.
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

/// A place in shared data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SharedKey {
    /// A service's [`Head`](crate::shared::source_record::SourceRecord): who fetches, what is published.
    SourceRecord(QueryKey),
    /// A service's [`Record`](crate::shared::snapshot_record::SnapshotRecord) of that version.
    ///
    /// There are two places that take turns, so the record that the head points to stays whole
    /// while the next one is written. There are no more of them, since what is once in shared data
    /// stays for ever.
    Snapshot(QueryKey, SnapshotVersion),
    /// The [`Members`](crate::shared::members::Members): the queues of all VMs.
    Members,
    /// A registration's [`Charge`](crate::shared::registration_lease::RegistrationLease): who keeps it.
    RegistrationLease(QueryKey),
    /// The [`Book`](crate::shared::registration_index::RegistrationIndex): what this process has registered.
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
    fn records_take_turns_in_two_places_whatever_their_terms() {
        let key = |term, generation| {
            SharedKey::Snapshot(QueryKey(7), SnapshotVersion { term: Term(term), generation })
                .to_string()
        };
        assert_eq!(key(1, 4), key(1, 6));
        assert_ne!(key(1, 4), key(1, 5));
        assert_eq!(key(1, 4), key(2, 4));
    }
}
