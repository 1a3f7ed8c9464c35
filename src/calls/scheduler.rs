//! The way of all calls to Consul: which may go out now, and which wait.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use crate::calls::breaker::{Admit, BreakerState, CallOutcome};
use crate::calls::caller::{CallId, Caller};
use crate::calls::caller_group::CallerGroup;
use crate::calls::circuit::{Circuit, Datacenter};
use crate::calls::wait_queue::CallClass;
use crate::config;
use crate::consul::error::ErrorKind;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// What a source wants of Consul.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// To be told of the next change: a query that blocks.
    Watch,
    /// An answer at once.
    Read(CallClass),
}

/// How a call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// As it was wanted.
    AsWanted,
    /// As a probe: one that Consul answers at once, whatever was wanted.
    Probe,
}

/// Why it is a caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is the one to probe.
    Probe,
    /// It is the first of a lane.
    Class(CallClass),
}

/// The way of all calls of one VM to one Consul.
///
/// There are three classes of callers: services, registrations, and names that clients have asked
/// for. None waits for another one's trouble. Whatever the number of callers and whatever happens to
/// them, Consul sees no more of this proxy than `max_watches` queries that block, each at the pace of
/// its own changes, and, of each class:
///
/// - a hundred reads at once, and 50 a second;
/// - 20 polls a second, of all that have no place among the watches: a service's turn comes every
///   five seconds, or when all the others have had theirs;
/// - after failures, what the retry budget allows.
///
/// While a breaker is not closed, one call goes out at a time. What clients have named does not open
/// it, and probes where nobody else waits: those who have opened it may all fail by themselves.
///
/// Whoever is turned away waits in line, so everyone's turn comes.
#[derive(Debug)]
pub struct CallScheduler {
    breaker: config::BreakerConfig,
    /// In an order, so that equal worlds are equal to the last call.
    circuits: BTreeMap<Datacenter, Circuit>,
    registrations: CallerGroup,
    services: CallerGroup,
    names: CallerGroup,
    most_watches: usize,
    watching: HashSet<Caller>,
    /// Services that have no place among the watches and would take one.
    displaced: HashSet<Caller>,
}

impl CallScheduler {
    /// Starts open, with everything unused.
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

    /// Where the breaker stands that is furthest from closed, and that of which datacenter it is.
    pub fn position(&self) -> (BreakerState, Option<&str>) {
        let positions = self
            .circuits
            .iter()
            .map(|(datacenter, circuit)| (circuit.breaker.position(), datacenter.as_deref()));
        positions.max().unwrap_or((BreakerState::Closed, None))
    }

    /// How many sources have a place among the watches.
    pub fn watches(&self) -> usize {
        self.watching.len()
    }

    /// Whether a source has a place among the watches, or may take one. A name has none that a service
    /// would take.
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

    /// Gives a source's place among the watches to the next one: no query of it blocks. A service may
    /// come back to one before any name.
    pub fn release_slot(&mut self, caller: impl Into<Caller>) {
        let caller = caller.into();
        if self.watching.remove(&caller) && counts(caller) {
            self.displaced.insert(caller);
        }
    }

    /// Forgets a caller that asks no longer.
    pub fn forget(&mut self, caller: impl Into<Caller>, now: Time) {
        let caller = caller.into();
        self.release_slot(caller);
        self.displaced.remove(&caller);
        self.group(caller).forget(caller);
        self.circuits.values_mut().for_each(|circuit| circuit.forget(caller, now));
    }

    /// Lets a caller ask as another one from now on, with its place among the watches.
    pub fn rename(&mut self, caller: Caller, new: Caller, now: Time) {
        if caller != new {
            let watches = self.watching.contains(&caller);
            self.forget(caller, now);
            self.watching.extend(watches.then_some(new));
        }
    }

    /// Lets a call out, or puts its source in line. One that may watch has a place from then on, and
    /// one that is polled has none, whatever it had.
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
            let leave = circuit.breaker.admit(now);
            if leave != Admit::Granted {
                let is_next = match counts(caller) {
                    true => circuit.is_next(caller),
                    false => circuit.queue.head().is_none(),
                };
                let is_probe = is_next && leave == Admit::Probe;
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

    /// Learns that a call is out as the probe, and by when it will have had an outcome.
    pub fn on_probe(
        &mut self,
        caller: impl Into<Caller>,
        call: CallId,
        datacenter: &Datacenter,
        lost: Time,
        now: Time,
    ) {
        if let Some(circuit) = self.circuits.get_mut(datacenter) {
            circuit.on_probe(caller.into(), call, lost, now);
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
        let evidence = CallOutcome::of(outcome);
        if counts(caller) {
            self.circuit(datacenter).on_outcome(Some(caller), call, evidence, now, rng);
        } else if let Some(circuit) = self.circuits.get_mut(datacenter) {
            circuit.on_outcome(None, call, evidence, now, rng);
        }
    }

    /// Looks after the probes, and forgets the circuits of datacenters that nobody asks for.
    pub fn on_tick(&mut self, now: Time, rng: &mut Rng) {
        self.circuits.retain(|_, circuit| {
            circuit.breaker.on_tick(now, rng);
            !circuit.is_unused()
        });
    }

    /// Lets a source that waits be the next of its lane: a request waits for it.
    pub fn prioritize(&mut self, caller: impl Into<Caller>) {
        let caller = caller.into();
        self.group(caller).prioritize(caller);
    }

    /// Who has their turn, and why; they are to ask now, and are then
    /// [dismissed](Self::remove) whether it did or not.
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

    /// Lets a source wait no longer where it has had its turn.
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

/// Whether what happens to a caller says something of Consul. A client may name anything.
const fn counts(caller: Caller) -> bool {
    !matches!(caller, Caller::Name(_))
}

#[cfg(test)]
mod tests;
