//! How long to wait after an error.

use core::time::Duration;

use crate::rng::Rng;

/// Exponential backoff with jitter: the `n`-th error in a row waits between half and all
/// of `first` × 2ⁿ, and never longer than `most`.
///
/// Half of the delay is fixed, so that a retry is never immediate; the other half is
/// random, so that many proxies that lost the same agent do not come back in step
/// ("equal jitter" in Brooker, *Exponential Backoff and Jitter*, AWS, 2015).
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts with no errors seen.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// Counts an error and tells how long to wait after it.
    pub fn on_failure(&mut self, rng: &mut Rng) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let delay = doubled.min(self.most);
        delay.div_f64(2.0).saturating_add(delay.mul_f64(rng.unit() / 2.0))
    }

    /// Forgets all errors.
    pub const fn on_success(&mut self) {
        self.failures = 0;
    }

    /// The errors in a row until now.
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
    fn delays_double_up_to_the_most_and_start_again_after_a_success() {
        let mut rng = Rng::new(3);
        let mut backoff = Backoff::new(FIRST, MOST);
        for n in 0..40 {
            let full = FIRST.saturating_mul(1 << n.min(16)).min(MOST);
            let delay = backoff.on_failure(&mut rng);
            assert!(delay >= full / 2 && delay <= full, "failure {n}: {delay:?} of {full:?}");
        }
        backoff.on_success();
        assert!(backoff.on_failure(&mut rng) <= FIRST);
    }
}
