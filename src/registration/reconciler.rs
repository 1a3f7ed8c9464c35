//! Drives an agent to the desired state of one registration.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::caller::AgentCallId;
use crate::registration::absent::Absent;
use crate::registration::agent_call::{AgentCall, Call, CallSlot, Effects};
use crate::registration::desired_state::DesiredState;
use crate::registration::present::Present;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registry::consul::registration::RegistrationError;
use crate::registry::error_kind::ErrorKind;
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse};
use crate::shared::source_record::Term;
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The longest wait after failures while the service must be present.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// The longest wait after failures while the service must be absent.
const MAX_BACKOFF_ABSENT: Duration = Duration::from_secs(30);
/// The longest wait after refusals, which only an operator can resolve.
const MAX_REFUSAL_BACKOFF: Duration = Duration::from_secs(240);

/// Drives an agent to the desired state of one registration, while this VM leads.
///
/// One loop serves both desired states: [`next_call`](Self::next_call) names the call that is due,
/// [`start`](Self::start) sends it, and [`on_response`](Self::on_response) decides the next one.
/// Consul calls this anti-entropy. Reports have a slot of their own, because they are due in time
/// whatever other call is out.
#[derive(Debug)]
pub struct Reconciler {
    desired: Desired,
    /// The slot of all calls but reports. An agent may be slow.
    calls: CallSlot,
    last: AgentCallId,
    /// The last error that was reported.
    failing: Option<RegistrationError>,
}

/// The desired state, with the progress towards it.
#[derive(Debug)]
enum Desired {
    Present(Box<Present>),
    Absent(Box<Absent>),
}

impl Reconciler {
    /// Begins a term of the lease without knowing what the agent has. `is_handed_over` is true if
    /// another VM of this Envoy has kept exactly this registration until now. The numbers of calls
    /// and probes differ from those of earlier terms.
    pub fn new(desired: &DesiredState, term: Term, is_handed_over: bool, now: Time) -> Self {
        let last = AgentCallId::first_in(term.0);
        let (desired, longest) = match desired {
            DesiredState::Present { definition, down } => {
                let definition = Rc::clone(definition);
                let mut present = Present::new(definition, last, is_handed_over, now);
                present.checks.on_dependencies_down(down.lasting(now));
                (Desired::Present(Box::new(present)), MAX_BACKOFF)
            }
            DesiredState::Absent(orphan) => {
                (Desired::Absent(Box::new(Absent::new(orphan.clone()))), MAX_BACKOFF_ABSENT)
            }
        };
        let calls = CallSlot::new(longest, MAX_REFUSAL_BACKOFF);
        Self { desired, calls, last, failing: None }
    }

    /// Returns true if the agent has the service as configured, as far as is known.
    pub fn is_in_sync(&self) -> bool {
        matches!(&self.desired, Desired::Present(present) if present.is_in_sync())
    }

    /// Returns true if the definition was registered since Envoy started.
    pub fn is_registered_since_start(&self) -> bool {
        matches!(&self.desired, Desired::Present(present) if present.is_registered_since_start())
    }

    /// Returns true if the service must be absent, and nothing is left to do.
    pub fn is_removed(&self) -> bool {
        matches!(&self.desired, Desired::Absent(absent) if absent.is_done())
    }

    /// Returns true if the last call in the slot of `call` has failed.
    pub fn is_failing_at(&self, call: AgentCall) -> bool {
        match (&self.desired, call) {
            (Desired::Present(present), AgentCall::Report { .. }) => {
                present.checks.reports.is_failing()
            }
            _ => self.calls.is_failing(),
        }
    }

    /// Sets the services to warn of.
    pub fn on_dependencies_down(&mut self, down: &[String]) {
        if let Desired::Present(present) = &mut self.desired {
            present.checks.on_dependencies_down(down);
        }
    }

    /// Returns the call that is due, if any.
    pub fn next_call(&self, now: Time) -> Option<AgentCall> {
        let is_free = self.calls.is_free(now);
        match &self.desired {
            Desired::Present(present) => {
                let other = || present.next_call(now).filter(|_| is_free);
                present.checks.next_report(now).or_else(other)
            }
            Desired::Absent(absent) => absent.next_call().filter(|_| is_free),
        }
    }

    /// Starts a call that [is due](Self::next_call).
    pub fn start(&mut self, call: AgentCall, now: Time) -> (AgentCallId, HttpRequest) {
        let request = match &mut self.desired {
            Desired::Present(present) => present.start(call, now),
            Desired::Absent(absent) => absent.request(call),
        };
        self.last = AgentCallId(self.last.0.wrapping_add(1));
        let id = self.last;
        (id, self.slot(call).send(id, call, request, now))
    }

    /// Returns a call that is out and counts as lost.
    pub fn poll_lost(&mut self, now: Time) -> Option<AgentCallId> {
        self.on_time(now);
        let report = match &self.desired {
            Desired::Present(present) => present.checks.reports.poll_lost(now),
            Desired::Absent(_) => None,
        };
        report.or_else(|| self.calls.poll_lost(now))
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
        let call = self.take(id)?;
        let Self { desired, calls, failing, .. } = self;
        let mut effects = Effects { now, rng, calls, failing, events };
        let result = match desired {
            Desired::Present(present) => present.on_response(call.kind, response, &mut effects),
            Desired::Absent(absent) => absent.on_response(call.kind, response, &mut effects),
        };
        let called = result.as_ref().copied().map_err(RegistrationError::kind);
        match (result, desired) {
            (Ok(()), desired) => {
                // An agent that could not be reached may have lost its state.
                if let Desired::Present(present) = desired
                    && (effects.calls.is_failing() || present.checks.reports.is_failing())
                {
                    present.read_soon(now);
                }
                self.slot(call.kind).on_success(call, now);
            }
            (Err(error), Desired::Absent(absent)) if absent.is_cluster_gone(&error) => {
                absent.on_cluster_gone(&mut effects);
            }
            (Err(error), _) => {
                let kind = error.kind();
                effects.report_error(error);
                self.slot(call.kind).on_failure(call, kind, now, rng);
            }
        }
        Some(called)
    }

    /// Returns a probe that must be sent now.
    pub fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<OutgoingProbe> {
        self.on_time(now);
        match &mut self.desired {
            Desired::Present(present) => present.checks.poll_probe(now, rng),
            Desired::Absent(_) => None,
        }
    }

    /// Takes the result of a probe.
    pub fn on_probed(
        &mut self,
        probed: &ProbeResult<'_>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        self.on_time(now);
        if let Desired::Present(present) = &mut self.desired {
            present.checks.on_probed(probed, now, rng, events);
        }
    }

    /// Notes the time of an event. After a standstill of this VM, the call that is out gets more
    /// time, because its response may not have been read yet.
    fn on_time(&mut self, now: Time) {
        if let Desired::Present(present) = &mut self.desired
            && let Some(gap) = present.checks.on_time(now)
        {
            self.calls.extend(gap);
        }
    }

    /// Returns the slot of a call.
    fn slot(&mut self, call: AgentCall) -> &mut CallSlot {
        match (&mut self.desired, call) {
            (Desired::Present(present), AgentCall::Report { .. }) => &mut present.checks.reports,
            _ => &mut self.calls,
        }
    }

    /// Removes the call of that id from its slot.
    fn take(&mut self, id: AgentCallId) -> Option<Call> {
        let report = match &mut self.desired {
            Desired::Present(present) => present.checks.reports.take(id),
            Desired::Absent(_) => None,
        };
        report.or_else(|| self.calls.take(id))
    }
}

#[cfg(test)]
mod tests;
