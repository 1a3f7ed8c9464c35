//! Responses that Envoy may reject.

use core::time::Duration;

use crate::util::time::Time;
use crate::xds::request::ResourceVersion;

/// The responses to a subscription that are not acknowledged yet.
///
/// Envoy does not say that it has rejected a response, or why: it asks with the old version again. It does
/// the same if the response was lost with its connection, or if another cluster has the same subscription.
/// So each response is repeated once for each cluster, and some more times to clients without a version. A
/// further request with the old version means that Envoy has rejected the new one.
#[derive(Debug, Default)]
pub(super) struct Trials {
    trials: Vec<Trial>,
    /// The rejections since the last acknowledgement.
    rejections: u32,
}

/// Returns the wait before a rejected response is repeated, after so many earlier rejections.
pub(super) fn backoff(rejections: u32) -> Duration {
    const FIRST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(60);
    FIRST.saturating_mul(1 << rejections.min(6)).min(MOST)
}

/// The meaning of a request with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing.
    None,
    /// Envoy has taken the response.
    Acknowledged,
    /// Envoy has rejected the response, so many times in a row.
    Rejected(u32),
}

#[derive(Debug)]
struct Trial {
    from: Option<ResourceVersion>,
    to: ResourceVersion,
    /// The time of the first response.
    since: Time,
    /// The responses of the first round, which may be lost or of different clusters.
    given: u32,
    /// The repeated responses.
    repeated: u32,
    rejections: u32,
    /// The time until which the response is not repeated; none while it is not rejected.
    until: Option<Time>,
}

impl Trials {
    /// The most versions whose trials are kept. Envoy has one or two versions.
    const MAX: usize = 4;

    /// Takes note of a request with this version for `current`, to which so many clusters subscribe.
    pub(super) fn on_ask(
        &mut self,
        version: Option<ResourceVersion>,
        current: ResourceVersion,
        clusters: u32,
        now: Time,
    ) -> Finding {
        if version == Some(current) {
            *self = Self::default();
            return Finding::Acknowledged;
        }
        let trial = self.trials.iter_mut().find(|it| it.from == version && it.to == current);
        let Some(trial) = trial.filter(|trial| trial.until.is_none()) else {
            return Finding::None;
        };
        if trial.is_first_round(now) {
            return Finding::None;
        }
        if trial.repeated < trial.allowance(clusters) {
            trial.repeated += 1;
            return Finding::None;
        }
        trial.until = Some(now + backoff(trial.rejections));
        trial.rejections = trial.rejections.saturating_add(1);
        self.rejections = self.rejections.saturating_add(1);
        Finding::Rejected(self.rejections)
    }

    /// Returns true if Envoy has rejected a response since its last acknowledgement.
    pub(super) const fn are_rejected(&self) -> bool {
        self.rejections > 0
    }

    /// Returns the time from which a client with this version may be sent `current`; none: at once.
    pub(super) fn until(
        &self,
        version: Option<ResourceVersion>,
        current: ResourceVersion,
    ) -> Option<Time> {
        let trial = self.trials.iter().find(|it| it.from == version && it.to == current);
        trial.and_then(|trial| trial.until)
    }

    /// Takes note that a client with this version was sent `current`.
    pub(super) fn on_answer(
        &mut self,
        version: Option<ResourceVersion>,
        current: ResourceVersion,
        now: Time,
    ) {
        self.trials.retain(|trial| trial.to == current);
        if let Some(trial) = self.trials.iter_mut().find(|trial| trial.from == version) {
            trial.given += u32::from(trial.is_first_round(now));
            trial.until = None;
            return;
        }
        if self.trials.len() == Self::MAX {
            self.trials.remove(0);
        }
        self.trials.push(Trial {
            from: version,
            to: current,
            since: now,
            given: 1,
            repeated: 0,
            rejections: 0,
            until: None,
        });
    }
}

impl Trial {
    /// The time in which Envoy sends no further request after a response, so that a request is of another
    /// cluster: `refresh_delay` is 20 ms or more.
    const ROUND: Duration = Duration::from_millis(10);
    /// The most responses of the first round, for a clock that stands still.
    const MAX_GIVEN: u32 = 100;
    /// The number of clusters that may begin to subscribe before the first of them acknowledges.
    const BEGINNERS: u32 = 8;

    /// Returns the number of repetitions if so many clusters subscribe. A change may come while all
    /// clusters pause, and then they ask one after another.
    fn allowance(&self, clusters: u32) -> u32 {
        let least = if self.from.is_none() { Self::BEGINNERS } else { 1 };
        self.given.max(clusters).max(least)
    }

