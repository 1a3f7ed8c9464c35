//! A ring of hashes.

use core::num::NonZeroU16;

use crate::util::hash::{mix, xxh64};

/// A ring of hashes: a request belongs to the host whose entry is the next at or after the hash of the
/// request.
///
/// Every host has entries by its weight, placed by the hashes of `<key>_0`, `<key>_1` and
/// so on, as in Envoy's [ring hash] (`ring_hash_lb.cc`), which took it from ketama (Karger et
/// al., *Consistent Hashing and Random Trees*, 1997).
///
/// The number of entries differs from Envoy's. Envoy divides the ring among the hosts: a new host takes
/// entries from all others, and keys move between hosts that stay. Here a host of weight 1 has
/// `minimum` entries, and a host of weight w has w times as many, whatever hosts there are. So **as long
/// as the ring has room, a host that comes or goes moves only its own keys**, the least that is
/// possible. Above [`Ring::ROOM`] × `minimum` entries (or `maximum`) all hosts share that many, and a
/// change moves about twice the least, as always in Envoy. There is no size at which the ring is laid
/// out anew.
///
/// A lookup takes the same time whatever the size. Hashes are spread evenly, so their top bits name a
/// part of the ring, whose few entries lie side by side in memory.
///
/// [ring hash]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers#ring-hash
#[derive(Debug, Clone, Default)]
pub struct Ring {
    /// Sorted.
    entries: Vec<Entry>,
    /// The first entry of each part of the ring, then the end. The number of parts is a power of two.
    parts: Vec<u32>,
    /// The number of first bits of a hash that name its part.
    bits: u32,
}

/// An entry of a host on the ring.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The place within the part: the bits of the hash after those that name the part.
    hash: u32,
    owner: u32,
}

impl Ring {
    /// The factor of `minimum` above which the hosts share the ring.
    pub const ROOM: u32 = 64;
    /// The entries of a part, as a power of two: as many as a cache line has.
    const PART: u32 = 3;

    /// Builds a ring of hosts by their keys and weights, with at least `minimum` and at most `maximum`
    /// entries.
    ///
    /// Each host has at least one entry, so more hosts than `maximum` have as many entries as hosts. A
    /// `minimum` above `maximum` counts as `maximum`.
    pub fn new(keys: &[(impl AsRef<[u8]>, NonZeroU16)], minimum: u32, maximum: u32) -> Self {
        let room = f64::from(minimum.saturating_mul(Self::ROOM).min(maximum));
        let weight = keys.iter().map(|(_, weight)| u64::from(weight.get())).sum::<u64>();
        let scale = f64::from(minimum.min(maximum)).min(room / weight as f64);

        let mut entries = Vec::new();
        let mut name = Name::default();
        for (owner, (key, weight)) in keys.iter().enumerate() {
            let key = key.as_ref();
            // The loss of rounding down is given back to some hosts, chosen by their keys: so the
            // rounding of a host does not depend on other hosts.
            let luck = (mix(xxh64(key, 0), 0) >> 11) as f64 / (1_u64 << 53) as f64;
            let count = (f64::from(weight.get()) * scale + luck) as u32;
            name.start(key);
            entries.extend((0..count.max(1)).map(|n| (name.hash(n), owner as u32)));
        }
        Self::of_entries(&entries)
    }

    /// Returns the index of the host to which a hash belongs; none of an empty ring.
    pub fn lookup(&self, hash: u64) -> Option<usize> {
        let (part, hash) = split(hash, self.bits);
        let (first, end) = (*self.parts.get(part)? as usize, *self.parts.get(part + 1)? as usize);
        let ahead = self.entries.get(first..end)?.iter().take_while(|entry| entry.hash < hash);
        let found = self.entries.get(first + ahead.count()).or_else(|| self.entries.first())?;
        Some(found.owner as usize)
    }

    /// The number of entries.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if there is no host.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sorts entries: by their part, in one pass, and then the few entries within each part.
    fn of_entries(entries: &[(u64, u32)]) -> Self {
        let bits = entries.len().next_power_of_two().trailing_zeros().saturating_sub(Self::PART);
        let part_of = |hash: u64| split(hash, bits).0;

        let mut ends = vec![0_u32; (1 << bits) + 1];
        for &(hash, _) in entries {
            if let Some(end) = ends.get_mut(part_of(hash)) {
                *end += 1;
            }
        }
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        // Each part is filled from its end, so that the ends become the starts.
        let mut sorted = vec![(0, 0); entries.len()];
        for &entry in entries.iter().rev() {
            if let Some(end) = ends.get_mut(part_of(entry.0)) {
                *end -= 1;
                if let Some(place) = sorted.get_mut(*end as usize) {
                    *place = entry;
                }
            }
        }
        for (start, end) in ends.iter().zip(ends.iter().skip(1)) {
            if let Some(part) = sorted.get_mut(*start as usize..*end as usize) {
                part.sort_unstable();
            }
        }
        let entry = |(hash, owner)| Entry { hash: split(hash, bits).1, owner };
        Self { entries: sorted.into_iter().map(entry).collect(), parts: ends, bits }
    }
}

