//! The active health check of one target: the schedule of its probes and its state.

use core::time::Duration;

use crate::config::HealthCheck;
use crate::health_check::verdict::{ProbeReason, ProbeVerdict};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The time after its timeout at which a probe counts as lost. Envoy calls back before that.
const GRACE: Duration = Duration::from_secs(2);

/// The delay beyond which a probe is late: it has waited for something that other probes waited
/// for, too. Ticks come four times a second.
const LATE: Duration = Duration::from_millis(500);

/// The number of a probe of one checker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeNumber(pub u64);

/// The health of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// No probe has ended yet.
    Unknown,
    /// The target works, perhaps with a warning.
    Healthy {
        /// True if the last response was a warning.
        warns: bool,
    },
    /// The target does not work.
    Unhealthy,
}

/// Checks one target, one probe at a time.
///
/// The first response decides the state. From then on the thresholds decide, as in [Envoy's health
/// checker](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking).
#[derive(Debug)]
pub struct HealthChecker {
    state: State,
    health: HealthState,
    /// The outcomes in a row that contradict the state.
    streak: u32,
    last: Option<ProbeVerdict>,
    number: ProbeNumber,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle { next: Time },
    Waiting { since: Time, deadline: Time, is_late: bool },
}

impl HealthChecker {
    /// Starts with a known state. The first probe is due at `first`.
    pub const fn new(health: HealthState, first: Time) -> Self {
        let state = State::Idle { next: first };
        Self { state, health, streak: 0, last: None, number: ProbeNumber(0) }
    }

    /// Sets the number of the last probe, so that responses to probes of an earlier checker are
    /// ignored.
    pub const fn with_first_id(&mut self, number: ProbeNumber) {
        self.number = number;
    }

    /// Restarts with a known state and a probe that is due at `first`, and forgets the probe that
    /// is out. The streak of contradicting outcomes is kept if the state stays.
    pub fn restart(&mut self, health: HealthState, first: Time) {
        let streak = if health == self.health { self.streak } else { 0 };
        *self = Self { streak, number: self.number, ..Self::new(health, first) };
    }

    /// Returns the health.
    pub const fn health(&self) -> HealthState {
        self.health
    }

    /// Returns the reason of the last outcome, if a probe has ended.
    pub fn reason(&self) -> Option<&ProbeReason> {
        self.last.as_ref().map(ProbeVerdict::reason)
    }

    /// Returns the number of the last probe.
    pub const fn last(&self) -> ProbeNumber {
        self.number
    }

    /// Returns true if a probe is out.
    pub const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Returns the time of the next action: a probe is due or counts as lost.
    pub const fn due(&self) -> Time {
        match self.state {
            State::Idle { next } => next,
            State::Waiting { deadline, .. } => deadline,
        }
    }

