//! One VM that follows one service, and a Consul whose answers are set.

use std::collections::HashMap;
use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::consul::query::Request;
use consul_resolver::consul::response::{CallFailure, Response};
use consul_resolver::discovery::event::{Event, Expect};
use consul_resolver::discovery::manager::Manager;
use consul_resolver::discovery::source_event::SourceEvent;
use consul_resolver::discovery::source_spec::SourceSpec;
use consul_resolver::driver::{self, Host};
use consul_resolver::model::service::{QueryKey, ServiceId, SourceId};
use consul_resolver::router::Router;
use consul_resolver::router::decision::Decision;
use consul_resolver::shared::key::{Cas, SharedKey};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::source_record::{Rank, SourceRecord};
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

const RANK: Rank = Rank { serving: false, born: 1 };

/// An instance of Consul's answers.
pub fn instance(address: &str, port: u16, status: &str) -> String {
    let service = format!(r#"{{"Address": "{address}", "Port": {port}}}"#);
    format!(r#"{{"Service": {service}, "Checks": [{{"Status": "{status}"}}]}}"#)
}

/// A healthy instance at a port.
pub fn passing(port: u16) -> String {
    instance("10.0.0.1", port, "passing")
}

/// A call that is out: it is answered then, or when something changes.
pub struct Call {
    id: CallId,
    path: String,
    due: Option<u64>,
    gives_up: u64,
}

/// A Consul, and a VM's own world.
pub struct World {
    pub now: u64,
    pub data: HashMap<SharedKey, (Vec<u8>, u32)>,
    pub cas: u32,
    pub out: Vec<Call>,
    /// What was asked, and when.
    pub asked: Vec<(u64, String)>,
    pub index: u64,
    pub instances: Vec<String>,
    /// What the agent's cache has, where it stands still.
    pub cached: Option<(u64, Vec<String>)>,
    /// What a read says that is not consistent, where that is a lie.
    pub lie: Option<Vec<String>>,
    /// How long an answer takes.
    pub takes: u64,
    pub fails: bool,
    /// Whether a client has named the service, and no configuration.
    pub is_named: bool,
    /// Whether there is no prepared query.
    pub is_unknown: bool,
    pub position: Option<BreakerState>,
    pub claims: usize,
}

impl World {
    pub fn new() -> Self {
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
    pub fn list(&mut self, instances: &[String]) {
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

    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        self.data.get(key).map(|(value, cas)| (value.clone(), Cas(*cas)))
    }

    fn store(&mut self, key: &SharedKey, value: &[u8], _: Expect) -> bool {
        self.cas += 1;
        if let (SharedKey::SourceRecord(_), Ok(head)) = (key, SourceRecord::decode(value)) {
            let before = self.data.get(key).and_then(|(old, _)| SourceRecord::decode(old).ok());
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

    fn notice(&mut self, _: SourceId, _: &SourceEvent) {}

    fn breaker(&mut self, position: BreakerState, _: Option<BreakerState>, _: Option<&str>) {
        self.position = Some(position);
    }

    fn set_tick_period(&mut self, _: Duration) {}
}

fn time(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// One VM that follows one service.
pub struct Bench {
    agent: Manager,
    router: Router,
    pub world: World,
    next_tick: u64,
    pub key: QueryKey,
}

impl Bench {
    /// The service has these fields, Consul and its settings those.
    pub fn new(consul: &str, fields: &str, world: World) -> Self {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"{consul}}}, "services": [{{"name": "web"{fields}}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let subject = SourceSpec::new(&config, config.sources().next().unwrap());
        let subject = SourceSpec { on_trial: world.is_named, ..subject };
        let (key, mut rng) = (subject.query.key(), Rng::new(1));
        let agent = Manager::new(vec![subject], &config.consul, rng.split());
        Self { agent, router: Router::new(&config, &mut rng), next_tick: world.now, world, key }
    }

    /// One of which these instances are listed, and used.
    pub fn listing(consul: &str, fields: &str, instances: &[String]) -> Self {
        let mut bench = Self::new(consul, fields, World::new());
        bench.world.instances = instances.to_vec();
        bench.run(1_000);
        bench
    }

    fn handle(&mut self, event: Event<'_>) {
        driver::run(&mut self.agent, &mut self.router, &mut self.world, event);
    }

    /// Lets so many milliseconds pass.
    pub fn run(&mut self, milliseconds: u64) {
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
    pub fn stop(&mut self, milliseconds: u64) {
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
            self.handle(Event::Answered { call: call.id, response: Ok(response) });
        }
    }

    /// The ports of the endpoints that are used.
    pub fn ports(&self) -> Vec<u16> {
        let trackers = self.agent.sources();
        let record = trackers.first().and_then(|tracker| tracker.installed());
        let endpoints = record.map(|record| record.snapshot.endpoints()).unwrap_or_default();
        endpoints.iter().map(|endpoint| endpoint.address.port()).collect()
    }

    /// How many milliseconds it takes until exactly these are used, at most so many.
    pub fn await_ports(&mut self, ports: &[u16], most: u64) -> u64 {
        let begin = self.world.now;
        while self.ports() != ports {
            let waited = self.world.now - begin;
            assert!(waited < most, "{:?} after {waited} ms: {:?}", self.ports(), self.world.asked);
            self.run(10);
        }
        self.world.now - begin
    }

    pub fn decide(&mut self) -> Decision {
        self.router.decide(Some(ServiceId::nth(0)), &PickContext::default())
    }
}
