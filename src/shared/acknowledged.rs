//! The services whose endpoints Envoy's own clusters have.

use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::FORMAT;
use crate::util::hash::xxh64;

/// The services whose endpoints Envoy has acknowledged, and that it was not told to be gone since, by
/// hashes. A hash that two services have lets requests of one go on too soon, to the policy of Envoy's
/// cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acknowledged(Vec<u64>);

impl Acknowledged {
    /// The most services. Those beyond are waited for until the time is up.
    pub const MAX: usize = 1 << 16;

    /// Where those are in shared data that Envoy knows by the answers from an address.
    pub fn key(address: &str) -> String {
        format!("{FORMAT}/acknowledged/{address}")
    }

    /// Where in shared data the cluster of a service is that Envoy has taken by the answers from an address,
    /// where that cluster has settings of its own.
    pub fn cluster_key(address: &str, service: &str) -> String {
        format!("{FORMAT}/cluster/{address}/{service}")
    }

    /// The hash of a service.
    pub fn hash(service: &str) -> u64 {
        xxh64(service.as_bytes(), 0)
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

    /// Removes a service; false where it is not there.
    fn remove(&mut self, hash: u64) -> bool {
        let place = self.0.binary_search(&hash);
        place.is_ok_and(|place| self.0.remove(place) == hash)
    }

    /// Removes the services that are not among these; false where there are none.
    fn retain(&mut self, services: &Self) -> bool {
        let before = self.0.len();
        self.0.retain(|hash| services.contains(*hash));
        self.0.len() < before
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

/// What other VMs do not know yet: what Envoy has acknowledged, and what it was told to be gone.
#[derive(Debug, Default)]
pub struct Changes {
    /// The services that have clusters, as Envoy was told last; none: nothing of that.
    left: Option<Acknowledged>,
    /// Those that have gone.
    gone: Acknowledged,
    /// Those that were acknowledged since.
    added: Acknowledged,
}

impl Changes {
    /// Envoy has acknowledged the endpoints of a service.
    pub fn on_acknowledged(&mut self, service: &str) {
        self.added.add(Acknowledged::hash(service));
    }

    /// A service has gone.
    pub fn on_gone(&mut self, service: &str) {
        let hash = Acknowledged::hash(service);
        self.added.remove(hash);
        self.gone.add(hash);
    }

    /// Envoy is told that there are clusters of these services, and of no others.
    pub fn on_told<'a>(&mut self, services: impl Iterator<Item = &'a str>) {
        // Added one by one, tens of thousands would take a second.
        let mut all: Vec<u64> = services.map(Acknowledged::hash).collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(Acknowledged::MAX);
        let left = Acknowledged(all);
        self.added.retain(&left);
        self.left = Some(left);
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.left.is_none() && self.gone.is_empty() && self.added.is_empty()
    }

    /// Changes what all know; false where that has it all.
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

    /// Changes what is acknowledged; tells whether that made a difference, and which services of three
    /// are there then.
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
        // Acknowledged before it has gone, and after it has come back.
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
    fn another_address_has_services_of_its_own() {
        assert_ne!(Acknowledged::key("/one"), Acknowledged::key("/other"));
    }
}
