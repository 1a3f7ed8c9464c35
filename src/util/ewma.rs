//! Moving averages: of latencies, which believes the worst at once, and of failures.

use core::time::Duration;

use crate::util::time::Time;

/// A peak-sensitive, exponentially weighted moving average.
///
/// A latency above the average replaces it at once; lower ones draw it down by as much as the
/// time since the last one weighs, so an endpoint that gets slow is avoided by the next
/// request, and has to earn its way back. From Finagle's [`PeakEwma`] (the weight for samples
/// that come at uneven times: Eckner, *Algorithms for Unevenly Spaced Time Series*, 2012), of
/// which tower's `load::PeakEwma` and linkerd2-proxy's balancer are ports.
///
/// Those decay their average whenever it is read, so that the more often a balancer looks,
/// the less a low latency weighs. Here a look changes nothing.
///
/// [`PeakEwma`]: https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeakEwma {
    seconds: f64,
    observed_at: Time,
}

impl PeakEwma {
    /// Starts as if this latency had just been observed.
    pub const fn new(start: Duration, now: Time) -> Self {
        Self { seconds: start.as_secs_f64(), observed_at: now }
    }

    /// Takes a latency into the average. `decay` is the time in which an older one comes to
    /// weigh 1/e; without any, the last one is all.
    ///
    /// Two that come at the same moment, or while the clock is set back, count as their
    /// higher one.
    pub fn observe(&mut self, latency: Duration, now: Time, decay: Duration) {
        let latency = latency.as_secs_f64();
        if latency > self.seconds {
            self.seconds = latency;
        } else {
            let weight = self.weight(now, decay);
            self.seconds = latency + (self.seconds - latency) * weight;
        }
        self.observed_at = now;
    }

    /// The average in seconds, as far as it still holds.
    ///
    /// While nothing is observed it falls towards 0, so that an endpoint that was slow long
    /// ago is tried again, and found out about by one request.
    pub fn value(&self, now: Time, decay: Duration) -> f64 {
        self.seconds * self.weight(now, decay)
    }

    /// What is left of the weight of the average after the time since.
    fn weight(&self, now: Time, decay: Duration) -> f64 {
        remaining(now.since(self.observed_at), decay)
    }
}

/// The share of failures among the latest answers, between 0 and 1.
///
/// Each answer weighs a sixteenth: a single failure, which any request may provoke, says little,
/// and a dozen in a row say nearly all. While nothing is observed the share falls towards 0, so
/// that what failed long ago is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FailureShare {
    share: f64,
    observed_at: Time,
}

impl FailureShare {
    const WEIGHT: f64 = 1.0 / 16.0;

    /// Takes an answer into the share. `decay` is the time in which the answers before it come to
    /// weigh 1/e.
    pub fn observe(&mut self, has_failed: bool, now: Time, decay: Duration) {
        let share = self.value(now, decay);
        let answer = if has_failed { 1.0 } else { 0.0 };
        *self = Self { share: share + (answer - share) * Self::WEIGHT, observed_at: now };
    }

    /// The share, as far as it still holds.
    pub fn value(&self, now: Time, decay: Duration) -> f64 {
        if self.share == 0.0 {
            // As of nearly all.
            return 0.0;
        }
        self.share * remaining(now.since(self.observed_at), decay)
    }
}

/// What is left of the weight of something after a time: 1/e after `decay`, and nothing where
/// there is no `decay`.
pub fn remaining(elapsed: Duration, decay: Duration) -> f64 {
    if elapsed.is_zero() {
        return 1.0;
    }
    (-nanoseconds(elapsed) / nanoseconds(decay)).exp()
}

/// A time in nanoseconds; unlike in seconds, no division is needed to tell.
const fn nanoseconds(time: Duration) -> f64 {
    time.as_secs() as f64 * 1e9 + time.subsec_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const DECAY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn is_near(value: f64, seconds: f64) -> bool {
        (value - seconds).abs() < 1e-9
    }

    #[test]
    fn a_higher_latency_is_believed_at_once() {
        let mut ewma = PeakEwma::new(ms(10), at(0));
        ewma.observe(ms(700), at(1), DECAY);
        assert!(is_near(ewma.value(at(1), DECAY), 0.7));
    }

    #[test]
    fn a_lower_latency_draws_down_by_the_time_since_the_last() {
        let mut ewma = PeakEwma::new(ms(100), at(0));
        ewma.observe(ms(20), at(10), DECAY);
        let expected = 0.02 + 0.08 / core::f64::consts::E;
        assert!(is_near(ewma.value(at(10), DECAY), expected));
    }

    #[test]
    fn many_low_latencies_come_to_the_same_as_one_after_their_time() {
        let mut often = PeakEwma::new(ms(100), at(0));
        for second in 1..=20 {
            often.observe(ms(20), at(second), DECAY);
        }
        let mut once = PeakEwma::new(ms(100), at(0));
        once.observe(ms(20), at(20), DECAY);
        assert!(is_near(often.value(at(20), DECAY), once.value(at(20), DECAY)));
    }

    #[test]
    fn without_requests_it_is_forgotten_by_and_by() {
        let ewma = PeakEwma::new(ms(100), at(0));
        assert!(is_near(ewma.value(at(0), DECAY), 0.1));
        assert!(is_near(ewma.value(at(10), DECAY), 0.1 / core::f64::consts::E));
        assert!(ewma.value(at(1_000), DECAY) < 1e-12);
    }

    #[test]
    fn a_look_changes_nothing() {
        let mut ewma = PeakEwma::new(ms(100), at(0));
        let mut looked_at = ewma;
        for second in 0..10 {
            looked_at.value(at(second), DECAY);
        }
        ewma.observe(ms(1), at(10), DECAY);
        looked_at.observe(ms(1), at(10), DECAY);
        assert_eq!(ewma, looked_at);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_keeps_the_higher_latency() {
        let mut ewma = PeakEwma::new(ms(50), at(100));
        ewma.observe(ms(10), at(100), DECAY);
        assert!(is_near(ewma.value(at(100), DECAY), 0.05));
        ewma.observe(ms(20), at(40), DECAY);
        assert!(is_near(ewma.value(at(40), DECAY), 0.05));
        // And goes on from there.
        assert!(ewma.value(at(50), DECAY) < 0.02);
    }

    #[test]
    fn a_failure_share_follows_the_answers_and_is_forgotten() {
        let mut share = FailureShare::default();
        assert!(is_near(share.value(at(0), DECAY), 0.0));
        share.observe(true, at(0), DECAY);
        assert!(is_near(share.value(at(0), DECAY), 1.0 / 16.0));
        (0..40).for_each(|_| share.observe(true, at(0), DECAY));
        assert!((0.9..1.0).contains(&share.value(at(0), DECAY)));
        assert!(share.value(at(10), DECAY) < 0.37);
        (0..40).for_each(|_| share.observe(false, at(0), DECAY));
        assert!(share.value(at(0), DECAY) < 0.1);
    }

    #[test]
    fn without_a_decay_the_last_latency_is_all() {
        let mut ewma = PeakEwma::new(ms(50), at(0));
        ewma.observe(ms(10), at(1), Duration::ZERO);
        assert!(is_near(ewma.value(at(1), Duration::ZERO), 0.01));
        assert!(is_near(ewma.value(at(2), Duration::ZERO), 0.0));
    }
}
