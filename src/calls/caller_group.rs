//! The calls of one class of callers: where they wait, and how many there may be.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::Caller;
use crate::calls::retry_budget::RetryBudget;
use crate::calls::wait_queue::{CallClass, WaitQueue, WaitRank};
use crate::config::RetryBudgetConfig;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// Reads at once, and the pace of further ones: 50 a second.
const READS: (u32, Duration) = (100, Duration::from_millis(20));
/// Polls at once, and the pace of further ones: 20 a second.
const POLLS: (u32, Duration) = (20, Duration::from_millis(50));

/// So many failures in a row, and fewer, are no habit.
const FEW_FAILURES: u32 = 3;
/// A caller's turn after failures comes later by a second for the first one, and twice as much for
/// each further one, up to so many times: 256 s. Who has waited for so long longer comes first.
const MOST_DOUBLINGS: u32 = 8;

/// Before all others.
const FIRST: WaitRank = (Time::ZERO, 0);

/// One class of callers: services, registrations, or names that clients have asked for. Each has
/// lines and budgets of its own, so that none waits for the trouble of another.
#[derive(Debug)]
pub struct CallerGroup {
    /// Those of the lanes, and of the retries apart who fail habitually.
    lines: [WaitQueue; CallClass::ALL.len() + 1],
    retries: RetryBudget,
    reads: TokenBucket,
    polls: TokenBucket,
    /// Failures in a row of those whose last call has failed.
    failing: HashMap<Caller, u32>,
}

impl CallerGroup {
    /// Starts with everything unused.
    pub fn new(settings: RetryBudgetConfig) -> Self {
        let bucket = |(burst, interval)| TokenBucket::new(burst, interval);
        Self {
            lines: Default::default(),
            retries: RetryBudget::new(settings),
            reads: bucket(READS),
            polls: bucket(POLLS),
            failing: HashMap::new(),
        }
    }

    /// Lets a call out if there is room for it, and nobody comes first; else its caller waits.
    pub fn admit(&mut self, caller: Caller, lane: CallClass, now: Time) -> bool {
        let is_first = self.next(lane, now).is_none_or(|next| next == caller);
        let is_admitted = is_first && self.take(caller, lane, now);
        match is_admitted {
            true => self.dequeue(caller),
            false => self.enqueue(caller, lane, now),
        }
        is_admitted
    }

    /// Lets a caller wait in a lane, and in no other one.
    pub fn enqueue(&mut self, caller: Caller, lane: CallClass, now: Time) {
        let wait = match (lane, self.failures(caller)) {
            (CallClass::Retry, failures @ 1..) => {
                Duration::from_secs(1 << (failures - 1).min(MOST_DOUBLINGS))
            }
            _ => Duration::ZERO,
        };
        let place = self.place(caller, lane);
        for (n, line) in self.lines.iter_mut().enumerate() {
            match n == place {
                true => line.enqueue(caller, (now + wait, 1)),
                false => line.remove(caller),
            }
        }
    }

    /// Lets a caller that waits be the next of its lane.
    pub fn prioritize(&mut self, caller: Caller) {
        self.lines.iter_mut().for_each(|line| line.promote(caller, FIRST));
    }

    /// Lets a caller wait no longer.
    pub fn dequeue(&mut self, caller: Caller) {
        self.lines.iter_mut().for_each(|line| line.remove(caller));
    }

    /// Lets a caller no longer wait in that lane.
    pub fn remove(&mut self, caller: Caller, lane: CallClass) {
        let [retries, reads, polls, habitual] = &mut self.lines;
        match lane {
            // It may have failed once more while it waited.
            CallClass::Retry => {
                [retries, habitual].into_iter().for_each(|line| line.remove(caller))
            }
            CallClass::Read => reads.remove(caller),
            CallClass::Poll => polls.remove(caller),
        }
    }

    /// Forgets a caller.
    pub fn forget(&mut self, caller: Caller) {
        self.dequeue(caller);
        self.failing.remove(&caller);
    }

    /// Takes the outcome of a call.
    pub fn on_outcome(&mut self, caller: Caller, is_good: bool, now: Time) {
        if is_good {
            self.retries.on_good_call(now);
            self.failing.remove(&caller);
        } else {
            let failures = self.failing.entry(caller).or_default();
            *failures = failures.saturating_add(1);
        }
    }

    /// Whose turn it is, with the lane.
    pub fn poll_ready(&mut self, now: Time) -> Option<(Caller, CallClass)> {
        CallClass::ALL.into_iter().find_map(|lane| Some((self.next(lane, now)?, lane)))
    }

