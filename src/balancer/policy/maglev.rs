//! A Maglev table.

use core::num::NonZeroU16;

use crate::util::hash::xxh64;

/// A Maglev table: the hash of a request names a place of the table, which belongs to a host.
///
/// Every host prefers the places in an order of its own. In turn, each host takes the next free place
/// of its order, until all places are taken (Eisenbud et al.,
/// *Maglev: A Fast and Reliable Software Network Load Balancer*, NSDI 2016, section 3.4).
/// Turns go by weight, and keys are hashed, as in Envoy's [Maglev] (`maglev_lb.cc`): a host of half
/// the greatest weight has its turn in every second round.
///
/// Shares are nearly exact, unlike on a ring of the same size. A host that comes or goes moves its own
/// keys, and some keys between the hosts that stay: less than 2 of 100 if the table has 100 times as
/// many places as hosts, as the paper advises (`tests/hashing.rs`).
///
/// [Maglev]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers#maglev
#[derive(Debug, Clone, Default)]
pub struct Maglev {
    places: Vec<u32>,
}

/// A place without a host.
const FREE: u32 = u32::MAX;

impl Maglev {
    /// The most places of a table, as in Envoy.
    pub const MAX_TABLE_SIZE: u32 = 5_000_011;

    /// Fills a table with hosts by their keys and weights.
    ///
    /// `table_size` is rounded up to a prime, so that every order has every place; at most
    /// [`Maglev::MAX_TABLE_SIZE`]. If there are more hosts than places, some have none. The table does
    /// not depend on the order of `keys`.
    pub fn new(keys: &[(impl AsRef<[u8]>, NonZeroU16)], table_size: u32) -> Self {
        let size = next_prime(table_size.min(Self::MAX_TABLE_SIZE));
        let mut hosts = keys
            .iter()
            .enumerate()
            .map(|(index, (key, weight))| (key.as_ref(), *weight, index as u32))
            .collect::<Vec<_>>();
        hosts.sort_unstable();
        let weights = hosts.iter().map(|&(_, weight, _)| weight).collect::<Vec<_>>();
        let mut orders =
            hosts.iter().map(|&(key, _, index)| (Order::new(key, size), index)).collect::<Vec<_>>();
        if orders.is_empty() {
            return Self::default();
        }

        let mut places = vec![FREE; size as usize];
        for turn in turns(&weights, size) {
            if let Some((order, index)) = orders.get_mut(turn as usize)
                && let Some(place) = order.take_free(&places)
                && let Some(owner) = places.get_mut(place)
            {
                *owner = *index;
            }
        }
        Self { places }
    }

    /// Returns the index of the host to which a hash belongs; none of an empty table.
    pub fn lookup(&self, hash: u64) -> Option<usize> {
        let place = hash.checked_rem(self.places.len() as u64)?;
        self.places.get(place as usize).map(|&owner| owner as usize)
    }

    /// The number of places.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns true if there is no host.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// The order in which a host prefers the places: every `skip`th, from the first on.
#[derive(Debug)]
struct Order {
    next: u32,
    skip: u32,
    size: u32,
}

impl Order {
    /// Computes the order of a host with this key, in a table with a prime number of places.
    fn new(key: &[u8], size: u32) -> Self {
        let place = xxh64(key, 0) % u64::from(size);
        let skip = xxh64(key, 1) % u64::from(size - 1) + 1;
        Self { next: place as u32, skip: skip as u32, size }
    }

    /// Returns the next free place; none if all are taken.
    fn take_free(&mut self, places: &[u32]) -> Option<usize> {
        for _ in 0..self.size {
            let place = self.next as usize;
            let after = self.next + self.skip;
            self.next = if after < self.size { after } else { after - self.size };
            if places.get(place) == Some(&FREE) {
                return Some(place);
            }
        }
        None
    }
}

/// Returns the hosts of the first `count` turns. Within a round the hosts that have a turn keep their
/// order.
///
/// The n-th turn of a weight w, from 0, is in the first round r in which r × w is at least n times the
/// greatest weight; the first round has a turn of every host. Envoy checks every host in every round,
/// which takes long if weights differ much. Here the turns are counted, and sorted by their rounds in
/// one pass.
fn turns(weights: &[NonZeroU16], count: u32) -> Vec<u32> {
    let greatest = weights.iter().max().map_or(1, |weight| u64::from(weight.get()));
    // The turns of a weight in the first `rounds`.
    let turns_in = |weight: NonZeroU16, rounds: u64| {
        (rounds * u64::from(weight.get()) / greatest + 1).min(rounds)
    };
    let all_in = |rounds| weights.iter().map(|&weight| turns_in(weight, rounds)).sum::<u64>();

    // The greatest weight has a turn in every round, so `count` rounds are enough.
    let (mut too_few, mut enough) = (0, u64::from(count));
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if all_in(middle) < u64::from(count) { too_few = middle } else { enough = middle }
    }
    let rounds_of = |weight: NonZeroU16| {
        let weight_in = u64::from(weight.get());
        (0..turns_in(weight, enough)).map(move |n| {
            let due = (n * greatest).div_ceil(weight_in);
            // A host has at most one turn a round.
            due.max(n + 1) as usize
        })
    };

