//! All of discovery in one VM: the trackers of its sources, and whom to wake.
//!
//! The agent never does anything: events go in by [`Manager::handle_event`], and what is to be
//! done comes out of [`Manager::poll_command`], one command at a time. Another VM may run
//! between any two of them.

use core::time::Duration;
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::calls::breaker::BreakerState;
use crate::calls::caller::CallId;
use crate::calls::scheduler::CallScheduler;
use crate::config::{Config, Consul};
use crate::discovery::context::Context;
use crate::discovery::event::{Command, Event, ProbeId};
use crate::discovery::registration_manager::RegistrationManager;
use crate::discovery::source_spec::SourceSpec;
use crate::discovery::tracked_source::TrackedSource;
use crate::election::membership::Membership;
use crate::election::outgoing::Outgoing;
use crate::model::service::{QueryKey, SourceId};
use crate::model::slot_map::SlotMap;
use crate::registration::probe::ProbeResult;
use crate::shared::key::{SharedKey, VmId};
use crate::shared::members::QueueId;
use crate::shared::source_record::Rank;
use crate::util::rng::Rng;
use crate::util::time::{AwakeClock, Time};

/// How often the timer runs.
pub const TICK: Duration = Duration::from_millis(250);
/// How often it runs at the start, until all services are resolved.
pub const FIRST_TICKS: Duration = Duration::from_millis(10);
/// How long the start is at most.
const START: Duration = Duration::from_secs(10);

/// The most sources whose heads are looked at in every tick.
const EVERY_TICK: usize = 64;
/// In how many ticks a follower looks at each head once, where there are more; an owner looks when
/// it is to renew its lease. That is every second, and a follower misses it after three: a look
/// every second sees it in time. Messages tell of news; what a lost one does not tell is found a
/// second later.
const TURNS: usize = 4;

/// All of discovery in one VM.
#[derive(Debug)]
pub struct Manager {
    me: VmId,
    rng: Rng,
    rank: Option<Rank>,
    /// Which of the sources are looked at in the next tick.
    turn: usize,
    consul: Consul,
    gate: CallScheduler,
    /// Where the breaker stands, as it was told last; none while no VM is told by this one.
    told: Option<BreakerState>,
    trackers: SlotMap<SourceId, TrackedSource>,
    sources: HashMap<QueryKey, SourceUse>,
    /// Sources that nobody uses any more; forgotten once what follows from that is carried out.
    retired: Vec<SourceId>,
    registry: RegistrationManager,
    membership: Membership,
    /// What other VMs are to be told, as soon as the list of members is loaded.
    post: Vec<Outgoing>,
    started: Option<Time>,
    clock: AwakeClock,
    period: Duration,
    out: VecDeque<Command>,
}

/// The source of a query, how many services use it, and how many of these clients have named.
#[derive(Debug, Clone, Copy)]
struct SourceUse {
    source: SourceId,
    users: usize,
    named: usize,
}

impl Manager {
    /// Starts with nothing known. The subjects are those of the sources in their order; of those that
    /// ask the same the first one counts, and has all of them for its users, as in
    /// [`SourceSpec::all`]. `rng` must be seeded differently in each VM: the agent's identity is
    /// drawn from it.
    pub fn new(subjects: Vec<SourceSpec>, consul: &Consul, mut rng: Rng) -> Self {
        let me = VmId(rng.next_u64());
        let (mut trackers, mut sources) = (SlotMap::new(), HashMap::<_, SourceUse>::new());
        for subject in subjects {
            let key = subject.query.key();
            if let Some(known) = sources.get_mut(&key) {
                known.users = known.users.saturating_add(1);
                continue;
            }
            let source = trackers.add(|source| TrackedSource::new(me, source, subject, consul));
            sources.extend(source.map(|source| (key, SourceUse { source, users: 1, named: 0 })));
        }
        Self {
            me,
            rng,
            rank: None,
            turn: 0,
            consul: consul.clone(),
            gate: CallScheduler::new(consul),
            told: None,
            trackers,
            sources,
            retired: Vec::new(),
            registry: RegistrationManager::new(me, consul),
            membership: Membership::new(me),
            post: Vec::new(),
            started: None,
            clock: AwakeClock::default(),
            period: FIRST_TICKS,
            out: VecDeque::new(),
        }
    }

    /// The same, keeping the registrations of a complete configuration.
    pub fn with_registrations(mut self, config: &Config) -> Self {
        self.registry.keep(&config.registrations);
        self
    }

