//! Keeping requests in the zone of the proxy as far as that is fair.

use std::rc::Rc;

use crate::balancer::cumulative::Cumulative;
use crate::config::Locality;
use crate::util::rng::Rng;

/// The zone of this proxy, for a service whose requests should stay in it.
#[derive(Debug)]
pub(super) struct LocalZone {
    /// None: zones make no difference.
    zone: Option<Rc<str>>,
    /// With fewer hosts zones make no difference either.
    min_cluster_size: usize,
}

impl LocalZone {
    /// Reads the zone from the configuration.
    pub(super) fn new(locality: Option<&Locality>) -> Self {
        Self {
            zone: locality.and_then(|locality| locality.zone.as_deref()).map(Rc::from),
            min_cluster_size: locality.map_or(0, |locality| locality.min_cluster_size as usize),
        }
    }

    /// Returns true if a pick among so many hosts goes by zones.
    pub(super) fn matters(&self, hosts: usize) -> bool {
        self.zone.is_some() && hosts >= self.min_cluster_size
    }

    /// Returns true if this is the proxy's zone.
    pub(super) fn is(&self, zone: &Rc<str>) -> bool {
        self.zone.as_ref() == Some(zone)
    }
}

/// The share of a proxy's requests that goes to each zone.
///
/// Envoy's [zone aware routing] (`regenerateLocalityRoutingStructures` in its
/// `load_balancer_impl.cc`): as many requests as possible stay in the proxy's zone, as long as
/// all hosts get about the same number. A zone with a smaller share of the hosts than of the proxies
/// cannot serve all its requests. The rest goes to the zones with a greater share, by their spare
/// capacity.
///
/// Envoy counts the proxies of each zone as the hosts of its *local cluster*. Here the
/// proxies are not counted but **assumed to be spread evenly over the zones that have hosts**. A proxy
/// in an unknown zone or one without hosts goes by capacity: the requests of the other proxies leave
/// every zone the same room relative to its capacity.
///
/// [zone aware routing]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/zone_aware
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ZonePlan {
    shares: Vec<f64>,
    capacities: Cumulative,
}

impl ZonePlan {
    /// Plans for a proxy in the zone with the index `local`. The capacity of a zone is the sum of the
    /// weights of its healthy hosts.
    pub fn new(local: Option<usize>, capacities: &[u64]) -> Self {
        let cumulative = Cumulative::new(capacities.iter().copied());
        let capacities = capacities.iter().map(|&capacity| capacity as f64).collect::<Vec<_>>();
        let total = capacities.iter().sum::<f64>();
        // The capacity of each zone if all were equal, so that each served its own proxies.
        let even = total / capacities.iter().filter(|&&capacity| capacity > 0.0).count() as f64;
        let own = local.and_then(|zone| Some((zone, *capacities.get(zone)?)));

        let shares = match own {
            Some((local, capacity)) if capacity >= even && total > 0.0 => {
                let share_of = |zone| if zone == local { 1.0 } else { 0.0 };
                (0..capacities.len()).map(share_of).collect()
            }
            Some((local, capacity)) if capacity > 0.0 => {
                let kept = capacity / even;
                let spare = |capacity: f64| (capacity - even).max(0.0);
                let all_spare = capacities.iter().map(|&capacity| spare(capacity)).sum::<f64>();
                // Nothing is spare if all are equal but for rounding.
                let all_spare = all_spare.max(f64::MIN_POSITIVE);
                let share_of = |(zone, &capacity)| {
                    if zone == local { kept } else { (1.0 - kept) * spare(capacity) / all_spare }
                };
                capacities.iter().enumerate().map(share_of).collect()
            }
            _ if total > 0.0 => capacities.iter().map(|capacity| capacity / total).collect(),
            _ => Vec::new(),
        };
        Self { shares, capacities: cumulative }
    }

