//! Random numbers that a test can repeat.
//!
//! Envoy's VMs are clones of each other. Each needs a seed of its own, or all workers would pick alike.
//! The numbers are for spreading load, never for secrets.

use core::time::Duration;

/// A generator of 64-bit random numbers: `SplitMix64` of Steele, Lea and Flood, *Fast
/// Splittable Pseudorandom Number Generators* (OOPSLA 2014). Every seed is a good one.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Starts the sequence of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    ///
    /// The high half of a 32 × 32 bit product (Lemire, *Fast Random Integer Generation in
    /// an Interval*, 2019, without its rejection step): the bias is below `bound` / 2³².
    pub const fn below(&mut self, bound: u32) -> u32 {
        (((self.next_u64() >> 32) * bound as u64) >> 32) as u32
    }

    /// Returns a number from 0 (included) to 1 (excluded).
    pub const fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a duration up to a tenth shorter or longer, so that simultaneous events spread out.
    pub fn about(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(0.9 + self.unit() / 5.0)
    }

    /// Returns an independent generator, for a part that draws at its own pace.
    pub const fn split(&mut self) -> Self {
        Self(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn sequence_repeats_only_when_the_seed_is_the_same() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut rng = Rng::new(1);
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            seen[rng.below(5) as usize] += 1;
            assert!((0.0..1.0).contains(&rng.unit()));
        }
        assert!(seen.iter().all(|&n| (850..1_150).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
