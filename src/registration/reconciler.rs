//! One registration, as the VM that keeps it sees it.

use core::time::Duration;

use crate::calls::caller::AgentCallId;
use crate::config;
use crate::consul::error::ErrorKind;
use crate::consul::registration::{
    AgentIdentity, CheckStatus, Definition, Drift, RegistrationError, Report,
};
use crate::consul::request::Request;
use crate::consul::response::{CallFailure, Response};
use crate::health_check::checker::ProbeNumber;
use crate::registration::agent_call::AgentCall;
use crate::registration::call_slot::CallSlot;
use crate::registration::drain::Drain;
use crate::registration::registration_event::RegistrationEvent;
use crate::registration::ttl_check::TtlCheck;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// How often the agent is asked what it has, while all is well.
const AUDIT: Duration = Duration::from_secs(60);
/// The same for a registration without a check that this proxy reports on: no report tells that
/// the agent has lost it.
const AUDIT_WITHOUT_REPORTS: Duration = Duration::from_secs(10);
/// How long to wait after failures at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after refusals at most: only an operator can help.
const LONG_PATIENCE: Duration = Duration::from_secs(240);
/// In how many parts a TTL is cut for a report: it may take one, and be made up for within the others.
const PARTS: u32 = 4;
/// How long to wait after what was registered in part was removed.
const REST: Duration = Duration::from_secs(60);
/// How long to wait before an agent of another datacenter is looked at again.
const REST_ELSEWHERE: Duration = Duration::from_secs(600);
/// So often in a row a registration is tried that is taken only in part.
const ATTEMPTS: u32 = 3;
/// So often what may be registered at several agents is deregistered: each is reached once, where they
/// take turns, and where chance decides, most likely.
const ROUNDS: u32 = 8;
/// How long this VM may stand still before what is out is waited for anew.
pub(super) const STILL: Duration = Duration::from_secs(2);

/// One registration, as the VM that keeps it sees it.
///
/// It begins with a look at what the agent has, since another VM may have registered it: then its
/// checks go on as they stand. What is registered is read back and compared, and so it is every
/// minute.
#[derive(Debug)]
pub struct Reconciler {
    definition: Definition,
    checks: Vec<TtlCheck>,
    drain: Option<Drain>,
    /// The services without which it only warns that have been down for a while.
    lacks: Vec<String>,
    stage: Stage,
    /// Whether the agent has it as configured, as far as is known.
    stands: bool,
    /// Whether another VM of this Envoy has kept exactly this until now.
    is_handed_over: bool,
    /// Whether it is known how its checks stood before: until then nothing is probed, or one bad
    /// answer would outdo what they had shown.
    has_looked: bool,
    last: AgentCallId,
    /// The way of all calls but reports: an agent may be slow.
    calls: CallSlot,
    /// The way of reports: they are due in time, whatever else is out.
    reports: CallSlot,
    /// When this VM was here last.
    seen: Time,
    /// The agents that have answered, the last one last; none where nobody may know.
    agents: Vec<AgentIdentity>,
    /// Whether something may be registered that was not undone.
    may_be_there: bool,
    /// The clusters that Envoy does not have.
    missing: Vec<String>,
    /// Whether it is to be registered whatever the agent has: what a definition says of its checks
    /// cannot be read back, nor with which token it was registered.
    is_unsure: bool,
    /// Whether the agent has its checks, as far as is known: then they are reported on.
    has_checks: bool,
    /// Whether the agent has a check by which somebody has taken it out of service.
    is_in_maintenance: bool,
    /// What was found otherwise at the last look.
    difference: Option<Drift>,
    /// So often in a row it was taken only in part.
    attempts: u32,
    /// So often in a row the agent did not know a check that it had.
    unknown: u32,
    /// The tags that others have given it, where they may.
    tags: Option<Vec<String>>,
    /// The error that was told of last.
    failing: Option<RegistrationError>,
    told: Option<CheckStatus>,
}

