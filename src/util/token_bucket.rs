//! A limit on the rate of events.

use core::time::Duration;

use crate::util::time::Time;

/// A token bucket: `burst` events at once, then one every `interval`.
///
/// The state is the moment at which the bucket will be full again (the *theoretical arrival time* of the
/// generic cell rate algorithm, ITU-T I.371). So there is no counter to refill, and a clock that stands
/// still gives no new tokens.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    interval: Duration,
    depth: Duration,
    full_at: Time,
}

impl TokenBucket {
    /// Creates a full bucket. A `burst` of 0 counts as 1.
    pub fn new(burst: u32, interval: Duration) -> Self {
        let depth = interval.saturating_mul(burst.max(1).saturating_sub(1));
        Self { interval, depth, full_at: Time::ZERO }
    }

    /// Takes a token. Returns the time of the event: `now`, or the moment at which the token will exist.
    pub fn take(&mut self, now: Time) -> Time {
        let wait = self.full_at.since(now).saturating_sub(self.depth);
        self.full_at = self.full_at.max(now) + self.interval;
        now + wait
    }

    /// Takes a token if there is one now. Returns true if it did.
    pub fn take_now(&mut self, now: Time) -> bool {
        let has_token = self.has(now);
        if has_token {
            self.take(now);
        }
        has_token
    }

    /// Takes a token if at least `left` tokens remain. Returns true if it did.
    pub fn take_beyond(&mut self, left: u32, now: Time) -> bool {
        let has_token = self.full_at.since(now).saturating_add(self.interval.saturating_mul(left))
            <= self.depth;
        if has_token {
            self.take(now);
        }
        has_token
    }

    /// Puts a taken token back. A full bucket stays full.
    pub fn put_back(&mut self, now: Time) {
        let missing = self.full_at.since(now).saturating_sub(self.interval);
        self.full_at = now + missing;
    }

    /// Returns true if there is a token now.
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
    fn tokens_are_paced_after_the_burst() {
        let mut bucket = TokenBucket::new(2, Duration::from_secs(15));
        assert_eq!(bucket.take(at(100)), at(100));
        assert_eq!(bucket.take(at(100)), at(100));
        assert_eq!(bucket.take(at(100)), at(115));
        assert_eq!(bucket.take(at(115)), at(130));
    }

    #[test]
    fn bucket_refills_up_to_its_burst() {
        let mut bucket = TokenBucket::new(2, Duration::from_secs(15));
        for _ in 0..3 {
            bucket.take(at(100));
        }
        assert_eq!(bucket.take(at(10_000)), at(10_000));
        assert_eq!(bucket.take(at(10_000)), at(10_000));
        assert_eq!(bucket.take(at(10_000)), at(10_015));
    }

    #[test]
    fn no_token_is_taken_when_there_is_none() {
        let mut bucket = TokenBucket::new(2, Duration::from_secs(15));
        assert!(bucket.take_now(at(100)) && bucket.take_now(at(100)));
        for second in 100..115 {
            assert!(!bucket.has(at(second)) && !bucket.take_now(at(second)));
        }
        assert!(bucket.take_now(at(115)) && !bucket.take_now(at(115)));
    }

    #[test]
    fn tokens_remain_for_others_and_can_be_put_back() {
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
