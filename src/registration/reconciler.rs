//! Drives the agent to one registration.

use core::time::Duration;

use crate::calls::caller::AgentCallId;
use crate::config;
use crate::health_check::checker::ProbeNumber;
use crate::registration::agent_call::{AgentCall, CallSlot};
use crate::registration::drain::Drain;
use crate::registration::ttl_check::TtlCheck;
use crate::registry::consul::registration::{
    AgentIdentity, CheckStatus, Definition, Drift, RegistrationError, Report,
};
use crate::registry::error::ErrorKind;
use crate::registry::request::HttpRequest;
use crate::registry::response::{CallFailure, HttpResponse};
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The interval between two reads of a registration that is in sync.
const AUDIT: Duration = Duration::from_secs(60);
/// The interval for a registration without a check that this proxy reports on. No report tells
/// that the agent has lost such a registration.
const AUDIT_WITHOUT_REPORTS: Duration = Duration::from_secs(10);
/// The longest wait after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// The longest wait after refusals, which only an operator can resolve.
const MAX_REFUSAL_BACKOFF: Duration = Duration::from_secs(240);
/// The number of parts of a TTL of which one report may take one. A lost report is repeated within
/// the others.
const PARTS: u32 = 4;
/// The wait after the rollback of a partial registration.
const PAUSE: Duration = Duration::from_secs(60);
/// The wait before an agent of another datacenter is read again.
const PAUSE_ELSEWHERE: Duration = Duration::from_secs(600);
/// The number of attempts in a row at a registration that the agent takes only in part.
const ATTEMPTS: u32 = 3;
/// The number of deregistrations if several agents may have the registration. Each agent is reached
/// if they take turns, and most likely if they are chosen at random.
const ROUNDS: u32 = 8;
/// The time for which this VM may stand still before calls that are out get more time.
pub(super) const STANDSTILL: Duration = Duration::from_secs(2);

/// The registration of one service, as its leader sees it.
///
/// The reconciler first reads the registration, since another VM may have made it; then the checks
/// keep their state. Each registration is read back and compared, and compared again every minute.
/// Consul calls this anti-entropy.
#[derive(Debug)]
pub struct Reconciler {
    definition: Definition,
    checks: Vec<TtlCheck>,
    drain: Option<Drain>,
    /// The services to warn of, which have been down for a while.
    down: Vec<String>,
    stage: Stage,
    /// True if the agent has the service as configured, as far as is known.
    in_sync: bool,
    /// True if another VM of this Envoy has kept exactly this registration until now.
    is_handed_over: bool,
    /// True once the state of the checks at the agent is known. No probe is sent before, so that
    /// one bad response does not overrule the earlier state.
    has_looked: bool,
    last: AgentCallId,
    /// The slot of all calls but reports. An agent may be slow.
    calls: CallSlot,
    /// The slot of reports, which are due in time whatever other call is out.
    reports: CallSlot,
    /// The time of the last event.
    seen: Time,
    /// The agents that have responded, the latest last. Empty if their identity cannot be read.
    agents: Vec<AgentIdentity>,
    /// True if something may be registered that was not rolled back.
    may_be_there: bool,
    /// The clusters that Envoy does not have.
    missing: Vec<String>,
    /// True if the service must be registered whatever the agent has. The settings of its checks
    /// and its token cannot be read back.
    must_register: bool,
    /// True if the agent has the checks, as far as is known. Only then they are reported on.
    has_checks: bool,
    /// True if an operator has put the service into maintenance.
    is_in_maintenance: bool,
    /// The drift that the last read has found.
    difference: Option<Drift>,
    /// The attempts in a row that the agent has taken only in part.
    attempts: u32,
    /// The number of times in a row that the agent did not know a check which it had.
    unknown: u32,
    /// The tags that others have set, if they may.
    tags: Option<Vec<String>>,
    /// The last error that was reported.
    failing: Option<RegistrationError>,
    reported_health: Option<CheckStatus>,
}

/// The next action besides reports.
#[derive(Debug)]
enum Stage {
    /// Read the service.
    Looking { registered: bool },
    /// Read its checks.
    LookingAtChecks { registered: bool },
    /// Read the agent's identity twice, because several agents may take turns.
    Identifying { first: Option<AgentIdentity> },
    /// Register the service.
    Registering,
    /// Roll back a registration that was taken only in part, or by one of several agents:
    /// deregister `times` times, then rest.
    RollingBack { times: u32, pause: Duration },
    /// In sync; nothing to do before the next read.
    InSync { until: Time },
}

