//! Admits the calls of one VM to Consul, and queues those that must wait.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use crate::calls::breaker::{Admit, BreakerState, CallOutcome};
use crate::calls::caller::{CallId, Caller};
use crate::calls::caller_group::CallerGroup;
use crate::calls::circuit::{Circuit, Datacenter};
use crate::calls::wait_queue::CallClass;
use crate::config;
use crate::registry::error_kind::ErrorKind;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The kind of call that a source needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A blocking query, which waits for the next change.
    Watch,
    /// A query that Consul responds to at once.
    Read(CallClass),
}

/// The form in which a call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// As requested.
    AsWanted,
    /// As a probe: a call that Consul responds to at once, whatever was requested.
    Probe,
}

/// The reason for a caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The caller is the one to probe.
    Probe,
    /// The caller is the first of a class.
    Class(CallClass),
}

/// The scheduler of all calls of one VM to one Consul.
///
/// There are three groups of callers: services, registrations, and names that clients have asked
/// for. No group waits for the trouble of another. Whatever happens, Consul sees at most
/// `max_watches` blocking queries of this proxy, each at the pace of its own changes, and for each
/// group:
///
/// - a hundred reads at once, and then 50 a second;
/// - 20 polls a second for all sources without a watch slot: a service is polled every five
///   seconds, or once all others were polled;
/// - after failures, the calls that the retry budget allows.
///
/// While a breaker is not closed, one call goes out at a time. Calls for names that clients have
/// asked for neither open a breaker nor probe before others, because a client may invent names that
/// always fail.
///
/// A call that is not admitted waits in a queue, so each caller has its turn.
#[derive(Debug)]
pub struct CallScheduler {
    breaker: config::BreakerConfig,
    /// Ordered, so that simulations are reproducible to the last call.
    circuits: BTreeMap<Datacenter, Circuit>,
    registrations: CallerGroup,
    services: CallerGroup,
    names: CallerGroup,
    most_watches: usize,
    watching: HashSet<Caller>,
    /// The services that have no watch slot and want one.
    displaced: HashSet<Caller>,
}

impl CallScheduler {
    /// Starts with closed breakers and full budgets.
    pub fn new(consul: &config::Consul) -> Self {
        let group = || CallerGroup::new(consul.retry_budget);
        Self {
            breaker: consul.breaker,
            circuits: BTreeMap::new(),
            registrations: group(),
            services: group(),
            names: group(),
            most_watches: usize::try_from(consul.max_watches).unwrap_or(usize::MAX),
            watching: HashSet::new(),
            displaced: HashSet::new(),
        }
    }

    /// Returns the state of the breaker that is furthest from closed, and its datacenter.
    pub fn position(&self) -> (BreakerState, Option<&str>) {
        let positions = self
            .circuits
            .iter()
            .map(|(datacenter, circuit)| (circuit.breaker.position(), datacenter.as_deref()));
        positions.max().unwrap_or((BreakerState::Closed, None))
    }

    /// Returns the number of sources with a watch slot.
    pub fn watches(&self) -> usize {
        self.watching.len()
    }

    /// Returns true if a source has a watch slot or may take one. A service takes a slot before any
    /// name.
    pub fn has_slot(&mut self, caller: impl Into<Caller>) -> bool {
        let caller = caller.into();
        let others = self.watching.len() - usize::from(self.watching.contains(&caller));
        if let Caller::Name(_) = caller {
            return others + self.displaced.len() < self.most_watches;
        }
        let has_place = others < self.most_watches;
        if !has_place {
            self.displaced.insert(caller);
        }
        has_place
    }

    /// Releases a source's watch slot, since no query of the source blocks. A service may get a
    /// slot back before any name.
    pub fn release_slot(&mut self, caller: impl Into<Caller>) {
        let caller = caller.into();
        if self.watching.remove(&caller) && counts(caller) {
            self.displaced.insert(caller);
        }
    }

    /// Forgets a caller that has stopped calling.
    pub fn forget(&mut self, caller: impl Into<Caller>, now: Time) {
        let caller = caller.into();
        self.release_slot(caller);
        self.displaced.remove(&caller);
        self.group(caller).forget(caller);
        self.circuits.values_mut().for_each(|circuit| circuit.forget(caller, now));
    }

    /// Moves a caller's watch slot to `new`, which calls in its place from now on.
    pub fn rename(&mut self, caller: Caller, new: Caller, now: Time) {
        if caller != new {
            let watches = self.watching.contains(&caller);
            self.forget(caller, now);
            self.watching.extend(watches.then_some(new));
        }
    }

