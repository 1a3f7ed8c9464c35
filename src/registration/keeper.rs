//! One registration, as the VM that keeps it sees it.

use core::time::Duration;

use crate::backoff::{Backoff, Jitter};
use crate::config;
use crate::consul::error::ErrorKind;
use crate::consul::registration::{Definition, Difference, RegistrationError, Report, Status};
use crate::consul::request::Request;
use crate::consul::response::{CallFailure, Response};
use crate::health::prober::ProbeNumber;
use crate::registration::drain::Drain;
use crate::registration::errand::{Errand, ErrandId};
use crate::registration::notice::Notice;
use crate::registration::probing::{ProbeSpot, Probed, Probing};
use crate::registration::ttl_check::TtlCheck;
use crate::rng::Rng;
use crate::time::Time;

/// How often the agent is asked what it has, while all is well.
const AUDIT: Duration = Duration::from_secs(60);
/// The same for a registration without a check that this proxy reports on: no report tells that
/// the agent has lost it.
const AUDIT_WITHOUT_REPORTS: Duration = Duration::from_secs(10);
/// How long to wait after the first of several failures in a row.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// How long a call may take at most, and how long to wait after failures.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after what was registered in part was removed.
const REST: Duration = Duration::from_secs(60);
/// How long to wait before an agent of another datacenter is looked at again.
const REST_ELSEWHERE: Duration = Duration::from_secs(600);
/// So often in a row a registration is tried that is taken only in part.
const ATTEMPTS: u32 = 3;
/// How much longer than its timeout a call is waited for: Envoy calls back by then.
const GIVE_UP: Duration = Duration::from_secs(1);

/// One registration, as the VM that keeps it sees it.
///
/// It begins with a look at what the agent has, since another VM may have registered it: then its
/// checks go on as they stand. What is registered is read back and compared, and so it is every
/// minute.
#[derive(Debug)]
pub struct Keeper {
    definition: Definition,
    /// How long a call may take, and how long to wait after failures at most: one report may be
    /// lost, and the next is in time.
    patience: Duration,
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
    out: Option<Call>,
    last: ErrandId,
    /// No call before then.
    rest: Time,
    backoff: Backoff,
    /// Whether it is to be registered whatever the agent has: what a definition says of its checks
    /// cannot be read back, nor with which token it was registered.
    is_unsure: bool,
    /// Whether the agent has its checks, as far as is known: then they are reported on.
    has_checks: bool,
    /// Whether the agent has a check by which somebody has taken it out of service.
    is_in_maintenance: bool,
    /// What was found otherwise at the last look.
    difference: Option<Difference>,
    /// So often in a row it was taken only in part.
    attempts: u32,
    /// So often in a row the agent did not know a check that it had.
    unknown: u32,
    /// The tags that others have given it, where they may.
    tags: Option<Vec<String>>,
    /// The error that was told of last.
    failing: Option<RegistrationError>,
    told: Option<Status>,
}

/// What is to be done next, beside reports.
#[derive(Debug)]
enum Stage {
    /// To look what the agent has.
    Looking { registered: bool },
    /// To look which checks it has.
    LookingAtChecks { registered: bool },
    /// To register it.
    Registering,
    /// To remove what was taken only in part.
    Undoing,
    /// Nothing before the next look.
    Standing { until: Time },
}

#[derive(Debug, Clone, Copy)]
struct Call {
    id: ErrandId,
    errand: Errand,
    status: Option<Status>,
    lost: Time,
}

