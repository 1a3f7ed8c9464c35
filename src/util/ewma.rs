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
/// Those decay their average at each read, so that a low latency weighs less the more often a balancer
/// reads it. Here a read changes nothing.
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

    /// Takes a latency into the average. `decay` is the time in which the weight of the old average
    /// falls to 1/e; if it is zero, the average is the last latency.
    ///
    /// Of latencies at the same moment, or while the clock is set back, the higher one counts.
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

    /// Returns the decayed average, in seconds.
    ///
    /// Without observations the average falls towards 0, so that an endpoint that was slow long ago is
    /// tried again, by one request.
    pub fn value(&self, now: Time, decay: Duration) -> f64 {
        self.seconds * self.weight(now, decay)
    }

    /// Returns the remaining weight of the average.
    fn weight(&self, now: Time, decay: Duration) -> f64 {
        remaining(now.since(self.observed_at), decay)
    }
}

/// The share of failures among the latest responses, between 0 and 1.
///
/// Each response weighs a sixteenth: a single failure, which any request may provoke, says little, and a
/// dozen in a row say nearly all. Without observations the share falls towards 0, so that an endpoint
/// that failed long ago is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FailureShare {
    share: f64,
    observed_at: Time,
}

impl FailureShare {
    const WEIGHT: f64 = 1.0 / 16.0;

    /// Takes a response into the share. `decay` is the time in which the weight of earlier responses
    /// falls to 1/e.
    pub fn observe(&mut self, has_failed: bool, now: Time, decay: Duration) {
        let share = self.value(now, decay);
        let response = if has_failed { 1.0 } else { 0.0 };
        *self = Self { share: share + (response - share) * Self::WEIGHT, observed_at: now };
    }

    /// Returns the decayed share.
    pub fn value(&self, now: Time, decay: Duration) -> f64 {
        if self.share == 0.0 {
            // The usual case.
            return 0.0;
        }
        self.share * remaining(now.since(self.observed_at), decay)
    }
}

/// Returns the weight that remains after a time: 1/e after `decay`, and nothing if `decay` is zero.
pub fn remaining(elapsed: Duration, decay: Duration) -> f64 {
    if elapsed.is_zero() {
        return 1.0;
    }
    (-nanoseconds(elapsed) / nanoseconds(decay)).exp()
}

/// Converts a time to nanoseconds; unlike seconds, they need no division.
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
    fn average_rises_at_once_when_a_latency_is_higher() {
        let mut ewma = PeakEwma::new(ms(10), at(0));
        ewma.observe(ms(700), at(1), DECAY);
        assert!(is_near(ewma.value(at(1), DECAY), 0.7));
    }

    #[test]
    fn average_falls_by_the_time_passed_when_a_latency_is_lower() {
        let mut ewma = PeakEwma::new(ms(100), at(0));
        ewma.observe(ms(20), at(10), DECAY);
        let expected = 0.02 + 0.08 / core::f64::consts::E;
        assert!(is_near(ewma.value(at(10), DECAY), expected));
    }

    #[test]
    fn many_low_latencies_count_as_one_after_the_same_time() {
        let mut often = PeakEwma::new(ms(100), at(0));
        for second in 1..=20 {
            often.observe(ms(20), at(second), DECAY);
        }
        let mut once = PeakEwma::new(ms(100), at(0));
        once.observe(ms(20), at(20), DECAY);
        assert!(is_near(often.value(at(20), DECAY), once.value(at(20), DECAY)));
    }

    #[test]
    fn average_decays_without_requests() {
        let ewma = PeakEwma::new(ms(100), at(0));
        assert!(is_near(ewma.value(at(0), DECAY), 0.1));
        assert!(is_near(ewma.value(at(10), DECAY), 0.1 / core::f64::consts::E));
        assert!(ewma.value(at(1_000), DECAY) < 1e-12);
    }

    #[test]
    fn average_stays_when_it_is_read() {
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
    fn higher_latency_is_kept_when_the_clock_goes_back() {
        let mut ewma = PeakEwma::new(ms(50), at(100));
        ewma.observe(ms(10), at(100), DECAY);
        assert!(is_near(ewma.value(at(100), DECAY), 0.05));
        ewma.observe(ms(20), at(40), DECAY);
        assert!(is_near(ewma.value(at(40), DECAY), 0.05));
        // And goes on from there.
        assert!(ewma.value(at(50), DECAY) < 0.02);
    }

    #[test]
    fn failure_share_follows_the_responses_and_decays() {
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
    fn average_is_the_last_latency_without_a_decay() {
        let mut ewma = PeakEwma::new(ms(50), at(0));
        ewma.observe(ms(10), at(1), Duration::ZERO);
        assert!(is_near(ewma.value(at(1), Duration::ZERO), 0.01));
        assert!(is_near(ewma.value(at(2), Duration::ZERO), 0.0));
    }
}
