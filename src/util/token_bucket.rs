//! A limit on how often something may happen.

use core::time::Duration;

use crate::util::time::Time;

/// A token bucket: `burst` events at once, then one every `interval`.
///
/// Kept as the moment at which the bucket will be full again (the *theoretical arrival
/// time* of the generic cell rate algorithm, ITU-T I.371), so there is no counter to
/// refill and a clock that stands still just gives no new tokens.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    interval: Duration,
    depth: Duration,
    full_at: Time,
}

impl TokenBucket {
    /// A full bucket. A `burst` of 0 counts as 1.
    pub fn new(burst: u32, interval: Duration) -> Self {
        let depth = interval.saturating_mul(burst.max(1).saturating_sub(1));
        Self { interval, depth, full_at: Time::ZERO }
    }

    /// Takes a token and tells when the event may happen: `now`, or the moment at which
    /// the token that it took will exist.
    pub fn take(&mut self, now: Time) -> Time {
        let wait = self.full_at.since(now).saturating_sub(self.depth);
        self.full_at = self.full_at.max(now) + self.interval;
        now + wait
    }

    /// Takes a token if there is one now; tells whether there was.
    pub fn take_now(&mut self, now: Time) -> bool {
        let is_there = self.has(now);
        if is_there {
            self.take(now);
        }
        is_there
    }

    /// Takes a token if so many others would be left; tells whether it has.
    pub fn take_beyond(&mut self, left: u32, now: Time) -> bool {
        let is_there = self.full_at.since(now).saturating_add(self.interval.saturating_mul(left))
            <= self.depth;
        if is_there {
            self.take(now);
        }
        is_there
    }

    /// Puts a token back that was taken; a full bucket stays as it is.
    pub fn put_back(&mut self, now: Time) {
        let missing = self.full_at.since(now).saturating_sub(self.interval);
        self.full_at = now + missing;
    }

    /// Whether there is a token now.
    pub fn has(&self, now: Time) -> bool {
        self.full_at.since(now) <= self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_burst_is_free_and_what_follows_is_paced() {
        let mut bucket = TokenBucket::new(2, Duration::from_secs(15));
        assert_eq!(bucket.take(at(100)), at(100));
        assert_eq!(bucket.take(at(100)), at(100));
        assert_eq!(bucket.take(at(100)), at(115));
        assert_eq!(bucket.take(at(115)), at(130));
    }

    #[test]
    fn a_rest_fills_the_bucket_again_but_not_beyond_its_burst() {
        let mut bucket = TokenBucket::new(2, Duration::from_secs(15));
        for _ in 0..3 {
            bucket.take(at(100));
        }
        assert_eq!(bucket.take(at(10_000)), at(10_000));
        assert_eq!(bucket.take(at(10_000)), at(10_000));
        assert_eq!(bucket.take(at(10_000)), at(10_015));
    }

    #[test]
    fn a_token_that_is_not_there_is_not_taken() {
        let mut bucket = TokenBucket::new(2, Duration::from_secs(15));
        assert!(bucket.take_now(at(100)) && bucket.take_now(at(100)));
        for second in 100..115 {
            assert!(!bucket.has(at(second)) && !bucket.take_now(at(second)));
        }
        assert!(bucket.take_now(at(115)) && !bucket.take_now(at(115)));
    }

    #[test]
    fn tokens_are_left_for_others_and_may_be_put_back() {
        let mut bucket = TokenBucket::new(3, Duration::from_secs(15));
        assert!(!bucket.take_beyond(3, at(100)) && bucket.take_beyond(2, at(100)));
        assert!(!bucket.take_beyond(2, at(114)) && bucket.take_beyond(1, at(114)));
        assert!(bucket.take_now(at(114)) && !bucket.has(at(114)));
        bucket.put_back(at(114));
        assert!(bucket.take_now(at(114)) && !bucket.has(at(114)));

        let mut full = TokenBucket::new(1, Duration::from_secs(15));
        full.put_back(at(100));
        assert!(full.take_now(at(100)) && !full.has(at(100)));
    }
}