impl Reconciler {
    /// Starts without knowing what the agent has.
    pub fn new(definition: Definition, now: Time) -> Self {
        let config::Registration { checks, drain, .. } = definition.service();
        let drain = drain.as_ref().map(|probe| Drain::new(probe.clone(), now));
        let checks = checks.iter().enumerate();
        let checks = checks.filter_map(|(position, check)| TtlCheck::of(position, check, now));
        let checks: Vec<TtlCheck> = checks.collect();
        // One report may be lost, and the next is in time.
        let ttl = definition.service().least_ttl().unwrap_or_default();
        let reports = CallSlot::new((ttl / 6).min(MAX_BACKOFF), ttl / 3).bounded(ttl / PARTS);
        Self {
            checks,
            drain,
            definition,
            down: Vec::new(),
            stage: Stage::Looking { registered: false },
            in_sync: false,
            is_handed_over: false,
            has_looked: false,
            last: AgentCallId(0),
            calls: CallSlot::new(MAX_BACKOFF, MAX_REFUSAL_BACKOFF),
            reports,
            seen: now,
            agents: Vec::new(),
            may_be_there: false,
            missing: Vec::new(),
            must_register: true,
            has_checks: false,
            is_in_maintenance: false,
            difference: None,
            attempts: 0,
            unknown: 0,
            tags: None,
            failing: None,
            reported_health: None,
        }
    }

    /// Begins a term of the lease, in which another VM may have handed over exactly this
    /// registration. The numbers of calls differ from those of earlier terms.
    pub fn in_term(mut self, term: u64, is_handed_over: bool) -> Self {
        self.last = AgentCallId::first_in(term);
        let AgentCallId(number) = self.last;
        self.checks.iter_mut().for_each(|check| check.with_first_id(ProbeNumber(number)));
        if let Some(drain) = &mut self.drain {
            drain.with_first_id(ProbeNumber(number));
        }
        (self.is_handed_over, self.must_register) = (is_handed_over, !is_handed_over);
        self.may_be_there = is_handed_over;
        self
    }

    /// Returns the definition.
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns true if the agent has the service as configured, as far as is known.
    pub const fn is_in_sync(&self) -> bool {
        self.in_sync
    }

    /// Returns true if this definition was registered since Envoy started.
    pub const fn is_registered_since_start(&self) -> bool {
        !self.must_register
    }

    /// Returns true if the last call in the slot of `call` has failed.
    pub const fn is_failing_at(&self, call: AgentCall) -> bool {
        match call {
            AgentCall::Report(_) => self.reports.is_failing(),
            _ => self.calls.is_failing(),
        }
    }

    /// Sets the services to warn of.
    pub fn on_dependencies_down(&mut self, down: &[String]) {
        if self.down != down {
            self.down = down.to_vec();
        }
    }

    /// Returns the call that is due, if any.
    pub fn next_call(&self, now: Time) -> Option<AgentCall> {
        if self.has_checks
            && self.reports.is_free(now)
            && let Some(position) = self.due_report(now)
        {
            return Some(AgentCall::Report(position));
        }
        if !self.calls.is_free(now) {
            return None;
        }
        match self.stage {
            Stage::Looking { .. } => Some(AgentCall::Read),
            Stage::LookingAtChecks { .. } => Some(AgentCall::ReadChecks),
            Stage::Identifying { .. } => Some(AgentCall::Identify),
            Stage::Registering => Some(AgentCall::Register),
            Stage::RollingBack { .. } => Some(AgentCall::Deregister),
            Stage::InSync { until } => (now >= until).then_some(AgentCall::Read),
        }
    }

    /// Starts a call that [is due](Self::next_call).
    pub fn start(&mut self, call: AgentCall, now: Time) -> (AgentCallId, HttpRequest) {
        let id = &self.definition.id;
        let mut status = None;
        let request = match call {
            AgentCall::Read => {
                if let Stage::InSync { .. } = self.stage {
                    self.stage = Stage::Looking { registered: false };
                }
                id.read()
            }
            AgentCall::ReadChecks => id.read_checks(),
            AgentCall::Identify => id.identify(),
            AgentCall::Register => {
                self.may_be_there = true;
                let replaces = !self.is_in_maintenance;
                let state = |position| self.state(position);
                self.definition.register(state, self.tags.as_deref(), replaces)
            }
            AgentCall::Report(position) => {
                let report = self.state(position).unwrap_or_else(unknown);
                status = Some(report.status);
                let mut checks = self.checks.iter_mut();
                if let Some(check) = checks.find(|check| check.position == position) {
                    check.sent = now;
                }
                let check = self.definition.checks().get(position);
                id.report(check.map(String::as_str).unwrap_or_default(), &report)
            }
            AgentCall::Deregister => id.deregister(),
        };
        self.last = AgentCallId(self.last.0.wrapping_add(1));
        let id = self.last;
        (id, self.slot(call).send(id, call, status, request, now))
    }