impl Keeper {
    /// Starts without knowing what the agent has.
    pub fn new(definition: Definition, now: Time) -> Self {
        let config::Registration { checks, drain, .. } = definition.service();
        let drain = drain.as_ref().map(|probe| Drain::new(probe.clone(), now));
        let checks = checks.iter().enumerate();
        let checks = checks.filter_map(|(position, check)| TtlCheck::of(position, check, now));
        let checks: Vec<TtlCheck> = checks.collect();
        let least = definition.service().least_ttl();
        let patience = least.map_or(PATIENCE, |ttl| (ttl / 6).min(PATIENCE));
        Self {
            patience,
            checks,
            drain,
            definition,
            lacks: Vec::new(),
            stage: Stage::Looking { registered: false },
            stands: false,
            is_handed_over: false,
            has_looked: false,
            out: None,
            last: ErrandId(0),
            rest: Time::ZERO,
            backoff: Backoff::new(FIRST_BACKOFF, patience, Jitter::Equal),
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
        self.last = ErrandId::first_in(term);
        let ErrandId(number) = self.last;
        self.checks.iter_mut().for_each(|check| check.count_from(ProbeNumber(number)));
        if let Some(drain) = &mut self.drain {
            drain.count_from(ProbeNumber(number));
        }
        (self.is_handed_over, self.is_unsure) = (is_handed_over, !is_handed_over);
        self
    }

    /// What is registered.
    pub const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Whether the agent has it as configured, as far as is known.
    pub const fn stands(&self) -> bool {
        self.stands
    }

    /// Whether this has been registered since this Envoy has started.
    pub const fn is_sure(&self) -> bool {
        !self.is_unsure
    }

    /// Whether the last call has failed.
    pub const fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// Learns which services it is to warn of.
    pub fn on_lack(&mut self, lacks: &[String]) {
        if self.lacks != lacks {
            self.lacks = lacks.to_vec();
        }
    }

    /// What the agent is to be asked now.
    pub fn wants(&self, now: Time) -> Option<Errand> {
        if self.out.is_some() || now < self.rest {
            return None;
        }
        if self.has_checks
            && let Some((position, _)) = self.due_report(now)
        {
            return Some(Errand::Report(position));
        }
        match self.stage {
            Stage::Looking { .. } => Some(Errand::Read),
            Stage::LookingAtChecks { .. } => Some(Errand::ReadChecks),
            Stage::Registering => Some(Errand::Register),
            Stage::Undoing => Some(Errand::Deregister),
            Stage::Standing { until } => (now >= until).then_some(Errand::Read),
        }
    }

    /// Makes the call of an errand that it [wants](Self::wants).
    pub fn call(&mut self, errand: Errand, now: Time) -> (ErrandId, Request) {
        let id = &self.definition.id;
        let mut status = None;
        let request = match errand {
            Errand::Read => {
                if let Stage::Standing { .. } = self.stage {
                    self.stage = Stage::Looking { registered: false };
                }
                id.read()
            }
            Errand::ReadChecks => id.read_checks(),
            Errand::Register => {
                let replaces = !self.is_in_maintenance;
                let state = |position| self.state(position);
                self.definition.register(state, self.tags.as_deref(), replaces)
            }
            Errand::Report(position) => {
                let report = self.state(position).unwrap_or_else(unknown);
                status = Some(report.status);
                let check = self.definition.checks().get(position);
                id.report(check.map(String::as_str).unwrap_or_default(), &report)
            }
            Errand::Deregister => id.deregister(),
        };
        let request = Request { timeout: request.timeout.min(self.patience), ..request };
        self.last = ErrandId(self.last.0.wrapping_add(1));
        let lost = now + request.timeout + GIVE_UP;
        self.out = Some(Call { id: self.last, errand, status, lost });
        (self.last, request)
    }

    /// A call that nobody heard of again.
    pub fn poll_lost(&self, now: Time) -> Option<ErrandId> {
        self.out.filter(|call| now >= call.lost).map(|call| call.id)
    }

    /// Takes the answer to a call: what it says of the way to the agent. None where nobody waits
    /// for it.
    pub fn on_answer(
        &mut self,
        id: ErrandId,
        answer: Result<Response<'_>, CallFailure>,
        now: Time,
        rng: &mut Rng,
        notices: &mut Vec<Notice>,
    ) -> Option<Result<(), ErrorKind>> {
        let call = self.out.take_if(|call| call.id == id)?;
        let had_failed = self.is_failing();
        let result = match call.errand {
            Errand::Read => self.definition.read_found(answer).map(|found| {
                self.on_found(found, now, rng, notices);
            }),
            Errand::ReadChecks => self.definition.read_found_checks(answer).map(|found| {
                self.on_found_checks(&found, now, rng, notices);
            }),
            Errand::Register => self.definition.read_registered(answer).map(|()| {
                self.is_unsure = false;
                self.checks.iter_mut().for_each(TtlCheck::on_registered);
                self.stage = Stage::Looking { registered: true };
            }),
            Errand::Report(position) => self.definition.read_reported(answer).map(|reported| {
                self.on_reported(position, call.status, reported, now, rng, notices);
            }),
            Errand::Deregister => {
                let token_env = self.definition.token_env();
                self.definition.id.read_deregistered(answer, token_env).map(|_| {
                    let is_elsewhere =
                        matches!(self.failing, Some(RegistrationError::Elsewhere { .. }));
                    let rest = if is_elsewhere { REST_ELSEWHERE } else { REST };
                    (self.stage, self.rest) = (Stage::Registering, now + rng.about(rest));
                    self.attempts = 0;
                })
            }
        };
        let called = result.as_ref().copied().map_err(RegistrationError::kind);
        match result {
            // An agent that never knows its checks is not well, though it answers.
            Ok(()) if self.unknown > 1 => {}
            Ok(()) => {
                self.backoff.on_success();
                // Whoever could not be reached may have lost what it had.
                if had_failed && let Stage::Standing { until } = &mut self.stage {
                    *until = now;
                }
            }
            Err(error) => {
                self.rest = now + self.backoff.on_failure(rng);
                self.tell(error, notices);
            }
        }
        Some(called)
    }

    /// A probe that is to be sent now.
    pub fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<Probing> {
        if let Some(drain) = &mut self.drain
            && let Some(probing) = drain.poll_probe(now, rng)
        {
            return Some(probing);
        }
        let checks = self.checks.iter_mut().filter(|_| self.has_looked);
        checks.into_iter().find_map(|check| {
            let spot = ProbeSpot::Check(check.position);
            check.poll_probe(now, rng).map(|(number, probe)| Probing::new(spot, number, probe))
        })
    }

    /// Takes what came back for a probe.
    pub fn on_probed(&mut self, probed: &Probed<'_>, now: Time, rng: &mut Rng) {
        match probed.spot {
            ProbeSpot::Drain => {
                if let Some(drain) = &mut self.drain {
                    drain.on_probed(probed, now, rng);
                }
            }
            ProbeSpot::Check(position) => {
                let check = self.checks.iter_mut().find(|check| check.position == position);
                if let Some(check) = check {
                    check.on_probed(probed.number, |probe| probed.verdict(&probe.check), now, rng);
                }
            }
        }
    }
}

impl Keeper {
    fn due_report(&self, now: Time) -> Option<(usize, Report)> {
        let state = |check: &TtlCheck| {
            let report = self.state(check.position)?;
            check.is_due(&report, now).then_some((check.position, report))
        };
        self.checks.iter().find_map(state)
    }

    /// How the check at a position stands, if it is one that is reported on, and is known.
    fn state(&self, position: usize) -> Option<Report> {
        let check = self.checks.iter().find(|check| check.position == position)?;
        match self.drain.as_ref().map(Drain::is_draining) {
            // Nothing is said before that is known, or cannot be.
            Some(None) => return None,
            Some(Some(true)) => {
                let output = "Envoy drains".to_owned();
                return Some(Report { status: Status::Critical, output });
            }
            Some(Some(false)) | None => {}
        }
        let report = check.state()?;
        if self.lacks.is_empty() || report.status != Status::Passing {
            return Some(report);
        }
        let output = format!("no healthy endpoint of {}", self.lacks.join(", "));
        Some(Report { status: Status::Warning, output })
    }
}

/// What is reported of a check of which nothing is known.
fn unknown() -> Report {
    Report { status: Status::Critical, output: "not known yet".to_owned() }
}

mod findings;
#[cfg(test)]
mod tests;
