//! All of discovery in one VM: its sources, its registrations and its messages to other VMs.
//!
//! The manager performs no I/O. Events go in through [`Manager::handle_event`], and commands come
//! out of [`Manager::poll_command`] one at a time. Another VM may run between any two of them.

use core::time::Duration;
use std::collections::VecDeque;

use self::source_table::{RemainingUsers, SourceTable};
use crate::calls::breaker::BreakerState;
use crate::calls::caller::{CallId, Caller};
use crate::calls::scheduler::CallScheduler;
use crate::config::{Config, Consul};
use crate::discovery::registration_manager::RegistrationManager;
use crate::discovery::tracked_source::TrackedSource;
use crate::election::membership::{Membership, Outgoing, Recipient};
use crate::host::{Command, Context, Event, Load, ProbeId, Store};
use crate::model::service::{QueryKey, SourceId};
use crate::registration::probe::ProbeResult;
use crate::registry::source_spec::SourceSpec;
use crate::shared::key::VmId;
use crate::shared::members::QueueId;
use crate::shared::message::Message;
use crate::shared::source_record::Rank;
use crate::util::rng::Rng;
use crate::util::time::{AwakeClock, Time};

/// The period of ticks.
pub const TICK: Duration = Duration::from_millis(250);
/// The period of ticks at the start, until all sources are resolved.
pub const FIRST_TICKS: Duration = Duration::from_millis(10);
/// The longest duration of the start.
const START: Duration = Duration::from_secs(10);

/// The maximum number of sources whose records are read in every tick.
const EVERY_TICK: usize = 64;
/// The number of ticks in which a follower reads each record once, if there are more sources; a
/// leader reads a record when its lease is due. A follower takes a lease after three seconds
/// without a renewal, so one read a second is enough. Messages announce new snapshots, and a lost
/// message delays a snapshot by a second.
const TURNS: usize = 4;

/// All of discovery in one VM.
#[derive(Debug)]
pub struct Manager {
    me: VmId,
    rng: Rng,
    rank: Option<Rank>,
    /// The share of the sources whose records are read in the next tick.
    turn: usize,
    calls: CallScheduler,
    /// The breaker state that was reported last. `None` while this VM leads nothing.
    reported: Option<BreakerState>,
    sources: SourceTable,
    registry: RegistrationManager,
    membership: Membership,
    /// The messages that wait for the list of members.
    outbox: Vec<Outgoing>,
    started: Option<Time>,
    clock: AwakeClock,
    period: Duration,
    out: VecDeque<Command>,
}

impl Manager {
    /// Starts without any knowledge. `specs` are in the order of their sources. Of several with the
    /// same query the first counts and gets all users, as in [`SourceSpec::all`]. `rng` must be
    /// seeded differently in each VM, because the VM's id is drawn from it.
    pub fn new(specs: Vec<SourceSpec>, consul: &Consul, mut rng: Rng) -> Self {
        let me = VmId(rng.next_u64());
        let sources = SourceTable::new(me, specs, consul);
        Self {
            me,
            rng,
            rank: None,
            turn: 0,
            calls: CallScheduler::new(consul),
            reported: None,
            sources,
            registry: RegistrationManager::new(me, consul),
            membership: Membership::new(me),
            outbox: Vec::new(),
            started: None,
            clock: AwakeClock::default(),
            period: FIRST_TICKS,
            out: VecDeque::new(),
        }
    }

    /// Adds the registrations of a configuration.
    pub fn with_registrations(mut self, config: &Config) -> Self {
        self.registry.keep(&config.registrations);
        self
    }

    /// Updates the services that are down, for the registrations that depend on them.
    pub fn review_dependencies(&mut self, down: impl Fn(&[String]) -> Vec<String>, now: Time) {
        self.registry.review_dependencies(down, now, &mut self.rng);
    }

    /// Adds a user of a source. Returns `None` if there are too many sources. If the query has a
    /// source already, its snapshot is installed once more.
    pub fn add(&mut self, spec: SourceSpec, now: Time) -> Option<SourceId> {
        let Some(source) = self.sources.add_user(&spec) else {
            return self.sources.add(spec, !self.membership.is_oldest());
        };
        if !spec.on_trial {
            self.with_source(source, now, |it, context| it.set_unverified(false, context));
        }
        self.with_source(source, now, TrackedSource::republish_locally);
        Some(source)
    }

    /// Removes a user of a source, and returns true if it was the last one. The source then
    /// releases its lease and empties its keys in shared data. Leads to loads and stores only.
    pub fn remove(&mut self, source: SourceId, is_named: bool, now: Time) -> bool {
        let left = self.sources.remove_user(source, is_named);
        match left {
            Some(RemainingUsers::OnlyNamed) => {
                self.with_source(source, now, |it, context| it.set_unverified(true, context));
            }
            Some(RemainingUsers::None) => self.with_source(source, now, TrackedSource::release),
            Some(RemainingUsers::Some) | None => {}
        }
        left == Some(RemainingUsers::None)
    }

