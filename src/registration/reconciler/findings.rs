//! The reactions of the reconciler to the responses of the agent.

use core::time::Duration;

use super::{
    ATTEMPTS, AUDIT, AUDIT_WITHOUT_REPORTS, PAUSE, PAUSE_ELSEWHERE, ROUNDS, Reconciler, Stage,
};
use crate::registration::ttl_check::TtlCheck;
use crate::registry::consul::registration::{
    ActualCheck, ActualService, AgentIdentity, CheckStatus, Drift, RegistrationError, Report,
    Reported,
};
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The number of agents that are remembered.
const KNOWN: usize = 8;
/// The wait if the agent knows a check only intermittently.
const RETRY: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Takes the service that the agent has under the id. Its checks are read in any case, since
    /// their state must be known before the next registration.
    pub(super) fn on_found(
        &mut self,
        found: Option<ActualService>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        let Stage::Looking { registered } = self.stage else { return };
        let Some(found) = found else {
            self.has_checks = false;
            return self.on_difference(Drift::Absent, registered, events);
        };
        if self.definition.is_elsewhere(&found) {
            let found = found.datacenter.unwrap_or_default();
            let error = RegistrationError::Elsewhere { found };
            return match registered {
                true => self.roll_back(error, 1, PAUSE_ELSEWHERE, events),
                false => self.wait(error, PAUSE_ELSEWHERE, now, rng, events),
            };
        }
        self.difference = self.definition.difference(&found);
        // Tags that others have set are kept, but not those of another definition.
        let keeps_tags = self.definition.has_tag_override()
            && !self.must_register
            && !matches!(self.difference, Some(Drift::Name(_)));
        self.tags = keeps_tags.then_some(found.tags);
        self.stage = Stage::LookingAtChecks { registered };
    }

    pub(super) fn on_found_checks(
        &mut self,
        found: &[ActualCheck],
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        let Stage::LookingAtChecks { registered } = self.stage else { return };
        let missing = self.definition.missing_check(found);
        self.is_in_maintenance = found.iter().any(ActualCheck::is_maintenance);
        self.has_looked = true;
        for check in &mut self.checks {
            let id = self.definition.checks().get(check.position);
            let found = found.iter().find(|found| Some(&found.id) == id);
            if let Some(status) = found.and_then(|found| found.status) {
                check.on_found(status, self.is_handed_over, now);
            }
        }
        self.has_checks = missing.is_none();
        if let Some(difference) = self.difference.take().or(missing) {
            return self.on_difference(difference, registered, events);
        }
        if self.must_register {
            self.stage = Stage::Identifying { first: None };
            return;
        }
        let audit = if self.checks.is_empty() { AUDIT_WITHOUT_REPORTS } else { AUDIT };
        self.stage = Stage::InSync { until: now + rng.about(audit) };
        self.attempts = 0;
        let is_news = !self.in_sync || self.failing.is_some();
        self.in_sync = true;
        self.failing = None;
        if is_news {
            events.push(RegistrationEvent::Standing);
        }
    }

    pub(super) fn on_reported(
        &mut self,
        position: usize,
        status: Option<CheckStatus>,
        reported: Reported,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        let id = self.definition.checks().get(position).cloned().unwrap_or_default();
        if reported == Reported::Unknown {
            // Otherwise this is known already.
            if !core::mem::take(&mut self.has_checks) {
                return;
            }
            self.unknown = self.unknown.saturating_add(1);
            if self.unknown > ATTEMPTS {
                let error = RegistrationError::InPart(Drift::Check(id.clone()));
                self.pause(now + rng.about(PAUSE));
                self.report_error(error, events);
            } else if self.unknown > 1 {
                self.pause(now + rng.about(RETRY));
            }
            return self.on_difference(Drift::Check(id), false, events);
        }
        self.unknown = 0;
        let report = self.state(position).filter(|report| Some(report.status) == status);
        let check = self.checks.iter_mut().find(|check| check.position == position);
        let (Some(check), Some(status)) = (check, status) else { return };
        if check.on_reported(status, now, rng) {
            let output = report.map(|report| report.output).unwrap_or_default();
            events
                .push(RegistrationEvent::Reported { check: id, report: Report { status, output } });
        }
        let health = self.checks.iter().filter_map(TtlCheck::reported).min();
        if health != self.reported_health {
            self.reported_health = health;
            events.extend(health.map(RegistrationEvent::Health));
        }
    }

    /// Takes a drift that was read back after a registration (`registered`) or at a later read.
    fn on_difference(
        &mut self,
        difference: Drift,
        registered: bool,
        events: &mut Vec<RegistrationEvent>,
    ) {
        if core::mem::take(&mut self.in_sync) {
            events.push(RegistrationEvent::Drifted(difference.clone()));
        }
        self.stage = Stage::Identifying { first: None };
        self.has_looked = true;
        self.attempts = if registered { self.attempts.saturating_add(1) } else { 0 };
        // One agent has taken the registration, and another has responded.
        let is_several = difference == Drift::Absent && registered && self.agents.is_empty();
        let (error, times, pause) = if is_several {
            let cluster = self.definition.id.cluster.clone();
            let error = RegistrationError::SeveralAgents { cluster, found: None };
            self.report_error(error.clone(), events);
            (error, ROUNDS, PAUSE_ELSEWHERE)
        } else {
            (RegistrationError::InPart(difference), 1, PAUSE)
        };
        if self.attempts >= ATTEMPTS {
            self.roll_back(error, times, pause, events);
        }
    }

    /// Takes the identity of the agent; `None` if it may not be read.
    pub(super) fn on_identified(
        &mut self,
        found: Option<AgentIdentity>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        let Stage::Identifying { first } = &mut self.stage else { return };
        let Some(found) = found else {
            self.stage = Stage::Registering;
            return;
        };
        let wanted = self.definition.service().datacenter.as_deref();
        if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&found.datacenter)) {
            let error = RegistrationError::Elsewhere { found: found.datacenter };
            return self.wait(error, PAUSE_ELSEWHERE, now, rng, events);
        }
        let Some(first) = first.take() else {
            self.stage = Stage::Identifying { first: Some(found) };
            return;
        };
        // An agent that was replaced never comes back.
        let (last, earlier) = self.agents.split_last().unzip();
        let returns = last != Some(&found) && earlier.unwrap_or_default().contains(&found);
        let other = if first == found { last.filter(|_| returns).cloned() } else { Some(first) };
        if let Some(other) = other {
            // This agent may be the only one from now on.
            if let Some(known) = self.agents.iter().position(|agent| *agent == found) {
                let known = self.agents.remove(known);
                self.agents.push(known);
            }
            let cluster = self.definition.id.cluster.clone();
            let found = Some(Box::new([other, found]));
            let error = RegistrationError::SeveralAgents { cluster, found };
            return match self.may_be_there {
                true => self.roll_back(error, ROUNDS, PAUSE, events),
                false => self.wait(error, PAUSE, now, rng, events),
            };
        }
        if last != Some(&found) {
            self.agents.push(found);
            self.agents.drain(..self.agents.len().saturating_sub(KNOWN));
        }
        self.stage = Stage::Registering;
    }

    /// Counts one more deregistration of the rollback.
    pub(super) fn on_deregistered(&mut self, now: Time, rng: &mut Rng) {
        let Stage::RollingBack { times, pause } = &mut self.stage else { return };
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.calls.not_before(now + rng.about(*pause));
            self.stage = Stage::Looking { registered: false };
            (self.attempts, self.may_be_there) = (0, false);
        }
    }

    /// Rolls back: deregisters `times` times, then rests.
    fn roll_back(
        &mut self,
        error: RegistrationError,
        times: u32,
        pause: Duration,
        events: &mut Vec<RegistrationEvent>,
    ) {
        (self.in_sync, self.has_checks) = (false, false);
        self.stage = Stage::RollingBack { times, pause };
        self.report_error(error, events);
    }

    /// Leaves the agent alone for a while.
    fn wait(
        &mut self,
        error: RegistrationError,
        pause: Duration,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        (self.stage, self.in_sync) = (Stage::Looking { registered: false }, false);
        self.calls.not_before(now + rng.about(pause));
        self.report_error(error, events);
    }

    fn pause(&mut self, until: Time) {
        self.calls.not_before(until);
        self.reports.not_before(until);
    }

    pub(super) fn report_error(
        &mut self,
        error: RegistrationError,
        events: &mut Vec<RegistrationEvent>,
    ) {
        let is_same = self.failing.as_ref().is_some_and(|last| {
            core::mem::discriminant(last) == core::mem::discriminant(&error)
                && last.kind() == error.kind()
        });
        if !is_same {
            events.push(RegistrationEvent::Failing(error.clone()));
            self.failing = Some(error);
        }
    }
}
