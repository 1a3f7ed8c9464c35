//! Drawing at random by weight, in constant time.

use core::hint;
use core::num::NonZeroU32;

use crate::balancer::cumulative::Cumulative;
use crate::util::rng::Rng;

/// An alias table: draws an index at random by weight, with one random number and one access to
/// memory, however many indices there are.
///
/// Every index has a column, and all columns are equally tall. An index that weighs less than the
/// mean leaves room in its column, which a heavier index fills, its *alias*. So a draw chooses a
/// column, and then one of the two indices that share it (Walker
/// 1977; built in linear time as Vose, *A Linear Algorithm for Generating Random Numbers
/// with a Given Distribution*, 1991). One sweep fills the columns; it carries a single
/// remainder and needs no work lists (Hübschle-Schneider and Sanders, *Parallel
/// Weighted Random Sampling*, 2022).
///
/// The sweep computes in integers, so no weight is lost to rounding, and a table is the same on every
/// platform. A draw has a resolution of 2⁻³² per column.
#[derive(Debug, Clone, Default)]
pub(super) struct AliasTable {
    columns: Vec<Column>,
    /// The weights, to draw without some indices that have most of the weight.
    weights: Cumulative,
}

/// A column with the two indices that share it.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// The share of the column's own index, in units of 2⁻³².
    own: u32,
    /// The index of the rest.
    alias: u32,
}

impl AliasTable {
    /// The draws of the table, before the rest is drawn by the weights.
    const DRAWS: u8 = 4;

    /// Builds the table of at most 2³² weights.
    pub(super) fn new(weights: &[NonZeroU32]) -> Self {
        // In units of 1 / weights.len() a column is as tall as the sum of the weights, and all numbers
        // are whole.
        let count = weights.len() as u64;
        let height = weights.iter().map(|w| u64::from(w.get())).sum();
        let mut sized = Self {
            columns: (0..weights.len()).map(|index| Column::whole(index as u32)).collect(),
            weights: Cumulative::new(weights.iter().map(|weight| u64::from(weight.get()))),
        };
        let volumes = weights
            .iter()
            .enumerate()
            .map(|(index, weight)| (index, u64::from(weight.get()) * count));
        let mut light = volumes.clone().filter(|&(_, volume)| volume < height);
        let mut heavy = volumes.filter(|&(_, volume)| volume >= height);

        let Some((mut giver, mut rest)) = heavy.next() else {
            return sized;
        };
        loop {
            if rest > height {
                let Some((taker, volume)) = light.next() else {
                    return sized;
                };
                sized.share(taker, volume, height, giver);
                rest -= height - volume;
            } else {
                let Some((next, volume)) = heavy.next() else {
                    return sized;
                };
                sized.share(giver, rest, height, next);
                rest = volume - (height - rest);
                giver = next;
            }
        }
    }

    /// Draws an index; none of an empty table.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<usize> {
        let bits = rng.next_u64();
        let (high, low) = (bits >> 32, bits as u32);
        let index = ((high * self.columns.len() as u64) >> 32) as usize;
        let column = self.columns.get(index)?;
        let is_own = low < column.own;
        Some(hint::select_unpredictable(is_own, index, column.alias as usize))
    }

    /// Draws an index that is not `taken`; none if all are.
    ///
    /// A taken index is drawn again. After a few draws the taken indices have most of the weight, and
    /// the rest is drawn by its own weights: a free index gets no share of a neighbour's.
    pub(super) fn draw_unless(
        &self,
        rng: &mut Rng,
        taken: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        for _ in 0..Self::DRAWS {
            let drawn = self.draw(rng)?;
            if !taken(drawn) {
                return Some(drawn);
            }
        }
        self.weights.find(rng, |index, _| (!taken(index)).then_some(index))
    }

    /// Gives `volume` of a column of this `height` to its own index and the rest to `alias`.
    fn share(&mut self, index: usize, volume: u64, height: u64, alias: usize) {
        if volume >= height {
            return;
        }
        // A height above 2³² (65,538 endpoints of the greatest weight) loses its last bits.
        let excess = 32_u32.saturating_sub(height.leading_zeros());
        let own = ((volume >> excess) << 32) / (height >> excess);
        if let Some(column) = self.columns.get_mut(index) {
            *column = Column { own: u32::try_from(own).unwrap_or(u32::MAX), alias: alias as u32 };
        }
    }
}

