//! When the next query may follow an answer.

use core::time::Duration;

use crate::util::backoff::{Backoff, Jitter};
use crate::util::rng::Rng;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// Changes at once are free; then this many a second.
const CHANGES: (u32, Duration) = (10, Duration::from_millis(250));
/// Answers in a row without a change that are free.
const FREE_REPEATS: u32 = 2;
const FIRST_REPEAT: Duration = Duration::from_millis(250);
const LONGEST_REPEAT: Duration = Duration::from_secs(1);
const LONGEST_REPEAT_OF_NOTHING: Duration = Duration::from_secs(15);
const FIRST_CUT: Duration = Duration::from_millis(100);
const LONGEST_CUT: Duration = Duration::from_secs(15);

/// Keeps blocking queries from becoming a hot loop.
///
/// After a change the next query follows at once, within a token bucket: what is sought is
/// the next change. An answer that came early and changed nothing is another matter: Consul
/// wakes a query for a service that it does not know at *any* service's change
/// (hashicorp/consul#4810), and rewrites of a check's output wake queries too. The first
/// such answers are free, the next ones wait twice as long each time: up to 1 s, and up to
/// 15 s where the service has no instance at all, healthy or not. A query that was held for most of its
/// `wait` is the normal case and forgets all that.
///
/// Where queries that block are cut off at once, as by a load balancer that knows none, and plain
/// ones are answered, every good answer would be followed by a failure and every failure by a first
/// retry. So these failures count apart, until one that blocks is answered.
#[derive(Debug)]
pub struct QueryBackoff {
    changes: TokenBucket,
    repeats: u32,
    something: Backoff,
    nothing: Backoff,
    cuts: Backoff,
}

impl QueryBackoff {
    /// Starts with all that is free.
    pub fn new() -> Self {
        let (burst, interval) = CHANGES;
        Self {
            changes: TokenBucket::new(burst, interval),
            repeats: 0,
            something: Backoff::new(FIRST_REPEAT, LONGEST_REPEAT, Jitter::Equal),
            nothing: Backoff::new(FIRST_REPEAT, LONGEST_REPEAT_OF_NOTHING, Jitter::Equal),
            cuts: Backoff::new(FIRST_CUT, LONGEST_CUT, Jitter::Equal),
        }
    }

    /// When to ask again after an answer that changed something.
    pub fn on_change(&mut self, now: Time) -> Time {
        self.forget_repeats();
        self.changes.take(now)
    }

    /// When to ask again after an answer that changed nothing.
    ///
    /// `held` tells that Consul kept the query for most of its wait; `empty` that no instance of the
    /// service is registered, so that any service's change wakes its query.
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

    /// How long to wait at least after a query that blocked has failed, after so long: the time that
    /// it was out counts, for what is bounded is how often they follow each other. One that was out
    /// for longer than any such wait was not cut off at once.
    pub fn on_reset(&mut self, after: Duration, rng: &mut Rng) -> Duration {
        if after >= LONGEST_CUT {
            self.cuts.on_success();
        }
        self.cuts.on_failure(rng).saturating_sub(after)
    }

    /// Learns that a query that blocked was answered, or that whatever was is over.
    pub const fn forget_resets(&mut self) {
        self.cuts.on_success();
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
        let (mut pace, mut rng) = (QueryBackoff::new(), Rng::new(1));
        let mut waited = Duration::ZERO;
        for _ in 0..n {
            waited = pace.on_repeat(false, empty, Time::ZERO, &mut rng).since_start();
        }
        waited
    }

    #[test]
    fn early_answers_without_a_change_degrade_to_a_slow_poll() {
        assert_eq!(wait_after_repeats(2, true), Duration::ZERO);
        assert!(wait_after_repeats(3, true) >= FIRST_REPEAT / 2);
        let slowest = wait_after_repeats(50, true);
        assert!(slowest >= LONGEST_REPEAT_OF_NOTHING / 2, "{slowest:?}");
        assert!(slowest <= LONGEST_REPEAT_OF_NOTHING, "{slowest:?}");
        assert!(wait_after_repeats(50, false) <= LONGEST_REPEAT);
    }

    #[test]
    fn a_change_or_a_held_query_makes_repeats_free_again() {
        let (mut pace, mut rng) = (QueryBackoff::new(), Rng::new(1));
        for reset in [true, false] {
            for _ in 0..10 {
                pace.on_repeat(false, false, Time::ZERO, &mut rng);
            }
            if reset {
                pace.on_change(Time::ZERO);
            } else {
                pace.on_repeat(true, false, Time::ZERO, &mut rng);
            }
            assert_eq!(pace.on_repeat(false, false, Time::ZERO, &mut rng), Time::ZERO);
        }
    }

    #[test]
    fn queries_that_are_cut_off_at_once_become_rare_until_one_is_not() {
        for is_answered in [true, false] {
            let (mut pace, mut rng) = (QueryBackoff::new(), Rng::new(1));
            let early = Duration::from_millis(5);
            assert!(pace.on_reset(early, &mut rng) <= FIRST_CUT);
            let wait = (0..10).map(|_| pace.on_reset(early, &mut rng)).last();
            assert!(wait >= Some(LONGEST_CUT / 3), "{wait:?}");
            // Neither a change nor an answer without one says anything of queries that block.
            pace.on_change(Time::ZERO);
            pace.on_repeat(false, false, Time::ZERO, &mut rng);
            assert!(pace.on_reset(early, &mut rng) >= LONGEST_CUT / 3);
            assert_eq!(pace.on_reset(LONGEST_CUT * 9 / 10, &mut rng).as_secs() / 2, 0);
            let after = if is_answered { early } else { LONGEST_CUT };
            if is_answered {
                pace.forget_resets();
            }
            assert!(pace.on_reset(after, &mut rng) <= FIRST_CUT);
        }
    }

    #[test]
    fn changes_are_asked_for_at_once_until_there_are_many() {
        let mut pace = QueryBackoff::new();
        for _ in 0..10 {
            assert_eq!(pace.on_change(Time::ZERO), Time::ZERO);
        }
        assert!(pace.on_change(Time::ZERO) > Time::ZERO);
    }
}
