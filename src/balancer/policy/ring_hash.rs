//! Choosing by hash on a ring.

use core::num::NonZeroU16;

use crate::util::hash::{mix, xxh64};

/// A ring of hashes: a request belongs to the endpoint whose entry is the next at or after the
/// request's own hash.
///
/// Every endpoint has entries by its weight, placed by the hashes of `<key>_0`, `<key>_1` and
/// so on, as in Envoy's [ring hash] (`ring_hash_lb.cc`), which took it from ketama (Karger et
/// al., *Consistent Hashing and Random Trees*, 1997).
///
/// How many, is decided otherwise. Envoy divides the ring among the endpoints: each one more
/// takes entries from all others, and keys move between endpoints that stay. Here an endpoint
/// of weight 1 has `minimum` entries, and one of weight w has w times as many, whoever else
/// is there. So **as long as the ring has room, an endpoint that comes or goes moves its own
/// keys and no others**, the least that is possible. Only when that would be more entries than
/// [`Ring::ROOM`] × `minimum` (or than `maximum`), all endpoints share that many, and a change
/// moves about twice the least, as it always does in Envoy: there is no size at which the ring
/// is laid out anew.
///
/// A lookup takes the same time whatever the size: hashes are spread evenly, so their top bits
/// tell where to look, and a few entries are there, which lie side by side in memory.
///
/// [ring hash]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers#ring-hash
#[derive(Debug, Clone, Default)]
pub struct Ring {
    /// In order.
    entries: Vec<Entry>,
    /// The first entry of each part of the ring; the parts are a power of two, and the last
    /// one is followed by the end.
    parts: Vec<u32>,
    /// How many of the first bits of a hash are the number of its part.
    bits: u32,
}

/// A place on the ring.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where it is within its part: the bits of the hash that come after the part's number.
    hash: u32,
    owner: u32,
}

impl Ring {
    /// How many times `minimum` the ring is before its endpoints have to share.
    pub const ROOM: u32 = 64;
    /// How many entries there are in a part, as a power of two: as many as a line of a cache has.
    const PART: u32 = 3;

    /// Builds a ring of endpoints by their keys and weights, with at least `minimum` and at
    /// most `maximum` entries.
    ///
    /// Each has one entry at least, so with more endpoints than `maximum` there are as many
    /// entries as endpoints. Where `minimum` is above `maximum`, it is `maximum`.
    pub fn new(keys: &[(impl AsRef<[u8]>, NonZeroU16)], minimum: u32, maximum: u32) -> Self {
        let room = f64::from(minimum.saturating_mul(Self::ROOM).min(maximum));
        let weight = keys.iter().map(|(_, weight)| u64::from(weight.get())).sum::<u64>();
        let scale = f64::from(minimum.min(maximum)).min(room / weight as f64);

        let mut entries = Vec::new();
        let mut name = Name::default();
        for (owner, (key, weight)) in keys.iter().enumerate() {
            let key = key.as_ref();
            // What is lost by rounding down is given to as many endpoints as would make up for
            // it, chosen by their keys: so none is rounded otherwise because of another.
            let luck = (mix(xxh64(key, 0), 0) >> 11) as f64 / (1_u64 << 53) as f64;
            let count = (f64::from(weight.get()) * scale + luck) as u32;
            name.start(key);
            entries.extend((0..count.max(1)).map(|n| (name.hash(n), owner as u32)));
        }
        Self::of_entries(&entries)
    }

    /// The index of the endpoint to which a hash belongs; none when there is no endpoint.
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

    /// Whether there is no endpoint.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts entries in order: by their part, in one pass, and then within each part, where
    /// there are a few.
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
        // From the end of each part to its start, so that the ends become the starts.
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

/// The part that a hash is in by its first bits, and where it is there by the next ones.
const fn split(hash: u64, bits: u32) -> (usize, u32) {
    let part = match hash.checked_shr(u64::BITS - bits) {
        Some(part) => part as usize,
        None => 0,
    };
    (part, ((hash << bits) >> u32::BITS) as u32)
}

/// The name of an entry, `<key>_<number>`, written again and again in one place.
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

    /// The hash of the name with that number.
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
    fn a_hash_belongs_to_the_next_entry_and_the_last_ones_to_the_first() {
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
    fn an_endpoint_has_as_many_entries_as_its_weight_says_whoever_else_is_there() {
        for count in [1, 2, 3, 16] {
            let weights = vec![4; count];
            assert_eq!(Ring::new(&keys(&weights), 1_024, 8 << 20).len(), 4 * 1_024 * count);
        }
    }

    #[test]
    fn a_ring_without_room_is_shared_but_everyone_has_an_entry() {
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
    fn one_entry_has_every_hash() {
        let ring = Ring::new(&keys(&[1]), 1, 1);
        assert_eq!(ring.len(), 1);
        for hash in [0, 1 << 63, u64::MAX] {
            assert_eq!(ring.lookup(hash), Some(0));
        }
    }

    #[test]
    fn an_empty_ring_has_nothing() {
        let ring = Ring::new(&keys(&[]), 1_024, 8 << 20);
        assert!(ring.is_empty());
        assert_eq!(ring.lookup(7), None);
        assert_eq!(Ring::default().lookup(7), None);
    }
}
