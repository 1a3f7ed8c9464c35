//! Keeps a service registered as configured.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::caller::AgentCallId;
use crate::health_check::checker::ProbeNumber;
use crate::registration::agent_call::{AgentCall, Effects, ROUNDS};
use crate::registration::checks::{ATTEMPTS, PAUSE, TtlChecks};
use crate::registry::consul::registration::{
    ActualCheck, ActualService, AgentIdentity, CheckStatus, Definition, Drift, RegistrationError,
    Reported,
};
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse};
use crate::telemetry::RegistrationEvent;
use crate::util::time::Time;

/// The interval between two reads of a registration that is in sync.
const AUDIT: Duration = Duration::from_secs(60);
/// The interval for a registration without a check that this proxy reports on. No report tells
/// that the agent has lost such a registration.
const AUDIT_WITHOUT_REPORTS: Duration = Duration::from_secs(10);
/// The wait before an agent of another datacenter is read again.
const PAUSE_ELSEWHERE: Duration = Duration::from_secs(600);
/// The number of agents that are remembered.
const KNOWN: usize = 8;

/// The progress towards a service that is registered as configured.
///
/// The service is read first, since another VM may have registered it; then the checks keep their
/// state. Each registration is read back and compared, and compared again every minute.
#[derive(Debug)]
pub(super) struct Present {
    definition: Rc<Definition>,
    pub(super) checks: TtlChecks,
    stage: Stage,
    /// True if this definition was registered since Envoy started. Otherwise it is registered
    /// whatever the agent has, because the settings of its checks and its token cannot be read back.
    is_registered_since_start: bool,
    /// True if something may be registered that was not rolled back.
    may_be_there: bool,
    /// True if an operator has put the service into maintenance.
    is_in_maintenance: bool,
    /// The tags that others have set, if they may.
    tags: Option<Vec<String>>,
    /// The agents that have responded, the latest last. Empty if their identity cannot be read.
    agents: Vec<AgentIdentity>,
}

/// The next action besides reports. `attempts` counts the registrations in a row that the agent has
/// taken only in part.
#[derive(Debug)]
enum Stage {
    /// Read the service.
    Reading(Reason),
    /// Read its checks. The service itself may differ already.
    ReadingChecks { reason: Reason, drift: Option<Drift> },
    /// Read the agent's identity twice, because several agents may take turns.
    Identifying { attempts: u32, first: Option<AgentIdentity> },
    /// Register the service.
    Registering { attempts: u32 },
    /// Roll back a registration that was taken only in part, or by one of several agents:
    /// deregister `times` times, then rest.
    RollingBack { times: u32, pause: Duration },
    /// In sync; nothing to do before the next read.
    InSync { until: Time },
}

/// The reason for a read.
#[derive(Debug, Clone, Copy)]
enum Reason {
    /// The state of the service is unknown.
    Unknown,
    /// The service was registered, and is read back.
    Registered { attempts: u32 },
    /// The service was in sync at the last read.
    Audit,
}

impl Present {
    /// Starts without knowing what the agent has. `last` is the last number of earlier terms.
    /// `is_handed_over` is true if another VM of this Envoy has kept exactly this registration
    /// until now.
    pub(super) fn new(
        definition: Rc<Definition>,
        last: AgentCallId,
        is_handed_over: bool,
        now: Time,
    ) -> Self {
        Self {
            checks: TtlChecks::new(&definition, ProbeNumber(last.0), is_handed_over, now),
            definition,
            stage: Stage::Reading(Reason::Unknown),
            is_registered_since_start: is_handed_over,
            may_be_there: is_handed_over,
            is_in_maintenance: false,
            tags: None,
            agents: Vec::new(),
        }
    }

    /// Returns true if the agent has the service as configured, as far as is known.
    pub(super) const fn is_in_sync(&self) -> bool {
        matches!(
            self.stage,
            Stage::InSync { .. }
                | Stage::Reading(Reason::Audit)
                | Stage::ReadingChecks { reason: Reason::Audit, .. }
        )
    }

    /// Returns true if this definition was registered since Envoy started.
    pub(super) const fn is_registered_since_start(&self) -> bool {
        self.is_registered_since_start
    }

