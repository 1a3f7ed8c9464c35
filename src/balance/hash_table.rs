//! From the hash of a request to an endpoint.

use std::rc::Rc;

use crate::balance::maglev::Maglev;
use crate::balance::ring_hash::Ring;
use crate::balance::target::{InFlight, Target};
use crate::config::{Hashing, Policy};
use crate::hash;

/// How many places a hash is looked for at before it is given up.
const PROBES: u64 = 32;

/// The table of a hash policy, over all endpoints of a slice, ejected ones too: they keep their
/// keys, and get them back when they return.
#[derive(Debug)]
pub(super) struct HashTable {
    kind: Kind,
    /// None: an endpoint may have any number of requests.
    bound: Option<Bound>,
}

/// How many requests an endpoint may have beside the others.
#[derive(Debug)]
struct Bound {
    /// In percent of the mean load.
    factor: u32,
    /// Of all endpoints in use.
    weight: u64,
    in_flight: InFlight,
}

#[derive(Debug)]
enum Kind {
    Ring(Ring),
    Maglev(Maglev),
}

impl HashTable {
    /// Builds the table that the policy wants over these targets; none where it wants none.
    pub(super) fn new(policy: &Policy, targets: &[Rc<Target>]) -> Option<Self> {
        let keys = || -> Vec<_> {
            targets.iter().map(|t| (t.address().to_string(), t.weight())).collect()
        };
        let (kind, Hashing { balance_factor, .. }) = match policy {
            Policy::RingHash { hash, minimum_ring_size, maximum_ring_size } => {
                (Kind::Ring(Ring::new(&keys(), *minimum_ring_size, *maximum_ring_size)), hash)
            }
            Policy::Maglev { hash, table_size } => {
                (Kind::Maglev(Maglev::new(&keys(), *table_size)), hash)
            }
            Policy::RoundRobin
            | Policy::Random
            | Policy::LeastRequest { .. }
            | Policy::PeakEwma { .. } => return None,
        };
        let bound = balance_factor.map(|factor| {
            let in_flight = InFlight::default();
            for target in targets {
                target.count_in(&in_flight);
            }
            Bound { factor, weight: 0, in_flight }
        });
        Some(Self { kind, bound })
    }

    /// Takes over the weight of the endpoints in use: those that are out of use have no part in
    /// the load, and leave theirs to the others.
    pub(super) const fn set_weight(&mut self, weight: u64) {
        if let Some(bound) = &mut self.bound {
            bound.weight = weight;
        }
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
        targets: &'a [Rc<Target>],
    ) -> impl Iterator<Item = &'a Rc<Target>> {
        (0..PROBES).filter_map(move |n| {
            let hash = if n == 0 { hash } else { hash::mix(hash, n) };
            let index = match &self.kind {
                Kind::Ring(ring) => ring.lookup(hash),
                Kind::Maglev(table) => table.lookup(hash),
            };
            targets.get(index?)
        })
    }

    /// Whether a target may have another request: at most its share by weight of all that are
    /// in flight, times the balance factor, rounded up (Mirrokni, Thorup and Zadimoghaddam,
    /// *Consistent Hashing with Bounded Loads*, 2018; Envoy's `hash_balance_factor`).
    pub(super) fn has_room(&self, target: &Target) -> bool {
        let Some(Bound { factor, weight, in_flight }) = &self.bound else {
            return true;
        };
        let share = u128::from(target.weight().get()) * (u128::from(in_flight.count()) + 1);
        let most = (share * u128::from(*factor)).div_ceil(100 * u128::from((*weight).max(1)));
        u128::from(target.active()) < most
    }
}
