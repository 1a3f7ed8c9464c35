//! One VM: its sources, its registrations and its messages to other VMs.
//!
//! The VM performs no I/O. Events go in through [`Vm::handle_event`], and commands come out of
//! [`Vm::poll_command`] one at a time. Another VM may run between any two of them. Discovery and
//! registration know nothing of each other: the VM routes each event to one of them.

use core::time::Duration;
use std::collections::VecDeque;

use crate::calls::breaker::BreakerState;
use crate::calls::caller::{CallId, Caller};
use crate::calls::scheduler::CallScheduler;
use crate::config::{Config, Consul};
use crate::discovery::manager::Manager;
use crate::discovery::tracked_source::TrackedSource;
use crate::election::membership::{Membership, Outgoing};
use crate::host::{Command, Context, Event, Load, ProbeId, Store};
use crate::model::service::SourceId;
use crate::registration::manager::RegistrationManager;
use crate::registration::probe::ProbeResult;
use crate::registry::source_spec::SourceSpec;
use crate::shared::key::{Cas, VmId};
use crate::shared::members::{Members, QueueId};
use crate::shared::message::Message;
use crate::shared::source_record::Rank;
use crate::telemetry::{BreakerEvent, TelemetryEvent};
use crate::util::rng::Rng;
use crate::util::time::{AwakeClock, Time};

/// The period of ticks.
pub const TICK: Duration = Duration::from_millis(250);
/// The period of ticks at the start, until all sources are resolved.
pub const FIRST_TICKS: Duration = Duration::from_millis(10);
/// The longest duration of the start.
const START: Duration = Duration::from_secs(10);

/// One VM of the process, without its host.
#[derive(Debug)]
pub struct Vm {
    me: VmId,
    rng: Rng,
    calls: CallScheduler,
    /// The breaker state that was reported last. `None` while this VM leads nothing.
    reported: Option<BreakerState>,
    discovery: Manager,
    registration: RegistrationManager,
    membership: Membership,
    /// The messages that wait for the list of members.
    outbox: Vec<Outgoing>,
    started: Option<Time>,
    clock: AwakeClock,
    period: Duration,
    out: VecDeque<Command>,
}

