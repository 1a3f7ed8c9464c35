//! When one thing is asked whether it is healthy, and what its answers make of it.

use core::time::Duration;

use crate::config::HealthCheck;
use crate::health_check::verdict::{ProbeReason, ProbeVerdict};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// How much longer than its timeout a probe is waited for: Envoy calls back by then.
const GIVE_UP: Duration = Duration::from_secs(2);

/// What is sent so much later than it was due has waited for something that others may have waited
/// for, too: ticks come four times a second.
const LATE: Duration = Duration::from_millis(500);

/// Which probe of a prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeNumber(pub u64);

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Nobody knows yet.
    Unknown,
    /// It works; and may warn all the same.
    Healthy {
        /// Whether its last answer was a warning.
        warns: bool,
    },
    /// It does not work.
    Unhealthy,
}

/// Asks one thing, one probe at a time.
///
/// The first answer decides how it stands; from then on, as at
/// [Envoy's health checker](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking),
/// so many in a row as the thresholds say.
#[derive(Debug)]
pub struct HealthChecker {
    state: State,
    standing: HealthState,
    /// So many outcomes in a row have contradicted how it stands.
    against: u32,
    last: Option<ProbeVerdict>,
    number: ProbeNumber,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle { next: Time },
    Asking { since: Time, lost: Time, is_late: bool },
}

impl HealthChecker {
    /// Starts with what is known; the first probe is due `first`.
    pub const fn new(standing: HealthState, first: Time) -> Self {
        let state = State::Idle { next: first };
        Self { state, standing, against: 0, last: None, number: ProbeNumber(0) }
    }

    /// Gives its probes higher numbers than this one: answers to those of an earlier prober are not its
    /// own.
    pub const fn with_first_id(&mut self, number: ProbeNumber) {
        self.number = number;
    }

    /// Goes on from what is known, with a probe that is due `first`; one that is out is waited for no
    /// longer. Outcomes that have contradicted how it stands go on counting where that stays.
    pub fn begin_anew(&mut self, standing: HealthState, first: Time) {
        let against = if standing == self.standing { self.against } else { 0 };
        *self = Self { against, number: self.number, ..Self::new(standing, first) };
    }

    /// How it stands.
    pub const fn standing(&self) -> HealthState {
        self.standing
    }

    /// Why the last probe ended as it did; none: none has ended.
    pub fn reason(&self) -> Option<&ProbeReason> {
        self.last.as_ref().map(ProbeVerdict::reason)
    }

    /// The number of the last probe.
    pub const fn last(&self) -> ProbeNumber {
        self.number
    }

