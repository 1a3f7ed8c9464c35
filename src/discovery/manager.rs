//! All of discovery in one VM: its sources, its registrations and its messages to other VMs.
//!
//! The manager performs no I/O. Events go in through [`Manager::handle_event`], and commands come
//! out of [`Manager::poll_command`] one at a time. Another VM may run between any two of them.

use core::time::Duration;
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::calls::breaker::BreakerState;
use crate::calls::caller::CallId;
use crate::calls::scheduler::CallScheduler;
use crate::config::{Config, Consul};
use crate::discovery::event::{Command, Context, Event, ProbeId};
use crate::discovery::registration_manager::RegistrationManager;
use crate::discovery::source_spec::SourceSpec;
use crate::discovery::tracked_source::TrackedSource;
use crate::election::membership::{Membership, Outgoing};
use crate::model::service::{QueryKey, SourceId};
use crate::model::slot_map::SlotMap;
use crate::registration::probe::ProbeResult;
use crate::shared::key::{SharedKey, VmId};
use crate::shared::members::QueueId;
use crate::shared::source_record::Rank;
use crate::util::awake::AwakeClock;
use crate::util::rng::Rng;
use crate::util::time::Time;

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
    consul: Consul,
    calls: CallScheduler,
    /// The breaker state that was reported last. `None` while this VM leads nothing.
    told: Option<BreakerState>,
    sources: SlotMap<SourceId, TrackedSource>,
    by_query: HashMap<QueryKey, SourceUse>,
    /// The sources without users, forgotten once all commands are executed.
    retired: Vec<SourceId>,
    registry: RegistrationManager,
    membership: Membership,
    /// The messages that wait for the list of members.
    outbox: Vec<Outgoing>,
    started: Option<Time>,
    clock: AwakeClock,
    period: Duration,
    out: VecDeque<Command>,
}

/// The source of a query with the number of its users, and the number of those that clients have
/// named.
#[derive(Debug, Clone, Copy)]
struct SourceUse {
    source: SourceId,
    users: usize,
    named: usize,
}

