//! The VMs: the real state machines on a simulated host.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::calls::caller::CallId;
use consul_resolver::config::{Config, Probe};
use consul_resolver::discovery::tracked_source::TrackedSource;
use consul_resolver::health_check::verdict::ProbeReason;
use consul_resolver::host::{Expect, Host, ProbeId};
use consul_resolver::model::registration::RegistrationId;
use consul_resolver::model::service::{QueryKey, ServiceId, SourceId};
use consul_resolver::registry::http::{CallFailure, HttpRequest};
use consul_resolver::router::Router;
use consul_resolver::router::forward::Forward;
use consul_resolver::shared::key::{Cas, SharedKey};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::registration_lease::RegistrationLease;
use consul_resolver::shared::snapshot_record::SnapshotVersion;
use consul_resolver::shared::source_record::{Rank, SourceRecord};
use consul_resolver::telemetry::{BreakerEvent, ServiceEvent, TelemetryEvent};
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;
use consul_resolver::vm;

use crate::admin::Admin;
use crate::clock::Clock;
use crate::consul::{Consul, Outcome};
use crate::feed::Feed;
use crate::probes::Echo;
use crate::replies::Reply;
use crate::shared::Shared;
use crate::sources::{configured, source_of, spec};
use crate::trace::Trace;

/// A root context: which thread's VM it is in, and its number, which no other ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextId {
    /// The thread; 0 is the main one.
    pub thread: usize,
    /// The number.
    pub number: u32,
}

/// The VM of one thread.
pub struct Vm {
    /// Whether it lives: one that has trapped does not, until a request comes for it.
    pub alive: bool,
    /// Whether it has ever served a request.
    pub serving: bool,
    /// When it was made.
    pub born: u64,
    /// Its clock.
    pub clock: Clock,
    /// Its root contexts, one for each configuration that it runs.
    pub contexts: Vec<Context>,
    /// What waits to be handled.
    pub inbox: VecDeque<(ContextId, Mail)>,
    /// The context that is in the middle of something.
    pub busy: Option<ContextId>,
    /// It goes on no sooner than then.
    pub frozen_until: u64,
    /// Whether its next step is planned.
    pub planned: bool,
    /// What becomes of it in the middle of something.
    pub doom: Option<Doom>,
}

/// What becomes of a VM after so many more steps: so between any load and its store, too, where a
/// moment that is drawn by the clock hardly ever falls.
#[derive(Debug, Clone, Copy)]
pub struct Doom {
    /// The steps that it still makes.
    pub steps: u32,
    /// For how long it stands still then, in microseconds; none where it dies.
    pub frozen: Option<u64>,
}

/// One configuration in one VM.
pub struct Context {
    /// Who it is.
    pub id: ContextId,
    /// Which of the world's configurations it runs.
    pub config: usize,
    /// The sources of the configuration, by their places in [`SOURCES`](crate::sources::SOURCES).
    pub configured: Vec<usize>,
    /// Whether it serves what the catalog lists.
    pub discovers: bool,
    /// Whether it serves names of Consul's DNS.
    pub resolves: bool,
    /// How many of its queries may block.
    pub max_watches: usize,
    /// The services that it has found and not forgotten.
    pub found: Vec<ServiceId>,
    /// Discovery.
    pub agent: vm::Vm,
    /// Routing.
    pub router: Router,
    /// What answers Envoy's subscriptions, if anything does.
    pub feed: Option<Feed>,
    /// The timer's period, in microseconds.
    pub period: u64,
    /// Its requests in flight.
    pub flying: Vec<Forward>,
    /// What it has installed last of each source, also of those that it has forgotten since.
    pub seen: HashMap<usize, SnapshotVersion>,
    /// What it does now, and when it began with that on its own clock.
    pub task: Task,
    /// See `task`.
    pub began: u64,
    /// Whether its configuration is in use no longer, and it has been told so.
    pub leaves: bool,
    /// When it was made.
    pub made: u64,
}

/// What a context does, and so what follows when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing follows.
    Other,
    /// Envoy's subscriptions are answered.
    Feed,
    /// So they are, and the timer is set again.
    Tick,
    /// The context ends.
    Leave,
}

