//! The wait after an error.

use core::time::Duration;

use crate::util::rng::Rng;

/// Exponential backoff with jitter: the `n`-th error in a row waits for a part of `first` × 2ⁿ, and
/// never longer than `most`.
///
/// The part is random, by the [`Jitter`], so that many proxies that lost the same agent do not come back
/// in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    jitter: Jitter,
    failures: u32,
}

/// The random part of a delay, by the names of Brooker, *Exponential Backoff and Jitter*
/// (AWS Architecture Blog, 2015,
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// The whole delay is random. This spreads clients best that have failed at the same moment. A delay
    /// may be near zero, so something else must limit the rate.
    Full,
    /// Half of the delay is random: for a pace, which must not be near zero.
    Equal,
}

impl Backoff {
    /// Creates a backoff without an error.
    pub const fn new(first: Duration, most: Duration, jitter: Jitter) -> Self {
        Self { first, most, jitter, failures: 0 }
    }

    /// Counts an error, and returns the wait after it.
    pub fn on_failure(&mut self, rng: &mut Rng) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let delay = doubled.min(self.most);
        match self.jitter {
            Jitter::Full => delay.mul_f64(rng.unit()),
            Jitter::Equal => delay.mul_f64(0.5 + rng.unit() / 2.0),
        }
    }

    /// Forgets all errors.
    pub const fn on_success(&mut self) {
        self.failures = 0;
    }

    /// The number of errors in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const FIRST: Duration = Duration::from_millis(200);
    const MOST: Duration = Duration::from_secs(30);

    #[test]
    fn delays_double_up_to_the_most_until_a_success() {
        for (jitter, least) in [(Jitter::Equal, 0.5), (Jitter::Full, 0.0)] {
            let mut rng = Rng::new(3);
            let mut backoff = Backoff::new(FIRST, MOST, jitter);
            for n in 0..40 {
                let full = FIRST.saturating_mul(1 << n.min(16)).min(MOST);
                let delay = backoff.on_failure(&mut rng);
                let is_within = delay >= full.mul_f64(least) && delay <= full;
                assert!(is_within, "{jitter:?}, failure {n}: {delay:?} of {full:?}");
            }
            backoff.on_success();
            assert!(backoff.on_failure(&mut rng) <= FIRST);
        }
    }

    #[test]
    fn full_jitter_is_spread_over_the_whole_delay() {
        let mut rng = Rng::new(3);
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            let delay = Backoff::new(FIRST, MOST, Jitter::Full).on_failure(&mut rng);
            tenths[(delay.as_secs_f64() / FIRST.as_secs_f64() * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|&n| (850..1_150).contains(&n)), "{tenths:?}");
    }
}
