//! What the VM does that has a registration's charge.

use core::time::Duration;

use crate::calls::caller::AgentCallId;
use crate::config;
use crate::consul::error::ErrorKind;
use crate::consul::registration::{Definition, Id};
use crate::consul::request::Request;
use crate::consul::response::{CallFailure, Response};
use crate::registration::agent_call::AgentCall;
use crate::registration::down_dependencies::DownDependencies;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registration::reconciler::Reconciler;
use crate::registration::registration_event::RegistrationEvent;
use crate::registration::removal::Removal;
use crate::shared::source_record::Term;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// How much longer than its timeout the probe of a breaker is waited for.
const GIVE_UP: Duration = Duration::from_secs(3);

/// What the VM does that has the charge; it does nothing before it has it.
#[derive(Debug)]
pub(super) enum Duty {
    /// Keep it registered.
    Keep { definition: Box<Definition>, lack: DownDependencies, keeper: Option<Box<Reconciler>> },
    /// Remove it.
    Remove { id: Box<Id>, by: Box<Removing>, removal: Option<Box<Removal>> },
}

/// How a registration is removed that an earlier configuration has left behind.
#[derive(Debug)]
pub(super) struct Removing {
    /// The cluster of this configuration.
    cluster: String,
    token_env: Option<String>,
    /// Whether this configuration registers the same id, by its own cluster.
    is_wanted: bool,
}

impl Duty {
    pub(super) fn keep(definition: Definition) -> Self {
        Self::Keep {
            definition: Box::new(definition),
            lack: DownDependencies::default(),
            keeper: None,
        }
    }

    pub(super) fn remove(id: Id, consul: &config::Consul) -> Self {
        let (cluster, token_env) = (consul.cluster.clone(), consul.token_env.clone());
        let by = Removing { cluster, token_env, is_wanted: false };
        Self::Remove { id: Box::new(id), by: Box::new(by), removal: None }
    }

    /// Learns whether this configuration registers the same id, by its own cluster.
    pub(super) fn on_wanted(&mut self, wanted: bool) {
        if let Self::Remove { by, .. } = self {
            by.is_wanted = wanted;
        }
    }

    /// The cluster by which the agent is asked, where it is another than the configuration's.
    pub(super) fn cluster(&self) -> Option<&str> {
        match self {
            Self::Remove { by, removal: Some(removal), .. } => {
                Some(removal.cluster()).filter(|cluster| *cluster != by.cluster)
            }
            Self::Remove { .. } | Self::Keep { .. } => None,
        }
    }

