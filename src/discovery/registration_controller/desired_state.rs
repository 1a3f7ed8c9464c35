//! The desired state of a registration, and the reconciler that drives the agent to it.

use core::time::Duration;

use crate::calls::caller::AgentCallId;
use crate::config;
use crate::registration::agent_call::AgentCall;
use crate::registration::down_dependencies::DownDependencies;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::registration::reconciler::Reconciler;
use crate::registration::removal::Removal;
use crate::registry::consul::registration::{Definition, Id};
use crate::registry::error::ErrorKind;
use crate::registry::request::HttpRequest;
use crate::registry::response::{CallFailure, HttpResponse};
use crate::shared::source_record::Term;
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The time after its timeout at which a call that probes the breaker counts as lost.
const GRACE: Duration = Duration::from_secs(3);

/// The desired state of a registration, with its reconciler while this VM leads.
#[derive(Debug)]
pub(super) enum DesiredState {
    /// The service must be registered.
    Present {
        definition: Box<Definition>,
        down_dependencies: DownDependencies,
        reconciler: Option<Box<Reconciler>>,
    },
    /// The service must be deregistered.
    Absent { id: Box<Id>, by: Box<Removing>, removal: Option<Box<Removal>> },
}

/// The surroundings of a registration that an earlier configuration has left behind.
#[derive(Debug)]
pub(super) struct Removing {
    /// The cluster of this configuration.
    cluster: String,
    token_env: Option<String>,
    /// True if this configuration registers the same id through its own cluster.
    is_wanted: bool,
}

impl DesiredState {
    pub(super) fn present(definition: Definition) -> Self {
        Self::Present {
            definition: Box::new(definition),
            down_dependencies: DownDependencies::default(),
            reconciler: None,
        }
    }

    pub(super) fn absent(id: Id, consul: &config::Consul) -> Self {
        let (cluster, token_env) = (consul.cluster.clone(), consul.token_env.clone());
        let by = Removing { cluster, token_env, is_wanted: false };
        Self::Absent { id: Box::new(id), by: Box::new(by), removal: None }
    }

    /// Sets whether this configuration registers the same id through its own cluster.
    pub(super) fn on_wanted(&mut self, wanted: bool) {
        if let Self::Absent { by, .. } = self {
            by.is_wanted = wanted;
        }
    }