    /// The first of a lane for whose call there is room.
    fn next(&mut self, lane: CallClass, now: Time) -> Option<Caller> {
        let [retries, reads, polls, habitual] = &self.lines;
        match lane {
            CallClass::Retry => {
                let few = retries.first().filter(|_| self.retries.has_room(false, now));
                let many = habitual.first().filter(|_| self.retries.has_room(true, now));
                few.into_iter().chain(many).min_by_key(|(rank, _)| *rank).map(|(_, caller)| caller)
            }
            CallClass::Read => reads.head().filter(|_| self.reads.has(now)),
            CallClass::Poll => polls.head().filter(|_| self.polls.has(now)),
        }
    }

    fn take(&mut self, caller: Caller, lane: CallClass, now: Time) -> bool {
        match lane {
            CallClass::Retry => self.retries.spend(self.is_habitual(caller), now),
            CallClass::Read => self.reads.take_now(now),
            CallClass::Poll => self.polls.take_now(now),
        }
    }

    fn failures(&self, caller: Caller) -> u32 {
        self.failing.get(&caller).copied().unwrap_or_default()
    }

    /// Whether it has failed so often that this is likely to go on.
    fn is_habitual(&self, caller: Caller) -> bool {
        self.failures(caller) > FEW_FAILURES
    }

    /// Where it waits.
    fn place(&self, caller: Caller, lane: CallClass) -> usize {
        match lane {
            CallClass::Retry if self.is_habitual(caller) => CallClass::ALL.len(),
            _ => lane as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::SourceId;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const A: Caller = Caller::Source(SourceId::nth(1_000));
    const B: Caller = Caller::Source(SourceId::nth(1_001));

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn class() -> CallerGroup {
        CallerGroup::new(RetryBudgetConfig { percent: 20, min_per_second: 1 })
    }

    fn fail(class: &mut CallerGroup, caller: Caller, times: u32) {
        (0..times).for_each(|_| class.on_outcome(caller, false, Time::ZERO));
    }

    /// Those who go out one after the other.
    fn served(class: &mut CallerGroup, now: Time) -> Vec<Caller> {
        let mut served = Vec::new();
        while let Some((caller, lane)) = class.poll_ready(now) {
            assert!(class.admit(caller, lane, now), "{caller:?}");
            served.push(caller);
        }
        served
    }

    #[test]
    fn who_changes_over_to_another_lane_loses_the_old_place() {
        let mut class = class();
        class.enqueue(A, CallClass::Poll, at(0));
        class.enqueue(A, CallClass::Read, at(0));
        class.remove(A, CallClass::Poll);
        assert_eq!(served(&mut class, at(0)), [A]);
    }

    #[test]
    fn who_fails_once_more_while_waiting_can_still_be_dismissed() {
        let mut class = class();
        fail(&mut class, A, FEW_FAILURES);
        class.enqueue(A, CallClass::Retry, at(0));
        fail(&mut class, A, 1);
        assert_eq!(class.poll_ready(at(0)), Some((A, CallClass::Retry)));
        class.remove(A, CallClass::Retry);
        assert_eq!(class.poll_ready(at(0)), None);
    }

    #[test]
    fn who_failed_once_is_retried_before_who_failed_ten_times() {
        let mut class = class();
        fail(&mut class, A, 10);
        fail(&mut class, B, 1);
        class.enqueue(A, CallClass::Retry, at(0));
        class.enqueue(B, CallClass::Retry, at(100));
        assert_eq!(served(&mut class, at(100)), [B, A]);
        class.enqueue(A, CallClass::Retry, at(100));
        class.enqueue(B, CallClass::Retry, at(100 + 300));
        assert_eq!(served(&mut class, at(400)), [A, B], "who has waited for long comes, too");
    }

    #[test]
    fn those_who_always_fail_leave_half_of_the_budget_to_others() {
        let mut class = class();
        let always: Vec<Caller> = (0..50).map(|n| SourceId::nth(n).into()).collect();
        always.iter().for_each(|caller| fail(&mut class, *caller, 4));
        let mut sent = 0;
        for second in 0..100 {
            always.iter().for_each(|caller| class.enqueue(*caller, CallClass::Retry, at(second)));
            sent += served(&mut class, at(second)).len();
            fail(&mut class, A, 1);
            let is_tenth = second % 10 == 9;
            assert!(!is_tenth || class.admit(A, CallClass::Retry, at(second)), "at {second} s");
            class.on_outcome(A, true, at(second));
        }
        assert!((45..=55).contains(&sent), "{sent} in 100 s");
    }
}