    /// Returns true if no VM is known to be older. The oldest VM does the work that only one VM
    /// needs to do.
    pub const fn is_oldest(&self) -> bool {
        self.membership.is_oldest()
    }

    /// Returns the id of this VM.
    pub const fn id(&self) -> VmId {
        self.me
    }

    /// Returns the queue of this VM, once it is registered.
    pub const fn queue(&self) -> Option<QueueId> {
        self.membership.queue()
    }

    /// Returns the period of ticks until [`Command::SetTickPeriod`] changes it.
    pub const fn tick_period(&self) -> Duration {
        self.period
    }

    /// Returns true if this VM leads a source or a registration.
    pub fn is_leader(&self) -> bool {
        self.sources.values().any(TrackedSource::is_leader) || self.registry.is_leading()
    }

    /// Returns all sources in their order.
    pub fn sources(&self) -> Vec<&TrackedSource> {
        self.sources.values().collect()
    }

    /// Returns the next command, if there is one.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.out.is_empty() {
            self.registry.forget_retired();
            self.sources.forget_retired();
        }
        self.out.pop_front()
    }

    /// Handles an event.
    pub fn handle_event(&mut self, event: Event<'_>, now: Time) {
        match event {
            Event::Tick(rank) => self.on_tick(rank, now),
            Event::Woken(message) => self.on_woken(message, now),
            Event::NeedSnapshot(source) => {
                self.with_source(source, now, TrackedSource::on_snapshot_needed)
            }
            Event::Added(source) => self.on_added(source, now),
            Event::Requested { source, host } => self.on_requested(source, host, now),
            Event::EndpointUnreachable(source) => {
                self.with_source(source, now, TrackedSource::on_endpoint_unreachable)
            }
            Event::Leaving => self.on_leaving(now),
            Event::QueueRegistered(queue) => {
                self.membership.on_queue(queue);
                self.load_members(now);
            }
            Event::Loaded { load: Load::SourceRecord(query, purpose), value } => {
                self.with_query(query, now, |source, context| {
                    source.on_source_record(purpose, value, context)
                });
            }
            Event::Loaded { load: Load::Snapshot(query, version, purpose), value } => {
                self.with_query(query, now, |source, context| {
                    source.on_snapshot(version, purpose, value, context);
                });
            }
            Event::Loaded { load: Load::Members, value } => self.on_members(value, now),
            Event::Loaded { load: Load::RegistrationLease(key, purpose), value } => {
                self.with_registry(now, |registry, context| {
                    registry.on_lease(key, purpose, value, context);
                });
            }
            Event::Loaded { load: Load::RegistrationIndex, value } => {
                self.with_registry(now, |registry, context| registry.on_index(value, context));
            }
            Event::Stored { store: Store::RegistrationLease(key, purpose), written } => {
                self.with_registry(now, |registry, context| {
                    registry.on_lease_stored(key, purpose, written, context);
                });
            }
            Event::Stored { store: Store::RegistrationIndex, .. } => {
                self.with_registry(now, |registry, context| registry.on_index_stored(context));
            }
            Event::Probed { probe: ProbeId { registration, target, number }, response } => {
                let probed = ProbeResult { target, number, response };
                self.with_registry(now, |registry, context| {
                    registry.on_probed(registration, &probed, context);
                });
            }
            Event::Stored { store: Store::SourceRecord(query, purpose), written } => {
                self.with_query(query, now, |source, context| {
                    source.on_source_record_stored(purpose, written, context)
                });
            }
            Event::Stored { store: Store::Snapshot(query, version), written } => {
                self.with_query(query, now, |source, context| {
                    source.on_snapshot_stored(version, written, context);
                });
            }
            Event::Stored { store: Store::Members, written: true } => {}
            Event::Stored { store: Store::Members, written: false } => {
                self.membership.refresh_soon()
            }
            Event::QueueChecked { member, pending } => {
                self.membership.on_queue_checked(member, pending)
            }
            Event::Answered { call, response } => {
                match call {
                    CallId::Query { source, query } => {
                        self.with_source(source, now, |source, context| {
                            source.on_response(query, response, context);
                        });
                    }
                    CallId::Agent { registration, call } => {
                        self.with_registry(now, |registry, context| {
                            registry.on_response(registration, call, response, context);
                        });
                    }
                }
                self.report_breaker();
            }
        }
    }

    fn on_tick(&mut self, rank: Rank, now: Time) {
        self.rank = Some(rank);
        self.membership.on_born(rank.born);
        if self.membership.needs_queue() {
            self.out.push_back(Command::RegisterQueue(self.me.queue_name()));
        }
        self.load_members(now);
        let Self { sources, calls, rng, out, outbox, clock, .. } = self;
        let awake = clock.at(now);
        calls.on_tick(now, rng);
        let turns = if sources.len() > EVERY_TICK { TURNS } else { 1 };
        self.turn = self.turn.wrapping_add(1) % turns;
        for (n, source) in sources.values_mut().enumerate() {
            let context = &mut Context { now, awake, calls, rng, out, outbox };
            let is_due = match source.is_leader() {
                true => turns == 1 || source.must_renew(rank, awake),
                false => n % turns == self.turn,
            };
            match is_due {
                true => source.on_tick(rank, context),
                false => source.on_ready(context),
            }
        }
        let is_oldest = self.membership.is_oldest();
        self.with_registry(now, |registry, context| registry.on_tick(rank, is_oldest, context));
        self.run_ready(now);
        self.report_breaker();
        let started = *self.started.get_or_insert(now);
        let is_settled =
            self.sources.values().all(TrackedSource::is_settled) && self.registry.is_settled();
        let starting = now.since(started) < START && !is_settled;
        let period = if starting { FIRST_TICKS } else { TICK };
        if period != self.period {
            self.period = period;
            self.out.push_back(Command::SetTickPeriod(period));
        }
    }

    /// Reads a source at once that was added. Any VM but the oldest only checks for a published
    /// snapshot.
    fn on_added(&mut self, source: SourceId, now: Time) {
        match self.rank.filter(|_| self.membership.is_oldest()) {
            Some(rank) => self.with_source(source, now, |source, context| {
                source.on_tick(rank, context);
            }),
            None => self.with_source(source, now, TrackedSource::check_for_update),
        }
    }

    /// Checks for the snapshot that a request waits for, and tells the oldest VM.
    fn on_requested(&mut self, source: SourceId, host: &str, now: Time) {
        let is_oldest = self.membership.is_oldest();
        self.with_source(source, now, |source, context| {
            source.check_for_update(context);
            // The oldest VM reads the source at its own next tick.
            if !is_oldest {
                let message = Message::Wanted(source.key(), host.into());
                context.send(Outgoing { to: Recipient::Oldest, message });
            }
        });
    }

    /// Starts the calls of all callers whose turn has come.
    fn run_ready(&mut self, now: Time) {
        while let Some((caller, turn)) = self.calls.poll_ready(now) {
            match caller {
                Caller::Source(source) | Caller::Name(source) => {
                    self.with_source(source, now, TrackedSource::on_ready);
                }
                Caller::Registration(registration) => {
                    self.with_registry(now, |registry, context| {
                        registry.on_ready(registration, context);
                    });
                }
            }
            self.calls.remove(caller, turn);
        }
    }

    /// Reports the state of the breaker if it has changed, or if this VM has just become a leader:
    /// the last leader may have reported another state.
    fn report_breaker(&mut self) {
        let (position, datacenter) = self.calls.position();
        if !self.is_leader() {
            self.reported = None;
        } else if self.reported != Some(position) {
            let before = self.reported.replace(position);
            let datacenter = datacenter.map(Into::into);
            self.out.push_back(Command::Breaker { position, before, datacenter });
        }
    }

    fn on_leaving(&mut self, now: Time) {
        let Self { sources, calls, rng, out, outbox, clock, .. } = self;
        let awake = clock.at(now);
        for source in sources.values_mut() {
            source.leave(&mut Context { now, awake, calls, rng, out, outbox });
        }
        self.with_registry(now, |registry, context| registry.leave(context));
        self.membership.leave();
        self.out.push_back(Command::Load(Load::Members));
    }

    fn with_query(
        &mut self,
        query: QueryKey,
        now: Time,
        act: impl FnOnce(&mut TrackedSource, &mut Context<'_>),
    ) {
        if let Some(source) = self.sources.of_query(query) {
            self.with_source(source, now, act);
        }
    }

    fn with_registry(
        &mut self,
        now: Time,
        act: impl FnOnce(&mut RegistrationManager, &mut Context<'_>),
    ) {
        let Self { registry, calls, rng, out, outbox, clock, .. } = self;
        act(registry, &mut Context { now, awake: clock.at(now), calls, rng, out, outbox });
    }

    fn with_source(
        &mut self,
        source: SourceId,
        now: Time,
        act: impl FnOnce(&mut TrackedSource, &mut Context<'_>),
    ) {
        let Self { sources, calls, rng, out, outbox, clock, .. } = self;
        if let Some(source) = sources.get_mut(source) {
            act(source, &mut Context { now, awake: clock.at(now), calls, rng, out, outbox });
        }
    }
}

mod outbox;
mod source_table;
#[cfg(test)]
mod tests;