impl Manager {
    /// Starts without any knowledge. `specs` are in the order of their sources. Of several with the
    /// same query the first counts and gets all users, as in [`SourceSpec::all`]. `rng` must be
    /// seeded differently in each VM, because the VM's id is drawn from it.
    pub fn new(specs: Vec<SourceSpec>, consul: &Consul, mut rng: Rng) -> Self {
        let me = VmId(rng.next_u64());
        let (mut sources, mut by_query) = (SlotMap::new(), HashMap::<_, SourceUse>::new());
        for spec in specs {
            let key = spec.query.key();
            if let Some(known) = by_query.get_mut(&key) {
                known.users = known.users.saturating_add(1);
                continue;
            }
            let source = sources.add(|source| TrackedSource::new(me, source, spec, consul));
            by_query.extend(source.map(|source| (key, SourceUse { source, users: 1, named: 0 })));
        }
        Self {
            me,
            rng,
            rank: None,
            turn: 0,
            consul: consul.clone(),
            calls: CallScheduler::new(consul),
            told: None,
            sources,
            by_query,
            retired: Vec::new(),
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
        if let Some(known) = self.by_query.get_mut(&spec.query.key()) {
            known.users += 1;
            known.named += usize::from(spec.on_trial);
            let source = known.source;
            if !spec.on_trial {
                self.with_source(source, now, |it, context| it.set_unverified(false, context));
            }
            self.with_source(source, now, TrackedSource::republish_locally);
            return Some(source);
        }
        let (me, consul, key) = (self.me, &self.consul, spec.query.key());
        let (is_oldest, named) = (self.membership.is_oldest(), spec.on_trial.into());
        let source = self.sources.add(|source| {
            let tracked = TrackedSource::new(me, source, spec, consul);
            if is_oldest { tracked } else { tracked.as_standby() }
        })?;
        self.by_query.insert(key, SourceUse { source, users: 1, named });
        Some(source)
    }

    /// Removes a user of a source, and returns true if it was the last one. The source then
    /// releases its lease and empties its keys in shared data. Leads to loads and stores only.
    pub fn remove(&mut self, source: SourceId, is_named: bool, now: Time) -> bool {
        let key = self.sources.get(source).map(TrackedSource::key);
        let Some(known) = key.and_then(|key| self.by_query.get_mut(&key)) else {
            return false;
        };
        known.users = known.users.saturating_sub(1);
        known.named = known.named.saturating_sub(is_named.into());
        if known.users > 0 {
            if known.users == known.named {
                self.with_source(source, now, |it, context| it.set_unverified(true, context));
            }
            return false;
        }
        self.retired.push(source);
        self.with_source(source, now, TrackedSource::release);
        true
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
    pub fn is_fetcher(&self) -> bool {
        self.sources.values().any(TrackedSource::is_fetcher) || self.registry.is_leading()
    }

    /// Returns all sources in their order.
    pub fn sources(&self) -> Vec<&TrackedSource> {
        self.sources.values().collect()
    }

    /// Returns the next command, if there is one.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.out.is_empty() {
            self.forget_retired();
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
            Event::Added(source) => self.on_found(source, now),
            Event::Requested { source, host } => self.on_requested(source, host, now),
            Event::EndpointUnreachable(source) => {
                self.with_source(source, now, TrackedSource::on_endpoint_unreachable)
            }
            Event::Leaving => self.on_leaving(now),
            Event::QueueRegistered(queue) => {
                self.membership.on_queue(queue);
                self.look_at_members(now);
            }
            Event::Loaded { key: SharedKey::SourceRecord(query), value } => {
                self.with_query(query, now, |source, context| source.on_head(value, context));
            }
            Event::Loaded { key: SharedKey::Snapshot(query, version), value } => {
                self.with_query(query, now, |source, context| {
                    source.on_record(version, value, context);
                });
            }
            Event::Loaded { key: SharedKey::Members, value } => self.on_members(value, now),
            Event::Loaded { key: SharedKey::RegistrationLease(key), value } => {
                self.with_registry(now, |registry, context| registry.on_lease(key, value, context));
            }
            Event::Loaded { key: SharedKey::RegistrationIndex, value } => {
                self.with_registry(now, |registry, context| registry.on_index(value, context));
            }
            Event::Stored { key: SharedKey::RegistrationLease(key), written } => {
                self.with_registry(now, |registry, context| {
                    registry.on_lease_stored(key, written, context);
                });
            }
            Event::Stored { key: SharedKey::RegistrationIndex, .. } => {
                self.with_registry(now, |registry, context| registry.on_index_stored(context));
            }
            Event::Probed { probe: ProbeId { registration, target, number }, response } => {
                let probed = ProbeResult { target, number, response };
                self.with_registry(now, |registry, context| {
                    registry.on_probed(registration, &probed, context);
                });
            }
            Event::Stored { key: SharedKey::SourceRecord(query), written } => {
                self.with_query(query, now, |source, context| {
                    source.on_head_stored(written, context)
                });
            }
            Event::Stored { key: SharedKey::Snapshot(query, version), written } => {
                self.with_query(query, now, |source, context| {
                    source.on_record_stored(version, written, context);
                });
            }
            Event::Stored { key: SharedKey::Members, written: true } => {}
            Event::Stored { key: SharedKey::Members, written: false } => {
                self.membership.refresh_soon()
            }
            Event::QueueChecked { member, pending } => self.membership.on_probed(member, pending),
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
                self.tell_of_breaker();
            }
        }
    }

    fn on_tick(&mut self, rank: Rank, now: Time) {
        self.rank = Some(rank);
        self.membership.on_born(rank.born);
        if self.membership.needs_queue() {
            self.out.push_back(Command::RegisterQueue(self.me.queue_name()));
        }
        self.look_at_members(now);
        let Self { sources, calls, rng, out, outbox, clock, .. } = self;
        let awake = clock.at(now);
        calls.on_tick(now, rng);
        let turns = if sources.len() > EVERY_TICK { TURNS } else { 1 };
        self.turn = self.turn.wrapping_add(1) % turns;
        for (n, (_, source)) in sources.iter_mut().enumerate() {
            let context = &mut Context { now, awake, calls, rng, out, outbox };
            let is_due = match source.is_fetcher() {
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
        self.tell_of_breaker();
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

    fn forget_retired(&mut self) {
        self.registry.forget_retired();
        for source in self.retired.drain(..) {
            if let Some(source) = self.sources.remove(source) {
                self.by_query.remove(&source.key());
            }
        }
    }

    fn on_leaving(&mut self, now: Time) {
        let Self { sources, calls, rng, out, outbox, clock, .. } = self;
        let awake = clock.at(now);
        for (_, source) in sources.iter_mut() {
            source.leave(&mut Context { now, awake, calls, rng, out, outbox });
        }
        self.with_registry(now, |registry, context| registry.leave(context));
        self.membership.leave();
        self.out.push_back(Command::Load(SharedKey::Members));
    }

    fn with_query(
        &mut self,
        query: QueryKey,
        now: Time,
        act: impl FnOnce(&mut TrackedSource, &mut Context<'_>),
    ) {
        if let Some(&SourceUse { source, .. }) = self.by_query.get(&query) {
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

mod finding;
mod outbox;
#[cfg(test)]
mod tests;
mod turns;
