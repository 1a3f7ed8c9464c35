//! Staying in the zone of the proxy as far as that is fair.

use crate::balancer::cumulative::Cumulative;
use crate::util::rng::Rng;

/// What share of a proxy's requests goes to each zone.
///
/// Envoy's [zone aware routing] (`regenerateLocalityRoutingStructures` in its
/// `load_balancer_impl.cc`): as many requests as possible stay in the own zone, as long as all
/// endpoints have about as many in the end. A zone that has a smaller share of the endpoints
/// than of the proxies cannot serve all requests of its own: the rest goes to the zones with a
/// greater one, by how much they have left.
///
/// Envoy counts the proxies of each zone as the hosts of its *local cluster*. Here nobody
/// counts them, and they are **assumed to be spread evenly over the zones that have
/// endpoints**. A proxy whose zone has none, or is not known, goes by capacity: what the others
/// send leaves every zone the same room beside its capacity.
///
/// [zone aware routing]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/zone_aware
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ZonePlan {
    shares: Vec<f64>,
    capacities: Cumulative,
}

impl ZonePlan {
    /// Plans for a proxy in the zone with the index `local`, by what the endpoints of each zone
    /// can take: the sum of the weights of those that are healthy.
    pub fn new(local: Option<usize>, capacities: &[u64]) -> Self {
        let cumulative = Cumulative::new(capacities.iter().copied());
        let capacities = capacities.iter().map(|&capacity| capacity as f64).collect::<Vec<_>>();
        let total = capacities.iter().sum::<f64>();
        // What a zone would serve if all were equal, and each served its own proxies.
        let even = total / capacities.iter().filter(|&&capacity| capacity > 0.0).count() as f64;
        let own = local.and_then(|zone| Some((zone, *capacities.get(zone)?)));

        let shares = match own {
            Some((local, capacity)) if capacity >= even && total > 0.0 => {
                let share_of = |zone| if zone == local { 1.0 } else { 0.0 };
                (0..capacities.len()).map(share_of).collect()
            }
            Some((local, capacity)) if capacity > 0.0 => {
                let kept = capacity / even;
                let left = |capacity: f64| (capacity - even).max(0.0);
                let all_left = capacities.iter().map(|&capacity| left(capacity)).sum::<f64>();
                // Where all are equal but for rounding, nothing is left.
                let all_left = all_left.max(f64::MIN_POSITIVE);
                let share_of = |(zone, &capacity)| {
                    if zone == local { kept } else { (1.0 - kept) * left(capacity) / all_left }
                };
                capacities.iter().enumerate().map(share_of).collect()
            }
            _ if total > 0.0 => capacities.iter().map(|capacity| capacity / total).collect(),
            _ => Vec::new(),
        };
        Self { shares, capacities: cumulative }
    }

    /// The share of each zone, of 1; none at all where no zone has any capacity.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// Chooses the zone of a request, by its index, in the time that it takes to go through the
    /// zones; none where no zone has any capacity.
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
        // What rounding has lost of the sum belongs to the last one.
        self.shares.iter().rposition(|&share| share > 0.0)
    }

    /// What `take` makes of the zone that is chosen; where that is nothing, of another one. What
    /// the chosen zone cannot take goes to the others by their capacity.
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
    fn a_zone_with_enough_keeps_its_requests() {
        assert_eq!(shares(Some(0), &[5, 5]), [1.0, 0.0]);
        assert_eq!(shares(Some(1), &[1, 5, 2]), [0.0, 1.0, 0.0]);
        assert_eq!(shares(Some(0), &[3]), [1.0]);
    }

    #[test]
    fn a_zone_with_too_little_keeps_what_is_fair_and_sends_the_rest_where_there_is_room() {
        // As in a comment of Envoy's source: with half of the share of the proxies in the own
        // zone, half of the requests stay.
        assert_eq!(shares(Some(0), &[1, 3]), [0.5, 0.5]);
        // 20 % of the endpoints for a third of the proxies; 40 % is as much above a third as the
        // other 40 %.
        assert_eq!(shares(Some(0), &[20, 40, 40]), [0.6, 0.2, 0.2]);
        // The third zone is above an even share by 50 - 33⅓, the second is below.
        assert_eq!(shares(Some(0), &[20, 30, 50]), [0.6, 0.0, 0.4]);
    }

    #[test]
    fn a_proxy_elsewhere_goes_by_capacity() {
        assert_eq!(shares(None, &[1, 3]), [0.25, 0.75]);
        assert_eq!(shares(Some(0), &[0, 1, 3]), [0.0, 0.25, 0.75]);
        assert_eq!(shares(Some(7), &[1, 3]), [0.25, 0.75]);
    }

    #[test]
    fn zones_without_endpoints_make_no_difference() {
        assert_eq!(shares(Some(0), &[1, 0, 3, 0]), [0.5, 0.0, 0.5, 0.0]);
        assert_eq!(shares(Some(1), &[0, 2, 2]), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn without_capacity_there_is_no_zone() {
        for capacities in [&[][..], &[0], &[0, 0]] {
            for local in [None, Some(0)] {
                assert_eq!(ZonePlan::new(local, capacities).choose(&mut Rng::new(1)), None);
            }
        }
    }

    #[test]
    fn requests_follow_the_shares() {
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
