//! A set of positions of a short list.

use core::mem;

/// A set of positions of a list, in one number, such as some of the datacenters of a service or of its
/// dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexSet(u16);

impl IndexSet {
    /// The number of positions that a set can hold: from 0 on, below this number.
    pub const MOST: usize = 8 * mem::size_of::<u16>();

    /// Adds a position. A position of [`IndexSet::MOST`] or above is ignored.
    pub const fn insert(&mut self, index: usize) {
        if index < Self::MOST {
            self.0 |= 1 << index;
        }
    }

    /// Returns true if the position is in the set.
    pub const fn contains(self, index: usize) -> bool {
        index < Self::MOST && self.0 & 1 << index != 0
    }

    /// Returns true if the set has no position.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of positions.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl FromIterator<usize> for IndexSet {
    fn from_iter<P: IntoIterator<Item = usize>>(all: P) -> Self {
        let mut indexs = Self::default();
        all.into_iter().for_each(|index| indexs.insert(index));
        indexs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn index_is_in_the_set_once_and_never_when_out_of_range() {
        let indexs: IndexSet = [0, 3, 15, 3, 16, usize::MAX].into_iter().collect();
        assert!([0, 3, 15].iter().all(|&index| indexs.contains(index)));
        assert!([1, 14, 16, 64, usize::MAX].iter().all(|&index| !indexs.contains(index)));
        assert_eq!((indexs.len(), indexs.is_empty()), (3, false));
        assert_eq!((IndexSet::default().len(), IndexSet::default().is_empty()), (0, true));
    }
}
