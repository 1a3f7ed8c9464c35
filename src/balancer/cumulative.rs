//! Drawing by weight without replacement.

use crate::util::rng::Rng;

/// Cumulative weights, to draw indices of which some may turn out to be unsuitable.
///
/// An unsuitable index is cut out of the sum, so that the next draw is by weight among the rest, even if
/// the index had nearly all of the weight. A draw is a binary search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cumulative {
    /// The sum of the weights up to each index, its own included.
    upto: Vec<u64>,
}

impl Cumulative {
    /// The most indices that are cut out. After so many unsuitable indices most of them are, whatever
    /// they weigh, and the next suitable one from a random place on is as good.
    const MOST_CUT_OUT: usize = 16;

    /// Adds up the weights, whose sum is below 2⁶⁴.
    pub(super) fn new(weights: impl Iterator<Item = u64>) -> Self {
        let mut sum = 0_u64;
        let add = |weight| {
            sum = sum.saturating_add(weight);
            sum
        };
        Self { upto: weights.map(add).collect() }
    }

    /// Draws indices by weight, none twice, until `take` returns a value; none if it does for no index.
    pub(super) fn find<T>(
        &self,
        rng: &mut Rng,
        mut take: impl FnMut(usize, &mut Rng) -> Option<T>,
    ) -> Option<T> {
        // Sorted.
        let mut cut_out = [usize::MAX; Self::MOST_CUT_OUT];
        let mut left = self.upto.last().copied().unwrap_or(0);
        for count in 0..Self::MOST_CUT_OUT {
            if left == 0 {
                return None;
            }
            let mut point = ((u128::from(rng.next_u64()) * u128::from(left)) >> 64) as u64;
            let mut place = 0;
            for &earlier in cut_out.iter().take(count) {
                let (start, end) = self.span(earlier);
                if point < start {
                    break;
                }
                point += end - start;
                place += 1;
            }
            let index = self.upto.partition_point(|&upto| upto <= point);
            if let found @ Some(_) = take(index, rng) {
                return found;
            }
            let (start, end) = self.span(index);
            left -= end - start;
            if let Some(tail) = cut_out.get_mut(place..=count) {
                tail.rotate_right(1);
                if let Some(first) = tail.first_mut() {
                    *first = index;
                }
            }
        }
        let first = rng.below(self.upto.len() as u32) as usize;
        (first..self.upto.len())
            .chain(0..first)
            .filter(|index| !cut_out.contains(index))
            .find_map(|index| take(index, rng))
    }

    /// The beginning and the end of the weight of an index.
    fn span(&self, index: usize) -> (u64, u64) {
        let upto = |index| self.upto.get(index).copied();
        let end = upto(index).unwrap_or(0);
        (index.checked_sub(1).and_then(upto).unwrap_or(0), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn of(weights: &[u64]) -> Cumulative {
        Cumulative::new(weights.iter().copied())
    }

    /// Draws an index that is not among `taken`.
    fn draw(cumulative: &Cumulative, rng: &mut Rng, taken: &[usize]) -> Option<usize> {
        cumulative.find(rng, |index, _| (!taken.contains(&index)).then_some(index))
    }

    #[test]
    fn rest_is_drawn_by_weight_when_some_are_taken() {
        const SEED: u64 = 13;
        const DRAWS: u32 = 60_000;
        let weights = [1, 1 << 40, 2, 0, 3, 1 << 32, 1];
        let cumulative = of(&weights);
        let mut rng = Rng::new(SEED);
        for taken in [&[1, 5][..], &[5, 1, 0], &[6, 1, 5, 4]] {
            let mut seen = [0_u32; 7];
            for _ in 0..DRAWS {
                seen[draw(&cumulative, &mut rng, taken).unwrap()] += 1;
            }
            let is_left = |index: &usize| weights[*index] > 0 && !taken.contains(index);
            let left: Vec<_> = (0..7).filter(is_left).collect();
            let total: u64 = left.iter().map(|&index| weights[index]).sum();
            let chi_square: f64 = left
                .iter()
                .map(|&index| {
                    let want = f64::from(DRAWS) * weights[index] as f64 / total as f64;
                    (f64::from(seen[index]) - want).powi(2) / want
                })
                .sum();
            // 16.27: one in a thousand for 3 degrees of freedom.
            assert!(chi_square < 16.27, "seed {SEED}, {taken:?}: {chi_square} of {seen:?}");
            assert_eq!(left.iter().map(|&index| seen[index]).sum::<u32>(), DRAWS);
        }
    }

    #[test]
    fn every_index_is_tried_once_when_none_is_suitable() {
        for count in [0, 1, 2, 16, 17, 100] {
            let mut tried = vec![0; count];
            let weights = vec![1; count];
            let found = of(&weights).find(&mut Rng::new(1), |index, _| {
                tried[index] += 1;
                None::<()>
            });
            assert_eq!((found, tried), (None, weights), "{count}");
        }
    }

    #[test]
    fn last_suitable_index_is_found_among_many() {
        let cumulative = of(&[7; 1_000]);
        let mut rng = Rng::new(2);
        for last in [0, 1, 500, 999] {
            let found = cumulative.find(&mut rng, |index, _| (index == last).then_some(index));
            assert_eq!(found, Some(last));
        }
    }
}
