//! A TTL check that this proxy reports on.

use core::time::Duration;

use crate::config::{Check, CheckKind, Probe};
use crate::health_check::checker::{HealthChecker, HealthState, ProbeNumber};
use crate::health_check::verdict::{ProbeReason, ProbeVerdict};
use crate::registry::consul::registration::{CheckStatus, Report};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The number of parts of a TTL. Two reports may be lost.
const PARTS: u32 = 3;

/// A TTL check that this proxy reports on in time.
#[derive(Debug)]
pub(super) struct TtlCheck {
    /// The position of the check in the registration.
    pub(super) position: usize,
    /// The id of the check at the agent.
    pub(super) id: String,
    ttl: Duration,
    probe: Option<(Probe, HealthChecker)>,
    /// The reason why the last probe was not sent, if it was not.
    unsent: Option<ProbeReason>,
    /// The time of the last result of a probe that was sent.
    heard: Time,
    /// True if no probe could be sent for a TTL.
    is_blind: bool,
    /// The last reported status; `None` since the last registration.
    reported: Option<CheckStatus>,
    /// The time at which the last report was sent.
    pub(super) sent: Time,
    next: Time,
}

impl TtlCheck {
    /// Returns the check if it is a TTL check. `last` is the number of the last probe of earlier
    /// terms.
    pub(super) fn of(
        position: usize,
        id: &str,
        check: &Check,
        last: ProbeNumber,
        now: Time,
    ) -> Option<Self> {
        let CheckKind::Ttl { ttl, probe } = &check.kind else { return None };
        let probe = probe.as_ref().map(|probe| {
            let mut checker = HealthChecker::new(HealthState::Unknown, now);
            checker.with_first_id(last);
            (probe.clone(), checker)
        });
        Some(Self {
            position,
            id: id.to_owned(),
            ttl: *ttl,
            probe,
            unsent: None,
            heard: now,
            is_blind: false,
            reported: None,
            sent: now,
            next: now,
        })
    }

    /// Returns the cluster that is probed.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.probe.as_ref().map(|(probe, _)| probe.cluster.as_str())
    }

    /// Notes that this VM stood still for `gap`, and probes again at once. If the TTL may be over,
    /// the state is unknown.
    pub(super) fn on_gap(&mut self, gap: Duration, now: Time) {
        if let Some((_, checker)) = &mut self.probe {
            let is_old = gap >= self.ttl / 2;
            let health = if is_old { HealthState::Unknown } else { checker.health() };
            checker.restart(health, now);
            (self.unsent, self.heard) = (None, now);
        }
    }

    /// Takes the status at the agent. If it differs from the last report, the report is repeated.
    /// If the state is unknown here and another VM of this Envoy has handed the registration over,
    /// its status is taken over. The status from an earlier Envoy says nothing.
    pub(super) fn on_found(&mut self, status: CheckStatus, is_handed_over: bool, now: Time) {
        if self.reported.is_some_and(|reported| reported != status) {
            self.reported = None;
        }
        if let Some((_, checker)) = &mut self.probe
            && is_handed_over
            && checker.health() == HealthState::Unknown
        {
            let health = match status {
                CheckStatus::Critical => HealthState::Unknown,
                CheckStatus::Warning => HealthState::Healthy { warns: true },
                CheckStatus::Passing => HealthState::Healthy { warns: false },
            };
            checker.restart(health, now);
        }
    }

    /// Returns the report on the check, if its state is known.
    pub(super) fn report(&self) -> Option<Report> {
        let Some((probe, checker)) = &self.probe else {
            let output = "Envoy runs".to_owned();
            return Some(Report { status: CheckStatus::Passing, output });
        };
        // Parameters may be secrets, and everyone can read the output.
        let (method, cluster) = (probe.check.method, &probe.cluster);
        let path = probe.check.path.split('?').next().unwrap_or_default();
        if let Some(reason) = self.unsent.as_ref().filter(|_| self.is_blind) {
            let output = format!("{method} {path} of {cluster} could not be sent: {reason}");
            return Some(Report { status: CheckStatus::Critical, output });
        }
        let status = match checker.health() {
            HealthState::Unknown => return None,
            HealthState::Healthy { warns: false } => CheckStatus::Passing,
            HealthState::Healthy { warns: true } => CheckStatus::Warning,
            HealthState::Unhealthy => CheckStatus::Critical,
        };
        let Some(reason) = checker.reason() else {
            let output = "as it stood before; it is being probed".to_owned();
            return Some(Report { status, output });
        };
        Some(Report { status, output: format!("{method} {path} of {cluster}: {reason}") })
    }

    /// Returns true if the report of a status is due.
    pub(super) fn is_due(&self, status: CheckStatus, now: Time) -> bool {
        self.reported != Some(status) || now >= self.next
    }

    /// Notes that a status was reported. Returns true if it has changed.
    pub(super) fn on_reported(&mut self, status: CheckStatus, now: Time, rng: &mut Rng) -> bool {
        self.next = now + rng.about(self.ttl / PARTS);
        self.reported.replace(status) != Some(status)
    }

    /// Notes that the service was registered again.
    pub(super) const fn on_registered(&mut self) {
        self.reported = None;
    }

    /// Returns the last reported status.
    pub(super) const fn reported(&self) -> Option<CheckStatus> {
        self.reported
    }

    /// Returns a probe that must be sent now.
    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<(ProbeNumber, &Probe)> {
        let (probe, checker) = self.probe.as_mut()?;
        self.is_blind = self.unsent.is_some() && now.since(self.heard) >= self.ttl;
        let number = checker.poll_probe(&probe.check, now, rng)?;
        Some((number, probe))
    }

    /// Takes the result of a probe. A probe that Envoy did not send says nothing about the service.
    /// If no probe can be sent for a TTL, the check is critical.
    pub(super) fn on_probed(
        &mut self,
        number: ProbeNumber,
        judge: impl FnOnce(&Probe) -> ProbeVerdict,
        now: Time,
        rng: &mut Rng,
    ) {
        if let Some((probe, checker)) = &mut self.probe {
            let verdict = judge(probe);
            if verdict.reason().is_unsent() {
                checker.on_unsent(number, &probe.check, now, rng);
                self.unsent = Some(verdict.reason().clone());
            } else {
                checker.on_verdict(number, verdict, &probe.check, now, rng);
                (self.unsent, self.heard) = (None, now);
            }
        }
    }
}
