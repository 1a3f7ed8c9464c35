//! Who gets how much: zones and priority levels.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use consul_resolver::balancer::locality::ZonePlan;
use consul_resolver::balancer::priority::{Loads, PriorityHealth};
use consul_resolver::util::rng::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn capacity() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 6 => 1..100_u64, 2 => 1..1_000_000_000_u64, 1 => any::<u64>()]
}

fn health() -> impl Strategy<Value = PriorityHealth> {
    prop_oneof![
        1 => Just(PriorityHealth { usable: 0, registered: 0 }),
        6 => (0..=50_u32, 0..=50_u32)
            .prop_map(|(usable, out)| PriorityHealth { usable, registered: usable + out }),
        // Nonsense, which must not lead to more.
        1 => (any::<u32>(), any::<u32>())
            .prop_map(|(usable, registered)| PriorityHealth { usable, registered }),
    ]
}

proptest! {
    #[test]
    fn when_every_zone_sends_the_same_all_endpoints_get_the_same(
        capacities in vec(capacity(), 1..8),
    ) {
        let zones = (0..capacities.len()).filter(|&zone| capacities[zone] > 0).collect::<Vec<_>>();
        let total = capacities.iter().map(|&capacity| capacity as f64).sum::<f64>();
        let mut loads = vec![0.0; capacities.len()];
        for &zone in &zones {
            let plan = ZonePlan::new(Some(zone), &capacities);
            for (load, share) in loads.iter_mut().zip(plan.shares()) {
                *load += share / zones.len() as f64;
            }
        }
        for (load, &capacity) in loads.iter().zip(&capacities) {
            let fair = capacity as f64 / total.max(1.0);
            prop_assert!((load - fair).abs() < 1e-9, "{} for {}", load, fair);
        }
    }

    #[test]
    fn no_zone_could_keep_more_of_its_own_requests(
        capacities in vec(capacity(), 1..8),
        local: Index,
    ) {
        let local = local.index(capacities.len());
        let zones = capacities.iter().filter(|&&capacity| capacity > 0).count() as f64;
        let total = capacities.iter().map(|&capacity| capacity as f64).sum::<f64>();
        let plan = ZonePlan::new(Some(local), &capacities);
        if capacities[local] > 0 {
            let most = (capacities[local] as f64 * zones / total).min(1.0);
            prop_assert!((plan.shares()[local] - most).abs() < 1e-9);
        }
    }

    #[test]
    fn only_zones_with_capacity_are_chosen(
        capacities in vec(capacity(), 0..8),
        local in prop::option::of(0..9_usize),
        seed: u64,
    ) {
        let plan = ZonePlan::new(local, &capacities);
        let mut rng = Rng::new(seed);
        for _ in 0..50 {
            match plan.choose(&mut rng) {
                Some(zone) => prop_assert!(capacities[zone] > 0),
                None => prop_assert!(capacities.iter().all(|&capacity| capacity == 0)),
            }
        }
    }

    #[test]
    fn levels_share_all_requests_and_the_first_ones_come_first(
        levels in vec(health(), 1..6),
        seed: u64,
    ) {
        let loads = Loads::new(&levels);
        let percents = loads.percents();
        prop_assert_eq!(percents.len(), levels.len());
        prop_assert_eq!(percents.iter().sum::<u32>(), 100);
        let chosen = loads.choose(&mut Rng::new(seed)).unwrap();
        prop_assert!(percents[chosen] > 0);

        let health = |level: &PriorityHealth| {
            let usable = 140 * u64::from(level.usable);
            usable.checked_div(u64::from(level.registered)).unwrap_or(0).min(100)
        };
        let healths = levels.iter().map(health).collect::<Vec<_>>();
        let total = healths.iter().sum::<u64>();
        if total >= 100 {
            // Each takes what it can of what those before it have left.
            let mut left = 100;
            for (&health, &percent) in healths.iter().zip(percents) {
                prop_assert_eq!(u64::from(percent), health.min(left));
                left -= u64::from(percent);
            }
        } else if total > 0 {
            // Each takes its part, within the rounding that the first one is given.
            for (&health, &percent) in healths.iter().zip(percents) {
                let fair = health as f64 * 100.0 / total as f64;
                prop_assert!((f64::from(percent) - fair).abs() < levels.len() as f64);
                prop_assert!(health > 0 || percent == 0);
            }
        } else {
            prop_assert_eq!(percents[0], 100);
        }
    }
}
