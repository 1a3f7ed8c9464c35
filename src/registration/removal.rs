//! Removes a registration that no configuration contains any more.

use core::time::Duration;

use crate::calls::caller::AgentCallId;
use crate::registration::agent_call::{AgentCall, CallSlot};
use crate::registry::consul::registration::{AgentIdentity, Id, RegistrationError};
use crate::registry::error::ErrorKind;
use crate::registry::request::HttpRequest;
use crate::registry::response::{CallFailure, HttpResponse};
use crate::telemetry::{RegistrationEvent, Remains};
use crate::util::rng::Rng;
use crate::util::time::Time;

const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The longest wait after refusals.
const MAX_REFUSAL_BACKOFF: Duration = Duration::from_secs(240);
/// The number of reads in a row that must find nothing. If several agents take turns, each read
/// reaches another one.
const LOOKS: u32 = 3;
/// The number of deregistrations if several agents respond. Each agent is reached if they take
/// turns, and most likely if they are chosen at random.
const ROUNDS: u32 = 8;

/// Deregisters an id from an agent, however often that fails.
///
/// The calls go through the cluster by which the service was registered. If Envoy does not have
/// that cluster any more, they go through the cluster of the configuration, which may lead to the
/// same agent.
#[derive(Debug)]
pub struct Removal {
    id: Id,
    /// The cluster of the configuration.
    configured: String,
    /// True if the configuration registers the same id through its own cluster.
    is_wanted: bool,
    token_env: Option<String>,
    stage: Stage,
    slot: CallSlot,
    last: AgentCallId,
    failing: Option<ErrorKind>,
    is_several: bool,
}

#[derive(Debug)]
enum Stage {
    /// Read the identity of the agent behind the cluster of the registration. An agent that also
    /// has the wanted registration keeps it.
    IdentifyingTheirs,
    /// Read the identity of the agent behind the cluster of the configuration.
    IdentifyingOurs { theirs: AgentIdentity },
    /// Deregister `times` times.
    Deregistering { times: u32 },
    /// Read `times` times to see that the service is gone.
    Looking { times: u32 },
    /// Nothing is left to do.
    Done,
}

impl Removal {
    /// Starts a removal. If the configuration registers the same id through another cluster, an
    /// agent behind both clusters keeps the service.
    pub const fn new(
        id: Id,
        configured: String,
        is_wanted: bool,
        token_env: Option<String>,
        term: u64,
    ) -> Self {
        let stage = match is_wanted {
            true => Stage::IdentifyingTheirs,
            false => Stage::Deregistering { times: 1 },
        };
        Self {
            id,
            configured,
            is_wanted,
            token_env,
            stage,
            slot: CallSlot::new(MAX_BACKOFF, MAX_REFUSAL_BACKOFF),
            last: AgentCallId::first_in(term),
            failing: None,
            is_several: false,
        }
    }

    /// Returns true if nothing is left to do.
    pub const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns true if the last call has failed.
    pub const fn is_failing(&self) -> bool {
        self.slot.is_failing()
    }

    /// Returns the cluster of the next call.
    fn cluster(&self) -> &str {
        match self.stage {
            Stage::IdentifyingOurs { .. } => &self.configured,
            _ => &self.id.cluster,
        }
    }

    /// Returns the call that is due, if any.
    pub fn next_call(&self, now: Time) -> Option<AgentCall> {
        if !self.slot.is_free(now) {
            return None;
        }
        match self.stage {
            Stage::IdentifyingTheirs | Stage::IdentifyingOurs { .. } => Some(AgentCall::Identify),
            Stage::Deregistering { .. } => Some(AgentCall::Deregister),
            Stage::Looking { .. } => Some(AgentCall::Read),
            Stage::Done => None,
        }
    }

    /// Starts a call that [is due](Self::next_call).
    pub fn start(&mut self, call: AgentCall, now: Time) -> (AgentCallId, HttpRequest) {
        let request = match call {
            AgentCall::Identify => {
                Id { cluster: self.cluster().to_owned(), ..self.id.clone() }.identify()
            }
            AgentCall::Read => self.id.read(),
            _ => self.id.deregister(),
        };
        self.last = AgentCallId(self.last.0.wrapping_add(1));
        (self.last, self.slot.send(self.last, call, None, request, now))
    }

