//! Going to the next datacenter if too little of the first is healthy.

use crate::util::rng::Rng;

/// The health of a priority, that is, of the hosts of a datacenter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorityHealth {
    /// The hosts that may be used.
    pub usable: u32,
    /// All instances of the priority.
    pub registered: u32,
}

/// The share of the requests that goes to each priority, in percent.
///
/// Envoy's [priority levels] (`recalculatePerPriorityState` in its `load_balancer_impl.cc`). The
/// first priority takes all requests as long as it can: it is assumed to have more hosts than it needs,
/// by [`Loads::OVERPROVISIONING`]. The rest goes to the next priority, and so on. If all priorities
/// together cannot take all requests, they share them by their capacity.
///
/// If no priority has a usable host, the first one gets all requests.
///
/// [priority levels]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loads {
    percents: Vec<u32>,
}

impl Loads {
    /// The factor by which a priority has more hosts than it needs, in percent: Envoy's default
    /// of `overprovisioning_factor`.
    pub const OVERPROVISIONING: u32 = 140;

    /// Divides the requests among priorities, which are in order of preference.
    pub fn new(priorities: &[PriorityHealth]) -> Self {
        let healths = priorities.iter().map(PriorityHealth::percent).collect::<Vec<_>>();
        let whole = healths.iter().sum::<u64>().min(100);
        Self { percents: shares(&healths, whole) }
    }

    /// The share of each priority in percent; together 100, unless there is no priority.
    pub fn percents(&self) -> &[u32] {
        &self.percents
    }

    /// Chooses the priority of a request, by its index; none if there is none.
    pub fn choose(&self, rng: &mut Rng) -> Option<usize> {
        if let [_] = *self.percents {
            return Some(0);
        }
        let mut drawn = rng.below(100);
        self.percents.iter().position(|&percent| {
            let is_it = drawn < percent;
            drawn = drawn.saturating_sub(percent);
            is_it
        })
    }
}

/// Returns the priorities below `count` in the order in which a request tries them: the chosen one,
/// then the rest by preference. Without a choice the order is that of preference.
pub(super) fn in_order(chosen: Option<usize>, count: usize) -> impl Iterator<Item = usize> {
    let chosen = chosen.filter(|&chosen| chosen < count).unwrap_or(0);
    (0..count).map(move |turn| match turn {
        0 => chosen,
        _ if turn <= chosen => turn - 1,
        _ => turn,
    })
}

/// Returns the percentage of each part of the whole, together 100. The rest of rounding goes to the
/// first part that is not zero (`distributeLoad` in Envoy).
fn shares(parts: &[u64], whole: u64) -> Vec<u32> {
    let mut left = 100;
    let mut percents = parts
        .iter()
        .map(|part| {
            let percent = left.min((part * 100 / whole.max(1)) as u32);
            left -= percent;
            percent
        })
        .collect::<Vec<_>>();
    let first = parts.iter().position(|&part| part > 0).unwrap_or(0);
    if let Some(percent) = percents.get_mut(first) {
        *percent += left;
    }
    percents
}

impl PriorityHealth {
    /// The requests that the priority can take, in whole percent of all.
    fn percent(&self) -> u64 {
        let usable = u64::from(self.usable) * u64::from(Loads::OVERPROVISIONING);
        usable.checked_div(u64::from(self.registered)).unwrap_or(0).min(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn percents<const N: usize>(usable: [u32; N]) -> Vec<u32> {
        let priorities = usable.map(|usable| PriorityHealth { usable, registered: 100 });
        Loads::new(&priorities).percents().to_vec()
    }

    #[test]
    fn loads_of_two_priorities_are_those_of_envoys_documentation() {
        for (usable, expected) in [
            ([100, 100], [100, 0]),
            ([72, 100], [100, 0]),
            ([71, 100], [99, 1]),
            ([50, 100], [70, 30]),
            ([25, 100], [35, 65]),
            ([0, 100], [0, 100]),
            ([72, 72], [100, 0]),
            ([71, 71], [99, 1]),
            ([50, 50], [70, 30]),
            ([25, 25], [50, 50]),
        ] {
            assert_eq!(percents(usable), expected, "{usable:?}");
        }
    }

    #[test]
    fn loads_of_three_priorities_are_those_of_envoys_documentation() {
        for (usable, expected) in [
            ([100, 100, 100], [100, 0, 0]),
            ([72, 72, 100], [100, 0, 0]),
            ([71, 71, 100], [99, 1, 0]),
            ([50, 50, 100], [70, 30, 0]),
            ([25, 100, 100], [35, 65, 0]),
            ([25, 25, 100], [35, 35, 30]),
            // Envoy's documentation has 36, 36, 28, rounded for the reader. Its code rounds down,
            // and gives the rest to the first.
            ([25, 25, 20], [37, 35, 28]),
        ] {
            assert_eq!(percents(usable), expected, "{usable:?}");
        }
    }

    #[test]
    fn next_priority_has_all_load_when_the_first_is_empty() {
        let empty = PriorityHealth { usable: 0, registered: 0 };
        let full = PriorityHealth { usable: 1, registered: 1 };
        assert_eq!(Loads::new(&[empty, full]).percents(), [0, 100]);
        assert_eq!(Loads::new(&[empty, empty, full]).choose(&mut Rng::new(1)), Some(2));
    }

    #[test]
    fn first_priority_has_all_load_when_no_host_is_usable() {
        for registered in [0, 3] {
            let empty = PriorityHealth { usable: 0, registered };
            assert_eq!(Loads::new(&[empty, empty]).percents(), [100, 0]);
        }
        assert_eq!(Loads::new(&[]).choose(&mut Rng::new(1)), None);
    }

    #[test]
    fn chosen_priority_comes_first_and_the_rest_by_preference() {
        for (chosen, expected) in [
            (None, [0, 1, 2, 3]),
            (Some(0), [0, 1, 2, 3]),
            (Some(2), [2, 0, 1, 3]),
            (Some(3), [3, 0, 1, 2]),
            (Some(4), [0, 1, 2, 3]),
        ] {
            assert_eq!(in_order(chosen, 4).collect::<Vec<_>>(), expected, "{chosen:?}");
        }
        assert_eq!(in_order(None, 0).count(), 0);
    }

    #[test]
    fn requests_follow_the_loads_of_the_priorities() {
        const SEED: u64 = 3;
        let priorities = [50, 0, 25].map(|usable| PriorityHealth { usable, registered: 100 });
        let loads = Loads::new(&priorities);
        assert_eq!(loads.percents(), [70, 0, 30]);
        let mut rng = Rng::new(SEED);
        let mut seen = [0_u32; 3];
        for _ in 0..10_000 {
            seen[loads.choose(&mut rng).unwrap()] += 1;
        }
        let part = |seen: u32, want: f64| (f64::from(seen) - want).powi(2) / want;
        let chi_square = part(seen[0], 7_000.0) + part(seen[2], 3_000.0);
        // 10.83: one in a thousand for 1 degree of freedom.
        assert!(chi_square < 10.83, "seed {SEED}: {chi_square} of {seen:?}");
        assert_eq!(seen[1], 0);
    }
}