impl Column {
    /// A column of one index.
    const fn whole(index: u32) -> Self {
        Self { own: u32::MAX, alias: index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn weights(of: &[u16]) -> Vec<NonZeroU32> {
        of.iter().map(|&w| NonZeroU32::new(w.into()).unwrap()).collect()
    }

    /// Sums up the share of each index in all columns, in columns.
    fn shares(table: &AliasTable) -> Vec<f64> {
        let mut shares = vec![0.0; table.columns.len()];
        for (index, column) in table.columns.iter().enumerate() {
            let own = f64::from(column.own) / 2_f64.powi(32);
            shares[index] += own;
            shares[column.alias as usize] += 1.0 - own;
        }
        shares
    }

    #[test]
    fn index_has_the_share_of_its_weight() {
        let mut rng = Rng::new(11);
        let random = (0..1_000).map(|_| 1 + rng.below(65_535) as u16).collect::<Vec<_>>();
        let lopsided = [1, 1, 65_535, 1, 2, 30_000, 1];
        for of in [&[7][..], &[1, 1], &[3, 1], &[1, 2, 1], &lopsided, &random] {
            let total: f64 = of.iter().map(|&w| f64::from(w)).sum();
            let shares = shares(&AliasTable::new(&weights(of)));
            for (share, &weight) in shares.iter().zip(of) {
                let want = f64::from(weight) / total * of.len() as f64;
                assert!((share - want).abs() < 1e-6, "{share} for {want} in {of:?}");
            }
        }
    }

    #[test]
    fn shares_are_kept_when_the_sum_exceeds_32_bits() {
        let mut of = vec![65_535; 70_000];
        of[0] = 1;
        let shares = shares(&AliasTable::new(&weights(&of)));
        assert!((shares[0] - 1.0 / 65_535.0).abs() < 1e-6, "{}", shares[0]);
        assert!((shares[69_999] - 1.0).abs() < 1e-4, "{}", shares[69_999]);
    }

    #[test]
    fn draws_follow_the_weights() {
        const SEED: u64 = 42;
        const DRAWS: u32 = 100_000;
        let of = [1, 2, 3, 4, 10];
        let table = AliasTable::new(&weights(&of));
        let mut rng = Rng::new(SEED);
        let mut seen = [0_u32; 5];
        for _ in 0..DRAWS {
            seen[table.draw(&mut rng).unwrap()] += 1;
        }
        let chi_square: f64 = of
            .iter()
            .zip(seen)
            .map(|(&weight, seen)| {
                let want = f64::from(DRAWS) * f64::from(weight) / 20.0;
                (f64::from(seen) - want).powi(2) / want
            })
            .sum();
        // 18.47: one in a thousand for 4 degrees of freedom.
        assert!(chi_square < 18.47, "seed {SEED}: {chi_square} of {seen:?}");
    }

    #[test]
    fn draw_avoids_a_taken_index_with_nearly_all_of_the_weight() {
        const SEED: u64 = 5;
        let table = AliasTable::new(&weights(&[1, 65_535, 1, 2]));
        let mut rng = Rng::new(SEED);
        let mut seen = [0_u32; 4];
        for _ in 0..4_000 {
            seen[table.draw_unless(&mut rng, |i| i == 1).unwrap()] += 1;
        }
        let off = [1_000, 0, 1_000, 2_000].map(f64::from);
        let off = off.iter().zip(seen).map(|(want, seen)| (want - f64::from(seen)).abs());
        assert!(off.fold(0.0, f64::max) < 120.0, "seed {SEED}: {seen:?}");
        assert_eq!(seen[1], 0);
        assert_eq!(table.draw_unless(&mut rng, |_| true), None);
    }

    #[test]
    fn empty_table_draws_nothing() {
        let table = AliasTable::new(&[]);
        assert_eq!(table.draw(&mut Rng::new(1)), None);
        assert_eq!(table.draw_unless(&mut Rng::new(1), |_| false), None);
    }
}
