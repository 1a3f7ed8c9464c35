//! From the hash of a request to an endpoint.

use core::cell::OnceCell;
use core::num::NonZeroU16;
use std::rc::Rc;

use crate::balancer::maglev::Maglev;
use crate::balancer::ring_hash::Ring;
use crate::balancer::upstream_host::{InFlight, UpstreamHost};
use crate::config::{Hashing, Policy};
use crate::util::hash;

/// The most entries of the table of a version, of which there may be many: as many as Maglev has by
/// default. The table of all endpoints has as many as are configured. So the sum of a pool's entries
/// is bounded: in each datacenter that number, and this one for each version, prefix and share.
///
/// The bound does not depend on what else is there: the owner of a key would then change with that,
/// and differ from proxy to proxy.
const MOST_OF_A_VERSION: u32 = Policy::DEFAULT_TABLE_SIZE;

/// The most entries of a table that a request builds, which takes it milliseconds. A table of a
/// larger size than by default is built when the endpoints are installed.
const MOST_FOR_A_REQUEST: u32 = Policy::DEFAULT_TABLE_SIZE;

/// How many places a hash is looked for at before it is given up.
const PROBES: u64 = 32;

/// The table of a hash policy, over all endpoints of a slice.
#[derive(Debug)]
pub(super) struct HashTable {
    table: Rc<Table>,
    /// None: an endpoint may have any number of requests.
    bound: Option<Bound>,
}

/// A table over some endpoints by their addresses and weights, in their order.
///
/// It does not change, so all slices with the same endpoints share it, and it stays as long as one
/// of them has these: a new snapshot costs the tables of the endpoints that it changes.
#[derive(Debug)]
pub(super) struct Table {
    size: Size,
    members: Vec<(Rc<UpstreamHost>, NonZeroU16)>,
    /// Built by the first request that looks into it, unless that would take it too long.
    entries: OnceCell<Entries>,
}

/// How large a table is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    Ring { minimum: u32, maximum: u32 },
    Maglev { places: u32 },
}

/// How many requests an endpoint may have beside the others.
#[derive(Debug)]
struct Bound {
    /// In percent of the mean load.
    factor: u32,
    /// Of all endpoints.
    weight: u64,
    in_flight: InFlight,
}

#[derive(Debug)]
enum Entries {
    Ring(Ring),
    Maglev(Maglev),
}

impl HashTable {
    /// The table that the policy wants over these targets, which are those of a version or not;
    /// none where it wants none. It is one of the `known` tables where one is over the same, and
    /// else becomes one.
    pub(super) fn new(
        policy: &Policy,
        targets: &[Rc<UpstreamHost>],
        is_of_version: bool,
        known: &mut Vec<Rc<Table>>,
    ) -> Option<Self> {
        let (size, Hashing { balance_factor, .. }) = Size::of(policy)?;
        let size = if is_of_version { size.at_most(MOST_OF_A_VERSION) } else { size };
        let same = known.iter().find(|table| table.size == size && table.is_over(targets));
        let table = same.map(Rc::clone).unwrap_or_else(|| {
            let table = Rc::new(Table::new(size, targets));
            known.push(Rc::clone(&table));
            table
        });
        let bound = balance_factor.map(|factor| {
            let in_flight = InFlight::default();
            for target in targets {
                target.add_to_total(&in_flight);
            }
            let weight = targets.iter().map(|target| u64::from(target.weight().get())).sum();
            Bound { factor, weight, in_flight }
        });
        Some(Self { table, bound })
    }

    /// The table itself, for a slice that comes to have the same endpoints.
    pub(super) const fn table(&self) -> &Rc<Table> {
        &self.table
    }

    /// The targets for a hash, the one that it belongs to first, then those that it goes to
    /// where the earlier ones take nothing; the same one may come again.
    ///
    /// What is passed over is spread over all others by hashing again, as Envoy does it (and
    /// Chen, Coleman and Shrivastava, *Revisiting Consistent Hashing with Bounded Loads*, 2021):
    /// going on to the neighbour would hand one endpoint's whole load to another.
    pub(super) fn sequence<'a>(
        &'a self,
        hash: u64,
        targets: &'a [Rc<UpstreamHost>],
    ) -> impl Iterator<Item = &'a Rc<UpstreamHost>> {
        let entries = self.table.entries();
        (0..PROBES).filter_map(move |n| {
            let hash = if n == 0 { hash } else { hash::mix(hash, n) };
            targets.get(entries.lookup(hash)?)
        })
    }

    /// Whether a target may have another request: at most its share by weight of all that are
    /// in flight, times the balance factor, rounded up (Mirrokni, Thorup and Zadimoghaddam,
    /// *Consistent Hashing with Bounded Loads*, 2018; Envoy's `hash_balance_factor`).
    pub(super) fn has_room(&self, target: &UpstreamHost) -> bool {
        let Some(Bound { factor, weight, in_flight }) = &self.bound else {
            return true;
        };
        let share = u128::from(target.weight().get()) * (u128::from(in_flight.count()) + 1);
        let most = (share * u128::from(*factor)).div_ceil(100 * u128::from((*weight).max(1)));
        u128::from(target.active()) < most
    }
}

impl Table {
    fn new(size: Size, targets: &[Rc<UpstreamHost>]) -> Self {
        let members = targets.iter().map(|target| (Rc::clone(target), target.weight())).collect();
        let table = Self { size, members, entries: OnceCell::new() };
        if size.most() > MOST_FOR_A_REQUEST {
            table.entries();
        }
        table
    }

