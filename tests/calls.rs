//! How much one proxy asks of Consul, whatever happens: many services, one VM, time in steps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use consul_resolver::config::{Config, Consul, Service};
use consul_resolver::consul::query::Request;
use consul_resolver::consul::response::{CallFailure, Refusal, Response};
use consul_resolver::discovery::agent::Agent;
use consul_resolver::discovery::breaker::Position;
use consul_resolver::discovery::caller::{CallId, Caller};
use consul_resolver::discovery::event::{Event, Expect};
use consul_resolver::discovery::notice::Notice;
use consul_resolver::discovery::subject::Subject;
use consul_resolver::driver::{self, Host};
use consul_resolver::model::service::SourceId;
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::shared::head::Rank;
use consul_resolver::shared::key::{Cas, Key};
use consul_resolver::shared::members::QueueId;
use consul_resolver::time::Time;
use proptest::prelude::*;

const RANK: Rank = Rank { serving: false, born: 1 };
const BODY: &[u8] = br#"[{"Node": {"Address": "10.0.0.1"}, "Service": {"Port": 80}}]"#;

/// How Consul is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Envoy cannot send anything.
    Refused,
    /// 500 within 5 ms.
    Failing,
    /// 403 within 5 ms.
    Denying,
    /// Every other call fails.
    Flaky,
    /// Nothing comes back at all.
    Silent,
    /// Every answer has a lower index than the one before, at once.
    Restless,
}

/// A call, as Consul sees it.
struct Call {
    id: CallId,
    blocks: bool,
    due: u64,
}

/// A Consul, and a VM's own world.
struct World {
    now: u64,
    mood: Mood,
    data: HashMap<Key, (Vec<u8>, u32)>,
    cas: u32,
    out: Vec<Call>,
    /// When each call was sent, and for which source.
    sent: Vec<(u64, SourceId)>,
    most_blocking: usize,
    index: u64,
    position: Option<Position>,
    loads: usize,
}

impl Host for World {
    fn now(&mut self) -> Time {
        time(self.now)
    }

    fn register_queue(&mut self, _: &str) -> QueueId {
        QueueId(1)
    }

    fn load(&mut self, key: &Key) -> Option<(Vec<u8>, Cas)> {
        self.loads += 1;
        self.data.get(key).map(|(value, cas)| (value.clone(), Cas(*cas)))
    }

    fn store(&mut self, key: &Key, value: &[u8], _: Expect) -> bool {
        self.cas += 1;
        self.data.insert(*key, (value.to_vec(), self.cas));
        true
    }

    fn wake(&mut self, _: QueueId, _: &[u8]) {}

    fn probe(&mut self, _: QueueId) -> bool {
        false
    }

    fn call(&mut self, id: CallId, request: &Request) -> Result<(), CallFailure> {
        let Caller::Source(source) = id.caller() else { panic!("nothing is registered") };
        self.sent.push((self.now, source));
        let blocks = request.path.contains("index=");
        let due = match self.mood {
            Mood::Refused => return Err(CallFailure::Refused(Refusal::NoCapacity)),
            Mood::Well if blocks => self.now + 55_000,
            Mood::Silent => u64::MAX,
            _ => self.now + 5,
        };
        self.out.push(Call { id, blocks, due });
        let blocking = self.out.iter().filter(|call| call.blocks).count();
        self.most_blocking = self.most_blocking.max(blocking);
        Ok(())
    }

    fn notice(&mut self, _: SourceId, _: &Notice) {}

    fn breaker(&mut self, position: Position, _: Option<Position>, _: Option<&str>) {
        self.position = Some(position);
    }

    fn set_tick_period(&mut self, _: Duration) {}
}