/// Something that the host has for a context.
#[derive(Debug)]
pub enum Mail {
    /// The timer.
    Tick,
    /// Its queue has messages.
    Queue(QueueId),
    /// A callout has ended.
    Answer(Reply),
    /// This came back for a probe.
    Probed(ProbeId, Echo),
    /// A request for one of its configured services.
    Request(u32),
    /// A request for one of the [`HOSTS`](crate::sources::HOSTS).
    Named(usize),
    /// A request for any host.
    Host(String),
    /// The rest of such a request, whose service has just been taken in.
    Resumed(ServiceId),
    /// A request could not reach an endpoint of a source.
    Suspicion(SourceId),
    /// One of Envoy's subscriptions asks, by that stream.
    Subscription(u32),
    /// Such a stream has ended.
    Gone(u32),
    /// Such a stream is to be answered by now.
    Due,
    /// The configuration is in use no longer.
    Leave,
}

impl Context {
    /// A context that has just been made.
    pub fn new(id: ContextId, config: usize, of: &Config, made: u64, rng: &mut Rng) -> Self {
        let mut own = rng.split();
        let subjects = of.sources().map(|source| spec(of, source)).collect();
        let agent = vm::Vm::new(subjects, &of.consul, own.split()).with_registrations(of);
        Self {
            id,
            config,
            configured: configured(of),
            discovers: of.discover.is_some(),
            resolves: of.dns_names.is_some(),
            max_watches: of.consul.max_watches as usize,
            found: Vec::new(),
            seen: HashMap::new(),
            period: micros(agent.tick_period()),
            agent,
            router: Router::new(of, &mut own),
            feed: Feed::new(of),
            flying: Vec::new(),
            task: Task::Other,
            began: 0,
            leaves: false,
            made,
        }
    }

    /// The tracker of a source, while it follows it.
    pub fn tracker(&self, source: usize) -> Option<&TrackedSource> {
        self.agent.sources().into_iter().find(|tracker| source_of(tracker) == source)
    }
}

impl Vm {
    /// A VM without a configuration yet.
    pub fn new(born: u64, clock: Clock) -> Self {
        Self {
            alive: true,
            serving: false,
            born,
            clock,
            contexts: Vec::new(),
            inbox: VecDeque::new(),
            busy: None,
            frozen_until: 0,
            planned: false,
            doom: None,
        }
    }

    /// How suitable it is to fetch.
    pub const fn rank(&self) -> Rank {
        Rank { serving: self.serving, born: self.born }
    }

    /// The context of that name, if it still is.
    pub fn context(&mut self, id: ContextId) -> Option<&mut Context> {
        self.contexts.iter_mut().find(|context| context.id == id)
    }
}

/// What a context can do at this moment.
pub struct SimHost<'w> {
    /// The moment.
    pub at: u64,
    /// What the VM's clock shows.
    pub clock: u64,
    /// Which context it is.
    pub id: ContextId,
    /// The process.
    pub shared: &'w mut Shared,
    /// Consul.
    pub consul: &'w mut Consul,
    /// Envoy's administration interface.
    pub admin: &'w Admin,
    /// The world's randomness.
    pub rng: &'w mut Rng,
    /// What has happened.
    pub trace: &'w mut Trace,
    /// The timer's period.
    pub period: &'w mut u64,
    /// The services that the context has found.
    pub found: &'w mut Vec<ServiceId>,
    /// What follows.
    pub effects: &'w mut Effects,
}

/// What follows from a step, and is to be looked at.
#[derive(Default)]
pub struct Effects {
    /// The contexts to be woken, with the queue.
    pub wakes: Vec<(ContextId, QueueId)>,
    /// The heads that were written.
    pub heads: Vec<(SharedKey, SourceRecord)>,
    /// The source whose record was read, or whose head was written: it may be installed now.
    pub installed: Option<QueryKey>,
    /// The probes that were made.
    pub probes: Vec<ProbeId>,
    /// What the agent was called for.
    pub errand: Option<(RegistrationId, HttpRequest)>,
    /// The sources whose records were written to, or emptied.
    pub records: Vec<QueryKey>,
    /// The queues that were looked into, and whether messages waited there.
    pub looks: Vec<(QueueId, bool)>,
    /// The list of members as it was, and as it was written.
    pub members: Option<[Vec<u8>; 2]>,
    /// The breakers that are not closed any more.
    pub opened: Vec<String>,
    /// What comes of queries.
    pub outcomes: Vec<Outcome>,
    /// The sources that Consul was asked for.
    pub calls: Vec<usize>,
    /// Whether another context keeps a registration now.
    pub charged: bool,
}

