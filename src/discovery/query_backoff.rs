//! The pause between a response and the next query.

use core::time::Duration;

use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// The longest wait after a first error, and after any number of errors.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The burst of changes without a pause, and the interval of further ones.
const CHANGES: (u32, Duration) = (10, Duration::from_millis(250));
/// The number of responses in a row without a change that cause no pause.
const FREE_REPEATS: u32 = 2;
const FIRST_REPEAT: Duration = Duration::from_millis(250);
const LONGEST_REPEAT: Duration = Duration::from_secs(1);
const LONGEST_REPEAT_OF_NOTHING: Duration = Duration::from_secs(15);
const FIRST_CUT: Duration = Duration::from_millis(100);
const LONGEST_CUT: Duration = Duration::from_secs(15);

/// Keeps queries from becoming a hot loop.
///
/// After an error the wait is random, and up to twice as long each time.
///
/// After a change the next query follows at once, limited by a token bucket. An early response
/// without a change is different: Consul wakes a query for an unknown service at *any* service's
/// change (hashicorp/consul#4810), and a rewritten check output wakes queries too. The first such
/// responses cause no pause. Further pauses double up to 1 s, or up to 15 s if the service has no
/// instance at all, healthy or not. A query that was held for most of its `wait` is the normal case
/// and resets the pauses.
///
/// A load balancer that does not know blocking queries cuts them off at once but passes plain ones.
/// Every good response would then be followed by a failure, and every failure by a first retry. So
/// these failures are counted apart until a blocking query gets a response.
#[derive(Debug)]
pub struct QueryBackoff {
    changes: TokenBucket,
    repeats: u32,
    something: Backoff,
    nothing: Backoff,
    cuts: Backoff,
    errors: Backoff,
}

impl QueryBackoff {
    /// Starts without a pause.
    pub fn new() -> Self {
        let (burst, interval) = CHANGES;
        Self {
            changes: TokenBucket::new(burst, interval),
            repeats: 0,
            something: Backoff::new(FIRST_REPEAT, LONGEST_REPEAT, Jitter::Equal),
            nothing: Backoff::new(FIRST_REPEAT, LONGEST_REPEAT_OF_NOTHING, Jitter::Equal),
            cuts: Backoff::new(FIRST_CUT, LONGEST_CUT, Jitter::Equal),
            errors: Backoff::new(FIRST_RETRY, LONGEST_RETRY, Jitter::Full),
        }
    }

    /// Returns the time of the next query after a response that changed something.
    pub fn on_change(&mut self, now: Time) -> Time {
        self.forget_repeats();
        self.changes.take(now)
    }

    /// Returns the time of the next query after a response that changed nothing.
    ///
    /// `held` is true if Consul held the query for most of its wait. `empty` is true if the service
    /// has no registered instance, so that any service's change wakes the query.
    pub fn on_repeat(&mut self, held: bool, empty: bool, now: Time, rng: &mut Rng) -> Time {
        if held {
            self.forget_repeats();
            return now;
        }
        self.repeats = self.repeats.saturating_add(1);
        if self.repeats <= FREE_REPEATS {
            return now;
        }
        let backoff = if empty { &mut self.nothing } else { &mut self.something };
        now + backoff.on_failure(rng)
    }

    /// Returns the errors in a row.
    pub const fn failures(&self) -> u32 {
        self.errors.failures()
    }

    /// Returns the wait after an error. `blocked` is the time for which a blocking query was out.
    pub fn on_failure(&mut self, blocked: Option<Duration>, rng: &mut Rng) -> Duration {
        let wait = self.errors.on_failure(rng);
        match blocked {
            Some(after) => wait.max(self.on_reset(after, rng)),
            None => wait,
        }
    }

    /// Notes a good response. One to a plain query says nothing about blocking ones.
    pub const fn on_success(&mut self, is_blocking: bool) {
        self.errors.on_success();
        if is_blocking {
            self.cuts.on_success();
        }
    }

    /// Returns the minimum pause after a blocking query that failed `after` it was sent. The time
    /// that the query was out counts, because the rate of queries is limited. A query that was out
    /// longer than any such pause was not cut off at once.
    fn on_reset(&mut self, after: Duration, rng: &mut Rng) -> Duration {
        if after >= LONGEST_CUT {
            self.cuts.on_success();
        }
        self.cuts.on_failure(rng).saturating_sub(after)
    }

