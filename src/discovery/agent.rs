//! All of discovery in one VM: the trackers of its services, and whom to wake.
//!
//! The agent never does anything: events go in by [`Agent::handle_event`], and what is to be
//! done comes out of [`Agent::poll_command`], one command at a time. Another VM may run
//! between any two of them.

use core::time::Duration;
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::consul::query::Query;
use crate::discovery::event::{Command, Event, Expect};
use crate::discovery::membership::Membership;
use crate::discovery::scope::Scope;
use crate::discovery::tracker::Tracker;
use crate::model::service::{QueryKey, ServiceId};
use crate::rng::Rng;
use crate::shared::head::Rank;
use crate::shared::key::{Cas, Key, VmId};
use crate::shared::members::{Member, Members, QueueId};
use crate::time::Time;

/// How often the timer runs.
pub const TICK: Duration = Duration::from_millis(250);
/// How often it runs at the start, until all services are resolved.
pub const FIRST_TICKS: Duration = Duration::from_millis(10);
/// How long the start is at most.
const START: Duration = Duration::from_secs(10);

/// All of discovery in one VM.
#[derive(Debug)]
pub struct Agent {
    me: VmId,
    rng: Rng,
    trackers: Vec<Tracker>,
    services: HashMap<QueryKey, ServiceId>,
    membership: Membership,
    /// The services whose new snapshot the others are to be told of.
    news: Vec<QueryKey>,
    started: Option<Time>,
    period: Duration,
    out: VecDeque<Command>,
}

impl Agent {
    /// Starts with nothing known. The queries are those of the services in their order;
    /// `wait` is how long Consul may hold each. `rng` must be seeded differently in each VM:
    /// the agent's identity is drawn from it.
    pub fn new(queries: Vec<Query>, wait: Duration, mut rng: Rng) -> Self {
        let me = VmId(rng.next_u64());
        let trackers: Vec<Tracker> = (0..=u16::MAX)
            .zip(queries)
            .map(|(id, query)| Tracker::new(me, ServiceId(id), query, wait))
            .collect();
        let ids = (0..=u16::MAX).map(ServiceId);
        let services = trackers.iter().map(Tracker::key).zip(ids).collect();
        Self {
            me,
            rng,
            trackers,
            services,
            membership: Membership::new(me),
            news: Vec::new(),
            started: None,
            period: FIRST_TICKS,
            out: VecDeque::new(),
        }
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

    /// The trackers, in the order of the services.
    pub fn trackers(&self) -> &[Tracker] {
        &self.trackers
    }

    /// The next command, until there is none.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.out.pop_front()
    }

    /// Takes an event.
    pub fn handle_event(&mut self, event: Event<'_>, now: Time) {
        match event {
            Event::Tick(rank) => self.on_tick(rank, now),
            Event::Woken(message) => self.on_woken(message, now),
            Event::Missed(service) => {
                self.with_tracker(service, now, |tracker, scope| tracker.peek(scope));
            }
            Event::Leaving => self.on_leaving(now),
            Event::QueueRegistered(queue) => {
                self.membership.on_queue(queue);
                self.look_at_members(now);
            }
            Event::Loaded { key: Key::Head(query), value } => {
                self.with_query(query, now, |tracker, scope| tracker.on_head(value, scope));
            }
            Event::Loaded { key: Key::Record(query, version), value } => {
                let bytes = value.map(|(bytes, _)| bytes);
                self.with_query(query, now, |tracker, scope| {
                    tracker.on_record(version, bytes, scope);
                });
            }
            Event::Loaded { key: Key::Members, value } => self.on_members(value),
            Event::Stored { key: Key::Head(query), written } => {
                self.with_query(query, now, |tracker, scope| {
                    tracker.on_head_stored(written, scope)
                });
            }
            Event::Stored { key: Key::Record(query, _), .. } => {
                self.with_query(query, now, Tracker::on_record_stored);
            }
            Event::Stored { key: Key::Members, written: true } => {}
            Event::Stored { key: Key::Members, written: false } => self.membership.look_soon(),
            Event::Probed { member, pending } => self.membership.on_probed(member, pending),
            Event::Answered { call, answer } => {
                self.with_tracker(call.service, now, |tracker, scope| {
                    tracker.on_answer(call.query, answer, scope);
                });
            }
        }
    }

    fn on_tick(&mut self, rank: Rank, now: Time) {
        if self.membership.needs_queue() {
            self.out.push_back(Command::RegisterQueue(self.me.queue_name()));
        }
        self.look_at_members(now);
        let Self { trackers, rng, out, news, .. } = self;
        for tracker in trackers.iter_mut() {
            tracker.on_tick(rank, &mut Scope { now, rng, out, news });
        }
        let started = *self.started.get_or_insert(now);
        let starting = now.since(started) < START && !self.trackers.iter().all(Tracker::is_settled);
        let period = if starting { FIRST_TICKS } else { TICK };
        if period != self.period {
            self.period = period;
            self.out.push_back(Command::SetTickPeriod(period));
        }
    }

    fn on_leaving(&mut self, now: Time) {
        let Self { trackers, rng, out, news, .. } = self;
        for tracker in trackers.iter_mut() {
            tracker.leave(&mut Scope { now, rng, out, news });
        }
        self.membership.leave();
        self.out.push_back(Command::Load(Key::Members));
    }

    /// A message is the key of the query whose snapshot is new; others are not for this VM.
    fn on_woken(&mut self, message: &[u8], now: Time) {
        if let Ok(bytes) = message.try_into() {
            let query = QueryKey(u128::from_le_bytes(bytes));
            self.with_query(query, now, |tracker, scope| tracker.peek(scope));
        }
    }

    fn look_at_members(&mut self, now: Time) {
        if self.membership.poll_look(now) {
            self.out.push_back(Command::Load(Key::Members));
        }
    }

    fn on_members(&mut self, value: Option<(&[u8], Cas)>) {
        // A list that cannot be read is a list without us.
        let members = value.and_then(|(bytes, _)| Members::decode(bytes).ok()).unwrap_or_default();
        let news = core::mem::take(&mut self.news);
        if news.is_empty() {
            self.review_members(&members, value.map(|(_, cas)| cas));
        }
        for Member { queue, .. } in self.membership.others(&members) {
            let wake =
                |query: &QueryKey| Command::Wake { queue, message: query.0.to_le_bytes().to_vec() };
            self.out.extend(news.iter().map(wake));
        }
    }

    fn review_members(&mut self, members: &Members, cas: Option<Cas>) {
        if let Some(better) = self.membership.review(members) {
            let expect = cas.map_or(Expect::Absent, Expect::Unchanged);
            let value = better.encode();
            self.out.push_back(Command::Store { key: Key::Members, value, expect });
        }
        if self.trackers.iter().any(Tracker::is_fetcher) {
            self.out.extend(self.membership.others(members).map(Command::Probe));
        }
    }

    fn with_query(
        &mut self,
        query: QueryKey,
        now: Time,
        act: impl FnOnce(&mut Tracker, &mut Scope<'_>),
    ) {
        if let Some(&service) = self.services.get(&query) {
            self.with_tracker(service, now, act);
        }
    }

    fn with_tracker(
        &mut self,
        service: ServiceId,
        now: Time,
        act: impl FnOnce(&mut Tracker, &mut Scope<'_>),
    ) {
        let Self { trackers, rng, out, news, .. } = self;
        if let Some(tracker) = trackers.get_mut(usize::from(service.0)) {
            act(tracker, &mut Scope { now, rng, out, news });
        }
    }
}
