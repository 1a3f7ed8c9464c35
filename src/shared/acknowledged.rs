//! The services whose endpoints Envoy has acknowledged in its own clusters.

use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::FORMAT;
use crate::util::hash::xxh64;

/// The hashes of the services whose endpoints Envoy has acknowledged and that were not removed
/// since.
///
/// If two services share a hash, requests of the second proceed before Envoy has its endpoints.
/// Envoy's cluster then handles them by its own policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledged(Vec<u64>);

impl Acknowledged {
    /// The maximum number of services. Requests for a service beyond it wait until their time is
    /// up.
    pub const MAX: usize = 1 << 16;

    /// Returns the key in shared data of the services that Envoy has acknowledged from the
    /// responses of `address`.
    pub fn key(address: &str) -> String {
        format!("{FORMAT}/acknowledged/{address}")
    }

    /// Returns the key in shared data of a service's cluster as Envoy has taken it from the
    /// responses of `address`. Only a cluster with settings of its own is stored there.
    pub fn cluster_key(address: &str, service: &str) -> String {
        format!("{FORMAT}/cluster/{address}/{service}")
    }

    /// Returns the hash of a service.
    pub fn hash(service: &str) -> u64 {
        xxh64(service.as_bytes(), 0)
    }

    /// Adds a service. Returns false if the service is present already or the set is full.
    pub fn add(&mut self, hash: u64) -> bool {
        match self.0.binary_search(&hash) {
            Err(place) if self.0.len() < Self::MAX => {
                self.0.insert(place, hash);
                true
            }
            _ => false,
        }
    }

    /// Removes a service. Returns false if the service is absent.
    fn remove(&mut self, hash: u64) -> bool {
        let place = self.0.binary_search(&hash);
        place.is_ok_and(|place| self.0.remove(place) == hash)
    }

    /// Removes the services that are not in `services`. Returns false if there are none to remove.
    fn retain(&mut self, services: &Self) -> bool {
        let before = self.0.len();
        self.0.retain(|hash| services.contains(*hash));
        self.0.len() < before
    }

    /// Returns true if a service is present.
    pub fn contains(&self, hash: u64) -> bool {
        self.0.binary_search(&hash).is_ok()
    }

    /// Returns true if no service is present.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes the set in 8 bytes for each service.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.to_le_bytes()).collect()
    }

    /// Decodes the set. No bytes are an empty set.
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

/// The changes that shared data does not contain yet: services that Envoy has acknowledged, and
/// services that were removed.
#[derive(Debug, Default)]
pub struct Changes {
    /// The services that have clusters, as Envoy was told last. `None` if Envoy was told nothing
    /// since the last exchange.
    left: Option<Acknowledged>,
    /// The services that were removed.
    gone: Acknowledged,
    /// The services that were acknowledged since.
    added: Acknowledged,
}

impl Changes {
    /// Notes that Envoy has acknowledged the endpoints of a service.
    pub fn on_acknowledged(&mut self, service: &str) {
        self.added.add(Acknowledged::hash(service));
    }

    /// Notes that a service was removed.
    pub fn on_gone(&mut self, service: &str) {
        let hash = Acknowledged::hash(service);
        self.added.remove(hash);
        self.gone.add(hash);
    }

    /// Notes that Envoy was told of clusters for exactly these services.
    pub fn on_told<'a>(&mut self, services: impl Iterator<Item = &'a str>) {
        // Inserting tens of thousands of services one by one would take a second.
        let mut all: Vec<u64> = services.map(Acknowledged::hash).collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(Acknowledged::MAX);
        let left = Acknowledged(all);
        self.added.retain(&left);
        self.left = Some(left);
    }

    /// Returns true if there is nothing to share.
    pub fn is_empty(&self) -> bool {
        self.left.is_none() && self.gone.is_empty() && self.added.is_empty()
    }

    /// Applies the changes to the shared set. Returns false if the set contained them already.
    pub fn apply(&self, all: &mut Acknowledged) -> bool {
        let is_less = self.left.as_ref().is_some_and(|left| all.retain(left));
        let gone = self.gone.0.iter();
        let is_less = gone.fold(is_less, |is_other, hash| all.remove(*hash) || is_other);
        self.added.0.iter().fold(is_less, |is_other, hash| all.add(*hash) || is_other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Applies the changes. Returns whether that made a difference, and the services of three that
    /// are present afterwards.
    fn change(all: &mut Acknowledged, changes: &mut Changes) -> (bool, Vec<&'static str>) {
        let is_other = changes.apply(all);
        *changes = Changes::default();
        let there = ["api", "db", "web"].into_iter();
        (is_other, there.filter(|it| all.contains(Acknowledged::hash(it))).collect())
    }

    #[test]
    fn service_is_not_acknowledged_when_it_has_gone_and_come_back() {
        let (mut all, mut changes) = (Acknowledged::default(), Changes::default());
        ["api", "web"].iter().for_each(|it| changes.on_acknowledged(it));
        assert!(!changes.is_empty());
        assert_eq!(change(&mut all, &mut changes), (true, vec!["api", "web"]));
        changes.on_told(["api", "db", "web"].into_iter());
        assert_eq!(change(&mut all, &mut changes), (false, vec!["api", "web"]));
        // Acknowledged before the service was removed, and after it came back.
        changes.on_acknowledged("db");
        changes.on_told(["api"].into_iter());
        assert_eq!(change(&mut all, &mut changes), (true, vec!["api"]));
        changes.on_told(["api"].into_iter());
        changes.on_acknowledged("web");
        assert_eq!(change(&mut all, &mut changes), (true, vec!["api", "web"]));
        changes.on_acknowledged("web");
        assert!(!change(&mut all, &mut changes).0 && changes.is_empty());
        changes.on_acknowledged("db");
        ["db", "web"].iter().for_each(|it| changes.on_gone(it));
        assert_eq!(change(&mut all, &mut changes), (true, vec!["api"]));
        changes.on_gone("db");
        changes.on_acknowledged("db");
        assert_eq!(change(&mut all, &mut changes), (true, vec!["api", "db"]));
    }

    #[test]
    fn keys_differ_when_the_addresses_differ() {
        assert_ne!(Acknowledged::key("/one"), Acknowledged::key("/other"));
    }
}
