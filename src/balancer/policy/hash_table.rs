//! A host by the hash of a request.

use core::cell::OnceCell;
use core::num::NonZeroU16;
use std::rc::Rc;

use crate::balancer::policy::maglev::Maglev;
use crate::balancer::policy::ring_hash::Ring;
use crate::balancer::upstream_host::{InFlight, UpstreamHost};
use crate::config::Policy;
use crate::util::hash;

/// The most entries of the table of a version: the default of Maglev. A pool may have many versions,
/// and the table of all hosts has as many entries as are configured. So the entries of a pool are
/// bounded: in each datacenter the configured number, and this number for each version, prefix and
/// share.
///
/// The bound does not depend on the number of versions: the owner of a key would change with that
/// number, and differ from proxy to proxy.
const MOST_OF_A_VERSION: u32 = Policy::DEFAULT_TABLE_SIZE;

/// The most entries of a table that a request builds, which takes milliseconds. A larger table is built
/// when the hosts are installed.
const MOST_FOR_A_REQUEST: u32 = Policy::DEFAULT_TABLE_SIZE;

/// The number of hashes that are tried before a lookup gives up.
const MOST_LOOKUPS: u64 = 32;

/// The table of a hash policy over the hosts of a subset, with the bound on their load.
#[derive(Debug)]
pub(in crate::balancer) struct HashTable {
    table: Rc<Table>,
    /// None: a host may have any number of requests.
    bound: Option<BoundedLoad>,
}

/// A table over some hosts by their addresses and weights, in their order.
///
/// A table does not change, so all subsets with the same hosts share it. A new snapshot builds only the
/// tables whose hosts it changes.
#[derive(Debug)]
pub(in crate::balancer) struct Table {
    size: TableSize,
    hosts: Vec<(Rc<UpstreamHost>, NonZeroU16)>,
    /// Built by the first request that needs them, unless that would take too long.
    entries: OnceCell<Entries>,
}

/// The kind and the size of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::balancer) enum TableSize {
    Ring { minimum: u32, maximum: u32 },
    Maglev { places: u32 },
}

#[derive(Debug)]
enum Entries {
    Ring(Ring),
    Maglev(Maglev),
}

impl HashTable {
    /// Creates the table of this size over `hosts`, in which a host may have `balance_factor` percent
    /// of the mean load. `is_of_version`: the hosts are those of a version. A table of `known` over the
    /// same hosts is shared; a new table is added there.
    pub(super) fn new(
        size: TableSize,
        balance_factor: Option<u32>,
        hosts: &[Rc<UpstreamHost>],
        is_of_version: bool,
        known: &mut Vec<Rc<Table>>,
    ) -> Self {
        let size = if is_of_version { size.at_most(MOST_OF_A_VERSION) } else { size };
        let same = known.iter().find(|table| table.size == size && table.is_over(hosts));
        let table = same.map(Rc::clone).unwrap_or_else(|| {
            let table = Rc::new(Table::new(size, hosts));
            known.push(Rc::clone(&table));
            table
        });
        Self { table, bound: balance_factor.map(|factor| BoundedLoad::new(factor, hosts)) }
    }

    /// The table itself, for a subset that comes to have the same hosts.
    pub(in crate::balancer) const fn table(&self) -> &Rc<Table> {
        &self.table
    }

    /// Returns the hosts for a hash: its owner first, then the hosts to go to if earlier ones take
    /// nothing. A host may come again.
    ///
    /// The requests that a host does not take are spread over all hosts by further hashes, as Envoy
    /// does it (and Chen, Coleman and Shrivastava, *Revisiting Consistent Hashing with Bounded Loads*,
    /// 2021): the neighbour on a ring would get the whole load of the host.
    pub(in crate::balancer) fn sequence<'a>(
        &'a self,
        hash: u64,
        hosts: &'a [Rc<UpstreamHost>],
    ) -> impl Iterator<Item = &'a Rc<UpstreamHost>> {
        let entries = self.table.entries();
        (0..MOST_LOOKUPS).filter_map(move |n| {
            let hash = if n == 0 { hash } else { hash::mix(hash, n) };
            hosts.get(entries.lookup(hash)?)
        })
    }

    /// Returns true if a host may have another request.
    pub(in crate::balancer) fn has_room(&self, host: &UpstreamHost) -> bool {
        self.bound.as_ref().is_none_or(|bound| bound.has_room(host))
    }
}

impl Table {
    fn new(size: TableSize, hosts: &[Rc<UpstreamHost>]) -> Self {
        let hosts = hosts.iter().map(|host| (Rc::clone(host), host.weight())).collect();
        let table = Self { size, hosts, entries: OnceCell::new() };
        if size.most() > MOST_FOR_A_REQUEST {
            table.entries();
        }
        table
    }

    /// Returns true if the table is over hosts of the same addresses and weights.
    fn is_over(&self, hosts: &[Rc<UpstreamHost>]) -> bool {
        let is_same = |((known, weight), host): (&(Rc<UpstreamHost>, _), &Rc<UpstreamHost>)| {
            *weight == host.weight() && known.address() == host.address()
        };
        self.hosts.len() == hosts.len() && self.hosts.iter().zip(hosts).all(is_same)
    }

