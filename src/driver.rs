//! Executes the commands of a VM's state machines on its [`Host`].
//!
//! One loop drives a VM in Envoy and in the simulation.

use crate::host::{Command, Event, Host};
use crate::model::service::SourceId;
use crate::router::Router;
use crate::router::dynamic_services::{Addition, Origin, ServiceChange};
use crate::telemetry::{FoundService, FoundSource, ServiceEvent, SourceEvent, TelemetryEvent};
use crate::vm::Vm;

/// Handles an event, and executes all commands that follow from it.
pub fn run(vm: &mut Vm, router: &mut Router, host: &mut impl Host, event: Event<'_>) {
    let now = host.now();
    if let Event::Tick(_) = event {
        let down = |names: &[String]| {
            let down = router.down(names.iter().map(String::as_str));
            down.into_iter().map(str::to_owned).collect()
        };
        vm.review_dependencies(down, now);
    }
    vm.handle_event(event, now);
    settle(vm, router, host);
}

/// Executes all commands that wait.
pub fn settle(vm: &mut Vm, router: &mut Router, host: &mut impl Host) {
    while step(vm, router, host) {}
}

/// Executes one command, or else applies one change of the services. Returns false if there is
/// neither.
///
/// Between two steps another VM may do anything.
pub fn step(vm: &mut Vm, router: &mut Router, host: &mut impl Host) -> bool {
    let Some(command) = vm.poll_command() else {
        let change = router.poll_change();
        let is_change = change.is_some();
        change.into_iter().for_each(|change| apply(change, vm, router, host));
        return is_change;
    };
    match command {
        Command::RegisterQueue(name) => {
            let queue = host.register_queue(&name);
            answer(vm, host, Event::QueueRegistered(queue));
        }
        Command::Load(load) => {
            let value = host.load(&load.key());
            let value = value.as_ref().map(|(bytes, cas)| (bytes.as_slice(), *cas));
            answer(vm, host, Event::Loaded { load, value });
        }
        Command::Store { store, value, expect } => {
            let written = host.store(&store.key(), &value, expect);
            answer(vm, host, Event::Stored { store, written });
        }
        Command::Wake { queue, message } => host.wake(queue, &message),
        Command::CheckQueue(member) => {
            let pending = host.has_messages(member.queue);
            answer(vm, host, Event::QueueChecked { member: member.vm, pending });
        }
        Command::Call { call, request } => {
            if let Err(failure) = host.call(call, &request) {
                answer(vm, host, Event::Answered { call, response: Err(failure) });
            }
        }
        Command::Probe { id, probe } => {
            if let Err(reason) = host.probe(id, &probe) {
                answer(vm, host, Event::Probed { probe: id, response: Err(reason) });
            }
        }
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
        Command::Emit(event) => host.emit(&event),
        Command::SetTickPeriod(period) => host.set_tick_period(period),
    }
    true
}

/// Applies a change of the services: discovery follows the services that the router has found, and
/// no others.
fn apply(change: ServiceChange, vm: &mut Vm, router: &mut Router, host: &mut impl Host) {
    let now = host.now();
    match change {
        ServiceChange::Catalog(spec) => {
            if let Some(source) = vm.add(*spec, now) {
                router.follow_catalog(source);
                host.emit(&TelemetryEvent::Source { source, event: SourceEvent::ListsCatalog });
                vm.handle_event(Event::Added(source), now);
            }
        }
        // The service may have gone again before its addition was applied.
        ServiceChange::Added(added) if !router.has(added.service) => {}
        ServiceChange::Added(Addition { service, name, specs, origin }) => {
            let mut sources = Vec::new();
            let has_several = specs.len() > 1;
            for (spec, preference) in specs.into_iter().zip(0..) {
                let query = spec.query.key();
                let datacenter = spec.datacenter.clone().filter(|_| has_several);
                if let Some(source) = vm.add(spec, now) {
                    router.attach(service, preference, source);
                    sources.push(FoundSource { source, query, datacenter });
                }
            }
            let ids: Vec<_> = sources.iter().map(|found| found.source).collect();
            let is_on_demand = origin != Origin::Catalog;
            let event = ServiceEvent::Found(FoundService { name, is_on_demand, sources });
            host.emit(&TelemetryEvent::Service { service, event });
            for source in ids {
                let event = match &origin {
                    Origin::Request(host) => Event::Requested { source, host },
                    Origin::Catalog | Origin::OtherVm => Event::Added(source),
                };
                vm.handle_event(event, now);
            }
        }
        ServiceChange::Requested { sources, host } => {
            for source in sources {
                vm.handle_event(Event::Requested { source, host: &host }, now);
            }
        }
        ServiceChange::Removed { service, sources, is_on_demand } => {
            let is_gone = |source: &SourceId| vm.remove(*source, is_on_demand, now);
            let gone: Vec<_> = sources.into_iter().filter(is_gone).collect();
            host.emit(&TelemetryEvent::Service { service, event: ServiceEvent::Gone(gone) });
        }
    }
}

fn answer(vm: &mut Vm, host: &mut impl Host, event: Event<'_>) {
    let now = host.now();
    vm.handle_event(event, now);
}