impl Host for SimHost<'_> {
    fn now(&mut self) -> Time {
        time(self.clock)
    }

    fn register_queue(&mut self, name: &str) -> QueueId {
        self.shared.register(name, self.id)
    }

    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        let value = self.shared.load(&key.to_string());
        if let SharedKey::Snapshot(query, _) = key {
            self.effects.installed = Some(*query);
        }
        value
    }

    fn store(&mut self, key: &SharedKey, value: &[u8], expect: Expect) -> bool {
        let name = key.to_string();
        let owner =
            |(bytes, _): (Vec<u8>, Cas)| Some(RegistrationLease::decode(&bytes).ok()?.holder.owner);
        let old = self.shared.load(&name);
        let before = old.clone().and_then(owner);
        let written = self.shared.store(&name, value, expect);
        self.trace.note_text(&name);
        self.trace.note(u64::from(written));
        match key {
            _ if !written => {}
            SharedKey::SourceRecord(query) => {
                self.effects.installed = Some(*query);
                let head = SourceRecord::decode(value).expect("a head that reads back");
                self.effects.heads.push((*key, head));
            }
            SharedKey::Snapshot(query, _) => self.effects.records.push(*query),
            SharedKey::RegistrationLease(_) => {
                let charge = RegistrationLease::decode(value).expect("a charge that reads back");
                self.effects.charged |= Some(charge.holder.owner) != before;
            }
            SharedKey::Members => {
                let old = old.map(|(bytes, _)| bytes).unwrap_or_default();
                self.effects.members = Some([old, value.to_vec()]);
            }
            SharedKey::RegistrationIndex => {}
        }
        written
    }

    fn wake(&mut self, queue: QueueId, message: &[u8]) {
        if let Some(target) = self.shared.enqueue(queue, message) {
            self.effects.wakes.push((target, queue));
        }
    }

    fn has_messages(&mut self, queue: QueueId) -> bool {
        let pending = self.shared.pending(queue) > 0;
        self.effects.looks.push((queue, pending));
        pending
    }

    fn call(&mut self, call: CallId, request: &HttpRequest) -> Result<(), CallFailure> {
        self.trace.note_text(&request.path);
        if let CallId::Agent { registration, .. } = call {
            self.effects.errand = Some((registration, request.clone()));
            let outcome = self.consul.errand(self.id, call, request, self.at, self.rng)?;
            self.effects.outcomes.extend(outcome);
            return Ok(());
        }
        let (source, outcome) = self.consul.ask(self.id, call, request, self.at, self.rng)?;
        self.effects.calls.push(source);
        self.effects.outcomes.extend(outcome);
        Ok(())
    }

    fn probe(&mut self, id: ProbeId, probe: &Probe) -> Result<(), ProbeReason> {
        self.send_probe(id, probe)
    }

    fn emit(&mut self, event: &TelemetryEvent) {
        match event {
            // Every event has a text.
            TelemetryEvent::Source { event, .. } => assert!(!event.to_string().is_empty()),
            TelemetryEvent::Registration { event, .. } => self.trace.note_text(&event.to_string()),
            TelemetryEvent::Service { service, event } => self.on_service_event(*service, event),
            TelemetryEvent::Breaker(BreakerEvent { state, before, datacenter }) => {
                assert_ne!(Some(*state), *before, "only transitions are told");
                if *state != BreakerState::Closed {
                    self.effects.opened.push(format!("{state:?} for {datacenter:?}"));
                }
            }
        }
    }

    fn set_tick_period(&mut self, period: Duration) {
        *self.period = micros(period);
    }
}

impl SimHost<'_> {
    fn on_service_event(&mut self, service: ServiceId, event: &ServiceEvent) {
        match event {
            ServiceEvent::Found(found) => {
                self.trace.note_text(&found.name);
                assert!(!self.found.contains(&service), "it comes once");
                self.found.push(service);
            }
            ServiceEvent::Gone(sources) => {
                self.trace.note(sources.len() as u64);
                // A service may go before its addition was applied.
                let is_known = self.found.contains(&service);
                assert!(is_known || sources.is_empty(), "one that has come");
                self.found.retain(|found| *found != service);
            }
            _ => {}
        }
    }
}

/// A moment of a VM's clock.
pub fn time(micros: u64) -> Time {
    Time::from_start(Duration::from_micros(micros))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("a short time")
}