    /// Learns which services are down, of those that this VM's registrations depend on.
    pub fn review_dependencies(&mut self, down: impl Fn(&[String]) -> Vec<String>, now: Time) {
        self.registry.review_dependencies(down, now, &mut self.rng);
    }

    /// Begins to follow what a query asks for, for one more user; none where there are too many
    /// sources. A query that is followed already keeps its source, and what is known of it is
    /// told once more.
    pub fn add(&mut self, subject: SourceSpec, now: Time) -> Option<SourceId> {
        if let Some(known) = self.sources.get_mut(&subject.query.key()) {
            known.users += 1;
            known.named += usize::from(subject.on_trial);
            let source = known.source;
            if !subject.on_trial {
                self.with_tracker(source, now, |it, scope| it.set_unverified(false, scope));
            }
            self.with_tracker(source, now, TrackedSource::republish_locally);
            return Some(source);
        }
        let (me, consul, key) = (self.me, &self.consul, subject.query.key());
        let (is_first_born, named) = (self.membership.is_oldest(), subject.on_trial.into());
        let source = self.trackers.add(|source| {
            let tracker = TrackedSource::new(me, source, subject, consul);
            if is_first_born { tracker } else { tracker.as_standby() }
        })?;
        self.sources.insert(key, SourceUse { source, users: 1, named });
        Some(source)
    }

    /// Follows a source for one user less, which clients have named or not, and forgets it after the
    /// last one: gives its lease away, and frees what it has in shared data. Leads to loads and
    /// stores only. Tells whether it was the last one.
    pub fn remove(&mut self, source: SourceId, is_named: bool, now: Time) -> bool {
        let key = self.trackers.get(source).map(TrackedSource::key);
        let Some(known) = key.and_then(|key| self.sources.get_mut(&key)) else {
            return false;
        };
        known.users = known.users.saturating_sub(1);
        known.named = known.named.saturating_sub(is_named.into());
        if known.users > 0 {
            if known.users == known.named {
                self.with_tracker(source, now, |it, scope| it.set_unverified(true, scope));
            }
            return false;
        }
        self.retired.push(source);
        self.with_tracker(source, now, TrackedSource::release);
        true
    }

    /// Whether no VM was made before this one, as far as is known here: what all VMs could do
    /// is its to do.
    pub const fn is_oldest(&self) -> bool {
        self.membership.is_oldest()
    }

    /// Who this VM is to the others.
    pub const fn id(&self) -> VmId {
        self.me
    }

    /// The queue by which this VM is woken, once it is registered.
    pub const fn queue(&self) -> Option<QueueId> {
        self.membership.queue()
    }

    /// How often to tick until [`Command::SetTickPeriod`] says otherwise.
    pub const fn tick_period(&self) -> Duration {
        self.period
    }

    /// Whether this VM asks Consul for any of its sources, or keeps a registration.
    pub fn is_fetcher(&self) -> bool {
        self.trackers.values().any(TrackedSource::is_fetcher) || self.registry.is_leading()
    }

    /// The trackers, in the order of the sources.
    pub fn trackers(&self) -> Vec<&TrackedSource> {
        self.trackers.values().collect()
    }