    /// Returns true during the first responses.
    fn is_first_round(&self, now: Time) -> bool {
        now.since(self.since) < Self::ROUND && self.given < Self::MAX_GIVEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const OLD: Option<ResourceVersion> = Some(ResourceVersion(1));
    const NEW: ResourceVersion = ResourceVersion(2);

    fn at(millis: u64) -> Time {
        Time::from_start(Duration::from_millis(millis))
    }

    /// Asks and is answered at once.
    fn ask(trials: &mut Trials, from: Option<ResourceVersion>, millis: u64) -> Finding {
        ask_of(trials, 1, from, millis)
    }

    /// The same where so many clusters subscribe.
    fn ask_of(
        trials: &mut Trials,
        clusters: u32,
        from: Option<ResourceVersion>,
        millis: u64,
    ) -> Finding {
        let finding = trials.on_ask(from, NEW, clusters, at(millis));
        if trials.until(from, NEW).is_none() {
            trials.on_answer(from, NEW, at(millis));
        }
        finding
    }

    #[test]
    fn a_response_is_given_twice_before_it_counts_as_rejected() {
        let mut trials = Trials::default();
        assert_eq!([0, 20].map(|t| ask(&mut trials, OLD, t)), [Finding::None; 2]);
        assert_eq!(ask(&mut trials, OLD, 40), Finding::Rejected(1));
        assert_eq!(trials.until(OLD, NEW), Some(at(1_040)));
        assert_eq!(trials.until(Some(ResourceVersion(9)), NEW), None, "another one is not held up");
    }

    #[test]
    fn no_rejection_is_found_when_clusters_begin_in_turn() {
        let mut trials = Trials::default();
        let findings = [0, 12, 25, 37, 39].map(|t| ask(&mut trials, None, t));
        assert_eq!(findings, [Finding::None; 5]);
        assert_eq!(trials.on_ask(Some(NEW), NEW, 1, at(40)), Finding::Acknowledged);
        // Without an end only one that rejects it begins.
        let rejected = (2..100).position(|n| ask(&mut trials, None, n * 30) != Finding::None);
        assert_eq!(rejected, Some(9));
    }

    #[test]
    fn rejected_response_is_repeated_less_and_less_often() {
        let mut trials = Trials::default();
        let mut now = 0;
        [0, 20].into_iter().for_each(|t| assert_eq!(ask(&mut trials, OLD, t), Finding::None));
        for (n, seconds) in [1, 2, 4, 8, 16, 32, 60, 60, 60].into_iter().enumerate() {
            now += 100;
            assert_eq!(ask(&mut trials, OLD, now), Finding::Rejected(n as u32 + 1));
            assert_eq!(ask(&mut trials, OLD, now + 1), Finding::None, "while it is held up");
            now += seconds * 1_000;
            assert_eq!(trials.until(OLD, NEW), Some(at(now)));
            trials.on_answer(OLD, NEW, at(now));
        }
        assert_eq!(trials.on_ask(Some(NEW), NEW, 1, at(now)), Finding::Acknowledged);
        assert_eq!([1, 21].map(|t| ask(&mut trials, OLD, now + t)), [Finding::None; 2]);
    }

    #[test]
    fn other_content_is_given_at_once_and_counted_on() {
        let mut trials = Trials::default();
        let findings = [0, 20, 40].map(|t| ask(&mut trials, OLD, t));
        assert_eq!(findings[2], Finding::Rejected(1));
        const NEWER: ResourceVersion = ResourceVersion(3);
        assert_eq!(trials.until(OLD, NEWER), None);
        for millis in [60, 80] {
            assert_eq!(trials.on_ask(OLD, NEWER, 1, at(millis)), Finding::None);
            trials.on_answer(OLD, NEWER, at(millis));
        }
        assert_eq!(trials.on_ask(OLD, NEWER, 1, at(100)), Finding::Rejected(2));
        assert_eq!(trials.until(OLD, NEWER), Some(at(1_100)));
    }

    #[test]
    fn clusters_are_told_apart_when_they_subscribe_to_the_same() {
        let mut trials = Trials::default();
        // Ten ask as they are made, and the connection of all responses breaks.
        (0..10).for_each(|n| assert_eq!(ask(&mut trials, None, n), Finding::None));
        (0..10).for_each(|n| assert_eq!(ask(&mut trials, None, 100 + n), Finding::None));
        assert_eq!(ask(&mut trials, None, 200), Finding::Rejected(1));
    }

    #[test]
    fn clusters_reject_nothing_when_a_change_comes_while_all_pause() {
        let mut trials = Trials::default();
        // Five that had 304 at one time ask one after another, and acknowledge in that order.
        let findings = [0, 12, 19, 28, 37].map(|t| ask_of(&mut trials, 5, OLD, t));
        assert_eq!(findings, [Finding::None; 5]);
        assert_eq!(trials.on_ask(Some(NEW), NEW, 5, at(38)), Finding::Acknowledged);
        // All of them reject what is given them twice at the most.
        let rejected = (1..100).position(|n| ask_of(&mut trials, 5, OLD, n * 30) != Finding::None);
        assert_eq!(rejected, Some(6));
    }

    #[test]
    fn responses_are_bounded_when_the_clock_stands_still() {
        let mut trials = Trials::default();
        let rejected = |trials: &mut Trials| ask(trials, OLD, 0) != Finding::None;
        assert_eq!((0..1_000).position(|_| rejected(&mut trials)), Some(200));
    }

    #[test]
    fn no_more_than_a_few_versions_are_remembered() {
        let mut trials = Trials::default();
        for n in 0..1_000 {
            ask(&mut trials, Some(ResourceVersion(n + 10)), n);
        }
        assert_eq!(trials.trials.len(), Trials::MAX);
    }
}
