//! Carries out what discovery wants done.
//!
//! The same loop drives the agent in Envoy and in the simulation; what differs is the
//! [`Host`].

use core::time::Duration;

use crate::calls::breaker::BreakerState;
use crate::calls::caller::CallId;
use crate::config::Probe;
use crate::discovery::manager::Manager;
use crate::health_check::verdict::ProbeReason;
use crate::host::{Command, Event, Expect, ProbeId};
use crate::model::registration::RegistrationId;
use crate::model::service::{ServiceId, SourceId};
use crate::registry::request::HttpRequest;
use crate::registry::response::CallFailure;
use crate::router::Router;
use crate::router::service_change::{Addition, Origin, ServiceChange};
use crate::shared::key::{Cas, SharedKey};
use crate::shared::members::QueueId;
use crate::telemetry::RegistrationEvent;
use crate::telemetry::SourceEvent;
use crate::util::time::Time;

/// What a VM can do: Envoy, or a simulated one.
pub trait Host {
    /// The moment, on this VM's own clock.
    fn now(&mut self) -> Time;
    /// Registers a queue whose messages wake this VM.
    fn register_queue(&mut self, name: &str) -> QueueId;
    /// Reads a value of shared data; an emptied one has no bytes.
    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)>;
    /// Writes a value; false when it was not as expected.
    fn store(&mut self, key: &SharedKey, value: &[u8], expect: Expect) -> bool;
    /// Puts a message into a queue, if the queue still exists.
    fn wake(&mut self, queue: QueueId, message: &[u8]);
    /// Whether messages wait in a queue; they stay there.
    fn probe(&mut self, queue: QueueId) -> bool;
    /// Sends a request to a registry; the response comes later as [`Event::Answered`].
    fn call(&mut self, call: CallId, request: &HttpRequest) -> Result<(), CallFailure>;
    /// Asks one of this proxy's own clusters something; its answer comes later as
    /// [`Event::Probed`]. A host that has nothing registered knows no cluster.
    fn examine(&mut self, _id: ProbeId, _probe: &Probe) -> Result<(), ProbeReason> {
        Err(ProbeReason::UnknownCluster)
    }
    /// Tells the operator something about a registration.
    fn registration(&mut self, _registration: RegistrationId, _notice: &RegistrationEvent) {}
    /// Hears of a registration that the configuration does not have: it is to be removed.
    fn on_orphan(&mut self, _registration: RegistrationId, _id: &str) {}
    /// Tells the operator.
    fn notice(&mut self, source: SourceId, notice: &SourceEvent);
    /// Tells the operator where the circuit breaker towards Consul stands, and stood before.
    fn breaker(
        &mut self,
        position: BreakerState,
        before: Option<BreakerState>,
        datacenter: Option<&str>,
    );
    /// Changes the period of the timer.
    fn set_tick_period(&mut self, period: Duration);
    /// Hears of a service that has come while running, and of its sources.
    fn on_added(&mut self, _added: &Addition, _sources: &[SourceId]) {}
    /// Hears of a service that has gone, and of the sources that have gone with it.
    fn on_removed(&mut self, _service: ServiceId, _sources: &[SourceId]) {}
    /// Hears of the source that tells which services the catalog lists.
    fn on_catalog(&mut self, _source: SourceId) {}
}

/// Takes an event and carries out all that follows from it.
pub fn run(agent: &mut Manager, router: &mut Router, host: &mut impl Host, event: Event<'_>) {
    let now = host.now();
    if let Event::Tick(_) = event {
        let down = |names: &[String]| {
            let down = router.down(names.iter().map(String::as_str));
            down.into_iter().map(str::to_owned).collect()
        };
        agent.review_dependencies(down, now);
    }
    agent.handle_event(event, now);
    settle(agent, router, host);
}

/// Carries out all that is to be done.
pub fn settle(agent: &mut Manager, router: &mut Router, host: &mut impl Host) {
    while step(agent, router, host) {}
}