impl Vm {
    /// Starts without any knowledge. `specs` are in the order of their sources. `rng` must be
    /// seeded differently in each VM, because the VM's id is drawn from it.
    pub fn new(specs: Vec<SourceSpec>, consul: &Consul, mut rng: Rng) -> Self {
        let me = VmId(rng.next_u64());
        Self {
            me,
            rng,
            calls: CallScheduler::new(consul),
            reported: None,
            discovery: Manager::new(me, specs, consul),
            registration: RegistrationManager::new(me, consul),
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
        self.registration.keep(&config.registrations);
        self
    }

    /// Updates the services that are down, for the registrations that depend on them.
    pub fn review_dependencies(&mut self, down: impl Fn(&[String]) -> Vec<String>, now: Time) {
        self.registration.review_dependencies(down, now, &mut self.rng);
    }

    /// Adds a user of a source. Returns `None` if there are too many sources. If the query has a
    /// source already, its snapshot is installed once more.
    pub fn add(&mut self, spec: SourceSpec, now: Time) -> Option<SourceId> {
        let is_oldest = self.is_oldest();
        let (discovery, _, mut context) = self.rooms(now);
        discovery.add(spec, is_oldest, &mut context)
    }

    /// Removes a user of a source, and returns true if it was the last one. The source then
    /// releases its lease and empties its keys in shared data. Leads to loads and stores only.
    pub fn remove(&mut self, source: SourceId, is_named: bool, now: Time) -> bool {
        let (discovery, _, mut context) = self.rooms(now);
        discovery.remove(source, is_named, &mut context)
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
        self.discovery.is_leading() || self.registration.is_leading()
    }

    /// Returns all sources in their order.
    pub fn sources(&self) -> Vec<&TrackedSource> {
        self.discovery.sources()
    }

    /// Returns the next command, if there is one.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.out.is_empty() {
            self.registration.forget_retired();
            self.discovery.forget_retired();
        }
        self.out.pop_front()
    }

    /// Handles an event.
    pub fn handle_event(&mut self, event: Event<'_>, now: Time) {
        let is_oldest = self.is_oldest();
        let (discovery, registration, context) = &mut self.rooms(now);
        match event {
            Event::Tick(rank) => self.on_tick(rank, now),
            Event::Leaving => self.on_leaving(now),
            Event::QueueRegistered(queue) => {
                self.membership.on_queue(queue);
                self.load_members(now);
            }
            Event::QueueChecked { member, pending } => {
                self.membership.on_queue_checked(member, pending, now);
            }
            Event::Loaded { load: Load::Members, value } => self.on_members(value, now),
            Event::Stored { store: Store::Members, written: true } => {}
            Event::Stored { store: Store::Members, written: false } => {
                self.membership.refresh_soon();
            }
            Event::Answered { call, response } => {
                match call {
                    CallId::Query { source, query } => {
                        discovery.on_response(source, query, response, context);
                    }
                    CallId::Agent { registration: id, call } => {
                        registration.on_response(id, call, response, context);
                    }
                }
                self.report_breaker();
            }

            Event::Woken(message) => {
                // An unreadable message is ignored.
                if let Ok(message) = Message::decode(message) {
                    discovery.on_message(message, context);
                }
            }
            Event::NeedSnapshot(source) => discovery.on_snapshot_needed(source, context),
            Event::Added(source) => discovery.on_added(source, is_oldest, context),
            Event::Requested { source, host } => {
                discovery.on_requested(source, host, is_oldest, context);
            }
            Event::EndpointUnreachable(source) => {
                discovery.on_endpoint_unreachable(source, context);
            }
            Event::Loaded { load: Load::SourceRecord(query, purpose), value } => {
                discovery.on_source_record(query, purpose, value, context);
            }
            Event::Loaded { load: Load::Snapshot(query, version, purpose), value } => {
                discovery.on_snapshot(query, version, purpose, value, context);
            }
            Event::Stored { store: Store::SourceRecord(query, purpose), written } => {
                discovery.on_source_record_stored(query, purpose, written, context);
            }
            Event::Stored { store: Store::Snapshot(query, version), written } => {
                discovery.on_snapshot_stored(query, version, written, context);
            }

            Event::Loaded { load: Load::RegistrationLease(key, purpose), value } => {
                registration.on_lease(key, purpose, value, context);
            }
            Event::Loaded { load: Load::RegistrationIndex, value } => {
                registration.on_index(value, context);
            }
            Event::Stored { store: Store::RegistrationLease(key, purpose), written } => {
                registration.on_lease_stored(key, purpose, written, context);
            }
            Event::Stored { store: Store::RegistrationIndex, .. } => {
                registration.on_index_stored(context);
            }
            Event::Probed { probe: ProbeId { registration: id, target, number }, response } => {
                registration.on_probed(id, &ProbeResult { target, number, response }, context);
            }
        }
    }

    fn on_tick(&mut self, rank: Rank, now: Time) {
        self.membership.on_born(rank.born);
        if self.membership.needs_queue() {
            self.out.push_back(Command::RegisterQueue(self.me.queue_name()));
        }
        self.load_members(now);
        let is_oldest = self.is_oldest();
        let (discovery, registration, context) = &mut self.rooms(now);
        context.calls.on_tick(now, context.rng);
        discovery.on_tick(rank, context);
        registration.on_tick(rank, is_oldest, context);
        // The calls whose turn has come.
        while let Some((caller, turn)) = context.calls.poll_ready(now) {
            match caller {
                Caller::Source(source) | Caller::Name(source) => {
                    discovery.on_ready(source, context);
                }
                Caller::Registration(id) => registration.on_ready(id, context),
            }
            context.calls.remove(caller, turn);
        }
        self.report_breaker();
        let started = *self.started.get_or_insert(now);
        let is_settled = self.discovery.is_settled() && self.registration.is_settled();
        let starting = now.since(started) < START && !is_settled;
        let period = if starting { FIRST_TICKS } else { TICK };
        if period != self.period {
            self.period = period;
            self.out.push_back(Command::SetTickPeriod(period));
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
            let event = BreakerEvent { state: position, before, datacenter };
            self.out.push_back(Command::Emit(TelemetryEvent::Breaker(event)));
        }
    }

    fn on_leaving(&mut self, now: Time) {
        let (discovery, registration, context) = &mut self.rooms(now);
        discovery.leave(context);
        registration.leave(context);
        self.membership.leave();
        self.out.push_back(Command::Load(Load::Members));
    }

    fn load_members(&mut self, now: Time) {
        if self.membership.poll_refresh(now) {
            self.out.push_back(Command::Load(Load::Members));
        }
    }

    /// Takes the list of members, to which the waiting messages go.
    fn on_members(&mut self, value: Option<(&[u8], Cas)>, now: Time) {
        // An unreadable list is a list without this VM.
        let members = value.and_then(|(bytes, _)| Members::decode(bytes).ok()).unwrap_or_default();
        self.membership.on_members(&members);
        let outbox = core::mem::take(&mut self.outbox);
        if outbox.is_empty() {
            self.reconcile_members(&members, value.map(|(_, cas)| cas), now);
        }
        for member in self.membership.peers(&members) {
            let messages = outbox.iter().filter(|message| message.is_for(member, &members));
            self.out.extend(messages.map(|message| Command::Wake {
                queue: member.queue,
                message: message.message.encode(),
            }));
        }
    }

    fn reconcile_members(&mut self, members: &Members, cas: Option<Cas>, now: Time) {
        if let Some(better) = self.membership.reconcile(members) {
            let expect = cas.into();
            let value = better.encode();
            self.out.push_back(Command::Store { store: Store::Members, value, expect });
        }
        if self.membership.poll_queue_check(self.is_leader(), now) {
            self.out.extend(self.membership.peers(members).map(Command::CheckQueue));
        }
    }

    /// Returns discovery, registration, and the context of an event for either.
    fn rooms(&mut self, now: Time) -> (&mut Manager, &mut RegistrationManager, Context<'_>) {
        let Self { discovery, registration, calls, rng, out, outbox, clock, .. } = self;
        let context = Context { now, awake: clock.at(now), calls, rng, out, outbox };
        (discovery, registration, context)
    }
}
