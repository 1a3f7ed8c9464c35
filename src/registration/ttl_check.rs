//! A check that this proxy reports on.

use core::time::Duration;

use crate::config::{Check, CheckKind, Probe};
use crate::consul::registration::{CheckStatus, Report};
use crate::health_check::checker::{HealthChecker, HealthState, ProbeNumber};
use crate::health_check::verdict::{ProbeReason, ProbeVerdict};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// In how many parts a TTL is cut: two reports may be lost.
const PARTS: u32 = 3;

/// A check that this proxy reports on, in time.
#[derive(Debug)]
pub(super) struct TtlCheck {
    /// Its position among the registration's checks.
    pub(super) position: usize,
    ttl: Duration,
    probe: Option<(Probe, HealthChecker)>,
    /// Why the last probe was not sent, where it was not.
    unsent: Option<ProbeReason>,
    /// When something last came back for a probe; nothing is made of those that were not sent before
    /// a TTL has passed.
    heard: Time,
    /// Whether that is so long ago.
    is_blind: bool,
    /// What was reported last; none since it was registered.
    reported: Option<CheckStatus>,
    /// When a report was sent last.
    pub(super) sent: Time,
    next: Time,
}

impl TtlCheck {
    /// The check at a position, if it is one.
    pub(super) fn of(position: usize, check: &Check, now: Time) -> Option<Self> {
        let CheckKind::Ttl { ttl, probe } = &check.kind else { return None };
        let checker =
            |probe: &Probe| (probe.clone(), HealthChecker::new(HealthState::Unknown, now));
        let probe = probe.as_ref().map(checker);
        Some(Self {
            position,
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

    /// Gives its probes higher numbers than this one.
    pub(super) const fn with_first_id(&mut self, number: ProbeNumber) {
        if let Some((_, checker)) = &mut self.probe {
            checker.with_first_id(number);
        }
    }

    /// The cluster that is probed.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.probe.as_ref().map(|(probe, _)| probe.cluster.as_str())
    }

    /// Learns that this VM has stood still for so long: what was asked before is asked anew; and where
    /// the TTL may be over, nobody knows any more how it stands.
    pub(super) fn on_gap(&mut self, gap: Duration, now: Time) {
        if let Some((_, checker)) = &mut self.probe {
            let is_old = gap >= self.ttl / 2;
            let standing = if is_old { HealthState::Unknown } else { checker.standing() };
            checker.begin_anew(standing, now);
            (self.unsent, self.heard) = (None, now);
        }
    }

    /// Learns what the agent has of it: where it was reported otherwise, it is reported again. Where
    /// it is not known here how it stands and another VM of this Envoy has just reported on it, it is
    /// as that one said; what an earlier Envoy has left behind says nothing.
    pub(super) fn on_found(&mut self, status: CheckStatus, is_handed_over: bool, now: Time) {
        if self.reported.is_some_and(|reported| reported != status) {
            self.reported = None;
        }
        if let Some((_, checker)) = &mut self.probe
            && is_handed_over
            && checker.standing() == HealthState::Unknown
        {
            let standing = match status {
                CheckStatus::Critical => HealthState::Unknown,
                CheckStatus::Warning => HealthState::Healthy { warns: true },
                CheckStatus::Passing => HealthState::Healthy { warns: false },
            };
            checker.begin_anew(standing, now);
        }
    }

    /// How it stands; none: nobody knows yet.
    pub(super) fn state(&self) -> Option<Report> {
        let Some((probe, checker)) = &self.probe else {
            let output = "Envoy runs".to_owned();
            return Some(Report { status: CheckStatus::Passing, output });
        };
        // Parameters may be secrets, and everyone reads the output.
        let (method, cluster) = (probe.check.method, &probe.cluster);
        let path = probe.check.path.split('?').next().unwrap_or_default();
        if let Some(reason) = self.unsent.as_ref().filter(|_| self.is_blind) {
            let output = format!("{method} {path} of {cluster} could not be sent: {reason}");
            return Some(Report { status: CheckStatus::Critical, output });
        }
        let status = match checker.standing() {
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

    /// Whether this is to be reported now.
    pub(super) fn is_due(&self, report: &Report, now: Time) -> bool {
        self.reported != Some(report.status) || now >= self.next
    }

    /// Learns that this was reported; tells whether that is news.
    pub(super) fn on_reported(&mut self, status: CheckStatus, now: Time, rng: &mut Rng) -> bool {
        self.next = now + rng.about(self.ttl / PARTS);
        self.reported.replace(status) != Some(status)
    }

    /// Learns that the agent has it anew.
    pub(super) const fn on_registered(&mut self) {
        self.reported = None;
    }

    /// What was reported last.
    pub(super) const fn reported(&self) -> Option<CheckStatus> {
        self.reported
    }

    /// A probe that is to be sent now.
    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<(ProbeNumber, &Probe)> {
        let (probe, checker) = self.probe.as_mut()?;
        self.is_blind = self.unsent.is_some() && now.since(self.heard) >= self.ttl;
        let number = checker.poll_probe(&probe.check, now, rng)?;
        Some((number, probe))
    }

    /// Takes the outcome of a probe. One that this Envoy has not sent says nothing of the service;
    /// but where that lasts for a TTL nobody can say any more that it is well.
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
