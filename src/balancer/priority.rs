//! Going to the next datacenter when there is too little left in one.

use crate::util::rng::Rng;

/// What a level of endpoints has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorityHealth {
    /// The endpoints that may be used.
    pub usable: u32,
    /// All endpoints of the level.
    pub registered: u32,
}

/// What share of the requests goes to each level, in percent.
///
/// Envoy's [priority levels] (`recalculatePerPriorityState` in its `load_balancer_impl.cc`). The
/// first level takes all as long as it can: it is taken to have more endpoints than it needs,
/// by [`Loads::OVERPROVISIONING`]. What it cannot take goes to the next level, and so on. When
/// all together cannot take everything, they share it by what each can.
///
/// When no level has anything left, it is the first one's.
///
/// [priority levels]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loads {
    percents: Vec<u32>,
}

impl Loads {
    /// The factor by which a level has more endpoints than it needs, in percent: Envoy's default
    /// of `overprovisioning_factor`.
    pub const OVERPROVISIONING: u32 = 140;

    /// Divides the requests among levels, the one to be preferred first.
    pub fn new(levels: &[PriorityHealth]) -> Self {
        let healths = levels.iter().map(PriorityHealth::percent).collect::<Vec<_>>();
        let whole = healths.iter().sum::<u64>().min(100);
        Self { percents: shares(&healths, whole) }
    }

    /// The share of each level in percent; together 100, unless there is no level.
    pub fn percents(&self) -> &[u32] {
        &self.percents
    }

    /// Chooses the level of a request, by its index; none when there is no level.
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

/// Gives each its part of the whole in percent, as long as there is something left of 100; what
/// rounding leaves over goes to the first that has a part (`distributeLoad`).
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
    /// What a level can take of everything, in whole percent.
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
        let levels = usable.map(|usable| PriorityHealth { usable, registered: 100 });
        Loads::new(&levels).percents().to_vec()
    }

    #[test]
    fn two_levels_are_those_of_envoys_documentation() {
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
    fn three_levels_are_those_of_envoys_documentation() {
        for (usable, expected) in [
            ([100, 100, 100], [100, 0, 0]),
            ([72, 72, 100], [100, 0, 0]),
            ([71, 71, 100], [99, 1, 0]),
            ([50, 50, 100], [70, 30, 0]),
            ([25, 100, 100], [35, 65, 0]),
            ([25, 25, 100], [35, 35, 30]),
            // 36, 36, 28 there, rounded for the reader; its code rounds down, and gives the
            // rest to the first.
            ([25, 25, 20], [37, 35, 28]),
        ] {
            assert_eq!(percents(usable), expected, "{usable:?}");
        }
    }

    #[test]
    fn an_empty_level_leaves_all_to_the_next() {
        let empty = PriorityHealth { usable: 0, registered: 0 };
        let full = PriorityHealth { usable: 1, registered: 1 };
        assert_eq!(Loads::new(&[empty, full]).percents(), [0, 100]);
        assert_eq!(Loads::new(&[empty, empty, full]).choose(&mut Rng::new(1)), Some(2));
    }

    #[test]
    fn without_endpoints_the_first_level_has_all_and_without_levels_nobody() {
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
    fn requests_follow_the_loads() {
        const SEED: u64 = 3;
        let levels = [50, 0, 25].map(|usable| PriorityHealth { usable, registered: 100 });
        let loads = Loads::new(&levels);
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