    /// Whether it is over targets of the same addresses and weights.
    fn is_over(&self, targets: &[Rc<UpstreamHost>]) -> bool {
        let is_it =
            |((member, weight), target): (&(Rc<UpstreamHost>, NonZeroU16), &Rc<UpstreamHost>)| {
                *weight == target.weight() && member.address() == target.address()
            };
        self.members.len() == targets.len() && self.members.iter().zip(targets).all(is_it)
    }

    fn entries(&self) -> &Entries {
        self.entries.get_or_init(|| {
            let keys = self.members.iter().map(|(member, weight)| (member.address(), *weight));
            let keys: Vec<_> = keys.map(|(address, w)| (address.to_string(), w)).collect();
            match self.size {
                Size::Ring { minimum, maximum } => {
                    Entries::Ring(Ring::new(&keys, minimum, maximum))
                }
                Size::Maglev { places } => Entries::Maglev(Maglev::new(&keys, places)),
            }
        })
    }
}

impl Entries {
    fn lookup(&self, hash: u64) -> Option<usize> {
        match self {
            Self::Ring(ring) => ring.lookup(hash),
            Self::Maglev(table) => table.lookup(hash),
        }
    }
}

impl Size {
    /// The size that a policy wants, with what it hashes; none where it wants no table.
    const fn of(policy: &Policy) -> Option<(Self, &Hashing)> {
        match policy {
            Policy::RingHash { hash, minimum_ring_size, maximum_ring_size } => {
                let (minimum, maximum) = (*minimum_ring_size, *maximum_ring_size);
                Some((Self::Ring { minimum, maximum }, hash))
            }
            Policy::Maglev { hash, table_size } => {
                Some((Self::Maglev { places: *table_size }, hash))
            }
            Policy::RoundRobin
            | Policy::Random
            | Policy::LeastRequest { .. }
            | Policy::PeakEwma { .. } => None,
        }
    }

    /// The same, but of at most so many entries.
    fn at_most(self, most: u32) -> Self {
        match self {
            Self::Ring { minimum, maximum } => Self::Ring { minimum, maximum: maximum.min(most) },
            Self::Maglev { places } => Self::Maglev { places: places.min(most) },
        }
    }

    /// The most entries that a table of the size has, unless it has more endpoints.
    fn most(self) -> u32 {
        match self {
            Self::Ring { minimum, maximum } => minimum.saturating_mul(Ring::ROOM).min(maximum),
            Self::Maglev { places } => places,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HashOn;
    use crate::handoff::encoded_handoff::EncodedHandoff;
    use crate::model::endpoint::Endpoint;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn targets(weights: &[u16]) -> Vec<Rc<UpstreamHost>> {
        let target = |(&weight, port)| {
            let endpoint = Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
            let endpoint = endpoint.weighing(NonZeroU16::new(weight).unwrap());
            Rc::new(UpstreamHost::new(&endpoint, EncodedHandoff::default()))
        };
        weights.iter().zip(1..).map(target).collect()
    }

    fn maglev(table_size: u32) -> Policy {
        let hash = Hashing { on: HashOn::Path, balance_factor: None };
        Policy::Maglev { hash, table_size }
    }

    fn ring(minimum_ring_size: u32) -> Policy {
        let hash = Hashing { on: HashOn::Path, balance_factor: None };
        let maximum_ring_size = Policy::DEFAULT_MAXIMUM_RING_SIZE;
        Policy::RingHash { hash, minimum_ring_size, maximum_ring_size }
    }

    /// The entries that a table has now.
    fn built(table: &HashTable) -> usize {
        match table.table.entries.get() {
            Some(Entries::Ring(ring)) => ring.len(),
            Some(Entries::Maglev(table)) => table.len(),
            None => 0,
        }
    }

    fn look(table: &HashTable, targets: &[Rc<UpstreamHost>]) {
        assert!(table.sequence(7, targets).next().is_some());
    }

    #[test]
    fn a_table_is_built_at_its_first_use() {
        for policy in [maglev(65_537), ring(1_024)] {
            let targets = targets(&[1; 100]);
            let table = HashTable::new(&policy, &targets, false, &mut Vec::new()).unwrap();
            assert_eq!(built(&table), 0);
            look(&table, &targets);
            assert!((65_000..=66_000).contains(&built(&table)), "{}", built(&table));
        }
    }

    #[test]
    fn a_table_stays_while_addresses_and_weights_do() {
        let (mut known, policy) = (Vec::new(), maglev(101));
        let mut table = |weights: &[u16]| {
            // Other targets of the same addresses, as after a change and back.
            let targets = targets(weights);
            let table = HashTable::new(&policy, &targets, true, &mut known).unwrap();
            let before = built(&table);
            look(&table, &targets);
            (before, table.table)
        };
        let (before, first) = table(&[1, 2, 3]);
        assert_eq!(before, 0);
        let (before, same) = table(&[1, 2, 3]);
        assert!(before == 101 && Rc::ptr_eq(&first, &same));
        for other in [&[1, 2][..], &[1, 2, 4], &[1, 2, 3, 1], &[3, 2, 1]] {
            assert_eq!(table(other).0, 0, "{other:?}");
        }
    }

    #[test]
    fn a_request_never_builds_a_table_above_the_default_size() {
        let targets = targets(&[1; 4]);
        for policy in [maglev(Policy::MAX_TABLE_SIZE), ring(1 << 17)] {
            let mut known = Vec::new();
            let all = HashTable::new(&policy, &targets, false, &mut known).unwrap();
            assert!(built(&all) > 500_000, "{}", built(&all));
            let of_version = HashTable::new(&policy, &targets, true, &mut known).unwrap();
            assert_eq!(built(&of_version), 0, "it has a size of its own");
            look(&of_version, &targets);
            let entries = built(&of_version);
            assert!((60_000..=66_000).contains(&entries), "{entries}");
        }
    }
}
