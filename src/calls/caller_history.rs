//! The recent outcomes of each caller, which tell failures of Consul from failures of one caller.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::Caller;
use crate::calls::wait_queue::WaitRank;
use crate::util::time::Time;

/// The largest number of failures of one caller that is reported after its next good response. More
/// failures say no more about Consul.
const MAX_COUNTED_LATER: u32 = 4;

/// The recent outcomes of each caller.
///
/// One caller may fail for ever because its query is wrong or its response too large, so a verdict
/// on Consul needs several callers. A caller's first failure counts, and further ones do not. If
/// another caller gets a response after that, Consul works, and the failure is *refuted*: it was
/// the caller's own trouble. The caller's failures then do not count until it gets a response
/// itself.
#[derive(Debug, Default)]
pub struct CallerHistory {
    callers: HashMap<Caller, CallerRecord>,
    /// The number of the last outcome.
    outcomes: u64,
    /// The number of the last good response.
    answered: u64,
    /// The failures since the last good response that are not refuted.
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct CallerRecord {
    has_been_answered: bool,
    /// The failures in a row.
    failures: u32,
    /// The number of the first of these failures.
    since: u64,
    /// The failures that were not counted yet.
    uncounted: u32,
    failed: Option<Time>,
    /// The time of the last failed probe. Zero if a response has come since.
    probed: Time,
}

/// The numbers of callers by their recent outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallerCounts {
    /// The callers whose failures are not refuted.
    pub callers: u32,
    /// The callers of these whose last call failed.
    pub failing: u32,
    /// The callers of these that failed recently.
    pub failed: u32,
    /// The failures of these since the last good response.
    pub in_a_row: u32,
}

impl CallerHistory {
    /// Returns true if there is no caller.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Adds a caller.
    pub fn add(&mut self, caller: Caller) {
        self.callers.entry(caller).or_default();
    }

    /// Forgets a caller.
    pub fn forget(&mut self, caller: Caller) {
        self.callers.remove(&caller);
    }

    /// Returns the rank of a caller among those that wait to probe. First come callers that have
    /// not failed as the probe: before others those that had a response before, and that fail
    /// least. Then come all others in turn.
    pub fn rank(&self, caller: Caller) -> WaitRank {
        let record = self.callers.get(&caller).copied().unwrap_or_default();
        let stranger = if record.has_been_answered { 0 } else { u32::MAX / 2 };
        (record.probed, record.failures.min(u32::MAX / 2) + stranger)
    }

    /// Takes a good response; the caller is `None` if it does not count. Returns the number of
    /// uncounted failures that were Consul's after all, because the caller itself gets responses
    /// again.
    pub fn on_response(&mut self, caller: Option<Caller>) -> u32 {
        self.outcomes += 1;
        self.answered = self.outcomes;
        self.in_a_row = 0;
        let Some(caller) = caller else { return 0 };
        let record = self.callers.entry(caller).or_default();
        let CallerRecord { uncounted, failed, .. } = *record;
        *record = CallerRecord { has_been_answered: true, failed, ..CallerRecord::default() };
        uncounted
    }

    /// Takes a failure. Returns true if it counts.
    pub fn on_failure(&mut self, caller: Caller, now: Time) -> bool {
        self.outcomes += 1;
        let record = self.callers.entry(caller).or_default();
        record.failed = Some(now);
        record.failures = record.failures.saturating_add(1);
        let is_first = record.failures == 1;
        if is_first {
            record.since = self.outcomes;
        }
        let since = record.since;
        // No caller is left that shows that Consul works.
        if self.callers.values().all(|record| record.is_refuted(self.answered)) {
            self.answered = 0;
        }
        let is_refuted = since < self.answered;
        self.in_a_row = self.in_a_row.saturating_add(u32::from(!is_refuted));
        let all_fail =
            || self.callers.values().all(|it| it.failures > 0 || it.is_refuted(self.answered));
        let counts = is_first || !is_refuted && all_fail();
        if !counts && let Some(record) = self.callers.get_mut(&caller) {
            record.uncounted = (record.uncounted + 1).min(MAX_COUNTED_LATER);
        }
        counts
    }

    /// Notes that a caller has failed as the probe.
    pub fn on_probe_failed(&mut self, caller: Caller, now: Time) {
        if let Some(record) = self.callers.get_mut(&caller) {
            record.probed = now;
        }
    }

    /// Counts the callers by their outcomes in the last `of_late`.
    pub fn tally(&self, of_late: Duration, now: Time) -> CallerCounts {
        let mut tally = CallerCounts { in_a_row: self.in_a_row, ..CallerCounts::default() };
        for record in self.callers.values() {
            if !record.is_refuted(self.answered) {
                let has_failed = record.failed.is_some_and(|then| now.since(then) < of_late);
                tally.callers += 1;
                tally.failing += u32::from(record.failures > 0);
                tally.failed += u32::from(has_failed);
            }
        }
        tally
    }
}

impl CallerRecord {
    /// Returns true if another caller got a response after this one had begun to fail.
    const fn is_refuted(&self, answered: u64) -> bool {
        self.failures > 0 && self.since < answered
    }
}
