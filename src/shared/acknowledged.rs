//! The services whose endpoints Envoy's own clusters have.

use crate::hash::xxh64;
use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::FORMAT;

/// The services whose first answer Envoy has acknowledged, by hashes. A hash that two services have
/// lets requests of one go on too soon, to the policy of Envoy's cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledged(Vec<u64>);

impl Acknowledged {
    /// The most services. Those beyond are waited for until the time is up.
    pub const MAX: usize = 1 << 16;

    /// Where they are in shared data.
    pub fn key() -> String {
        format!("{FORMAT}/acknowledged")
    }

    /// Where in shared data the cluster of a service is that Envoy has taken, where that has settings of
    /// its own; by its hash.
    pub fn cluster_key(hash: u64) -> String {
        format!("{FORMAT}/cluster/{hash:016x}")
    }

    /// The hash of a service, as Envoy knows it by the answers from an address.
    pub fn hash(address: &str, service: &str) -> u64 {
        xxh64(service.as_bytes(), xxh64(address.as_bytes(), 0))
    }

    /// Adds a service; false where it is there already, or nothing more has room.
    pub fn add(&mut self, hash: u64) -> bool {
        match self.0.binary_search(&hash) {
            Err(place) if self.0.len() < Self::MAX => {
                self.0.insert(place, hash);
                true
            }
            _ => false,
        }
    }

    /// Whether a service is there.
    pub fn contains(&self, hash: u64) -> bool {
        self.0.binary_search(&hash).is_ok()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them: 8 bytes for each.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.to_le_bytes()).collect()
    }

    /// Reads them; no bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut all = Self::default();
        let Ok(mut reader) = Reader::new(bytes) else { return Ok(all) };
        while reader.left() > 0 {
            let hash = reader.u64()?;
            let is_last = all.0.last().is_none_or(|last| *last < hash);
            if !is_last || all.0.len() == Self::MAX {
                return Err(CodecError::Invalid { field: "acknowledged" });
            }
            all.0.push(hash);
        }
        Ok(all)
    }
}