    /// Returns the call that is due besides reports.
    pub(super) fn next_call(&self, now: Time) -> Option<AgentCall> {
        match self.stage {
            Stage::Reading(_) => Some(AgentCall::Read),
            Stage::ReadingChecks { .. } => Some(AgentCall::ReadChecks),
            Stage::Identifying { .. } => Some(AgentCall::Identify),
            Stage::Registering { .. } => Some(AgentCall::Register),
            Stage::RollingBack { .. } => Some(AgentCall::Deregister),
            Stage::InSync { until } => (now >= until).then_some(AgentCall::Read),
        }
    }

    /// Starts a call. Returns its request.
    pub(super) fn start(&mut self, call: AgentCall, now: Time) -> HttpRequest {
        let id = &self.definition.id;
        match call {
            AgentCall::Read => {
                if let Stage::InSync { .. } = self.stage {
                    self.stage = Stage::Reading(Reason::Audit);
                }
                id.read()
            }
            AgentCall::ReadChecks => id.read_checks(),
            AgentCall::Identify => id.identify(),
            AgentCall::Register => {
                self.may_be_there = true;
                let report = |position| self.checks.report_of(position);
                self.definition.register(report, self.tags.as_deref(), !self.is_in_maintenance)
            }
            AgentCall::Report { check, status } => {
                let (check, report) = self.checks.start_report(check, status, now);
                id.report(check, &report)
            }
            AgentCall::Deregister => id.deregister(),
        }
    }

    /// Takes the response to a call.
    ///
    /// # Errors
    ///
    /// The call has failed.
    pub(super) fn on_response(
        &mut self,
        call: AgentCall,
        response: Result<HttpResponse<'_>, CallFailure>,
        effects: &mut Effects<'_>,
    ) -> Result<(), RegistrationError> {
        match call {
            AgentCall::Read => self.on_found(self.definition.read_found(response)?, effects),
            AgentCall::ReadChecks => {
                self.on_found_checks(&self.definition.read_found_checks(response)?, effects);
            }
            AgentCall::Identify => {
                self.on_identified(self.definition.id.read_identity(response)?, effects);
            }
            AgentCall::Register => {
                self.definition.read_registered(response)?;
                self.is_registered_since_start = true;
                self.checks.on_registered();
                let attempts = self.attempts();
                self.stage = Stage::Reading(Reason::Registered { attempts });
            }
            AgentCall::Report { check, status } => {
                self.on_reported(check, status, self.definition.read_reported(response)?, effects);
            }
            AgentCall::Deregister => {
                let token_env = self.definition.token_env();
                self.definition.id.read_deregistered(response, token_env)?;
                self.on_deregistered(effects);
            }
        }
        Ok(())
    }

    /// Reads the service now if it is in sync.
    pub(super) const fn read_soon(&mut self, now: Time) {
        if let Stage::InSync { until } = &mut self.stage {
            *until = now;
        }
    }

    /// Takes the service that the agent has under the id. Its checks are read in any case, since
    /// their state must be known before the next registration.
    fn on_found(&mut self, found: Option<ActualService>, effects: &mut Effects<'_>) {
        let Stage::Reading(reason) = self.stage else { return };
        let Some(found) = found else {
            self.checks.stop_reports();
            return self.on_drift(Drift::Absent, reason, effects);
        };
        if self.definition.is_elsewhere(&found) {
            let found = found.datacenter.unwrap_or_default();
            let error = RegistrationError::Elsewhere { found };
            return match reason {
                Reason::Registered { .. } => self.roll_back(error, 1, PAUSE_ELSEWHERE, effects),
                Reason::Unknown | Reason::Audit => self.wait(error, PAUSE_ELSEWHERE, effects),
            };
        }
        let drift = self.definition.difference(&found);
        // Tags that others have set are kept, but not those of another definition.
        let keeps_tags = self.definition.has_tag_override()
            && self.is_registered_since_start
            && !matches!(drift, Some(Drift::Name(_)));
        self.tags = keeps_tags.then_some(found.tags);
        self.stage = Stage::ReadingChecks { reason, drift };
    }

    fn on_found_checks(&mut self, found: &[ActualCheck], effects: &mut Effects<'_>) {
        let Stage::ReadingChecks { reason, drift } = &mut self.stage else { return };
        let (reason, drift) = (*reason, drift.take());
        let missing = self.definition.missing_check(found);
        self.is_in_maintenance = found.iter().any(ActualCheck::is_maintenance);
        self.checks.on_found(found, missing.is_none(), effects.now);
        if let Some(drift) = drift.or(missing) {
            return self.on_drift(drift, reason, effects);
        }
        if !self.is_registered_since_start {
            self.stage = Stage::Identifying { attempts: 0, first: None };
            return;
        }
        let is_news = !self.is_in_sync() || effects.failing.is_some();
        let audit = if self.checks.is_empty() { AUDIT_WITHOUT_REPORTS } else { AUDIT };
        self.stage = Stage::InSync { until: effects.now + effects.rng.about(audit) };
        *effects.failing = None;
        if is_news {
            effects.emit(RegistrationEvent::Standing);
        }
    }