/// Splits a hash into its part, by the first bits, and its place there, by the next bits.
const fn split(hash: u64, bits: u32) -> (usize, u32) {
    let part = match hash.checked_shr(u64::BITS - bits) {
        Some(part) => part as usize,
        None => 0,
    };
    (part, ((hash << bits) >> u32::BITS) as u32)
}

/// The name of an entry, `<key>_<number>`, in a buffer that all names share.
#[derive(Debug, Default)]
struct Name {
    bytes: Vec<u8>,
    key: usize,
}

impl Name {
    /// Begins the names of a key.
    fn start(&mut self, key: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(key);
        self.bytes.push(b'_');
        self.key = self.bytes.len();
    }

    /// Returns the hash of the name with this number.
    fn hash(&mut self, number: u32) -> u64 {
        self.bytes.truncate(self.key);
        let mut place = 1;
        while number / place >= 10 {
            place *= 10;
        }
        while place > 0 {
            self.bytes.push(b'0' + (number / place % 10) as u8);
            place /= 10;
        }
        xxh64(&self.bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn keys(weights: &[u16]) -> Vec<(String, NonZeroU16)> {
        let key = |n| format!("10.0.{}.{}:8080", n / 256, n % 256);
        weights.iter().enumerate().map(|(n, &w)| (key(n), NonZeroU16::new(w).unwrap())).collect()
    }

    #[test]
    fn hash_belongs_to_the_next_entry_or_else_to_the_first() {
        let ring = Ring::new(&keys(&[1, 2, 3]), 8, 1_000);
        let mut expected = Vec::new();
        for (owner, count) in [8, 16, 24].into_iter().enumerate() {
            let name = |n| format!("10.0.0.{owner}:8080_{n}");
            expected.extend((0..count).map(|n| (xxh64(name(n).as_bytes(), 0), owner)));
        }
        expected.sort_unstable();
        assert_eq!(ring.len(), expected.len());
        let mut previous = expected.last().unwrap().0;
        let next = 1 << (32 - ring.bits);
        for &(hash, owner) in &expected {
            assert_eq!(ring.lookup(hash), Some(owner));
            assert_eq!(ring.lookup(previous.wrapping_add(next)), Some(owner));
            previous = hash;
        }
        assert_eq!(ring.lookup(0), Some(expected[0].1));
        assert_eq!(ring.lookup(u64::MAX), Some(expected[0].1));
    }

    #[test]
    fn host_has_entries_by_its_weight_whatever_hosts_there_are() {
        for count in [1, 2, 3, 16] {
            let weights = vec![4; count];
            assert_eq!(Ring::new(&keys(&weights), 1_024, 8 << 20).len(), 4 * 1_024 * count);
        }
    }

    #[test]
    fn host_has_at_least_one_entry_when_the_ring_is_full() {
        let many = keys(&[1, 2, 3, 4].repeat(500));
        let ring = Ring::new(&many, 1_024, 20_000);
        assert!((19_900..=20_100).contains(&ring.len()), "{}", ring.len());
        assert_eq!(Ring::new(&many, 1_024, 100).len(), 2_000);
        assert_eq!(Ring::new(&many, 0, 0).len(), 2_000);
        let entries = Ring::new(&many, 1_024, 100).entries;
        let owners: std::collections::HashSet<_> = entries.iter().map(|e| e.owner).collect();
        assert_eq!(owners.len(), 2_000);
    }

    #[test]
    fn only_entry_has_every_hash() {
        let ring = Ring::new(&keys(&[1]), 1, 1);
        assert_eq!(ring.len(), 1);
        for hash in [0, 1 << 63, u64::MAX] {
            assert_eq!(ring.lookup(hash), Some(0));
        }
    }

    #[test]
    fn empty_ring_has_no_owner() {
        let ring = Ring::new(&keys(&[]), 1_024, 8 << 20);
        assert!(ring.is_empty());
        assert_eq!(ring.lookup(7), None);
        assert_eq!(Ring::default().lookup(7), None);
    }
}
