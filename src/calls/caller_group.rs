//! The calls of one group of callers: their queues and their budgets.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::Caller;
use crate::calls::retry_budget::RetryBudget;
use crate::calls::wait_queue::{CallClass, WaitQueue, WaitRank};
use crate::config::RetryBudgetConfig;
use crate::util::time::Time;
use crate::util::token_bucket::TokenBucket;

/// The burst of reads, and the interval of further reads: 50 a second.
const READS: (u32, Duration) = (100, Duration::from_millis(20));
/// The burst of polls, and the interval of further polls: 20 a second.
const POLLS: (u32, Duration) = (20, Duration::from_millis(50));

/// The largest number of failures in a row that is not habitual.
const FEW_FAILURES: u32 = 3;
/// The number of doublings of the delay after failures. A caller's turn is delayed by a second
/// after the first failure and by twice as much after each further one, up to 256 s. A caller that
/// has waited longer than that comes first.
const MOST_DOUBLINGS: u32 = 8;

/// The rank before all others.
const FIRST: WaitRank = (Time::ZERO, 0);

/// A group of callers: services, registrations, or names that clients have asked for. Each group
/// has queues and budgets of its own, so that no group waits for the trouble of another.
#[derive(Debug)]
pub struct CallerGroup {
    /// One queue for each class, and one for retries of callers that fail habitually.
    queues: [WaitQueue; CallClass::ALL.len() + 1],
    retries: RetryBudget,
    reads: TokenBucket,
    polls: TokenBucket,
    /// The failures in a row of each caller whose last call has failed.
    failing: HashMap<Caller, u32>,
}

impl CallerGroup {
    /// Starts with full budgets and empty queues.
    pub fn new(settings: RetryBudgetConfig) -> Self {
        let bucket = |(burst, interval)| TokenBucket::new(burst, interval);
        Self {
            queues: Default::default(),
            retries: RetryBudget::new(settings),
            reads: bucket(READS),
            polls: bucket(POLLS),
            failing: HashMap::new(),
        }
    }

    /// Admits a call if the budget has room and no caller comes first. Otherwise queues its caller.
    pub fn admit(&mut self, caller: Caller, class: CallClass, now: Time) -> bool {
        let is_first = self.next(class, now).is_none_or(|next| next == caller);
        let is_admitted = is_first && self.take(caller, class, now);
        match is_admitted {
            true => self.dequeue(caller),
            false => self.enqueue(caller, class, now),
        }
        is_admitted
    }

    /// Queues a caller in one class and removes it from the others.
    pub fn enqueue(&mut self, caller: Caller, class: CallClass, now: Time) {
        let wait = match (class, self.failures(caller)) {
            (CallClass::Retry, failures @ 1..) => {
                Duration::from_secs(1 << (failures - 1).min(MOST_DOUBLINGS))
            }
            _ => Duration::ZERO,
        };
        let place = self.place(caller, class);
        for (n, queue) in self.queues.iter_mut().enumerate() {
            match n == place {
                true => queue.enqueue(caller, (now + wait, 1)),
                false => queue.remove(caller),
            }
        }
    }

    /// Moves a waiting caller to the front of its queue.
    pub fn prioritize(&mut self, caller: Caller) {
        self.queues.iter_mut().for_each(|queue| queue.promote(caller, FIRST));
    }

    /// Removes a caller from all queues.
    pub fn dequeue(&mut self, caller: Caller) {
        self.queues.iter_mut().for_each(|queue| queue.remove(caller));
    }