    /// The share of each zone, of 1; empty if no zone has any capacity.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// Chooses the zone of a request, by its index; none if no zone has any capacity. The time grows
    /// with the number of zones.
    pub fn choose(&self, rng: &mut Rng) -> Option<usize> {
        if let [share] = *self.shares {
            return (share > 0.0).then_some(0);
        }
        let mut drawn = rng.unit();
        for (zone, &share) in self.shares.iter().enumerate() {
            if drawn < share {
                return Some(zone);
            }
            drawn -= share;
        }
        // The rest that rounding leaves over belongs to the last zone.
        self.shares.iter().rposition(|&share| share > 0.0)
    }

    /// Chooses a zone and returns the result of `take` for it. If `take` returns none, the other zones
    /// are tried in an order drawn by their capacity.
    pub(super) fn find<T>(
        &self,
        rng: &mut Rng,
        mut take: impl FnMut(usize, &mut Rng) -> Option<T>,
    ) -> Option<T> {
        let chosen = self.choose(rng)?;
        take(chosen, rng).or_else(|| {
            let mut other =
                |zone, rng: &mut Rng| if zone == chosen { None } else { take(zone, rng) };
            self.capacities.find(rng, &mut other)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn shares(local: Option<usize>, capacities: &[u64]) -> Vec<f64> {
        let plan = ZonePlan::new(local, capacities);
        plan.shares().iter().map(|share| (share * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn zone_keeps_its_requests_when_it_has_capacity() {
        assert_eq!(shares(Some(0), &[5, 5]), [1.0, 0.0]);
        assert_eq!(shares(Some(1), &[1, 5, 2]), [0.0, 1.0, 0.0]);
        assert_eq!(shares(Some(0), &[3]), [1.0]);
    }

    #[test]
    fn zone_sends_the_rest_to_spare_capacity_when_it_has_too_little() {
        // As in a comment of Envoy's source: with half of the share of the proxies in the own
        // zone, half of the requests stay.
        assert_eq!(shares(Some(0), &[1, 3]), [0.5, 0.5]);
        // 20 % of the hosts for a third of the proxies; 40 % is as much above a third as the
        // other 40 %.
        assert_eq!(shares(Some(0), &[20, 40, 40]), [0.6, 0.2, 0.2]);
        // The third zone is above an even share by 50 - 33⅓, the second is below.
        assert_eq!(shares(Some(0), &[20, 30, 50]), [0.6, 0.0, 0.4]);
    }

    #[test]
    fn requests_follow_capacity_when_the_proxy_has_no_zone() {
        assert_eq!(shares(None, &[1, 3]), [0.25, 0.75]);
        assert_eq!(shares(Some(0), &[0, 1, 3]), [0.0, 0.25, 0.75]);
        assert_eq!(shares(Some(7), &[1, 3]), [0.25, 0.75]);
    }

    #[test]
    fn zones_without_hosts_make_no_difference() {
        assert_eq!(shares(Some(0), &[1, 0, 3, 0]), [0.5, 0.0, 0.5, 0.0]);
        assert_eq!(shares(Some(1), &[0, 2, 2]), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn no_zone_is_chosen_when_there_is_no_capacity() {
        for capacities in [&[][..], &[0], &[0, 0]] {
            for local in [None, Some(0)] {
                assert_eq!(ZonePlan::new(local, capacities).choose(&mut Rng::new(1)), None);
            }
        }
    }

    #[test]
    fn requests_follow_the_shares_of_the_zones() {
        const SEED: u64 = 9;
        const REQUESTS: u32 = 100_000;
        let plan = ZonePlan::new(Some(0), &[20, 40, 40, 0]);
        let mut rng = Rng::new(SEED);
        let mut seen = [0_u32; 4];
        for _ in 0..REQUESTS {
            seen[plan.choose(&mut rng).unwrap()] += 1;
        }
        let chi_square: f64 = [0.6, 0.2, 0.2]
            .iter()
            .zip(seen)
            .map(|(share, seen)| {
                let want = f64::from(REQUESTS) * share;
                (f64::from(seen) - want).powi(2) / want
            })
            .sum();
        // 13.82: one in a thousand for 2 degrees of freedom.
        assert!(chi_square < 13.82, "seed {SEED}: {chi_square} of {seen:?}");
        assert_eq!(seen[3], 0);
    }
}