    /// Returns the id at the agent.
    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Present { definition, .. } => &definition.id,
            Self::Absent { id, .. } => id,
        }
    }

    pub(super) const fn is_removal(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// Returns true if the agent is known to have the service as configured.
    pub(super) fn is_in_sync(&self) -> bool {
        matches!(self, Self::Present { reconciler: Some(reconciler), .. } if reconciler.is_in_sync())
    }

    /// Returns true if the definition was registered since Envoy started.
    pub(super) fn is_registered_since_start(&self) -> bool {
        matches!(self, Self::Present { reconciler: Some(reconciler), .. } if reconciler.is_registered_since_start())
    }

    /// Returns true if the agent is known not to have the unwanted service any more.
    pub(super) fn is_removed(&self) -> bool {
        matches!(self, Self::Absent { removal: Some(removal), .. } if removal.is_done())
    }

    /// Begins a term without knowing what the agent has. The numbers of calls differ from those of
    /// earlier terms.
    pub(super) fn begin(&mut self, term: Term, is_handed_over: bool, now: Time) {
        match self {
            Self::Present { definition, down_dependencies, reconciler } => {
                let mut began = Reconciler::new((**definition).clone(), now);
                began.on_dependencies_down(down_dependencies.lasting(now));
                *reconciler = Some(Box::new(began.in_term(term.0, is_handed_over)));
            }
            Self::Absent { id, by, removal } => {
                let Removing { cluster, token_env, is_wanted } = &**by;
                let (cluster, token_env) = (cluster.clone(), token_env.clone());
                let began = Removal::new((**id).clone(), cluster, *is_wanted, token_env, term.0);
                *removal = Some(Box::new(began));
            }
        }
    }

    /// Stops. Calls that are out are ignored.
    pub(super) fn end(&mut self) {
        match self {
            Self::Present { reconciler, .. } => *reconciler = None,
            Self::Absent { removal, .. } => *removal = None,
        }
    }

    /// Updates the dependencies that are down. Followers do so too, so that a new leader reports
    /// the same.
    pub(super) fn review_dependencies(
        &mut self,
        down: impl Fn(&[String]) -> Vec<String>,
        now: Time,
        rng: &mut Rng,
    ) {
        if let Self::Present { definition, down_dependencies, reconciler } = self
            && let names @ [_, ..] = definition.service().depends_on.as_slice()
        {
            let hold = definition.service().least_ttl().unwrap_or_default() / 3;
            down_dependencies.on_down(down(names), hold, now, rng);
            if let Some(reconciler) = reconciler {
                reconciler.on_dependencies_down(down_dependencies.lasting(now));
            }
        }
    }

    /// Returns true if the last call in the slot of `call` has failed.
    pub(super) fn is_failing_at(&self, call: AgentCall) -> bool {
        match self {
            Self::Present { reconciler, .. } => {
                reconciler.as_ref().is_some_and(|reconciler| reconciler.is_failing_at(call))
            }
            Self::Absent { removal, .. } => {
                removal.as_ref().is_some_and(|removal| removal.is_failing())
            }
        }
    }

    pub(super) fn poll_lost(&mut self, now: Time) -> Option<AgentCallId> {
        match self {
            Self::Present { reconciler, .. } => reconciler.as_mut()?.poll_lost(now),
            Self::Absent { removal, .. } => removal.as_ref()?.poll_lost(now),
        }
    }

    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<OutgoingProbe> {
        match self {
            Self::Present { reconciler, .. } => reconciler.as_mut()?.poll_probe(now, rng),
            Self::Absent { .. } => None,
        }
    }

    pub(super) fn on_probed(
        &mut self,
        probed: &ProbeResult<'_>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) {
        if let Self::Present { reconciler: Some(reconciler), .. } = self {
            reconciler.on_probed(probed, now, rng, events);
        }
    }

    pub(super) fn next_call(&self, now: Time) -> Option<AgentCall> {
        match self {
            Self::Present { reconciler, .. } => reconciler.as_ref()?.next_call(now),
            Self::Absent { removal, .. } => removal.as_ref()?.next_call(now),
        }
    }

    pub(super) fn start(
        &mut self,
        call: AgentCall,
        now: Time,
    ) -> Option<(AgentCallId, HttpRequest)> {
        match self {
            Self::Present { reconciler, .. } => Some(reconciler.as_mut()?.start(call, now)),
            Self::Absent { removal, .. } => Some(removal.as_mut()?.start(call, now)),
        }
    }

    /// Returns the time at which a call with that timeout counts as lost.
    pub(super) fn lost_at(&self, end: Time) -> Time {
        end + GRACE
    }

    pub(super) fn on_response(
        &mut self,
        call: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
        now: Time,
        rng: &mut Rng,
        events: &mut Vec<RegistrationEvent>,
    ) -> Option<Result<(), ErrorKind>> {
        match self {
            Self::Present { reconciler, .. } => {
                reconciler.as_mut()?.on_response(call, response, now, rng, events)
            }
            Self::Absent { removal, .. } => {
                removal.as_mut()?.on_response(call, response, now, rng, events)
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
    fn dependency_is_down_when_it_was_down_before_the_term() {
        let config = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "db"}],
            "register": [{"name": "edge", "id": "edge-1", "address": "10.0.0.5", "port": 80,
                "checks": [{"ttl": "15s"}], "depends_on": ["db"]}]}"#;
        let Config { consul, registrations, .. } = Config::parse(config).unwrap();
        let mut desired = DesiredState::present(Definition::new(&consul, &registrations[0]));
        let (since, later) = (Time::ZERO, Time::from_start(Duration::from_secs(8)));
        desired.review_dependencies(<[String]>::to_vec, since, &mut Rng::new(1));
        desired.begin(Term(1), false, later);
        let (_, request) = desired.start(AgentCall::Report(0), later).unwrap();
        assert!(request.body.contains("no healthy endpoint of db"), "{}", request.body);
    }
}
