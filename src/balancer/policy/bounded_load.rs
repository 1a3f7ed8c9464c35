//! Bounding the load of a host relative to the mean.

use std::rc::Rc;

use crate::balancer::upstream_host::{InFlight, UpstreamHost};

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