    /// Returns a call that is out and counts as lost.
    pub fn poll_lost(&mut self, now: Time) -> Option<AgentCallId> {
        self.on_time(now);
        self.reports.poll_lost(now).or_else(|| self.calls.poll_lost(now))
    }

    /// Takes the response to a call. Returns the outcome as a statement about the agent; `None` if
    /// the call is not out.
    pub fn on_response(
        &mut self,
        id: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) -> Option<Result<(), ErrorKind>> {
        let call = self.reports.take(id).or_else(|| self.calls.take(id))?;
        let had_failed = self.calls.is_failing() || self.reports.is_failing();
        let result = match call.kind {
            AgentCall::Read => self.definition.read_found(response).map(|found| {
                self.on_found(found, now, rng, events);
            }),
            AgentCall::ReadChecks => self.definition.read_found_checks(response).map(|found| {
                self.on_found_checks(&found, now, rng, events);
            }),
            AgentCall::Identify => self.definition.id.read_identity(response).map(|found| {
                self.on_identified(found, now, rng, events);
            }),
            AgentCall::Register => self.definition.read_registered(response).map(|()| {
                self.must_register = false;
                self.checks.iter_mut().for_each(TtlCheck::on_registered);
                self.stage = Stage::Looking { registered: true };
            }),
            AgentCall::Report(position) => {
                self.definition.read_reported(response).map(|reported| {
                    self.on_reported(position, call.status, reported, now, rng, events);
                })
            }
            AgentCall::Deregister => {
                let token_env = self.definition.token_env();
                self.definition.id.read_deregistered(response, token_env).map(|_| {
                    self.on_deregistered(now, rng);
                })
            }
        };
        let called = result.as_ref().copied().map_err(RegistrationError::kind);
        match result {
            Ok(()) => {
                self.slot(call.kind).on_success(call, now);
                // An agent that could not be reached may have lost its state.
                if had_failed && let Stage::InSync { until } = &mut self.stage {
                    *until = now;
                }
            }
            Err(error) => {
                self.slot(call.kind).on_failure(call, error.kind(), now, rng);
                self.report_error(error, events);
            }
        }
        Some(called)
    }
}

impl Reconciler {
    fn slot(&mut self, call: AgentCall) -> &mut CallSlot {
        match call {
            AgentCall::Report(_) => &mut self.reports,
            _ => &mut self.calls,
        }
    }

    /// Returns the position of the check whose report is due. Of several the longest unreported
    /// comes first.
    fn due_report(&self, now: Time) -> Option<usize> {
        let is_due = |check: &&TtlCheck| {
            self.state(check.position).is_some_and(|report| check.is_due(&report, now))
        };
        let due = self.checks.iter().filter(is_due);
        due.min_by_key(|check| check.sent).map(|check| check.position)
    }

    /// Returns the report on the check at a position, if its state is known.
    fn state(&self, position: usize) -> Option<Report> {
        let check = self.checks.iter().find(|check| check.position == position)?;
        match self.drain.as_ref().map(Drain::is_draining) {
            // Envoy's state is not known yet.
            Some(None) => return None,
            Some(Some(true)) => {
                let output = "Envoy drains".to_owned();
                return Some(Report { status: CheckStatus::Critical, output });
            }
            Some(Some(false)) | None => {}
        }
        let report = check.state()?;
        if self.down.is_empty() || report.status != CheckStatus::Passing {
            return Some(report);
        }
        let output = format!("no healthy endpoint of {}", self.down.join(", "));
        Some(Report { status: CheckStatus::Warning, output })
    }
}

/// Returns the report on a check of unknown state.
fn unknown() -> Report {
    Report { status: CheckStatus::Critical, output: "not known yet".to_owned() }
}

mod findings;
mod probes;
#[cfg(test)]
mod tests;
