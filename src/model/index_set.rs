//! Some places of a short list.

use core::mem;

/// A set of places of a list, as small as a number: which datacenters of a service, which of its
/// dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexSet(u16);

impl IndexSet {
    /// The places that there can be: those from 0 on, below this.
    pub const MOST: usize = 8 * mem::size_of::<u16>();

    /// Takes a place in; one beyond the last that there can be is ignored.
    pub const fn insert(&mut self, place: usize) {
        if place < Self::MOST {
            self.0 |= 1 << place;
        }
    }

    /// Whether a place is one of them.
    pub const fn contains(self, place: usize) -> bool {
        place < Self::MOST && self.0 & 1 << place != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl FromIterator<usize> for IndexSet {
    fn from_iter<P: IntoIterator<Item = usize>>(all: P) -> Self {
        let mut places = Self::default();
        all.into_iter().for_each(|place| places.insert(place));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_place_is_in_the_set_once_and_those_that_cannot_be_never_are() {
        let places: IndexSet = [0, 3, 15, 3, 16, usize::MAX].into_iter().collect();
        assert!([0, 3, 15].iter().all(|&place| places.contains(place)));
        assert!([1, 14, 16, 64, usize::MAX].iter().all(|&place| !places.contains(place)));
        assert_eq!((places.len(), places.is_empty()), (3, false));
        assert_eq!((IndexSet::default().len(), IndexSet::default().is_empty()), (0, true));
    }
}
