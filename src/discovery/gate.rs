//! The way of all calls to Consul: which may go out now, and which wait.

use core::time::Duration;
use std::collections::BTreeMap;

use hashbrown::HashSet;

use crate::config;
use crate::consul::error::ErrorKind;
use crate::discovery::breaker::{Evidence, Leave, Position};
use crate::discovery::call_budget::CallBudget;
use crate::discovery::caller::{CallId, Caller};
use crate::discovery::circuit::{Circuit, Datacenter};
use crate::discovery::line::{Lane, Line};
use crate::rng::Rng;
use crate::time::Time;
use crate::token_bucket::TokenBucket;

/// Reads at once, and the pace of further ones: 50 a second.
const READS: (u32, Duration) = (100, Duration::from_millis(20));
/// Calls for registrations at once, and the pace of further ones: 50 a second.
const ERRANDS: (u32, Duration) = (100, Duration::from_millis(20));
/// Polls at once, and the pace of further ones: 20 a second.
const POLLS: (u32, Duration) = (20, Duration::from_millis(50));

/// What a source wants of Consul.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// To be told of the next change: a query that blocks.
    Watch,
    /// An answer at once.
    Read(Lane),
}

/// How a call may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As it was wanted.
    AsWanted,
    /// As a probe: one that Consul answers at once, whatever was wanted.
    Probe,
}

/// The way of all calls of one VM to one Consul.
///
/// Whatever the number of services and whatever happens to them, Consul sees no more of this
/// proxy than:
///
/// - `max_watches` queries that block, each at the pace of its own changes;
/// - a hundred reads at once, and 50 a second;
/// - as many calls for registrations;
/// - 20 polls a second, of all services that have no place among the watches: a service's turn
///   comes every five seconds, or when all the others have had theirs;
/// - after failures, what the retry budget allows;
/// - while a breaker is not closed, one call at a time.
///
/// Whoever is turned away waits in line, so everyone's turn comes.
#[derive(Debug)]
pub struct Gate {
    breaker: config::Breaker,
    /// In an order, so that equal worlds are equal to the last call.
    circuits: BTreeMap<Datacenter, Circuit>,
    budget: CallBudget,
    reads: TokenBucket,
    errands: TokenBucket,
    polls: TokenBucket,
    line: Line,
    most_watches: usize,
    watching: HashSet<Caller>,
}

impl Gate {
    /// Starts open, with everything unused.
    pub fn new(consul: &config::Consul) -> Self {
        let bucket = |(burst, interval)| TokenBucket::new(burst, interval);
        Self {
            breaker: consul.breaker,
            circuits: BTreeMap::new(),
            budget: CallBudget::new(consul.retry_budget),
            reads: bucket(READS),
            errands: bucket(ERRANDS),
            polls: bucket(POLLS),
            line: Line::default(),
            most_watches: usize::try_from(consul.max_watches).unwrap_or(usize::MAX),
            watching: HashSet::new(),
        }
    }

    /// Where the breaker stands that is furthest from closed, and that of which datacenter it is.
    pub fn position(&self) -> (Position, Option<&str>) {
        let positions = self
            .circuits
            .iter()
            .map(|(datacenter, circuit)| (circuit.breaker.position(), datacenter.as_deref()));
        positions.max().unwrap_or((Position::Closed, None))
    }

    /// How many sources have a place among the watches.
    pub fn watches(&self) -> usize {
        self.watching.len()
    }

    /// Whether a source has a place among the watches, or may take one.
    pub fn has_place(&self, caller: impl Into<Caller>) -> bool {
        let caller = caller.into();
        self.watching.len() < self.most_watches || self.watching.contains(&caller)
    }

    /// Gives a source's place among the watches to the next one: no query of it blocks.
    pub fn vacate(&mut self, caller: impl Into<Caller>) {
        self.watching.remove(&caller.into());
    }

    /// Forgets a source that asks no longer.
    pub fn forget(&mut self, caller: impl Into<Caller>, now: Time) {
        let caller = caller.into();
        self.vacate(caller);
        self.line.leave(caller);
        self.circuits.values_mut().for_each(|circuit| circuit.forget(caller, now));
    }