    /// What identifies the registration at the agent.
    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Keep { definition, .. } => &definition.id,
            Self::Remove { id, .. } => id,
        }
    }

    pub(super) const fn is_removal(&self) -> bool {
        matches!(self, Self::Remove { .. })
    }

    /// Whether the agent is known to have it as configured.
    pub(super) fn is_in_sync(&self) -> bool {
        matches!(self, Self::Keep { keeper: Some(keeper), .. } if keeper.is_in_sync())
    }

    /// Whether it has been registered as configured since this Envoy has started.
    pub(super) fn is_registered_since_start(&self) -> bool {
        matches!(self, Self::Keep { keeper: Some(keeper), .. } if keeper.is_registered_since_start())
    }

    /// Whether the agent is known not to have it any more, as is wanted.
    pub(super) fn is_removed(&self) -> bool {
        matches!(self, Self::Remove { removal: Some(removal), .. } if removal.is_done())
    }

    /// Begins, without knowing what the agent has. What was sent in an earlier term has other numbers
    /// than what is sent now.
    pub(super) fn begin(&mut self, term: Term, is_handed_over: bool, now: Time) {
        match self {
            Self::Keep { definition, lack, keeper } => {
                let mut began = Reconciler::new((**definition).clone(), now);
                began.on_dependencies_down(lack.lasting(now));
                *keeper = Some(Box::new(began.in_term(term.0, is_handed_over)));
            }
            Self::Remove { id, by, removal } => {
                let Removing { cluster, token_env, is_wanted } = &**by;
                let (cluster, token_env) = (cluster.clone(), token_env.clone());
                let began = Removal::new((**id).clone(), cluster, *is_wanted, token_env, term.0);
                *removal = Some(Box::new(began));
            }
        }
    }

    /// Stops: what was out is nobody's any more.
    pub(super) fn end(&mut self) {
        match self {
            Self::Keep { keeper, .. } => *keeper = None,
            Self::Remove { removal, .. } => *removal = None,
        }
    }

    /// Learns which services are down, of those without which it only warns: also while another VM
    /// has the charge, so that whoever takes it over says the same.
    pub(super) fn review_dependencies(
        &mut self,
        down: impl Fn(&[String]) -> Vec<String>,
        now: Time,
        rng: &mut Rng,
    ) {
        if let Self::Keep { definition, lack, keeper } = self
            && let names @ [_, ..] = definition.service().depends_on.as_slice()
        {
            let hold = definition.service().least_ttl().unwrap_or_default() / 3;
            lack.on_down(down(names), hold, now, rng);
            if let Some(keeper) = keeper {
                keeper.on_dependencies_down(lack.lasting(now));
            }
        }
    }

    /// Whether the last call of this kind has failed.
    pub(super) fn is_failing_at(&self, errand: AgentCall) -> bool {
        match self {
            Self::Keep { keeper, .. } => {
                keeper.as_ref().is_some_and(|keeper| keeper.is_failing_at(errand))
            }
            Self::Remove { removal, .. } => {
                removal.as_ref().is_some_and(|removal| removal.is_failing())
            }
        }
    }

    pub(super) fn poll_lost(&mut self, now: Time) -> Option<AgentCallId> {
        match self {
            Self::Keep { keeper, .. } => keeper.as_mut()?.poll_lost(now),
            Self::Remove { removal, .. } => removal.as_ref()?.poll_lost(now),
        }
    }

    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<OutgoingProbe> {
        match self {
            Self::Keep { keeper, .. } => keeper.as_mut()?.poll_probe(now, rng),
            Self::Remove { .. } => None,
        }
    }

    pub(super) fn on_probed(
        &mut self,
        probed: &ProbeResult<'_>,
        now: Time,
        rng: &mut Rng,
        notices: &mut Vec<RegistrationEvent>,
    ) {
        if let Self::Keep { keeper: Some(keeper), .. } = self {
            keeper.on_probed(probed, now, rng, notices);
        }
    }

    pub(super) fn next_call(&self, now: Time) -> Option<AgentCall> {
        match self {
            Self::Keep { keeper, .. } => keeper.as_ref()?.next_call(now),
            Self::Remove { removal, .. } => removal.as_ref()?.next_call(now),
        }
    }

    pub(super) fn start(&mut self, errand: AgentCall, now: Time) -> Option<(AgentCallId, Request)> {
        match self {
            Self::Keep { keeper, .. } => Some(keeper.as_mut()?.start(errand, now)),
            Self::Remove { removal, .. } => Some(removal.as_mut()?.start(errand, now)),
        }
    }

    /// When a call that ends then at the latest has had an outcome.
    pub(super) fn lost_at(&self, end: Time) -> Time {
        end + GIVE_UP
    }

    pub(super) fn on_response(
        &mut self,
        errand: AgentCallId,
        answer: Result<Response<'_>, CallFailure>,
        now: Time,
        rng: &mut Rng,
        notices: &mut Vec<RegistrationEvent>,
    ) -> Option<Result<(), ErrorKind>> {
        match self {
            Self::Keep { keeper, .. } => {
                keeper.as_mut()?.on_response(errand, answer, now, rng, notices)
            }
            Self::Remove { removal, .. } => {
                removal.as_mut()?.on_response(errand, answer, now, rng, notices)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_was_down_before_it_began_is_down() {
        let config = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "db"}],
            "register": [{"name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 80,
                "checks": [{"ttl": "15s"}], "depends_on": ["db"]}]}"#;
        let Config { consul, registrations, .. } = Config::parse(config).unwrap();
        let mut duty = Duty::keep(Definition::new(&consul, &registrations[0]));
        let (since, later) = (Time::ZERO, Time::from_start(Duration::from_secs(8)));
        duty.review_dependencies(<[String]>::to_vec, since, &mut Rng::new(1));
        duty.begin(Term(1), false, later);
        let (_, request) = duty.start(AgentCall::Report(0), later).unwrap();
        assert!(request.body.contains("no healthy endpoint of db"), "{}", request.body);
    }
}
