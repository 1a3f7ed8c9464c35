//! All of discovery in one VM: the trackers of its sources, and whom to wake.
//!
//! The agent never does anything: events go in by [`Agent::handle_event`], and what is to be
//! done comes out of [`Agent::poll_command`], one command at a time. Another VM may run
//! between any two of them.

use core::time::Duration;
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::consul::query::Query;
use crate::discovery::event::{Command, Event, Expect};
use crate::discovery::letter::Letter;
use crate::discovery::membership::Membership;
use crate::discovery::scope::Scope;
use crate::discovery::tracker::Tracker;
use crate::model::service::{QueryKey, SourceId};
use crate::rng::Rng;
use crate::shared::head::Rank;
use crate::shared::key::{Cas, Key, VmId};
use crate::shared::members::{Members, QueueId};
use crate::shared::message::Message;
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
    sources: HashMap<QueryKey, SourceId>,
    membership: Membership,
    /// What other VMs are to be told, as soon as the list of members is loaded.
    post: Vec<Letter>,
    started: Option<Time>,
    period: Duration,
    out: VecDeque<Command>,
}

impl Agent {
    /// Starts with nothing known. The queries are those of the sources in their order, no two
    /// of which ask the same: no two services have one name, and no service has one
    /// datacenter twice. `wait` is how long Consul may hold each. `rng` must be seeded differently in each VM:
    /// the agent's identity is drawn from it.
    pub fn new(queries: Vec<Query>, wait: Duration, mut rng: Rng) -> Self {
        let me = VmId(rng.next_u64());
        let trackers: Vec<Tracker> = (0..=u16::MAX)
            .zip(queries)
            .map(|(id, query)| Tracker::new(me, SourceId(id), query, wait))
            .collect();
        let ids = (0..=u16::MAX).map(SourceId);
        let sources = trackers.iter().map(Tracker::key).zip(ids).collect();
        Self {
            me,
            rng,
            trackers,
            sources,
            membership: Membership::new(me),
            post: Vec::new(),
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

    /// Whether this VM asks Consul for any of its sources.
    pub fn is_fetcher(&self) -> bool {
        self.trackers.iter().any(Tracker::is_fetcher)
    }

    /// The trackers, in the order of the sources.
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
            Event::Missed(source) => self.with_tracker(source, now, Tracker::peek),
            Event::Suspected(source) => self.with_tracker(source, now, Tracker::on_suspected),
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
                self.with_tracker(call.source, now, |tracker, scope| {
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
        let Self { trackers, rng, out, post, .. } = self;
        for tracker in trackers.iter_mut() {
            tracker.on_tick(rank, &mut Scope { now, rng, out, post });
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
        let Self { trackers, rng, out, post, .. } = self;
        for tracker in trackers.iter_mut() {
            tracker.leave(&mut Scope { now, rng, out, post });
        }
        self.membership.leave();
        self.out.push_back(Command::Load(Key::Members));
    }

    /// What cannot be read is not for this VM, as what is about a query that it does not have.
    fn on_woken(&mut self, message: &[u8], now: Time) {
        match Message::decode(message) {
            Ok(Message::News(query)) => self.with_query(query, now, Tracker::peek),
            Ok(Message::Suspicion(query)) => {
                self.with_query(query, now, Tracker::on_told_of_suspicion);
            }
            Err(_) => {}
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
        let post = core::mem::take(&mut self.post);
        if post.is_empty() {
            self.review_members(&members, value.map(|(_, cas)| cas));
        }
        for member in self.membership.others(&members) {
            let letters = post.iter().filter(|letter| letter.is_for(member));
            self.out.extend(letters.map(|letter| Command::Wake {
                queue: member.queue,
                message: letter.message.encode(),
            }));
        }
    }

    fn review_members(&mut self, members: &Members, cas: Option<Cas>) {
        if let Some(better) = self.membership.review(members) {
            let expect = cas.map_or(Expect::Absent, Expect::Unchanged);
            let value = better.encode();
            self.out.push_back(Command::Store { key: Key::Members, value, expect });
        }
        if self.is_fetcher() {
            self.out.extend(self.membership.others(members).map(Command::Probe));
        }
    }

    fn with_query(
        &mut self,
        query: QueryKey,
        now: Time,
        act: impl FnOnce(&mut Tracker, &mut Scope<'_>),
    ) {
        if let Some(&source) = self.sources.get(&query) {
            self.with_tracker(source, now, act);
        }
    }

    fn with_tracker(
        &mut self,
        source: SourceId,
        now: Time,
        act: impl FnOnce(&mut Tracker, &mut Scope<'_>),
    ) {
        let Self { trackers, rng, out, post, .. } = self;
        if let Some(tracker) = trackers.get_mut(usize::from(source.0)) {
            act(tracker, &mut Scope { now, rng, out, post });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::consul::response::{CallFailure, Response};
    use crate::discovery::event::CallId;
    use crate::shared::head::{Head, Term};
    use crate::shared::members::Member;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SOURCE: SourceId = SourceId(0);
    const RANK: Rank = Rank { serving: true, born: 5 };
    const OWNER: Member = Member { vm: VmId(7), queue: QueueId(70) };

    fn agent() -> (Agent, QueryKey) {
        let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
        let config = Config::parse(json).unwrap();
        let query = Query::new(&config, &config.services[0], None);
        let key = query.key();
        (Agent::new(vec![query], config.consul.wait, Rng::new(1)), key)
    }

    /// What follows from an event.
    fn after(agent: &mut Agent, event: Event<'_>, seconds: u64) -> Vec<Command> {
        agent.handle_event(event, Time::from_start(Duration::from_secs(seconds)));
        core::iter::from_fn(|| agent.poll_command()).collect()
    }

    fn loaded(key: Key, bytes: &[u8]) -> Event<'_> {
        Event::Loaded { key, value: Some((bytes, Cas(1))) }
    }

    fn calls(commands: &[Command]) -> Vec<CallId> {
        let call = |command: &Command| match command {
            Command::Call { call, .. } => Some(*call),
            _ => None,
        };
        commands.iter().filter_map(call).collect()
    }

    fn head(owner: VmId, rank: Rank) -> Vec<u8> {
        Head { owner, term: Term(1), rank, published: None, age: Duration::ZERO }.encode()
    }

    /// Lets the agent win the lease and publish what Consul answers; its next query blocks.
    fn fetch(agent: &mut Agent, key: QueryKey) {
        let won = || Event::Stored { key: Key::Head(key), written: true };
        after(agent, Event::Tick(RANK), 0);
        after(agent, Event::Loaded { key: Key::Head(key), value: None }, 0);
        let asked = calls(&after(agent, won(), 0));
        let answer = Response {
            status: 200,
            from_envoy: false,
            index: Some(b"7"),
            filtered_by_acls: false,
            body: b"[]",
        };
        let stored = after(agent, Event::Answered { call: asked[0], answer: Ok(answer) }, 1);
        let record = stored.iter().find_map(|command| match command {
            Command::Store { key, .. } => Some(*key),
            _ => None,
        });
        after(agent, Event::Stored { key: record.unwrap(), written: true }, 1);
        let head = head(agent.id(), RANK);
        after(agent, loaded(Key::Head(key), &head), 1);
        assert_eq!(calls(&after(agent, won(), 1)).len(), 1);
    }

    #[test]
    fn a_follower_tells_the_fetcher_alone_and_asks_nothing_itself() {
        let (mut agent, key) = agent();
        let head = head(OWNER.vm, Rank { serving: false, born: 1 });
        after(&mut agent, Event::Tick(RANK), 0);
        assert!(after(&mut agent, Event::Suspected(SOURCE), 0).is_empty(), "no fetcher is known");
        after(&mut agent, loaded(Key::Head(key), &head), 0);

        let wanted = after(&mut agent, Event::Suspected(SOURCE), 0);
        assert!(matches!(wanted[..], [Command::Load(Key::Members)]), "{wanted:?}");
        let mut members = Members::default();
        members.add(Member { vm: agent.id(), queue: QueueId(10) });
        members.add(Member { vm: VmId(8), queue: QueueId(80) });
        members.add(OWNER);
        let sent = after(&mut agent, loaded(Key::Members, &members.encode()), 0);
        let [Command::Wake { queue, message }] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(*queue, OWNER.queue);
        assert_eq!(Message::decode(message), Ok(Message::Suspicion(key)));
        assert!(after(&mut agent, Event::Suspected(SOURCE), 0).is_empty(), "once a second");

        let told = Message::Suspicion(key).encode();
        assert!(after(&mut agent, Event::Woken(&told), 0).is_empty(), "it does not fetch");
    }

    #[test]
    fn a_fetcher_asks_for_itself_at_its_tick_and_for_others_at_once() {
        let (mut agent, key) = agent();
        fetch(&mut agent, key);
        assert!(after(&mut agent, Event::Suspected(SOURCE), 2).is_empty(), "not in a request");
        after(&mut agent, Event::Tick(RANK), 2);
        let head = head(agent.id(), RANK);
        after(&mut agent, loaded(Key::Head(key), &head), 2);
        let renewed = Event::Stored { key: Key::Head(key), written: true };
        let extra = calls(&after(&mut agent, renewed, 2));
        assert_eq!(extra.len(), 1);
        let failed = Event::Answered { call: extra[0], answer: Err(CallFailure::NoAnswer) };
        after(&mut agent, failed, 2);

        let told = Message::Suspicion(key).encode();
        assert_eq!(calls(&after(&mut agent, Event::Woken(&told), 8)).len(), 1);
    }
}