    /// Lets a call out, or puts its source in line. One that may watch has a place from then on, and
    /// one that is polled has none, whatever it had.
    pub fn admit(
        &mut self,
        caller: impl Into<Caller>,
        datacenter: &Datacenter,
        want: Want,
        now: Time,
    ) -> Option<Pass> {
        let caller = caller.into();
        let lane = match want {
            Want::Watch => Lane::Read,
            Want::Read(lane) => lane,
        };
        if lane == Lane::Poll {
            self.vacate(caller);
        }
        if let Some(circuit) = self.circuits.get_mut(datacenter) {
            let leave = circuit.breaker.leave(now);
            if leave != Leave::Granted {
                self.line.leave(caller);
                let is_first = circuit.first().is_none_or(|(first, _)| first == caller);
                let is_probe = leave == Leave::Probe && is_first;
                match is_probe {
                    true => circuit.line.leave(caller),
                    false => circuit.line.join(caller, lane),
                }
                return is_probe.then_some(Pass::Probe);
            }
            circuit.line.leave(caller);
        }
        let is_admitted = match want {
            Want::Watch => self.take_place(caller),
            Want::Read(lane) => self.is_first(caller, lane) && self.take(lane, now),
        };
        match is_admitted {
            true => self.line.leave(caller),
            false => self.line.join(caller, lane),
        }
        is_admitted.then_some(Pass::AsWanted)
    }

    /// Learns that a call is out as the probe, and by when it will have had an outcome.
    pub fn on_probe(&mut self, call: CallId, datacenter: &Datacenter, lost: Time) {
        if let Some(circuit) = self.circuits.get_mut(datacenter) {
            circuit.probe = Some(call);
            circuit.breaker.on_probe(lost);
        }
    }

    /// Takes the outcome of a call.
    pub fn on_outcome(
        &mut self,
        call: CallId,
        datacenter: &Datacenter,
        outcome: Result<(), ErrorKind>,
        now: Time,
        rng: &mut Rng,
    ) {
        if outcome.is_ok() {
            self.budget.on_good_call(now);
        }
        let settings = self.breaker;
        let circuit = self
            .circuits
            .entry(datacenter.clone())
            .or_insert_with(|| Circuit::of(datacenter, settings));
        circuit.on_outcome(call, Evidence::of(outcome), now, rng);
    }

    /// Looks after the probes, and forgets the circuits of datacenters that nobody asks for.
    pub fn on_tick(&mut self, now: Time, rng: &mut Rng) {
        self.circuits.retain(|_, circuit| {
            circuit.breaker.on_tick(now, rng);
            circuit.first().is_some() || !circuit.breaker.is_unused(now)
        });
    }

    /// Lets a source that waits be the next of its lane: a request waits for it.
    pub fn hurry(&mut self, caller: impl Into<Caller>) {
        self.line.hurry(caller.into());
    }

    /// Who has their turn, with the lane; they are to ask now, and are then
    /// [dismissed](Self::dismiss) whether it did or not.
    pub fn poll_turn(&mut self, now: Time) -> Option<(Caller, Lane)> {
        let mut circuits = self.circuits.values_mut();
        let probe = circuits.find_map(|circuit| match circuit.breaker.leave(now) {
            Leave::Probe => circuit.first(),
            Leave::Granted | Leave::Denied => None,
        });
        probe.or_else(|| {
            Lane::ALL.into_iter().find_map(|lane| {
                let caller = self.line.front(lane)?;
                self.has(lane, now).then_some((caller, lane))
            })
        })
    }

    /// Takes a source out of the lane in which it has had its turn.
    pub fn dismiss(&mut self, caller: impl Into<Caller>, lane: Lane) {
        let caller = caller.into();
        self.line.dismiss(caller, lane);
        self.circuits.values_mut().for_each(|circuit| circuit.line.dismiss(caller, lane));
    }

    fn take_place(&mut self, caller: Caller) -> bool {
        let has_place = self.has_place(caller);
        if has_place {
            self.watching.insert(caller);
        }
        has_place
    }

    fn is_first(&mut self, caller: Caller, lane: Lane) -> bool {
        self.line.front(lane).is_none_or(|first| first == caller)
    }

    fn has(&mut self, lane: Lane, now: Time) -> bool {
        match lane {
            Lane::Retry => self.budget.has_room(now),
            Lane::Errand => self.errands.has(now),
            Lane::Read => self.reads.has(now),
            Lane::Poll => self.polls.has(now),
        }
    }

    fn take(&mut self, lane: Lane, now: Time) -> bool {
        match lane {
            Lane::Retry => self.budget.spend(now),
            Lane::Errand => self.errands.take_now(now),
            Lane::Read => self.reads.take_now(now),
            Lane::Poll => self.polls.take_now(now),
        }
    }
}

#[cfg(test)]
mod tests;