/// What is to be done next, beside reports.
#[derive(Debug)]
enum Stage {
    /// To look what the agent has.
    Looking { registered: bool },
    /// To look which checks it has.
    LookingAtChecks { registered: bool },
    /// To ask twice which agent it is that answers: several may take turns.
    Identifying { first: Option<AgentIdentity> },
    /// To register it.
    Registering,
    /// To remove what was taken only in part, or by one of several agents, so many times, and to rest
    /// then.
    Undoing { times: u32, rest: Duration },
    /// Nothing before the next look.
    Standing { until: Time },
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
        let reports = CallSlot::new((ttl / 6).min(PATIENCE), ttl / 3).bounded(ttl / PARTS);
        Self {
            checks,
            drain,
            definition,
            lacks: Vec::new(),
            stage: Stage::Looking { registered: false },
            stands: false,
            is_handed_over: false,
            has_looked: false,
            last: AgentCallId(0),
            calls: CallSlot::new(PATIENCE, LONG_PATIENCE),
            reports,
            seen: now,
            agents: Vec::new(),
            may_be_there: false,
            missing: Vec::new(),
            is_unsure: true,
            has_checks: false,
            is_in_maintenance: false,
            difference: None,
            attempts: 0,
            unknown: 0,
            tags: None,
            failing: None,
            told: None,
        }
    }

    /// The same in a term of the lease, where another VM may have handed over exactly this. What was
    /// sent in an earlier one has other numbers.
    pub fn in_term(mut self, term: u64, is_handed_over: bool) -> Self {
        self.last = AgentCallId::first_in(term);
        let AgentCallId(number) = self.last;
        self.checks.iter_mut().for_each(|check| check.with_first_id(ProbeNumber(number)));
        if let Some(drain) = &mut self.drain {
            drain.with_first_id(ProbeNumber(number));
        }
        (self.is_handed_over, self.is_unsure) = (is_handed_over, !is_handed_over);
        self.may_be_there = is_handed_over;
        self
    }

    /// What is registered.
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Whether the agent has it as configured, as far as is known.
    pub const fn is_in_sync(&self) -> bool {
        self.stands
    }

    /// Whether this has been registered since this Envoy has started.
    pub const fn is_registered_since_start(&self) -> bool {
        !self.is_unsure
    }

    /// Whether the last call of this kind has failed: reports, or all others.
    pub const fn is_failing_at(&self, call: AgentCall) -> bool {
        match call {
            AgentCall::Report(_) => self.reports.is_failing(),
            _ => self.calls.is_failing(),
        }
    }

    /// Learns which services it is to warn of.
    pub fn on_dependencies_down(&mut self, lacks: &[String]) {
        if self.lacks != lacks {
            self.lacks = lacks.to_vec();
        }
    }

    /// What the agent is to be asked now.
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
            Stage::Undoing { .. } => Some(AgentCall::Deregister),
            Stage::Standing { until } => (now >= until).then_some(AgentCall::Read),
        }
    }

    /// Makes the call of an errand that it [wants](Self::next_call).
    pub fn start(&mut self, call: AgentCall, now: Time) -> (AgentCallId, Request) {
        let id = &self.definition.id;
        let mut status = None;
        let request = match call {
            AgentCall::Read => {
                if let Stage::Standing { .. } = self.stage {
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

    /// A call that nobody heard of again.
    pub fn poll_lost(&mut self, now: Time) -> Option<AgentCallId> {
        self.be_here(now);
        self.reports.poll_lost(now).or_else(|| self.calls.poll_lost(now))
    }

    /// Takes the answer to a call: what it says of the way to the agent. None where nobody waits
    /// for it.
    pub fn on_response(
        &mut self,
        id: AgentCallId,
        response: Result<Response<'_>, CallFailure>,
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
                self.is_unsure = false;
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
                // Whoever could not be reached may have lost what it had.
                if had_failed && let Stage::Standing { until } = &mut self.stage {
                    *until = now;
                }
            }
            Err(error) => {
                self.slot(call.kind).on_failure(call, error.kind(), now, rng);
                self.tell(error, events);
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

    /// The check that is to be reported on now: of several the one whose last report was sent first.
    fn due_report(&self, now: Time) -> Option<usize> {
        let is_due = |check: &&TtlCheck| {
            self.state(check.position).is_some_and(|report| check.is_due(&report, now))
        };
        let due = self.checks.iter().filter(is_due);
        due.min_by_key(|check| check.sent).map(|check| check.position)
    }

    /// How the check at a position stands, if it is one that is reported on, and is known.
    fn state(&self, position: usize) -> Option<Report> {
        let check = self.checks.iter().find(|check| check.position == position)?;
        match self.drain.as_ref().map(Drain::is_draining) {
            // Nothing is said before that is known, or cannot be.
            Some(None) => return None,
            Some(Some(true)) => {
                let output = "Envoy drains".to_owned();
                return Some(Report { status: CheckStatus::Critical, output });
            }
            Some(Some(false)) | None => {}
        }
        let report = check.state()?;
        if self.lacks.is_empty() || report.status != CheckStatus::Passing {
            return Some(report);
        }
        let output = format!("no healthy endpoint of {}", self.lacks.join(", "));
        Some(Report { status: CheckStatus::Warning, output })
    }
}

/// What is reported of a check of which nothing is known.
fn unknown() -> Report {
    Report { status: CheckStatus::Critical, output: "not known yet".to_owned() }
}

mod findings;
mod probes;
#[cfg(test)]
mod tests;