    fn on_reported(
        &mut self,
        position: usize,
        status: CheckStatus,
        reported: Reported,
        effects: &mut Effects<'_>,
    ) {
        if reported == Reported::Unknown {
            if let Some(drift) = self.checks.on_unknown(position, effects) {
                self.on_drift(drift, Reason::Unknown, effects);
            }
            return;
        }
        self.checks.on_reported(position, status, effects);
    }

    /// Registers the service anew, because it has drifted. Rolls back after several attempts.
    fn on_drift(&mut self, drift: Drift, reason: Reason, effects: &mut Effects<'_>) {
        if self.is_in_sync() {
            effects.emit(RegistrationEvent::Drifted(drift.clone()));
        }
        let (attempts, is_registered) = match reason {
            Reason::Registered { attempts } => (attempts.saturating_add(1), true),
            Reason::Unknown | Reason::Audit => (0, false),
        };
        self.stage = Stage::Identifying { attempts, first: None };
        // One agent has taken the registration, and another has responded.
        let is_several = drift == Drift::Absent && is_registered && self.agents.is_empty();
        let (error, times, pause) = if is_several {
            let cluster = self.definition.id.cluster.clone();
            let error = RegistrationError::SeveralAgents { cluster, found: None };
            effects.report_error(error.clone());
            (error, ROUNDS, PAUSE_ELSEWHERE)
        } else {
            (RegistrationError::InPart(drift), 1, PAUSE)
        };
        if attempts >= ATTEMPTS {
            self.roll_back(error, times, pause, effects);
        }
    }

    /// Takes the identity of the agent; `None` if it may not be read.
    fn on_identified(&mut self, found: Option<AgentIdentity>, effects: &mut Effects<'_>) {
        let Stage::Identifying { attempts, first } = &mut self.stage else { return };
        let attempts = *attempts;
        let Some(found) = found else {
            self.stage = Stage::Registering { attempts };
            return;
        };
        let wanted = self.definition.service().datacenter.as_deref();
        if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&found.datacenter)) {
            let error = RegistrationError::Elsewhere { found: found.datacenter };
            return self.wait(error, PAUSE_ELSEWHERE, effects);
        }
        let Some(first) = first.take() else {
            self.stage = Stage::Identifying { attempts, first: Some(found) };
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
                true => self.roll_back(error, ROUNDS, PAUSE, effects),
                false => self.wait(error, PAUSE, effects),
            };
        }
        if last != Some(&found) {
            self.agents.push(found);
            self.agents.drain(..self.agents.len().saturating_sub(KNOWN));
        }
        self.stage = Stage::Registering { attempts };
    }

    /// Counts one more deregistration of the rollback.
    fn on_deregistered(&mut self, effects: &mut Effects<'_>) {
        let Stage::RollingBack { times, pause } = &mut self.stage else { return };
        *times = times.saturating_sub(1);
        if *times == 0 {
            effects.pause(*pause);
            self.stage = Stage::Reading(Reason::Unknown);
            self.may_be_there = false;
        }
    }

    /// Returns the attempts in a row before the registration that is under way.
    const fn attempts(&self) -> u32 {
        match self.stage {
            Stage::Identifying { attempts, .. } | Stage::Registering { attempts } => attempts,
            _ => 0,
        }
    }

    /// Rolls back: deregisters `times` times, then rests.
    fn roll_back(
        &mut self,
        error: RegistrationError,
        times: u32,
        pause: Duration,
        effects: &mut Effects<'_>,
    ) {
        self.checks.stop_reports();
        self.stage = Stage::RollingBack { times, pause };
        effects.report_error(error);
    }

    /// Leaves the agent alone for a while.
    fn wait(&mut self, error: RegistrationError, pause: Duration, effects: &mut Effects<'_>) {
        self.stage = Stage::Reading(Reason::Unknown);
        effects.pause(pause);
        effects.report_error(error);
    }
}