    /// Whether a probe is out.
    pub const fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking { .. })
    }

    /// When something is to be done next: a probe to be sent, or one to be given up.
    pub const fn due(&self) -> Time {
        match self.state {
            State::Idle { next } => next,
            State::Asking { lost, .. } => lost,
        }
    }

    /// The number of a probe that is to be sent now. One that nobody heard of again counts as
    /// failed.
    pub fn poll_probe(
        &mut self,
        check: &HealthCheck,
        now: Time,
        rng: &mut Rng,
    ) -> Option<ProbeNumber> {
        self.give_up(check, now, rng);
        let State::Idle { next } = self.state else { return None };
        if now < next {
            return None;
        }
        self.number = ProbeNumber(self.number.0.wrapping_add(1));
        let (lost, is_late) = (now + check.timeout + GIVE_UP, now.since(next) > LATE);
        self.state = State::Asking { since: now, lost, is_late };
        Some(self.number)
    }

    /// Counts a probe that nobody heard of again as failed, once it is due.
    fn give_up(&mut self, check: &HealthCheck, now: Time, rng: &mut Rng) {
        if self.is_asking() && now >= self.due() {
            self.on_verdict(self.number, ProbeVerdict::Bad(ProbeReason::NoAnswer), check, now, rng);
        }
    }

    /// Passes over a probe that was never sent, which says nothing: the next one comes in its time.
    pub fn on_unsent(
        &mut self,
        number: ProbeNumber,
        check: &HealthCheck,
        now: Time,
        rng: &mut Rng,
    ) {
        if self.is_asking() && number == self.number {
            let next = now + check.interval + check.interval_jitter.mul_f64(rng.unit());
            self.state = State::Idle { next };
        }
    }

    /// Takes the outcome of a probe; one that nobody waits for is passed over. Tells whether it
    /// stands otherwise now.
    pub fn on_verdict(
        &mut self,
        number: ProbeNumber,
        verdict: ProbeVerdict,
        check: &HealthCheck,
        now: Time,
        rng: &mut Rng,
    ) -> bool {
        let State::Asking { since, is_late, .. } = self.state else { return false };
        if number != self.number {
            return false;
        }
        let before = self.standing;
        let outcome = match &verdict {
            ProbeVerdict::Good(_) => HealthState::Healthy { warns: false },
            ProbeVerdict::Warning(_) => HealthState::Healthy { warns: true },
            ProbeVerdict::Bad(_) => HealthState::Unhealthy,
        };
        let threshold = match (self.standing, outcome) {
            (HealthState::Healthy { .. }, HealthState::Unhealthy) => check.unhealthy_threshold,
            (HealthState::Unhealthy, HealthState::Healthy { .. }) => check.healthy_threshold,
            _ => 1,
        };
        let agrees = matches!(
            (self.standing, outcome),
            (HealthState::Healthy { .. }, HealthState::Healthy { .. })
                | (HealthState::Unhealthy, HealthState::Unhealthy)
        );
        self.against = if agrees { 0 } else { self.against.saturating_add(1) };
        if agrees || self.against >= threshold {
            self.standing = outcome;
            self.against = 0;
        }
        let interval = match (&verdict, self.standing) {
            (ProbeVerdict::Bad(_), _) | (_, HealthState::Unhealthy) => check.unhealthy_interval,
            (ProbeVerdict::Good(_) | ProbeVerdict::Warning(_), _) => check.interval,
        };
        // Else all that have waited for the same thing would be asked together from now on.
        let part = if is_late { 0.5 + rng.unit() / 2.0 } else { 1.0 };
        let next = since + interval.mul_f64(part) + check.interval_jitter.mul_f64(rng.unit());
        self.state = State::Idle { next: next.max(now) };
        self.last = Some(verdict);
        self.standing != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const HEALTHY: HealthState = HealthState::Healthy { warns: false };

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn check() -> HealthCheck {
        HealthCheck {
            unhealthy_interval: Duration::from_secs(1),
            healthy_threshold: 3,
            ..HealthCheck::default()
        }
    }

    fn status(status: u16) -> ProbeVerdict {
        match status {
            200 => ProbeVerdict::Good(ProbeReason::Status(200)),
            429 => ProbeVerdict::Warning(ProbeReason::Status(429)),
            _ => ProbeVerdict::Bad(ProbeReason::Status(status)),
        }
    }

    /// Sends a probe and takes its outcome, each as early as may be; gives the moment.
    fn probe(checker: &mut HealthChecker, verdict: ProbeVerdict, from: u64) -> u64 {
        let mut rng = Rng::new(1);
        let (when, number) = (from..from + 100_000)
            .find_map(|ms| Some((ms, checker.poll_probe(&check(), at(ms), &mut rng)?)))
            .expect("a probe");
        checker.on_verdict(number, verdict, &check(), at(when), &mut rng);
        when
    }

    #[test]
    fn bad_answers_go_on_counting_when_probes_begin_anew() {
        let mut checker = HealthChecker::new(HEALTHY, at(0));
        let now = probe(&mut checker, status(503), 0);
        checker.begin_anew(checker.standing(), at(now + 5_000));
        probe(&mut checker, status(503), now + 5_000);
        assert_eq!(checker.standing(), HealthState::Unhealthy, "two in a row");
    }

    #[test]
    fn the_first_answer_decides_and_then_the_thresholds_do() {
        let mut checker = HealthChecker::new(HealthState::Unknown, at(0));
        assert_eq!(checker.standing(), HealthState::Unknown);
        let mut now = probe(&mut checker, status(200), 0);
        assert_eq!(checker.standing(), HEALTHY);
        now = probe(&mut checker, status(503), now);
        assert_eq!(checker.standing(), HEALTHY, "one of two");
        now = probe(&mut checker, status(200), now);
        now = probe(&mut checker, status(503), now);
        assert_eq!(checker.standing(), HEALTHY, "not in a row");
        now = probe(&mut checker, status(500), now);
        assert_eq!(checker.standing(), HealthState::Unhealthy);
        assert_eq!(checker.reason(), Some(&ProbeReason::Status(500)));
        for _ in 0..2 {
            now = probe(&mut checker, status(200), now);
            assert_eq!(checker.standing(), HealthState::Unhealthy);
        }
        probe(&mut checker, status(200), now);
        assert_eq!(checker.standing(), HEALTHY);
    }

    #[test]
    fn what_is_not_well_from_the_start_is_unhealthy_at_once() {
        let mut checker = HealthChecker::new(HealthState::Unknown, at(0));
        probe(&mut checker, status(500), 0);
        assert_eq!(checker.standing(), HealthState::Unhealthy);
    }

    #[test]
    fn a_warning_is_healthy_and_shows_at_once() {
        let mut checker = HealthChecker::new(HEALTHY, at(0));
        let now = probe(&mut checker, status(429), 0);
        assert_eq!(checker.standing(), HealthState::Healthy { warns: true });
        probe(&mut checker, status(200), now);
        assert_eq!(checker.standing(), HEALTHY);
    }

    #[test]
    fn it_is_asked_at_its_interval_and_sooner_while_it_fails() {
        let mut checker = HealthChecker::new(HEALTHY, at(0));
        assert_eq!(probe(&mut checker, status(200), 0), 0);
        assert_eq!(probe(&mut checker, status(500), 0), 5_000);
        assert_eq!(probe(&mut checker, status(200), 5_000), 6_000);
        assert_eq!(probe(&mut checker, status(200), 6_000), 11_000);
    }

    #[test]
    fn one_probe_at_a_time_and_a_lost_one_has_failed() {
        let mut rng = Rng::new(1);
        let mut checker = HealthChecker::new(HealthState::Unknown, at(0));
        let first = checker.poll_probe(&check(), at(0), &mut rng).unwrap();
        assert_eq!(checker.poll_probe(&check(), at(2_999), &mut rng), None);
        let second = checker.poll_probe(&check(), at(3_000), &mut rng).unwrap();
        assert_eq!(checker.standing(), HealthState::Unhealthy);
        assert_ne!(first, second);
        assert!(!checker.on_verdict(first, status(200), &check(), at(3_001), &mut rng), "late");
        assert!(checker.reason().is_some());
    }
}