    let mut starts = vec![0_u32; enough as usize + 2];
    for round in weights.iter().flat_map(|&weight| rounds_of(weight)) {
        if let Some(start) = starts.get_mut(round + 1) {
            *start += 1;
        }
    }
    let mut total = 0;
    for start in &mut starts {
        total += *start;
        *start = total;
    }
    let mut turns = vec![0; total as usize];
    for (index, &weight) in weights.iter().enumerate() {
        for round in rounds_of(weight) {
            if let Some(start) = starts.get_mut(round) {
                if let Some(turn) = turns.get_mut(*start as usize) {
                    *turn = index as u32;
                }
                *start += 1;
            }
        }
    }
    turns.truncate(count as usize);
    turns
}

/// Returns the first prime at or above a number.
fn next_prime(number: u32) -> u32 {
    let is_prime = |n: &u32| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (number.max(2)..).find(is_prime).unwrap_or(Maglev::MAX_TABLE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn weights(of: &[u16]) -> Vec<NonZeroU16> {
        of.iter().map(|&w| NonZeroU16::new(w).unwrap()).collect()
    }

    fn keys(of: &[u16]) -> Vec<(String, NonZeroU16)> {
        weights(of).into_iter().enumerate().map(|(n, w)| (format!("10.0.0.{n}:80"), w)).collect()
    }

    /// Computes the turns as Envoy does.
    fn turns_of_envoy(weights: &[NonZeroU16], count: usize) -> Vec<u32> {
        let greatest = u64::from(weights.iter().max().unwrap().get());
        let mut due = vec![0; weights.len()];
        let mut turns = Vec::new();
        for round in 1.. {
            for (index, weight) in weights.iter().enumerate() {
                if turns.len() == count {
                    return turns;
                }
                if round * u64::from(weight.get()) >= due[index] {
                    due[index] += greatest;
                    turns.push(index as u32);
                }
            }
        }
        turns
    }

    #[test]
    fn turns_are_those_of_envoy() {
        for of in [&[1][..], &[1, 1], &[1, 2, 3], &[3, 7, 5, 5], &[1, 1_000, 999], &[65_535, 1]] {
            let weights = weights(of);
            for count in [1, 2, 13, 997] {
                let envoy = turns_of_envoy(&weights, count as usize);
                assert_eq!(turns(&weights, count), envoy, "{count} of {of:?}");
            }
        }
    }

    #[test]
    fn small_table_is_that_of_the_paper() {
        // Table 1 of the paper: orders (3, 4), (0, 2) and (3, 1), in a table of 7.
        let mut orders = [(3, 4), (0, 2), (3, 1)].map(|(next, skip)| Order { next, skip, size: 7 });
        let mut places = [FREE; 7];
        for turn in turns(&weights(&[1, 1, 1]), 7) {
            let place = orders[turn as usize].take_free(&places).unwrap();
            places[place] = turn;
        }
        assert_eq!(places, [1, 0, 1, 0, 2, 2, 0]);
        assert_eq!(orders[0].take_free(&places), None);
    }

    #[test]
    fn places_differ_by_one_when_weights_are_equal() {
        let table = Maglev::new(&keys(&[1; 10]), 997);
        let mut counts = [0; 10];
        for place in 0..997 {
            counts[table.lookup(place).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (99..=100).contains(count)), "{counts:?}");
    }

    #[test]
    fn table_does_not_depend_on_the_order_of_its_hosts() {
        let forth = keys(&[1, 2, 3, 4]);
        let mut back = forth.clone();
        back.reverse();
        let (forth, back) = (Maglev::new(&forth, 997), Maglev::new(&back, 997));
        for place in 0..997 {
            assert_eq!(forth.lookup(place), back.lookup(place).map(|index| 3 - index));
        }
    }

    #[test]
    fn size_is_rounded_up_to_a_prime() {
        let size = |size| Maglev::new(&keys(&[1, 1]), size).len();
        assert_eq!([0, 2, 4, 65_536, 65_537].map(size), [2, 2, 5, 65_537, 65_537]);
        assert_eq!(next_prime(Maglev::MAX_TABLE_SIZE), Maglev::MAX_TABLE_SIZE);
    }

    #[test]
    fn all_places_are_taken_when_there_are_more_hosts() {
        let table = Maglev::new(&keys(&[1; 10]), 7);
        assert!((0..7).all(|place| table.lookup(place).is_some_and(|index| index < 10)));
    }

    #[test]
    fn empty_table_has_no_owner() {
        let table = Maglev::new(&keys(&[]), 997);
        assert!(table.is_empty());
        assert_eq!(table.lookup(7), None);
    }
}
