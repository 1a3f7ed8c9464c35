//! What Consul says, and when it is believed: one VM, a Consul whose answers are set, time in steps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::HashMap;
use std::time::Duration;

use consul_resolver::balance::hints::Hints;
use consul_resolver::config::Config;
use consul_resolver::consul::query::Request;
use consul_resolver::consul::response::{CallFailure, Response};
use consul_resolver::discovery::agent::Agent;
use consul_resolver::discovery::breaker::Position;
use consul_resolver::discovery::caller::CallId;
use consul_resolver::discovery::event::{Event, Expect};
use consul_resolver::discovery::notice::Notice;
use consul_resolver::discovery::subject::Subject;
use consul_resolver::driver::{self, Host};
use consul_resolver::model::service::{QueryKey, ServiceId, SourceId};
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::router::decision::Decision;
use consul_resolver::shared::head::{Head, Rank, Term};
use consul_resolver::shared::key::{Cas, Key, VmId};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::record::{Record, Version};
use consul_resolver::time::Time;

const RANK: Rank = Rank { serving: false, born: 1 };

/// An instance of Consul's answers.
fn instance(address: &str, port: u16, status: &str) -> String {
    let service = format!(r#"{{"Address": "{address}", "Port": {port}}}"#);
    format!(r#"{{"Service": {service}, "Checks": [{{"Status": "{status}"}}]}}"#)
}

/// A healthy instance at a port.
fn passing(port: u16) -> String {
    instance("10.0.0.1", port, "passing")
}

/// A call that is out: it is answered then, or when something changes.
struct Call {
    id: CallId,
    path: String,
    due: Option<u64>,
    gives_up: u64,
}

/// A Consul, and a VM's own world.
struct World {
    now: u64,
    data: HashMap<Key, (Vec<u8>, u32)>,
    cas: u32,
    out: Vec<Call>,
    /// What was asked, and when.
    asked: Vec<(u64, String)>,
    index: u64,
    instances: Vec<String>,
    /// What the agent's cache has, where it stands still.
    cached: Option<(u64, Vec<String>)>,
    /// What a read says that is not consistent, where that is a lie.
    lie: Option<Vec<String>>,
    /// How long an answer takes.
    takes: u64,
    fails: bool,
    /// Whether a client has named the service, and no configuration.
    is_named: bool,
    /// Whether there is no prepared query.
    is_unknown: bool,
    position: Option<Position>,
    claims: usize,
}

impl World {
    fn new() -> Self {
        Self {
            now: 1,
            data: HashMap::new(),
            cas: 0,
            out: Vec::new(),
            asked: Vec::new(),
            index: 10,
            instances: Vec::new(),
            cached: None,
            lie: None,
            takes: 2,
            fails: false,
            is_named: false,
            is_unknown: false,
            position: None,
            claims: 0,
        }
    }

    /// What is listed from now on, at a higher index.
    fn list(&mut self, instances: &[String]) {
        self.index += 1;
        self.instances = instances.to_vec();
        let (now, index, takes) = (self.now, self.index, self.takes);
        for call in self.out.iter_mut().filter(|call| call.due.is_none()) {
            if waited_on(&call.path).is_some_and(|waited_on| waited_on < index) {
                call.due = Some(now + takes);
            }
        }
    }

    /// The index and the body of an answer.
    fn content(&self, path: &str) -> (u64, String) {
        let is_cached = path.contains("cached");
        let (mut index, mut listed) = match &self.cached {
            Some(cached) if is_cached => cached.clone(),
            _ => (self.index, self.instances.clone()),
        };
        if let Some(lie) = self.lie.as_ref().filter(|_| !path.contains("consistent")) {
            listed.clone_from(lie);
        }
        if path.starts_with("/v1/query") {
            index = 1;
            listed.retain(|instance| !instance.contains("critical"));
            let listed = listed.join(",");
            let body = format!(r#"{{"Service": "web", "Datacenter": "dc1", "Nodes": [{listed}]}}"#);
            return (index, body);
        }
        (index, format!("[{}]", listed.join(",")))
    }
}

fn waited_on(path: &str) -> Option<u64> {
    let (_, rest) = path.split_once("index=")?;
    rest.split('&').next()?.parse().ok()
}

impl Host for World {
    fn now(&mut self) -> Time {
        time(self.now)
    }

    fn register_queue(&mut self, _: &str) -> QueueId {
        QueueId(1)
    }

    fn load(&mut self, key: &Key) -> Option<(Vec<u8>, Cas)> {
        self.data.get(key).map(|(value, cas)| (value.clone(), Cas(*cas)))
    }

    fn store(&mut self, key: &Key, value: &[u8], _: Expect) -> bool {
        self.cas += 1;
        if let (Key::Head(_), Ok(head)) = (key, Head::decode(value)) {
            let before = self.data.get(key).and_then(|(old, _)| Head::decode(old).ok());
            self.claims += usize::from(before.is_none_or(|before| before.term < head.term));
        }
        self.data.insert(*key, (value.to_vec(), self.cas));
        true
    }

    fn wake(&mut self, _: QueueId, _: &[u8]) {}

    fn probe(&mut self, _: QueueId) -> bool {
        false
    }

    fn call(&mut self, id: CallId, request: &Request) -> Result<(), CallFailure> {
        self.asked.push((self.now, request.path.clone()));
        let index = match &self.cached {
            Some((index, _)) if request.path.contains("cached") => *index,
            _ => self.index,
        };
        let waits = waited_on(&request.path).is_some_and(|waited_on| waited_on >= index);
        let due = (!waits || self.fails).then_some(self.now + self.takes);
        let gives_up = self.now + u64::try_from(request.timeout.as_millis()).unwrap();
        self.out.push(Call { id, path: request.path.clone(), due, gives_up });
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

/// One VM that follows one service.
struct Bench {
    agent: Agent,
    router: Router,
    world: World,
    next_tick: u64,
    key: QueryKey,
}

impl Bench {
    /// The service has these fields, Consul and its settings those.
    fn new(consul: &str, fields: &str, world: World) -> Self {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"{consul}}}, "services": [{{"name": "web"{fields}}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let subject = Subject::new(&config, config.sources().next().unwrap());
        let subject = Subject { on_trial: world.is_named, ..subject };
        let (key, mut rng) = (subject.query.key(), Rng::new(1));
        let agent = Agent::new(vec![subject], &config.consul, rng.split());
        Self { agent, router: Router::new(&config, &mut rng), next_tick: world.now, world, key }
    }

    /// One of which these instances are listed, and used.
    fn listing(consul: &str, fields: &str, instances: &[String]) -> Self {
        let mut bench = Self::new(consul, fields, World::new());
        bench.world.instances = instances.to_vec();
        bench.run(1_000);
        bench
    }

    fn handle(&mut self, event: Event<'_>) {
        driver::run(&mut self.agent, &mut self.router, &mut self.world, event);
    }

    /// Lets so many milliseconds pass.
    fn run(&mut self, milliseconds: u64) {
        let end = self.world.now + milliseconds;
        while self.world.now < end {
            if self.world.now >= self.next_tick {
                self.next_tick = self.world.now + 250;
                self.handle(Event::Tick(RANK));
                let now = self.world.now;
                self.router.on_tick(time(now), |_, _| {});
            }
            self.answer_due();
            let ends = self.world.out.iter().map(|call| call.due.unwrap_or(call.gives_up));
            let next = ends.chain(self.world.out.iter().map(|call| call.gives_up)).min();
            let next = next.unwrap_or(u64::MAX).max(self.world.now + 1);
            self.world.now = next.min(self.next_tick).min(end);
        }
    }

    /// The whole process stands still for so long, and then ticks.
    fn stop(&mut self, milliseconds: u64) {
        self.world.now += milliseconds;
        self.next_tick = self.world.now + 250;
        self.handle(Event::Tick(RANK));
        let now = self.world.now;
        self.router.on_tick(time(now), |_, _| {});
    }

    fn answer_due(&mut self) {
        let now = self.world.now;
        let is_due = |call: &mut Call| now >= call.gives_up || call.due.is_some_and(|d| d <= now);
        let due: Vec<Call> = self.world.out.extract_if(.., is_due).collect();
        for call in due {
            let is_late = call.due.is_none_or(|due| due > call.gives_up);
            let is_kept = waited_on(&call.path).is_some() && call.due.is_none();
            let status = match () {
                () if is_late && !is_kept => 504,
                () if self.world.fails => 500,
                () if self.world.is_unknown && call.path.starts_with("/v1/query") => 404,
                () => 200,
            };
            let (index, mut body) = self.world.content(&call.path);
            if status == 404 {
                body = "Query not found".into();
            }
            let index = index.to_string();
            let response = Response {
                status,
                from_envoy: status == 504,
                index: Some(index.as_bytes()),
                filtered_by_acls: false,
                last_contact: None,
                age: None,
                body: body.as_bytes(),
            };
            self.handle(Event::Answered { call: call.id, answer: Ok(response) });
        }
    }

    /// The ports of the endpoints that are used.
    fn ports(&self) -> Vec<u16> {
        let trackers = self.agent.trackers();
        let record = trackers.first().and_then(|tracker| tracker.installed());
        let endpoints = record.map(|record| record.snapshot.endpoints()).unwrap_or_default();
        endpoints.iter().map(|endpoint| endpoint.address.port()).collect()
    }

    /// How many milliseconds it takes until exactly these are used, at most so many.
    fn await_ports(&mut self, ports: &[u16], most: u64) -> u64 {
        let begin = self.world.now;
        while self.ports() != ports {
            let waited = self.world.now - begin;
            assert!(waited < most, "{:?} after {waited} ms: {:?}", self.ports(), self.world.asked);
            self.run(10);
        }
        self.world.now - begin
    }

    fn decide(&mut self) -> Decision {
        self.router.decide(Some(ServiceId::nth(0)), &Hints::default())
    }
}

#[test]
fn next_instance_is_used_at_once_when_the_only_one_has_gone() {
    for takes in [2, 400] {
        let mut bench = Bench::listing("", "", &[passing(1)]);
        bench.world.takes = takes;
        bench.world.list(&[]);
        bench.run(50);
        bench.world.list(&[passing(2)]);
        bench.await_ports(&[2], 2 * takes + 100);
    }
}

#[test]
fn next_instance_is_used_at_once_when_the_last_one_went_long_ago() {
    let mut bench = Bench::listing("", "", &[passing(1)]);
    bench.world.list(&[]);
    for _ in 0..50 {
        // Any service's change wakes a query for one that has no instances.
        bench.run(400);
        bench.world.list(&[]);
    }
    assert_eq!(bench.ports(), [1], "it is held back");
    bench.world.list(&[passing(2)]);
    bench.await_ports(&[2], 1_100);
}

#[test]
fn what_is_new_is_used_at_once_when_others_vanish() {
    let all: Vec<String> = (1..=10).map(passing).collect();
    let mut bench = Bench::listing("", "", &all);
    // The consistent read that confirms it never comes back.
    bench.world.list(&[passing(11)]);
    bench.world.lie = Some(vec![passing(11), instance("10.0.0.1", 3, "critical")]);
    bench.world.instances.clone_from(&all);
    bench.run(3);
    let expected: Vec<u16> = (1..=11).filter(|port| *port != 3).collect();
    assert_eq!(bench.ports(), expected, "what it lists is used, and what it does not is kept");
    bench.await_ports(&(1..=10).collect::<Vec<_>>(), 1_000);
}

#[test]
fn address_is_used_at_once_when_a_host_name_is_mended() {
    let mut bench = Bench::listing("", "", &[passing(1)]);
    bench.world.list(&[instance("web.internal", 80, "passing")]);
    bench.run(20_000);
    assert_eq!(bench.ports(), [1]);
    bench.world.list(&[passing(2)]);
    bench.await_ports(&[2], 100);
}

#[test]
fn unusable_instances_are_believed_when_hold_is_over() {
    for entry in [instance("web.internal", 80, "passing"), instance("10.0.0.1", 0, "passing")] {
        let mut bench = Bench::listing("", "", &[passing(1)]);
        bench.world.list(&[entry]);
        bench.run(29_000);
        assert_eq!(bench.ports(), [1]);
        bench.await_ports(&[], 2_000);
    }
}

#[test]
fn service_is_used_soon_when_it_was_ill_and_its_check_chattered() {
    let ill = [instance("10.0.0.1", 1, "critical")];
    let mut bench = Bench::listing("", "", &ill);
    for _ in 0..80 {
        bench.world.list(&ill);
        bench.run(500);
    }
    bench.world.list(&[passing(1)]);
    let waited = bench.await_ports(&[1], 60_000);
    assert!(waited <= 1_100, "{waited} ms");
}

#[test]
fn critical_instance_of_a_prepared_query_is_not_held() {
    let mut bench = Bench::listing("", r#", "query": "q""#, &[passing(1)]);
    bench.world.list(&[instance("10.0.0.1", 1, "critical")]);
    // A poll comes every five seconds.
    bench.await_ports(&[], 6_000);
    bench.world.list(&[passing(1)]);
    bench.await_ports(&[1], 6_000);
    bench.world.list(&[]);
    bench.run(20_000);
    assert_eq!(bench.ports(), [1], "it has vanished");
}

#[test]
fn name_has_no_endpoint_when_its_prepared_query_was_deleted() {
    for (is_named, expected) in [(true, vec![]), (false, vec![1])] {
        let world = World { is_named, instances: vec![passing(1)], ..World::new() };
        let mut bench = Bench::new("", r#", "query": "q""#, world);
        bench.await_ports(&[1], 1_000);
        bench.world.is_unknown = true;
        bench.run(25_000);
        assert_eq!(bench.ports(), [1], "it is held");
        bench.run(30_000);
        assert_eq!(bench.ports(), expected);
    }
}

#[test]
fn leader_is_asked_at_a_resync_when_the_cache_stands_still() {
    let consul = r#", "consistency": "cached", "resync": "60s", "wait": "10s""#;
    let mut bench = Bench::listing(consul, "", &[passing(1), passing(2)]);
    bench.world.cached = Some((bench.world.index, bench.world.instances.clone()));
    bench.world.list(&[passing(2)]);
    bench.await_ports(&[2], 70_000);
    for _ in 0..1_000 {
        bench.run(100);
        assert_eq!(bench.ports(), [2], "what the cache says is older: {:?}", bench.world.asked);
    }
}

#[test]
fn answers_are_waited_for_when_they_take_longer_than_a_timeout() {
    for takes in [12_000, 45_000] {
        let mut bench = Bench::new("", "", World { takes, ..World::new() });
        bench.world.instances = vec![passing(1)];
        bench.await_ports(&[1], 400_000);
        bench.run(120_000);
        bench.world.list(&[passing(2)]);
        bench.await_ports(&[2], 2 * takes + 1_000);
    }
}

#[test]
fn held_answer_is_not_believed_when_the_process_was_stopped() {
    let mut bench = Bench::listing("", "", &[passing(1)]);
    bench.world.list(&[]);
    bench.run(2_000);
    // Long over, and Consul has said so consistently; by now it says otherwise.
    bench.world.index += 1;
    bench.world.instances = vec![passing(1)];
    bench.stop(3_600_000);
    assert_eq!(bench.ports(), [1]);
    for _ in 0..10_000 {
        bench.run(1);
        assert_eq!(bench.ports(), [1], "the read that refutes it comes first");
    }
}

/// A world in which somebody has published an endpoint, and gives no sign of life.
fn left(key: QueryKey) -> World {
    let version = Version { term: Term(3), generation: 4 };
    let head = Head {
        owner: VmId(99),
        term: Term(3),
        rank: Rank { serving: false, born: 0 },
        published: Some(version),
        age: Duration::from_secs(1),
        listed: 1,
    };
    let endpoint = |port| {
        let address = std::net::SocketAddr::from(([10, 0, 0, 1], port));
        consul_resolver::model::endpoint::Endpoint::new(address)
    };
    let record = Record { version, snapshot: Snapshot::new(vec![endpoint(1)]).into() };
    let mut world = World::new();
    world.data.insert(Key::Head(key), (head.encode(), 1_000));
    world.data.insert(Key::Record(key, version), (record.encode(), 1_001));
    world
}

#[test]
fn endpoints_are_not_used_when_their_owner_died_long_ago() {
    for (on_stale, is_used) in [("fail", false), ("serve", true)] {
        let fields = format!(r#", "max_age": "90s", "on_stale": "{on_stale}""#);
        let key = Bench::new("", &fields, World::new()).key;
        let mut bench = Bench::new("", &fields, World { fails: true, ..left(key) });
        for _ in 0..1_000 {
            bench.run(100);
            let is_forwarded = matches!(bench.decide(), Decision::Forward(_));
            assert_eq!(is_forwarded, is_used, "{on_stale} at {}", bench.world.now);
        }
        bench.world.fails = false;
        bench.world.instances = vec![passing(2)];
        bench.await_ports(&[2], 60_000);
        assert!(matches!(bench.decide(), Decision::Forward(_)));
    }
}

#[test]
fn endpoints_are_used_when_their_owner_gives_a_sign_of_life() {
    let fields = r#", "max_age": "90s", "on_stale": "fail""#;
    let key = Bench::new("", fields, World::new()).key;
    let mut bench = Bench::new("", fields, left(key));
    bench.run(500);
    assert!(matches!(bench.decide(), Decision::Wait(_)));
    let (_, cas) = bench.world.data.get_mut(&Key::Head(key)).unwrap();
    *cas += 10;
    bench.run(300);
    assert!(matches!(bench.decide(), Decision::Forward(_)));
    assert_eq!(bench.world.claims, 0);
}

#[test]
fn lease_is_left_to_its_owner_when_the_process_was_stopped() {
    let key = Bench::new("", "", World::new()).key;
    let mut bench = Bench::new("", "", left(key));
    bench.run(500);
    bench.stop(3_600_000);
    bench.run(500);
    assert_eq!(bench.world.claims, 0, "it has stood still, too");
    bench.run(4_000);
    assert_eq!(bench.world.claims, 1, "it is dead");
}

#[test]
fn breaker_hears_of_its_probe_when_an_answer_is_held_meanwhile() {
    let mut bench = Bench::listing("", r#", "shrink_guard": {"hold": "20s"}"#, &[passing(1)]);
    bench.world.list(&[]);
    bench.run(6_000);
    // The breaker opens, and the probe takes until the hold is over.
    bench.world.fails = true;
    bench.world.list(&[]);
    while bench.world.position != Some(Position::Open) {
        bench.run(10);
        assert!(bench.world.now < 60_000, "it never opens");
    }
    bench.world.fails = false;
    bench.world.takes = 9_000;
    while bench.world.position != Some(Position::HalfOpen) {
        bench.run(10);
        assert!(bench.world.now < 120_000, "there is no probe");
    }
    bench.run(9_100);
    assert_eq!(bench.world.position, Some(Position::Closed), "{:?}", bench.world.asked);
}