fn time(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// One VM that fetches all services.
struct Bench {
    agent: Agent,
    router: Router,
    world: World,
    next_tick: u64,
}

impl Bench {
    fn new(services: u16, consul: Consul, seed: u64) -> Self {
        let services = (0..services).map(|n| Service::new(format!("s{n}"))).collect();
        let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
        let config = Config { consul, services, ..Config::parse(json).unwrap() };
        let subjects = config.sources().map(|source| Subject::new(&config, source)).collect();
        let mut rng = Rng::new(seed);
        let world = World {
            now: 0,
            mood: Mood::Well,
            data: HashMap::new(),
            cas: 0,
            out: Vec::new(),
            sent: Vec::new(),
            most_blocking: 0,
            index: 1_000_000,
            position: None,
            loads: 0,
        };
        let agent = Agent::new(subjects, &config.consul, rng.split());
        Self { agent, router: Router::new(&config, &mut rng), world, next_tick: 0 }
    }

    fn handle(&mut self, event: Event<'_>) {
        driver::run(&mut self.agent, &mut self.router, &mut self.world, event);
    }

    /// Lets so much time pass.
    fn run(&mut self, milliseconds: u64, mood: Mood) {
        self.world.mood = mood;
        let end = self.world.now + milliseconds;
        while self.world.now < end {
            if self.world.now >= self.next_tick {
                self.next_tick += 250;
                self.handle(Event::Tick(RANK));
            }
            self.answer_due();
            let next = self.world.out.iter().map(|call| call.due).min().unwrap_or(u64::MAX);
            self.world.now = next.max(self.world.now + 1).min(self.next_tick).min(end);
        }
    }

    fn answer_due(&mut self) {
        let now = self.world.now;
        let mut due: Vec<Call> = self.world.out.extract_if(.., |call| call.due <= now).collect();
        // Consul has died: those that block break off with it.
        if self.world.mood == Mood::Failing {
            due.extend(self.world.out.extract_if(.., |call| call.blocks));
        }
        for call in due {
            let is_odd = self.world.sent.len() % 2 == 1;
            self.world.index -= u64::from(self.world.mood == Mood::Restless);
            let status = match self.world.mood {
                Mood::Failing => 500,
                Mood::Denying => 403,
                Mood::Flaky if is_odd => 503,
                _ => 200,
            };
            let index = self.world.index.to_string();
            let response = Response {
                status,
                from_envoy: false,
                index: Some(index.as_bytes()),
                filtered_by_acls: false,
                last_contact: None,
                age: None,
                body: BODY,
            };
            self.handle(Event::Answered { call: call.id, answer: Ok(response) });
        }
    }

    /// How many calls there were since then.
    fn calls_since(&self, since: u64) -> usize {
        self.world.sent.iter().filter(|(sent, _)| *sent >= since).count()
    }

    /// How often each source was asked for since then.
    fn asked_since(&self, since: u64) -> BTreeMap<SourceId, usize> {
        let mut asked: BTreeMap<SourceId, usize> = BTreeMap::new();
        for (_, source) in self.world.sent.iter().filter(|(sent, _)| *sent >= since) {
            *asked.entry(*source).or_default() += 1;
        }
        asked
    }

    fn resolved(&self) -> usize {
        self.agent.trackers().iter().filter(|tracker| tracker.installed().is_some()).count()
    }

    /// The most calls in any minute.
    fn most_in_a_minute(&self) -> usize {
        let sent = &self.world.sent;
        let mut first = 0;
        let mut most = 0;
        for (last, (now, _)) in sent.iter().enumerate() {
            while sent.get(first).is_some_and(|(then, _)| then + 60_000 <= *now) {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}

/// What a gate lets through in a minute at the most, of calls that do not block: the bursts and
/// rates of its lanes, and as many calls after failures as the budget has, whose share of the good
/// ones is a fifth of all others.
fn bound(watches: usize) -> usize {
    let (reads, polls) = (100 + 60 * 50, 20 + 60 * 20);
    // A query that blocks follows on another at the pace of changes, or of repeats.
    let watching = watches * (10 + 60 * 4);
    let good = reads + polls + watching;
    let retries = 10 * (60 + 10) + good / 5;
    good + retries
}

#[test]
fn a_thousand_services_start_with_a_hundred_reads_and_the_others_follow_in_turn() {
    let mut bench = Bench::new(1_000, Consul::new("consul"), 1);
    bench.run(200, Mood::Well);
    assert_eq!(bench.asked_since(0).len(), 100);
    bench.run(19_800, Mood::Well);
    assert_eq!(bench.resolved(), 1_000);
    assert_eq!(bench.world.most_blocking, 100);
}

#[test]
fn one_that_a_request_waits_for_is_read_before_the_others() {
    let mut bench = Bench::new(1_000, Consul::new("consul"), 1);
    bench.run(1_000, Mood::Well);
    let last = SourceId::nth(999);
    assert!(!bench.asked_since(0).contains_key(&last));
    bench.handle(Event::Missed(last));
    bench.run(251, Mood::Well);
    assert!(bench.asked_since(0).contains_key(&last));
}

#[test]
fn beyond_the_watches_every_service_is_polled_in_turn_at_a_bounded_rate() {
    let mut bench = Bench::new(300, Consul { max_watches: 50, ..Consul::new("consul") }, 1);
    bench.run(60_000, Mood::Well);
    let since = bench.world.now;
    bench.run(60_000, Mood::Well);
    assert_eq!(bench.world.most_blocking, 50);
    let asked = bench.asked_since(since);
    assert_eq!(asked.len(), 300);
    // 250 services at 20 a second: each once in 12.5 s.
    let (least, most) = (asked.values().min().unwrap(), asked.values().max().unwrap());
    assert!(*least >= 1 && *most <= 6, "from {least} to {most}");
    let polls: usize = asked.values().filter(|times| **times > 2).sum();
    assert!((1_000..=1_220).contains(&polls), "{polls} polls in a minute");
}

#[test]
fn a_few_that_are_polled_are_so_every_five_seconds() {
    let mut bench = Bench::new(12, Consul { max_watches: 2, ..Consul::new("consul") }, 1);
    bench.run(10_000, Mood::Well);
    let since = bench.world.now;
    bench.run(60_000, Mood::Well);
    let asked = bench.asked_since(since);
    let polled = asked.values().filter(|times| (9..=13).contains(*times)).count();
    assert_eq!(polled, 10, "{asked:?}");
}

#[test]
fn an_owner_of_many_leases_looks_at_each_head_once_a_second() {
    for (services, looks) in [(64, 40), (1_000, 10)] {
        let mut bench = Bench::new(services, Consul::new("consul"), 1);
        bench.run(60_000, Mood::Well);
        let before = bench.world.loads;
        bench.run(10_000, Mood::Well);
        let loads = bench.world.loads - before;
        let expected = usize::from(services) * looks;
        // The list of members is loaded besides.
        assert!((expected..expected + 100).contains(&loads), "{services}: {loads} loads in 10 s");
    }
}

#[test]
fn an_outage_of_a_thousand_services_is_answered_by_single_probes() {
    for mood in [Mood::Failing, Mood::Refused] {
        let mut bench = Bench::new(1_000, Consul::new("consul"), 1);
        bench.run(60_000, Mood::Well);
        let since = bench.world.now;
        bench.run(300_000, mood);
        assert_eq!(bench.world.position, Some(Position::Open));
        let calls = bench.calls_since(since);
        assert!((10..200).contains(&calls), "{mood:?}: {calls} calls in five minutes");

        let since = bench.world.now;
        bench.run(180_000, Mood::Well);
        assert_eq!(bench.world.position, Some(Position::Closed));
        assert_eq!(bench.asked_since(since).len(), 1_000, "all are read again");
        assert_eq!(bench.resolved(), 1_000, "and none has lost its endpoints");
    }
}

#[test]
fn a_token_that_is_refused_leaves_the_breaker_closed_and_is_tried_within_the_budget() {
    let mut bench = Bench::new(300, Consul::new("consul"), 1);
    bench.run(20_000, Mood::Denying);
    let since = bench.world.now;
    bench.run(120_000, Mood::Denying);
    assert_eq!(bench.world.position, Some(Position::Closed));
    let asked = bench.asked_since(since);
    assert_eq!(asked.len(), 300, "everyone has a turn");
    let calls = bench.calls_since(since);
    assert!(calls <= 10 * (120 + 10), "{calls} calls in two minutes");
}

#[test]
fn calls_that_never_come_back_stop_nobody_for_ever() {
    let mut bench = Bench::new(50, Consul::new("consul"), 1);
    bench.run(60_000, Mood::Silent);
    bench.run(120_000, Mood::Well);
    assert_eq!(bench.resolved(), 50);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn calls_stay_under_their_bound_whatever_happens_and_everyone_recovers(
        seed in any::<u64>(),
        watches in 1..20_u16,
        moods in prop::collection::vec(
            (
                prop::sample::select(&[
                    Mood::Well, Mood::Refused, Mood::Failing, Mood::Denying, Mood::Flaky,
                    Mood::Silent, Mood::Restless,
                ][..]),
                1..40_000_u64,
            ),
            1..6,
        ),
    ) {
        let consul = Consul { max_watches: watches.into(), ..Consul::new("consul") };
        let mut bench = Bench::new(60, consul, seed);
        for (mood, milliseconds) in &moods {
            bench.run(*milliseconds, *mood);
        }
        prop_assert!(bench.world.most_blocking <= usize::from(watches));
        let most = bench.most_in_a_minute();
        prop_assert!(most <= bound(watches.into()), "{} calls in a minute", most);

        // The longest that a call may be out, the longest backoff, and all in turn.
        bench.run(180_000, Mood::Well);
        let since = bench.world.now;
        bench.run(60_000, Mood::Well);
        prop_assert_eq!(bench.resolved(), 60);
        prop_assert_eq!(bench.asked_since(since).len(), 60);
        prop_assert_eq!(bench.world.position, Some(Position::Closed));
    }
}
