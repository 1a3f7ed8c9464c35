//! How those fare who ask Consul: whether it is Consul that fails, or they do.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::Caller;
use crate::calls::wait_queue::WaitRank;
use crate::util::time::Time;

/// Of the failures of one caller in a row so many are told when it is answered again, at most: more
/// of them say no more about Consul.
const MOST_TOLD_LATER: u32 = 4;

/// How each caller fares.
///
/// One caller may fail for ever, for its query is wrong, or its answer too large: a verdict on Consul
/// takes several. So a caller counts when it begins to fail, and not each time it fails. Where another
/// one is answered after that, Consul is well, and the failure is *refuted*: it was the caller's own
/// trouble, and nothing that it fails at counts any more until it has been answered once.
#[derive(Debug, Default)]
pub struct CallerHistory {
    callers: HashMap<Caller, CallerRecord>,
    /// The number of the last outcome.
    outcomes: u64,
    /// The number of the last answer.
    answered: u64,
    /// Failures since the last answer that are not refuted.
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct CallerRecord {
    has_been_answered: bool,
    /// How often it has failed in a row.
    failures: u32,
    /// The number of the first of these failures.
    since: u64,
    /// How many of them have not been told.
    untold: u32,
    failed: Option<Time>,
    /// When it failed as the probe last; zero: it has been answered since.
    probed: Time,
}

/// How many callers fare how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallerCounts {
    /// All of them whose failures are not refuted.
    pub callers: u32,
    /// How many of these fail.
    pub failing: u32,
    /// How many of these have failed of late.
    pub failed: u32,
    /// Their failures since the last answer.
    pub in_a_row: u32,
}

impl CallerHistory {
    /// Whether nobody asks.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Learns that a caller asks.
    pub fn add(&mut self, caller: Caller) {
        self.callers.entry(caller).or_default();
    }

    /// Forgets a caller.
    pub fn forget(&mut self, caller: Caller) {
        self.callers.remove(&caller);
    }

    /// Whose turn it is to probe: of those who have not failed at it the first who was answered
    /// before, and who fails least; then all others in turn.
    pub fn rank(&self, caller: Caller) -> WaitRank {
        let standing = self.callers.get(&caller).copied().unwrap_or_default();
        let stranger = if standing.has_been_answered { 0 } else { u32::MAX / 2 };
        (standing.probed, standing.failures.min(u32::MAX / 2) + stranger)
    }

    /// Takes an answer, which may be to nobody who counts. Tells how many failures before it were
    /// Consul's all the same: those of a caller that is answered again.
    pub fn on_response(&mut self, caller: Option<Caller>) -> u32 {
        self.outcomes += 1;
        self.answered = self.outcomes;
        self.in_a_row = 0;
        let Some(caller) = caller else { return 0 };
        let standing = self.callers.entry(caller).or_default();
        let CallerRecord { untold, failed, .. } = *standing;
        *standing = CallerRecord { has_been_answered: true, failed, ..CallerRecord::default() };
        untold
    }

    /// Takes a failure; tells whether it counts.
    pub fn on_failure(&mut self, caller: Caller, now: Time) -> bool {
        self.outcomes += 1;
        let standing = self.callers.entry(caller).or_default();
        standing.failed = Some(now);
        standing.failures = standing.failures.saturating_add(1);
        let is_first = standing.failures == 1;
        if is_first {
            standing.since = self.outcomes;
        }
        let since = standing.since;
        // Nobody is left who shows that Consul is well.
        if self.callers.values().all(|standing| standing.is_refuted(self.answered)) {
            self.answered = 0;
        }
        let is_refuted = since < self.answered;
        self.in_a_row = self.in_a_row.saturating_add(u32::from(!is_refuted));
        let all_fail =
            || self.callers.values().all(|it| it.failures > 0 || it.is_refuted(self.answered));
        let counts = is_first || !is_refuted && all_fail();
        if !counts && let Some(standing) = self.callers.get_mut(&caller) {
            standing.untold = (standing.untold + 1).min(MOST_TOLD_LATER);
        }
        counts
    }

    /// Learns that a caller has failed as the probe.
    pub fn on_probe_failed(&mut self, caller: Caller, now: Time) {
        if let Some(standing) = self.callers.get_mut(&caller) {
            standing.probed = now;
        }
    }

    /// How many fare how; `of_late` is how long ago counts as that.
    pub fn tally(&self, of_late: Duration, now: Time) -> CallerCounts {
        let mut tally = CallerCounts { in_a_row: self.in_a_row, ..CallerCounts::default() };
        for standing in self.callers.values() {
            if !standing.is_refuted(self.answered) {
                let has_failed = standing.failed.is_some_and(|then| now.since(then) < of_late);
                tally.callers += 1;
                tally.failing += u32::from(standing.failures > 0);
                tally.failed += u32::from(has_failed);
            }
        }
        tally
    }
}

impl CallerRecord {
    /// Whether another caller was answered after this one had begun to fail.
    const fn is_refuted(&self, answered: u64) -> bool {
        self.failures > 0 && self.since < answered
    }
}
