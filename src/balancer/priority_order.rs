//! Which datacenters of a service are preferred to which.

use crate::model::index_set::IndexSet;

/// The order in which the levels of a pool are preferred now: as they are configured, but for
/// those that are avoided, which come last.
///
/// They are not left out. What the others cannot take goes there, as it would without the
/// preference: a datacenter that is overrun helps nobody.
#[derive(Debug)]
pub(super) struct PriorityOrder {
    /// The places of the levels, the one to be preferred first.
    order: Vec<usize>,
    avoided: IndexSet,
}

impl PriorityOrder {
    /// That of so many levels, none of which is avoided.
    pub(super) fn new(levels: usize) -> Self {
        Self { order: (0..levels).collect(), avoided: IndexSet::default() }
    }

    /// Avoids these levels, and no others any more; tells whether that makes a difference.
    pub(super) fn avoid(&mut self, levels: IndexSet) -> bool {
        let is_other = self.avoided != levels;
        self.avoided = levels;
        if is_other {
            self.order.sort_unstable_by_key(|&level| (levels.contains(level), level));
        }
        is_other
    }

    /// The levels, the one to be preferred first.
    pub(super) fn levels(&self) -> impl Iterator<Item = usize> {
        self.from(None)
    }

    /// The level of this rank where there is such a one, then the others in their order.
    pub(super) fn from(&self, rank: Option<usize>) -> impl Iterator<Item = usize> {
        from(rank, self.order.len()).filter_map(|rank| self.order.get(rank).copied())
    }
}

/// The positions below `count`: `first` where there is such a one, then the others in order.
fn from(first: Option<usize>, count: usize) -> impl Iterator<Item = usize> {
    let first = first.filter(|&first| first < count).unwrap_or(0);
    (0..count).map(move |turn| match turn {
        0 => first,
        _ if turn <= first => turn - 1,
        _ => turn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn from(ranking: &PriorityOrder, rank: Option<usize>) -> Vec<usize> {
        ranking.from(rank).collect()
    }

    #[test]
    fn what_is_avoided_comes_last_in_the_order_of_its_kind() {
        let mut ranking = PriorityOrder::new(4);
        assert_eq!(ranking.levels().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(ranking.avoid([0, 2].into_iter().collect()));
        assert_eq!(ranking.levels().collect::<Vec<_>>(), [1, 3, 0, 2]);
        assert_eq!(from(&ranking, Some(2)), [0, 1, 3, 2]);
        assert_eq!(from(&ranking, Some(4)), [1, 3, 0, 2]);
        assert!(!ranking.avoid([2, 0].into_iter().collect()), "they are the same");
        assert!(ranking.avoid(IndexSet::default()));
        assert_eq!(from(&ranking, None), [0, 1, 2, 3]);
    }
}