    /// Returns the number of a probe that must be sent now. A lost probe has failed.
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
        let (deadline, is_late) = (now + check.timeout + GRACE, now.since(next) > LATE);
        self.state = State::Waiting { since: now, deadline, is_late };
        Some(self.number)
    }

    /// Counts a lost probe as failed.
    fn give_up(&mut self, check: &HealthCheck, now: Time, rng: &mut Rng) {
        if self.is_waiting() && now >= self.due() {
            self.on_verdict(self.number, ProbeVerdict::Bad(ProbeReason::NoAnswer), check, now, rng);
        }
    }

    /// Ignores a probe that was never sent. The next probe follows after the interval.
    pub fn on_unsent(
        &mut self,
        number: ProbeNumber,
        check: &HealthCheck,
        now: Time,
        rng: &mut Rng,
    ) {
        if self.is_waiting() && number == self.number {
            let next = now + check.interval + check.interval_jitter.mul_f64(rng.unit());
            self.state = State::Idle { next };
        }
    }

    /// Takes the outcome of a probe, and ignores all but the current one. Returns true if the
    /// health has changed.
    pub fn on_verdict(
        &mut self,
        number: ProbeNumber,
        verdict: ProbeVerdict,
        check: &HealthCheck,
        now: Time,
        rng: &mut Rng,
    ) -> bool {
        let State::Waiting { since, is_late, .. } = self.state else { return false };
        if number != self.number {
            return false;
        }
        let before = self.health;
        let outcome = match &verdict {
            ProbeVerdict::Good(_) => HealthState::Healthy { warns: false },
            ProbeVerdict::Warning(_) => HealthState::Healthy { warns: true },
            ProbeVerdict::Bad(_) => HealthState::Unhealthy,
        };
        let threshold = match (self.health, outcome) {
            (HealthState::Healthy { .. }, HealthState::Unhealthy) => check.unhealthy_threshold,
            (HealthState::Unhealthy, HealthState::Healthy { .. }) => check.healthy_threshold,
            _ => 1,
        };
        let agrees = matches!(
            (self.health, outcome),
            (HealthState::Healthy { .. }, HealthState::Healthy { .. })
                | (HealthState::Unhealthy, HealthState::Unhealthy)
        );
        self.streak = if agrees { 0 } else { self.streak.saturating_add(1) };
        if agrees || self.streak >= threshold {
            self.health = outcome;
            self.streak = 0;
        }
        let interval = match (&verdict, self.health) {
            (ProbeVerdict::Bad(_), _) | (_, HealthState::Unhealthy) => check.unhealthy_interval,
            (ProbeVerdict::Good(_) | ProbeVerdict::Warning(_), _) => check.interval,
        };
        // Otherwise all checkers that waited for the same thing would probe at the same time from
        // now on.
        let part = if is_late { 0.5 + rng.unit() / 2.0 } else { 1.0 };
        let next = since + interval.mul_f64(part) + check.interval_jitter.mul_f64(rng.unit());
        self.state = State::Idle { next: next.max(now) };
        self.last = Some(verdict);
        self.health != before
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

    /// Sends the next probe and takes its outcome, each as early as possible. Returns the time.
    fn probe(checker: &mut HealthChecker, verdict: ProbeVerdict, from: u64) -> u64 {
        let mut rng = Rng::new(1);
        let (when, number) = (from..from + 100_000)
            .find_map(|ms| Some((ms, checker.poll_probe(&check(), at(ms), &mut rng)?)))
            .expect("a probe");
        checker.on_verdict(number, verdict, &check(), at(when), &mut rng);
        when
    }

    #[test]
    fn streak_continues_when_the_checker_restarts() {
        let mut checker = HealthChecker::new(HEALTHY, at(0));
        let now = probe(&mut checker, status(503), 0);
        checker.restart(checker.health(), at(now + 5_000));
        probe(&mut checker, status(503), now + 5_000);
        assert_eq!(checker.health(), HealthState::Unhealthy, "two in a row");
    }

    #[test]
    fn first_response_decides_and_then_the_thresholds() {
        let mut checker = HealthChecker::new(HealthState::Unknown, at(0));
        assert_eq!(checker.health(), HealthState::Unknown);
        let mut now = probe(&mut checker, status(200), 0);
        assert_eq!(checker.health(), HEALTHY);
        now = probe(&mut checker, status(503), now);
        assert_eq!(checker.health(), HEALTHY, "one of two");
        now = probe(&mut checker, status(200), now);
        now = probe(&mut checker, status(503), now);
        assert_eq!(checker.health(), HEALTHY, "not in a row");
        now = probe(&mut checker, status(500), now);
        assert_eq!(checker.health(), HealthState::Unhealthy);
        assert_eq!(checker.reason(), Some(&ProbeReason::Status(500)));
        for _ in 0..2 {
            now = probe(&mut checker, status(200), now);
            assert_eq!(checker.health(), HealthState::Unhealthy);
        }
        probe(&mut checker, status(200), now);
        assert_eq!(checker.health(), HEALTHY);
    }

    #[test]
    fn target_is_unhealthy_when_its_first_probe_fails() {
        let mut checker = HealthChecker::new(HealthState::Unknown, at(0));
        probe(&mut checker, status(500), 0);
        assert_eq!(checker.health(), HealthState::Unhealthy);
    }

    #[test]
    fn warning_is_healthy_and_shows_at_once() {
        let mut checker = HealthChecker::new(HEALTHY, at(0));
        let now = probe(&mut checker, status(429), 0);
        assert_eq!(checker.health(), HealthState::Healthy { warns: true });
        probe(&mut checker, status(200), now);
        assert_eq!(checker.health(), HEALTHY);
    }

    #[test]
    fn interval_is_shorter_when_the_probe_fails() {
        let mut checker = HealthChecker::new(HEALTHY, at(0));
        assert_eq!(probe(&mut checker, status(200), 0), 0);
        assert_eq!(probe(&mut checker, status(500), 0), 5_000);
        assert_eq!(probe(&mut checker, status(200), 5_000), 6_000);
        assert_eq!(probe(&mut checker, status(200), 6_000), 11_000);
    }

    #[test]
    fn probe_has_failed_when_it_is_lost() {
        let mut rng = Rng::new(1);
        let mut checker = HealthChecker::new(HealthState::Unknown, at(0));
        let first = checker.poll_probe(&check(), at(0), &mut rng).unwrap();
        assert_eq!(checker.poll_probe(&check(), at(2_999), &mut rng), None);
        let second = checker.poll_probe(&check(), at(3_000), &mut rng).unwrap();
        assert_eq!(checker.health(), HealthState::Unhealthy);
        assert_ne!(first, second);
        assert!(!checker.on_verdict(first, status(200), &check(), at(3_001), &mut rng), "late");
        assert!(checker.reason().is_some());
    }
}