    /// Returns a call that is out and counts as lost.
    pub fn poll_lost(&self, now: Time) -> Option<AgentCallId> {
        self.slot.poll_lost(now)
    }

    /// Takes the response to a call; `None` if the call is not out.
    pub fn on_response(
        &mut self,
        id: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) -> Option<Result<(), ErrorKind>> {
        let call = self.slot.take(id)?;
        let token_env = self.token_env.as_deref();
        let result = match call.kind {
            AgentCall::Identify => {
                let asked = Id { cluster: self.cluster().to_owned(), ..self.id.clone() };
                asked.read_identity(response).map(|found| self.on_identified(found, events))
            }
            AgentCall::Read => {
                let found = self.id.read_found(response, &self.id.id, token_env);
                // A token without the permission to read does not see the service.
                let is_there = match found {
                    Err(RegistrationError::Denied { .. }) => Ok(false),
                    found => found.map(|found| found.is_some()),
                };
                is_there.map(|is_there| self.on_look(is_there, events))
            }
            _ => self.id.read_deregistered(response, token_env).map(|_| self.on_deregistered()),
        };
        let called = result.as_ref().copied().map_err(RegistrationError::kind);
        match result {
            Ok(()) => self.slot.on_success(call, now),
            Err(error) if error.is_unknown_cluster() && self.cluster() != self.configured => {
                self.on_cluster_gone(events);
            }
            Err(error) => {
                self.slot.on_failure(call, error.kind(), now, rng);
                if self.failing.replace(error.kind()) != Some(error.kind()) {
                    events.push(RegistrationEvent::Failing(error));
                }
            }
        }
        Some(called)
    }

    fn on_identified(&mut self, found: Option<AgentIdentity>, events: &mut Vec<RegistrationEvent>) {
        let Some(found) = found else {
            return self.end(Some(RegistrationEvent::Remains(Remains::Unsure)), events);
        };
        match core::mem::replace(&mut self.stage, Stage::Done) {
            Stage::IdentifyingTheirs => self.stage = Stage::IdentifyingOurs { theirs: found },
            Stage::IdentifyingOurs { theirs } if theirs != found => {
                self.stage = Stage::Deregistering { times: 1 };
            }
            // The agent has the wanted registration, which has replaced this one.
            _ => {}
        }
    }

