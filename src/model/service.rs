//! The identities of services and of their sources.

use core::fmt;

use crate::model::slot_map::SlotKey;

/// The key of a service that requests can go to. The services of the configuration come first, in its
/// order; others were found while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(SlotKey);

/// The key of a source: the subject of one query of Consul, such as a service in one datacenter.
///
/// The sources of the configuration come first, in the order of the services and of their datacenters.
/// A service without a list of datacenters is one source, and services with the same query share a
/// source. Discovery knows only sources: each has a query, a lease and a snapshot of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(SlotKey);

impl ServiceId {
    /// Returns the key of the configured service at this position.
    pub const fn nth(position: u16) -> Self {
        Self(SlotKey::nth(position))
    }
}

impl SourceId {
    /// Returns the key of the configured source at this position.
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

/// A 128-bit hash of a query and of the settings by which its response is read. Configurations with the
/// same key share one watch and one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryKey(pub u128);

impl QueryKey {
    /// Hashes the parts with FNV-1a (128 bit; Fowler, Noll and Vo). The length follows each part, so that
    /// different lists of parts have different hashes.
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
    fn hash_differs_when_the_same_text_is_parted_differently() {
        assert_eq!(QueryKey::of(["web", "dc1"]), QueryKey::of(["web", "dc1"]));
        assert_ne!(QueryKey::of(["web", "dc1"]), QueryKey::of(["webdc1"]));
        assert_ne!(QueryKey::of(["web", ""]), QueryKey::of(["web"]));
        assert_ne!(QueryKey::of(["a", "b"]), QueryKey::of(["b", "a"]));
    }
}
