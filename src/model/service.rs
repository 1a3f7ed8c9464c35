//! What identifies a service, and the places where it is looked for.

use core::fmt;

use crate::model::slot_map::SlotKey;

/// A service that requests can go to: one of the configuration's list, in whose order they
/// come first, or one that was found while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(SlotKey);

/// A source: what one query asks of Consul, such as a service in one of its datacenters.
///
/// Those of the configuration come first, in the order of the services and, within one, in
/// that of its datacenters; a service that names none is one source, and services that ask the
/// same share one. Discovery knows sources only: each has a query, a lease and a snapshot of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(SlotKey);

impl ServiceId {
    /// The configured service at that position of the list.
    pub const fn nth(position: u16) -> Self {
        Self(SlotKey::nth(position))
    }
}

impl SourceId {
    /// The configured source at that position.
    pub const fn nth(position: u16) -> Self {
        Self(SlotKey::nth(position))
    }
}

impl From<SlotKey> for ServiceId {
    fn from(slot: SlotKey) -> Self {
        Self(slot)
    }
}

impl From<ServiceId> for SlotKey {
    fn from(id: ServiceId) -> Self {
        id.0
    }
}

impl From<SlotKey> for SourceId {
    fn from(slot: SlotKey) -> Self {
        Self(slot)
    }
}

impl From<SourceId> for SlotKey {
    fn from(id: SourceId) -> Self {
        id.0
    }
}

/// A 128-bit hash of all that decides what Consul answers for a service and how the
/// answer is read. Two configurations that ask for the same thing have the same key, and
/// share one watch and one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryKey(pub u128);

impl QueryKey {
    /// Hashes the parts with FNV-1a (128 bit; Fowler, Noll and Vo). Each part is followed
    /// by its length, so that no two lists of parts run into each other.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let mut hash = OFFSET;
        for part in parts {
            let length = (part.len() as u64).to_le_bytes();
            for byte in part.bytes().chain(length) {
                hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
            }
        }
        Self(hash)
    }
}

impl fmt::Display for QueryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for QueryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_eq!(QueryKey::of(["web", "dc1"]), QueryKey::of(["web", "dc1"]));
        assert_ne!(QueryKey::of(["web", "dc1"]), QueryKey::of(["webdc1"]));
        assert_ne!(QueryKey::of(["web", ""]), QueryKey::of(["web"]));
        assert_ne!(QueryKey::of(["a", "b"]), QueryKey::of(["b", "a"]));
    }
}