    /// The next command, until there is none.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.out.is_empty() {
            self.forget_retired();
        }
        self.out.pop_front()
    }

    /// Takes an event.
    pub fn handle_event(&mut self, event: Event<'_>, now: Time) {
        match event {
            Event::Tick(rank) => self.on_tick(rank, now),
            Event::Woken(message) => self.on_woken(message, now),
            Event::NeedSnapshot(source) => {
                self.with_tracker(source, now, TrackedSource::on_snapshot_needed)
            }
            Event::Added(source) => self.on_found(source, now),
            Event::Requested { source, host } => self.on_requested(source, host, now),
            Event::EndpointUnreachable(source) => {
                self.with_tracker(source, now, TrackedSource::on_endpoint_unreachable)
            }
            Event::Leaving => self.on_leaving(now),
            Event::QueueRegistered(queue) => {
                self.membership.on_queue(queue);
                self.look_at_members(now);
            }
            Event::Loaded { key: SharedKey::Head(query), value } => {
                self.with_query(query, now, |tracker, scope| tracker.on_head(value, scope));
            }
            Event::Loaded { key: SharedKey::Record(query, version), value } => {
                self.with_query(query, now, |tracker, scope| {
                    tracker.on_record(version, value, scope);
                });
            }
            Event::Loaded { key: SharedKey::Members, value } => self.on_members(value, now),
            Event::Loaded { key: SharedKey::Charge(key), value } => {
                self.with_registry(now, |registry, scope| registry.on_lease(key, value, scope));
            }
            Event::Loaded { key: SharedKey::Book, value } => {
                self.with_registry(now, |registry, scope| registry.on_index(value, scope));
            }
            Event::Stored { key: SharedKey::Charge(key), written } => {
                self.with_registry(now, |registry, scope| {
                    registry.on_lease_stored(key, written, scope);
                });
            }
            Event::Stored { key: SharedKey::Book, .. } => {
                self.with_registry(now, |registry, scope| registry.on_index_stored(scope));
            }
            Event::Probed { probe: ProbeId { registration, spot, number }, answer } => {
                let probed = ProbeResult { spot, number, answer };
                self.with_registry(now, |registry, scope| {
                    registry.on_probed(registration, &probed, scope);
                });
            }
            Event::Stored { key: SharedKey::Head(query), written } => {
                self.with_query(query, now, |tracker, scope| {
                    tracker.on_head_stored(written, scope)
                });
            }
            Event::Stored { key: SharedKey::Record(query, version), written } => {
                self.with_query(query, now, |tracker, scope| {
                    tracker.on_record_stored(version, written, scope);
                });
            }
            Event::Stored { key: SharedKey::Members, written: true } => {}
            Event::Stored { key: SharedKey::Members, written: false } => {
                self.membership.refresh_soon()
            }
            Event::QueueChecked { member, pending } => self.membership.on_probed(member, pending),
            Event::Answered { call, answer } => {
                match call {
                    CallId::Query { source, query } => {
                        self.with_tracker(source, now, |tracker, scope| {
                            tracker.on_response(query, answer, scope);
                        });
                    }
                    CallId::Errand { registration, errand } => {
                        self.with_registry(now, |registry, scope| {
                            registry.on_response(registration, errand, answer, scope);
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
        let Self { trackers, gate, rng, out, post, clock, .. } = self;
        let awake = clock.at(now);
        gate.on_tick(now, rng);
        let turns = if trackers.len() > EVERY_TICK { TURNS } else { 1 };
        self.turn = self.turn.wrapping_add(1) % turns;
        for (n, (_, tracker)) in trackers.iter_mut().enumerate() {
            let scope = &mut Context { now, awake, gate, rng, out, post };
            let is_due = match tracker.is_fetcher() {
                true => turns == 1 || tracker.must_renew(rank, awake),
                false => n % turns == self.turn,
            };
            match is_due {
                true => tracker.on_tick(rank, scope),
                false => tracker.on_ready(scope),
            }
        }
        let is_first_born = self.membership.is_oldest();
        self.with_registry(now, |registry, scope| registry.on_tick(rank, is_first_born, scope));
        self.run_ready(now);
        self.tell_of_breaker();
        let started = *self.started.get_or_insert(now);
        let is_settled =
            self.trackers.values().all(TrackedSource::is_settled) && self.registry.is_settled();
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
            if let Some(tracker) = self.trackers.remove(source) {
                self.sources.remove(&tracker.key());
            }
        }
    }

    fn on_leaving(&mut self, now: Time) {
        let Self { trackers, gate, rng, out, post, clock, .. } = self;
        let awake = clock.at(now);
        for (_, tracker) in trackers.iter_mut() {
            tracker.leave(&mut Context { now, awake, gate, rng, out, post });
        }
        self.with_registry(now, |registry, scope| registry.leave(scope));
        self.membership.leave();
        self.out.push_back(Command::Load(SharedKey::Members));
    }

    fn with_query(
        &mut self,
        query: QueryKey,
        now: Time,
        act: impl FnOnce(&mut TrackedSource, &mut Context<'_>),
    ) {
        if let Some(&SourceUse { source, .. }) = self.sources.get(&query) {
            self.with_tracker(source, now, act);
        }
    }

    fn with_registry(
        &mut self,
        now: Time,
        act: impl FnOnce(&mut RegistrationManager, &mut Context<'_>),
    ) {
        let Self { registry, gate, rng, out, post, clock, .. } = self;
        act(registry, &mut Context { now, awake: clock.at(now), gate, rng, out, post });
    }

    fn with_tracker(
        &mut self,
        source: SourceId,
        now: Time,
        act: impl FnOnce(&mut TrackedSource, &mut Context<'_>),
    ) {
        let Self { trackers, gate, rng, out, post, clock, .. } = self;
        if let Some(tracker) = trackers.get_mut(source) {
            act(tracker, &mut Context { now, awake: clock.at(now), gate, rng, out, post });
        }
    }
}

mod finding;
mod outbox;
#[cfg(test)]
mod tests;
mod turns;