    fn on_deregistered(&mut self) {
        if let Stage::Deregistering { times } = &mut self.stage {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.stage = Stage::Looking { times: LOOKS };
            }
        }
    }

    /// Takes a read that follows a deregistration. A deregistration at one agent says nothing about
    /// other agents behind the same cluster.
    fn on_look(&mut self, is_there: bool, events: &mut Vec<RegistrationEvent>) {
        match (&mut self.stage, is_there) {
            (Stage::Looking { times: times @ 2.. }, false) => *times -= 1,
            (Stage::Looking { .. }, true) if !self.is_several => {
                self.is_several = true;
                self.stage = Stage::Deregistering { times: ROUNDS };
            }
            (Stage::Looking { .. }, _) => {
                let event = match self.is_several {
                    true => RegistrationEvent::Remains(Remains::Several),
                    false => RegistrationEvent::Removed,
                };
                self.end(Some(event), events);
            }
            _ => {}
        }
    }

    fn on_cluster_gone(&mut self, events: &mut Vec<RegistrationEvent>) {
        match self.stage {
            Stage::Deregistering { .. } if !self.is_wanted => {
                self.id.cluster.clone_from(&self.configured);
            }
            _ => self.end(Some(RegistrationEvent::Remains(Remains::OutOfReach)), events),
        }
    }

    fn end(&mut self, event: Option<RegistrationEvent>, events: &mut Vec<RegistrationEvent>) {
        self.stage = Stage::Done;
        events.extend(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::response::Refusal;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Runs a removal against these responses by cluster and call. Returns its calls and its
    /// events.
    fn removed(
        is_wanted: bool,
        mut response: impl FnMut(&str, AgentCall) -> Result<(u16, String), Refusal>,
    ) -> (Vec<String>, Vec<String>) {
        let id = Id {
            cluster: "old".to_owned(),
            id: "edge-1".to_owned(),
            namespace: None,
            partition: None,
        };
        let mut removal = Removal::new(id, "new".to_owned(), is_wanted, None, 1);
        let (mut asked, mut events, mut rng) = (Vec::new(), Vec::new(), Rng::new(1));
        for seconds in 0..100 {
            let now = Time::from_start(Duration::from_secs(seconds));
            let Some(call) = removal.next_call(now) else { break };
            let (id, request) = removal.start(call, now);
            let cluster = &request.cluster;
            asked.push(format!("{cluster} {call:?}"));
            let response = response(cluster, call);
            let response = response.as_ref().map(|(status, body)| HttpResponse {
                status: *status,
                from_envoy: false,
                headers: &[],
                body: body.as_bytes(),
            });
            let response = response.map_err(|refusal| CallFailure::Refused(*refusal));
            assert!(removal.on_response(id, response, now, &mut rng, &mut events).is_some());
        }
        assert!(removal.is_done(), "{asked:?}");
        (asked, events.iter().map(ToString::to_string).collect())
    }

    const UNKNOWN: &str = "unknown service ID: edge-1";

    /// Responds as an agent of that node without the service.
    fn without(node: &str, call: AgentCall) -> (u16, String) {
        match call {
            AgentCall::Identify => {
                (200, format!(r#"{{"Config":{{"NodeName":"{node}","Datacenter":"dc1"}}}}"#))
            }
            AgentCall::Read => (404, UNKNOWN.to_owned()),
            // As Consul 1.8 does.
            _ => (200, String::new()),
        }
    }

    #[test]
    fn removal_uses_the_cluster_of_the_registration() {
        let (asked, reported_health) = removed(false, |_, call| Ok(without("n", call)));
        assert_eq!(asked, ["old Deregister", "old Read", "old Read", "old Read"]);
        assert_eq!(reported_health, ["deregistered: the configuration has it no more"]);
    }

    // Promise: R-708
    #[test]
    fn removal_uses_the_configured_cluster_when_the_old_is_gone() {
        let (asked, reported_health) = removed(false, |cluster, call| match cluster {
            "old" => Err(Refusal::UnknownCluster),
            _ => Ok(without("n", call)),
        });
        assert_eq!(asked, ["old Deregister", "new Deregister", "new Read", "new Read", "new Read"]);
        assert_eq!(reported_health, ["deregistered: the configuration has it no more"]);
    }

    #[test]
    fn wanted_registration_stays_when_one_agent_has_both() {
        let (asked, reported_health) = removed(true, |_, call| Ok(without("n", call)));
        assert_eq!((asked.len(), reported_health), (2, vec![]), "{asked:?}");
        let (asked, reported_health) = removed(true, |cluster, call| Ok(without(cluster, call)));
        assert_eq!(asked[..3], ["old Identify", "new Identify", "old Deregister"]);
        assert_eq!(reported_health, ["deregistered: the configuration has it no more"]);
        let denied = |_: &str, _| Ok((403, "Permission denied".to_owned()));
        let (asked, reported_health) = removed(true, denied);
        assert_eq!(asked, ["old Identify"]);
        assert!(reported_health[0].contains("may not know (agent:read)"), "{reported_health:?}");
        for goes_at in [0, 2] {
            let mut calls = 0;
            let (asked, reported_health) = removed(true, |cluster, call| {
                calls += 1;
                match cluster {
                    "old" if calls > goes_at => Err(Refusal::UnknownCluster),
                    _ => Ok(without(cluster, call)),
                }
            });
            assert!(!asked.iter().any(|it| it == "new Deregister"), "{asked:?}");
            assert!(
                reported_health[0].contains("has no longer the cluster"),
                "{reported_health:?}"
            );
        }
    }

    #[test]
    fn removal_is_not_reported_when_another_agent_may_have_it() {
        for agents in [2, 3] {
            let mut has = vec![false; agents];
            has[1] = true;
            let mut turn = 0;
            let (asked, reported_health) = removed(false, |_, call| {
                let has = &mut has[turn % agents];
                turn += 1;
                Ok(match call {
                    AgentCall::Read if *has => (200, "{}".to_owned()),
                    AgentCall::Deregister => {
                        *has = false;
                        (200, String::new())
                    }
                    call => without("n", call),
                })
            });
            assert!(!has.iter().any(|has| *has), "{asked:?}");
            assert!(
                reported_health.len() == 1 && reported_health[0].contains("several agents answer"),
                "{reported_health:?}"
            );
        }
    }
}