/// Carries out one command, or else one change of the services; false when there is none.
///
/// Between two steps another VM may do whatever it likes.
pub fn step(agent: &mut Manager, router: &mut Router, host: &mut impl Host) -> bool {
    let Some(command) = agent.poll_command() else {
        let change = router.poll_change();
        let is_change = change.is_some();
        change.into_iter().for_each(|change| apply(change, agent, router, host));
        return is_change;
    };
    match command {
        Command::RegisterQueue(name) => {
            let queue = host.register_queue(&name);
            answer(agent, host, Event::QueueRegistered(queue));
        }
        Command::Load(load) => {
            let value = host.load(&load.key());
            let value = value.as_ref().map(|(bytes, cas)| (bytes.as_slice(), *cas));
            answer(agent, host, Event::Loaded { load, value });
        }
        Command::Store { store, value, expect } => {
            let written = host.store(&store.key(), &value, expect);
            answer(agent, host, Event::Stored { store, written });
        }
        Command::Wake { queue, message } => host.wake(queue, &message),
        Command::CheckQueue(member) => {
            let pending = host.probe(member.queue);
            answer(agent, host, Event::QueueChecked { member: member.vm, pending });
        }
        Command::Call { call, request } => {
            if let Err(failure) = host.call(call, &request) {
                answer(agent, host, Event::Answered { call, response: Err(failure) });
            }
        }
        Command::Probe { id, probe } => {
            if let Err(reason) = host.examine(id, &probe) {
                answer(agent, host, Event::Probed { probe: id, response: Err(reason) });
            }
        }
        Command::Registration { registration, event } => host.registration(registration, &event),
        Command::Orphan { registration, id } => host.on_orphan(registration, &id),
        Command::Install { source, snapshot } => {
            let now = host.now();
            router.install(source, &snapshot, now);
        }
        Command::Confirm { source, age } => {
            let now = host.now();
            router.on_confirmed(source, age, now);
        }
        Command::Requested { query, host: name } => {
            let now = host.now();
            router.on_requested(query, &name, now);
        }
        Command::Notice { source, event } => host.notice(source, &event),
        Command::Breaker { position, before, datacenter } => {
            host.breaker(position, before, datacenter.as_deref());
        }
        Command::SetTickPeriod(period) => host.set_tick_period(period),
    }
    true
}

/// Lets discovery follow the services that the router has found, and no others.
fn apply(change: ServiceChange, agent: &mut Manager, router: &mut Router, host: &mut impl Host) {
    let now = host.now();
    match change {
        ServiceChange::Catalog(spec) => {
            if let Some(source) = agent.add(*spec, now) {
                router.follow_catalog(source);
                host.on_catalog(source);
                agent.handle_event(Event::Added(source), now);
            }
        }
        // It may have gone again before anybody came to follow it.
        ServiceChange::Added(added) if !router.has(added.service) => {}
        ServiceChange::Added(mut added) => {
            let mut sources = Vec::new();
            for (spec, preference) in added.specs.drain(..).zip(0..) {
                if let Some(source) = agent.add(spec, now) {
                    router.attach(added.service, preference, source);
                    sources.push(source);
                }
            }
            host.on_added(&added, &sources);
            for source in sources {
                let event = match &added.origin {
                    Origin::Request(host) => Event::Requested { source, host },
                    Origin::Catalog | Origin::OtherVm => Event::Added(source),
                };
                agent.handle_event(event, now);
            }
        }
        ServiceChange::Requested { sources, host } => {
            for source in sources {
                agent.handle_event(Event::Requested { source, host: &host }, now);
            }
        }
        ServiceChange::Removed { service, sources, is_on_demand } => {
            let is_gone = |source: &SourceId| agent.remove(*source, is_on_demand, now);
            let gone: Vec<_> = sources.into_iter().filter(is_gone).collect();
            host.on_removed(service, &gone);
        }
    }
}

fn answer(agent: &mut Manager, host: &mut impl Host, event: Event<'_>) {
    let now = host.now();
    agent.handle_event(event, now);
}
