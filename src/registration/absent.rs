//! Deregisters a service that no configuration contains any more.

use crate::registration::agent_call::{AgentCall, Effects, ROUNDS};
use crate::registration::desired_state::Orphan;
use crate::registry::consul::registration::{AgentIdentity, Id, RegistrationError};
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse};
use crate::telemetry::{RegistrationEvent, Remains};

/// The number of reads in a row that must find nothing. If several agents take turns, each read
/// reaches another one.
const READS: u32 = 3;

/// The progress towards an absent service: deregisters an orphan, however often that fails.
///
/// The calls go through the cluster by which the service was registered. If Envoy does not have
/// that cluster any more, they go through the cluster of the configuration, which may lead to the
/// same agent.
#[derive(Debug)]
pub(super) struct Absent {
    orphan: Orphan,
    stage: Stage,
}

/// The next action.
#[derive(Debug)]
enum Stage {
    /// Read the identity of the agent behind the cluster of the registration. An agent that also
    /// has the wanted registration keeps it.
    IdentifyingTheirs,
    /// Read the identity of the agent behind the cluster of the configuration.
    IdentifyingOurs { theirs: AgentIdentity },
    /// Deregister `times` times.
    Deregistering { times: u32, is_several: bool },
    /// Read `times` times to see that the service is gone.
    Reading { times: u32, is_several: bool },
    /// Nothing is left to do.
    Done,
}

impl Absent {
    /// Starts a removal. If the configuration registers the same id through another cluster, an
    /// agent behind both clusters keeps the service.
    pub(super) const fn new(orphan: Orphan) -> Self {
        let stage = match orphan.is_wanted {
            true => Stage::IdentifyingTheirs,
            false => Stage::Deregistering { times: 1, is_several: false },
        };
        Self { orphan, stage }
    }

    /// Returns true if nothing is left to do.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns the cluster of the next call, if it is not the configuration's.
    fn other_cluster(&self) -> Option<&str> {
        let Orphan { id, configured, .. } = &self.orphan;
        match self.stage {
            Stage::IdentifyingOurs { .. } => None,
            _ => Some(id.cluster.as_str()).filter(|cluster| cluster != configured),
        }
    }

    /// Returns the next call.
    pub(super) const fn next_call(&self) -> Option<AgentCall> {
        match self.stage {
            Stage::IdentifyingTheirs | Stage::IdentifyingOurs { .. } => Some(AgentCall::Identify),
            Stage::Deregistering { .. } => Some(AgentCall::Deregister),
            Stage::Reading { .. } => Some(AgentCall::Read),
            Stage::Done => None,
        }
    }

    /// Returns the request of a call.
    pub(super) fn request(&self, call: AgentCall) -> HttpRequest {
        match call {
            AgentCall::Identify => self.asked().identify(),
            AgentCall::Read => self.orphan.id.read(),
            _ => self.orphan.id.deregister(),
        }
    }

    /// Returns the id at the agent of the next call.
    fn asked(&self) -> Id {
        let Orphan { id, configured, .. } = &self.orphan;
        let cluster = self.other_cluster().unwrap_or(configured).to_owned();
        Id { cluster, ..id.clone() }
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
        let Orphan { id, token_env, .. } = &self.orphan;
        let token_env = token_env.as_deref();
        match call {
            AgentCall::Identify => {
                self.on_identified(self.asked().read_identity(response)?, effects);
            }
            AgentCall::Read => {
                let is_there = match id.read_found(response, &id.id, token_env) {
                    // A token without the permission to read does not see the service.
                    Err(RegistrationError::Denied { .. }) => false,
                    found => found?.is_some(),
                };
                self.on_read(is_there, effects);
            }
            _ => {
                id.read_deregistered(response, token_env)?;
                self.on_deregistered();
            }
        }
        Ok(())
    }

    /// Returns true if a call has failed because Envoy does not have the cluster of the registration
    /// any more.
    pub(super) fn is_cluster_gone(&self, error: &RegistrationError) -> bool {
        self.other_cluster().is_some() && error.is_unknown_cluster()
    }

    /// Goes on through the cluster of the configuration, unless the agent behind it may have the
    /// wanted registration or another orphan.
    pub(super) fn on_cluster_gone(&mut self, effects: &mut Effects<'_>) {
        let Orphan { id, configured, is_wanted, .. } = &mut self.orphan;
        match self.stage {
            Stage::Deregistering { .. } if !*is_wanted => id.cluster.clone_from(configured),
            _ => self.end(RegistrationEvent::Remains(Remains::OutOfReach), effects),
        }
    }

    fn on_identified(&mut self, found: Option<AgentIdentity>, effects: &mut Effects<'_>) {
        let Some(found) = found else {
            return self.end(RegistrationEvent::Remains(Remains::Unsure), effects);
        };
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::IdentifyingTheirs => self.stage = Stage::IdentifyingOurs { theirs: found },
            Stage::IdentifyingOurs { theirs } if theirs != found => {
                self.stage = Stage::Deregistering { times: 1, is_several: false };
            }
            // The agent has the wanted registration, which has replaced this one.
            _ => {}
        }
    }

    fn on_deregistered(&mut self) {
        if let Stage::Deregistering { times, is_several } = &mut self.stage {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.stage = Stage::Reading { times: READS, is_several: *is_several };
            }
        }
    }

    /// Takes a read that follows a deregistration. A deregistration at one agent says nothing about
    /// other agents behind the same cluster.
    fn on_read(&mut self, is_there: bool, effects: &mut Effects<'_>) {
        let Stage::Reading { times, is_several } = &mut self.stage else { return };
        match (is_there, *is_several) {
            (false, _) if *times > 1 => *times -= 1,
            (true, false) => {
                self.stage = Stage::Deregistering { times: ROUNDS, is_several: true };
            }
            (_, true) => self.end(RegistrationEvent::Remains(Remains::Several), effects),
            (false, false) => self.end(RegistrationEvent::Removed, effects),
        }
    }

    fn end(&mut self, event: RegistrationEvent, effects: &mut Effects<'_>) {
        self.stage = Stage::Done;
        effects.emit(event);
    }
}