    const fn forget_repeats(&mut self) {
        self.repeats = 0;
        self.something.on_success();
        self.nothing.on_success();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn wait_after_repeats(n: u32, empty: bool) -> Duration {
        let (mut backoff, mut rng) = (QueryBackoff::new(), Rng::new(1));
        let mut waited = Duration::ZERO;
        for _ in 0..n {
            waited = backoff.on_repeat(false, empty, Time::ZERO, &mut rng).since_start();
        }
        waited
    }

    #[test]
    fn pause_grows_when_early_responses_change_nothing() {
        assert_eq!(wait_after_repeats(2, true), Duration::ZERO);
        assert!(wait_after_repeats(3, true) >= FIRST_REPEAT / 2);
        let slowest = wait_after_repeats(50, true);
        assert!(slowest >= LONGEST_REPEAT_OF_NOTHING / 2, "{slowest:?}");
        assert!(slowest <= LONGEST_REPEAT_OF_NOTHING, "{slowest:?}");
        assert!(wait_after_repeats(50, false) <= LONGEST_REPEAT);
    }

    #[test]
    fn pause_ends_when_a_change_comes_or_a_query_was_held() {
        let (mut backoff, mut rng) = (QueryBackoff::new(), Rng::new(1));
        for reset in [true, false] {
            for _ in 0..10 {
                backoff.on_repeat(false, false, Time::ZERO, &mut rng);
            }
            if reset {
                backoff.on_change(Time::ZERO);
            } else {
                backoff.on_repeat(true, false, Time::ZERO, &mut rng);
            }
            assert_eq!(backoff.on_repeat(false, false, Time::ZERO, &mut rng), Time::ZERO);
        }
    }

    #[test]
    fn queries_become_rare_when_they_are_cut_off_at_once() {
        for is_answered in [true, false] {
            let (mut backoff, mut rng) = (QueryBackoff::new(), Rng::new(1));
            let early = Duration::from_millis(5);
            assert!(backoff.on_reset(early, &mut rng) <= FIRST_CUT);
            let wait = (0..10).map(|_| backoff.on_reset(early, &mut rng)).last();
            assert!(wait >= Some(LONGEST_CUT / 3), "{wait:?}");
            // A plain response says nothing about blocking queries, with a change or without.
            backoff.on_success(false);
            backoff.on_change(Time::ZERO);
            backoff.on_repeat(false, false, Time::ZERO, &mut rng);
            assert!(backoff.on_reset(early, &mut rng) >= LONGEST_CUT / 3);
            assert_eq!(backoff.on_reset(LONGEST_CUT * 9 / 10, &mut rng).as_secs() / 2, 0);
            let after = if is_answered { early } else { LONGEST_CUT };
            if is_answered {
                backoff.on_success(true);
            }
            assert!(backoff.on_reset(after, &mut rng) <= FIRST_CUT);
        }
    }

    #[test]
    fn wait_is_random_and_doubles_when_errors_go_on() {
        let wait = |failures, seed| {
            let (mut backoff, mut rng) = (QueryBackoff::new(), Rng::new(seed));
            let waits = (0..failures).map(|_| backoff.on_failure(None, &mut rng));
            u64::try_from(waits.last().unwrap().as_millis()).unwrap()
        };
        for (failures, most) in [(1, 200), (2, 400), (5, 3_200), (8, 25_600), (12, 30_000)] {
            let waits: Vec<u64> = (0..60).map(|seed| wait(failures, seed)).collect();
            let (least, longest) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            assert!(longest <= most && longest > most * 9 / 10, "{failures}: {longest} of {most}");
            assert!(least < most / 10, "{failures}: {least} of {most}");
        }
    }

    #[test]
    fn next_query_is_immediate_when_changes_are_few() {
        let mut backoff = QueryBackoff::new();
        for _ in 0..10 {
            assert_eq!(backoff.on_change(Time::ZERO), Time::ZERO);
        }
        assert!(backoff.on_change(Time::ZERO) > Time::ZERO);
    }
}