    /// Removes a caller from the queues of a class.
    pub fn remove(&mut self, caller: Caller, class: CallClass) {
        let [retries, reads, polls, habitual] = &mut self.queues;
        match class {
            // The caller may have become habitual while it waited.
            CallClass::Retry => {
                [retries, habitual].into_iter().for_each(|queue| queue.remove(caller))
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

    /// Returns the next caller whose call may go out, with its class.
    pub fn poll_ready(&mut self, now: Time) -> Option<(Caller, CallClass)> {
        CallClass::ALL.into_iter().find_map(|class| Some((self.next(class, now)?, class)))
    }

    /// Returns the first caller of a class if the budget has room.
    fn next(&mut self, class: CallClass, now: Time) -> Option<Caller> {
        let [retries, reads, polls, habitual] = &self.queues;
        match class {
            CallClass::Retry => {
                let few = retries.first().filter(|_| self.retries.has_room(false, now));
                let many = habitual.first().filter(|_| self.retries.has_room(true, now));
                few.into_iter().chain(many).min_by_key(|(rank, _)| *rank).map(|(_, caller)| caller)
            }
            CallClass::Read => reads.head().filter(|_| self.reads.has(now)),
            CallClass::Poll => polls.head().filter(|_| self.polls.has(now)),
        }
    }

    fn take(&mut self, caller: Caller, class: CallClass, now: Time) -> bool {
        match class {
            CallClass::Retry => self.retries.spend(self.is_habitual(caller), now),
            CallClass::Read => self.reads.take_now(now),
            CallClass::Poll => self.polls.take_now(now),
        }
    }

    fn failures(&self, caller: Caller) -> u32 {
        self.failing.get(&caller).copied().unwrap_or_default()
    }

    /// Returns true if a caller has failed so often that its next call will probably fail.
    fn is_habitual(&self, caller: Caller) -> bool {
        self.failures(caller) > FEW_FAILURES
    }

    /// Returns the index of the queue for a caller.
    fn place(&self, caller: Caller, class: CallClass) -> usize {
        match class {
            CallClass::Retry if self.is_habitual(caller) => CallClass::ALL.len(),
            _ => class as usize,
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

    fn group() -> CallerGroup {
        CallerGroup::new(RetryBudgetConfig { percent: 20, min_per_second: 1 })
    }

    fn fail(group: &mut CallerGroup, caller: Caller, times: u32) {
        (0..times).for_each(|_| group.on_outcome(caller, false, Time::ZERO));
    }

    /// Admits all callers that may go, one after the other, and returns them in that order.
    fn served(group: &mut CallerGroup, now: Time) -> Vec<Caller> {
        let mut served = Vec::new();
        while let Some((caller, class)) = group.poll_ready(now) {
            assert!(group.admit(caller, class, now), "{caller:?}");
            served.push(caller);
        }
        served
    }

    #[test]
    fn caller_loses_its_place_when_it_changes_its_class() {
        let mut group = group();
        group.enqueue(A, CallClass::Poll, at(0));
        group.enqueue(A, CallClass::Read, at(0));
        group.remove(A, CallClass::Poll);
        assert_eq!(served(&mut group, at(0)), [A]);
    }

    #[test]
    fn caller_can_be_removed_when_it_failed_again_while_waiting() {
        let mut group = group();
        fail(&mut group, A, FEW_FAILURES);
        group.enqueue(A, CallClass::Retry, at(0));
        fail(&mut group, A, 1);
        assert_eq!(group.poll_ready(at(0)), Some((A, CallClass::Retry)));
        group.remove(A, CallClass::Retry);
        assert_eq!(group.poll_ready(at(0)), None);
    }

    #[test]
    fn caller_is_retried_first_when_it_has_failed_less() {
        let mut group = group();
        fail(&mut group, A, 10);
        fail(&mut group, B, 1);
        group.enqueue(A, CallClass::Retry, at(0));
        group.enqueue(B, CallClass::Retry, at(100));
        assert_eq!(served(&mut group, at(100)), [B, A]);
        group.enqueue(A, CallClass::Retry, at(100));
        group.enqueue(B, CallClass::Retry, at(100 + 300));
        assert_eq!(served(&mut group, at(400)), [A, B], "who has waited for long comes, too");
    }

    #[test]
    fn habitual_failures_leave_half_of_the_budget_to_others() {
        let mut group = group();
        let always: Vec<Caller> = (0..50).map(|n| SourceId::nth(n).into()).collect();
        always.iter().for_each(|caller| fail(&mut group, *caller, 4));
        let mut sent = 0;
        for second in 0..100 {
            always.iter().for_each(|caller| group.enqueue(*caller, CallClass::Retry, at(second)));
            sent += served(&mut group, at(second)).len();
            fail(&mut group, A, 1);
            let is_tenth = second % 10 == 9;
            assert!(!is_tenth || group.admit(A, CallClass::Retry, at(second)), "at {second} s");
            group.on_outcome(A, true, at(second));
        }
        assert!((45..=55).contains(&sent), "{sent} in 100 s");
    }
}