    /// Admits a call, or queues its caller. Admitting a blocking query gives the source a watch
    /// slot; requesting a poll releases the slot.
    pub fn admit(
        &mut self,
        caller: impl Into<Caller>,
        datacenter: &Datacenter,
        want: CallKind,
        now: Time,
    ) -> Option<Permit> {
        let caller = caller.into();
        let class = match want {
            CallKind::Watch => CallClass::Read,
            CallKind::Read(class) => class,
        };
        if class == CallClass::Poll {
            self.release_slot(caller);
        }
        if let Some(circuit) = self.circuits.get_mut(datacenter) {
            let admission = circuit.breaker.admit(now);
            if admission != Admit::Granted {
                let is_next = match counts(caller) {
                    true => circuit.is_next(caller),
                    false => circuit.queue.head().is_none(),
                };
                let is_probe = is_next && admission == Admit::Probe;
                if is_probe && counts(caller) {
                    circuit.queue.remove(caller);
                    circuit.breaker.add(caller);
                }
                self.group(caller).dequeue(caller);
                return is_probe.then_some(Permit::Probe);
            }
            circuit.queue.remove(caller);
        }
        let is_admitted = match want {
            CallKind::Watch => self.take_slot(caller, now),
            CallKind::Read(class) => self.group(caller).admit(caller, class, now),
        };
        if is_admitted && counts(caller) {
            self.circuit(datacenter).breaker.add(caller);
        }
        is_admitted.then_some(Permit::AsWanted)
    }

    /// Notes that a call is out as the probe and has an outcome by `lost` at the latest.
    pub fn on_probe(
        &mut self,
        caller: impl Into<Caller>,
        call: CallId,
        datacenter: &Datacenter,
        deadline: Time,
        now: Time,
    ) {
        if let Some(circuit) = self.circuits.get_mut(datacenter) {
            circuit.on_probe(caller.into(), call, deadline, now);
        }
    }

    /// Takes the outcome of a call.
    pub fn on_outcome(
        &mut self,
        caller: impl Into<Caller>,
        call: CallId,
        datacenter: &Datacenter,
        outcome: Result<(), ErrorKind>,
        now: Time,
        rng: &mut Rng,
    ) {
        let caller = caller.into();
        self.group(caller).on_outcome(caller, outcome.is_ok(), now);
        let outcome = CallOutcome::of(outcome);
        if counts(caller) {
            self.circuit(datacenter).on_outcome(Some(caller), call, outcome, now, rng);
        } else if let Some(circuit) = self.circuits.get_mut(datacenter) {
            circuit.on_outcome(None, call, outcome, now, rng);
        }
    }

    /// Gives up overdue probes, and forgets the circuits of datacenters without callers.
    pub fn on_tick(&mut self, now: Time, rng: &mut Rng) {
        self.circuits.retain(|_, circuit| {
            circuit.breaker.on_tick(now, rng);
            !circuit.is_unused()
        });
    }

    /// Moves a waiting source to the front of its queue, because a request waits for it.
    pub fn prioritize(&mut self, caller: impl Into<Caller>) {
        let caller = caller.into();
        self.group(caller).prioritize(caller);
    }

    /// Returns the next caller that may call, and the reason. The caller must then be
    /// [removed](Self::remove), whether it called or not.
    pub fn poll_ready(&mut self, now: Time) -> Option<(Caller, Turn)> {
        let probe = self.circuits.values().find_map(|circuit| match circuit.breaker.admit(now) {
            Admit::Probe => circuit.queue.head(),
            Admit::Granted | Admit::Denied => None,
        });
        if let Some(caller) = probe {
            return Some((caller, Turn::Probe));
        }
        let mut groups = [&mut self.registrations, &mut self.services, &mut self.names];
        let turn = groups.iter_mut().find_map(|group| group.poll_ready(now));
        turn.map(|(caller, class)| (caller, Turn::Class(class)))
    }

    /// Removes a caller from the queue in which it had its turn.
    pub fn remove(&mut self, caller: impl Into<Caller>, turn: Turn) {
        let caller = caller.into();
        match turn {
            Turn::Probe => {
                self.circuits.values_mut().for_each(|circuit| circuit.queue.remove(caller));
            }
            Turn::Class(class) => self.group(caller).remove(caller, class),
        }
    }

    fn take_slot(&mut self, caller: Caller, now: Time) -> bool {
        let has_place = self.has_slot(caller);
        if has_place {
            self.watching.insert(caller);
            self.displaced.remove(&caller);
            self.group(caller).dequeue(caller);
        } else {
            self.group(caller).enqueue(caller, CallClass::Read, now);
        }
        has_place
    }

    const fn group(&mut self, caller: Caller) -> &mut CallerGroup {
        match caller {
            Caller::Registration(_) => &mut self.registrations,
            Caller::Source(_) => &mut self.services,
            Caller::Name(_) => &mut self.names,
        }
    }

    fn circuit(&mut self, datacenter: &Datacenter) -> &mut Circuit {
        let settings = self.breaker;
        self.circuits.entry(datacenter.clone()).or_insert_with(|| Circuit::of(datacenter, settings))
    }
}

/// Returns true if a caller's outcomes say something about Consul. A client may name anything.
const fn counts(caller: Caller) -> bool {
    !matches!(caller, Caller::Name(_))
}

#[cfg(test)]
mod tests;