    fn entries(&self) -> &Entries {
        self.entries.get_or_init(|| {
            let keys = self.hosts.iter().map(|(host, weight)| (host.address(), *weight));
            let keys: Vec<_> = keys.map(|(address, w)| (address.to_string(), w)).collect();
            match self.size {
                TableSize::Ring { minimum, maximum } => {
                    Entries::Ring(Ring::new(&keys, minimum, maximum))
                }
                TableSize::Maglev { places } => Entries::Maglev(Maglev::new(&keys, places)),
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

impl TableSize {
    /// Returns the same size with at most `most` entries.
    fn at_most(self, most: u32) -> Self {
        match self {
            Self::Ring { minimum, maximum } => Self::Ring { minimum, maximum: maximum.min(most) },
            Self::Maglev { places } => Self::Maglev { places: places.min(most) },
        }
    }

    /// The most entries of such a table, unless there are more hosts.
    fn most(self) -> u32 {
        match self {
            Self::Ring { minimum, maximum } => minimum.saturating_mul(Ring::ROOM).min(maximum),
            Self::Maglev { places } => places,
        }
    }
}

/// A bound on the requests in flight to each of some hosts, relative to their mean (Mirrokni, Thorup
/// and Zadimoghaddam, *Consistent Hashing with Bounded Loads*, 2018; Envoy's `hash_balance_factor`).
#[derive(Debug)]
pub(super) struct BoundedLoad {
    /// In percent of the mean load.
    factor: u32,
    /// The sum of the weights of all hosts.
    weight: u64,
    in_flight: InFlight,
}

impl BoundedLoad {
    /// Bounds the load of `hosts` to `factor` percent of the mean.
    pub(super) fn new(factor: u32, hosts: &[Rc<UpstreamHost>]) -> Self {
        let in_flight = InFlight::default();
        for host in hosts {
            host.add_to_total(&in_flight);
        }
        let weight = hosts.iter().map(|host| u64::from(host.weight().get())).sum();
        Self { factor, weight, in_flight }
    }

    /// Returns true if a host may have another request. The bound is the host's share by weight of all
    /// requests in flight, times the factor, rounded up.
    pub(super) fn has_room(&self, host: &UpstreamHost) -> bool {
        let share = u128::from(host.weight().get()) * (u128::from(self.in_flight.count()) + 1);
        let most = (share * u128::from(self.factor)).div_ceil(100 * u128::from(self.weight.max(1)));
        u128::from(host.active()) < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::encoded_handoff::EncodedHandoff;
    use crate::model::endpoint::Endpoint;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn hosts(weights: &[u16]) -> Vec<Rc<UpstreamHost>> {
        let host = |(&weight, port)| {
            let endpoint = Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
            let endpoint = endpoint.weighing(NonZeroU16::new(weight).unwrap());
            Rc::new(UpstreamHost::new(&endpoint, EncodedHandoff::default()))
        };
        weights.iter().zip(1..).map(host).collect()
    }

    const fn maglev(places: u32) -> TableSize {
        TableSize::Maglev { places }
    }

    const fn ring(minimum: u32) -> TableSize {
        TableSize::Ring { minimum, maximum: Policy::DEFAULT_MAXIMUM_RING_SIZE }
    }

    /// Counts the entries that a table has now.
    fn built(table: &HashTable) -> usize {
        match table.table.entries.get() {
            Some(Entries::Ring(ring)) => ring.len(),
            Some(Entries::Maglev(table)) => table.len(),
            None => 0,
        }
    }

    fn look_up(table: &HashTable, hosts: &[Rc<UpstreamHost>]) {
        assert!(table.sequence(7, hosts).next().is_some());
    }

    #[test]
    fn table_is_built_at_its_first_use() {
        for size in [maglev(65_537), ring(1_024)] {
            let hosts = hosts(&[1; 100]);
            let table = HashTable::new(size, None, &hosts, false, &mut Vec::new());
            assert_eq!(built(&table), 0);
            look_up(&table, &hosts);
            assert!((65_000..=66_000).contains(&built(&table)), "{}", built(&table));
        }
    }

    #[test]
    fn table_is_shared_while_addresses_and_weights_stay() {
        let (mut known, size) = (Vec::new(), maglev(101));
        let mut table = |weights: &[u16]| {
            // Other hosts of the same addresses, as after a change and back.
            let hosts = hosts(weights);
            let table = HashTable::new(size, None, &hosts, true, &mut known);
            let before = built(&table);
            look_up(&table, &hosts);
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
    fn table_is_built_at_install_when_above_the_default_size() {
        let hosts = hosts(&[1; 4]);
        for size in [maglev(Policy::MAX_TABLE_SIZE), ring(1 << 17)] {
            let mut known = Vec::new();
            let all = HashTable::new(size, None, &hosts, false, &mut known);
            assert!(built(&all) > 500_000, "{}", built(&all));
            let of_version = HashTable::new(size, None, &hosts, true, &mut known);
            assert_eq!(built(&of_version), 0, "it has a size of its own");
            look_up(&of_version, &hosts);
            let entries = built(&of_version);
            assert!((60_000..=66_000).contains(&entries), "{entries}");
        }
    }
}
