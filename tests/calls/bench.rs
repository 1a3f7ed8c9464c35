//! One VM that asks for all services and keeps all registrations, and its Consul.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::calls::caller::CallId;
use consul_resolver::config::{Config, Consul, Service};
use consul_resolver::consul::query::{Method, Request};
use consul_resolver::consul::response::{CallFailure, Refusal, Response};
use consul_resolver::discovery::event::{Event, Expect};
use consul_resolver::discovery::manager::Manager;
use consul_resolver::discovery::source_event::SourceEvent;
use consul_resolver::discovery::source_spec::SourceSpec;
use consul_resolver::driver::{self, Host};
use consul_resolver::model::service::SourceId;
use consul_resolver::router::Router;
use consul_resolver::shared::key::{Cas, SharedKey};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::source_record::Rank;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;
use serde_json::{Value, json};

const RANK: Rank = Rank { serving: false, born: 1 };
const LATENCY: u64 = 5;

/// How Consul is, or what it makes of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
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
    /// 500 for a filter that cannot be read.
    Mistaken,
    /// 500 for a datacenter that it does not know.
    Nowhere,
    /// 404.
    Missing,
    /// The answer breaks off, or is too large.
    TooLarge,
    /// Envoy answers 504 when the call has taken too long.
    Slow,
    /// Every other answer comes too late.
    OftenSlow,
    /// Instances are listed, and none can be reached.
    Unusable,
    /// A balancer answers 504 after 30 s without an answer.
    Balanced,
}

/// A call, as Consul sees it.
struct Call {
    id: CallId,
    source: Option<SourceId>,
    blocks: bool,
    due: u64,
    /// When Envoy has waited for long enough.
    end: u64,
    is_late: bool,
    /// What the agent says to a call for a registration.
    answer: (u16, String),
}

/// A Consul, and a VM's own world.
pub struct World {
    pub now: u64,
    mood: Mood,
    /// What differs from that.
    pub moods: HashMap<SourceId, Mood>,
    data: HashMap<SharedKey, (Vec<u8>, u32)>,
    cas: u32,
    out: Vec<Call>,
    /// When each call was sent, and for which source.
    pub sent: Vec<(u64, SourceId)>,
    pub most_blocking: usize,
    index: u64,
    /// How often the instances of each source have changed.
    changes: HashMap<SourceId, u64>,
    pub position: Option<BreakerState>,
    /// How often the breaker has opened.
    pub opens: usize,
    pub loads: usize,
    pub warnings: usize,
    /// Since when no call has been out for a source, and the longest time.
    idle: HashMap<SourceId, (u64, u64)>,
    /// What is registered: its definition, and the statuses of its checks.
    registered: BTreeMap<String, (Value, BTreeMap<String, Value>)>,
    /// When a report has come, of each check.
    pub reports: BTreeMap<String, Vec<u64>>,
    /// So many of the next reports are answered 500.
    pub refused_reports: usize,
    /// Whether each look at what is registered is answered 500.
    pub refuses_looks: bool,
}

impl Host for World {
    fn now(&mut self) -> Time {
        time(self.now)
    }

    fn register_queue(&mut self, _: &str) -> QueueId {
        QueueId(1)
    }

    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        self.loads += 1;
        self.data.get(key).map(|(value, cas)| (value.clone(), Cas(*cas)))
    }

    fn store(&mut self, key: &SharedKey, value: &[u8], _: Expect) -> bool {
        self.cas += 1;
        self.data.insert(*key, (value.to_vec(), self.cas));
        true
    }

    fn wake(&mut self, _: QueueId, _: &[u8]) {}

    fn probe(&mut self, _: QueueId) -> bool {
        false
    }

    fn call(&mut self, id: CallId, request: &Request) -> Result<(), CallFailure> {
        let (now, timeout) = (self.now, u64::try_from(request.timeout.as_millis()).unwrap());
        let CallId::Query { source, .. } = id else {
            let answer = self.errand(request);
            let due = now + LATENCY;
            self.out.push(Call {
                id,
                source: None,
                blocks: false,
                due,
                end: now + timeout,
                is_late: false,
                answer,
            });
            return Ok(());
        };
        self.sent.push((now, source));
        let mood = self.mood_of(source);
        let (idle_since, longest) = self.idle.entry(source).or_default();
        *longest = (*longest).max(now.saturating_sub(*idle_since));
        *idle_since = u64::MAX;
        let blocks = request.path.contains("index=");
        let is_odd = self.sent.len() % 2 == 1;
        let due = match mood {
            Mood::Refused => {
                *idle_since = now;
                return Err(CallFailure::Refused(Refusal::NoCapacity));
            }
            Mood::Well | Mood::OftenSlow | Mood::Unusable if blocks => now + 55_000,
            Mood::Balanced if blocks => now + 30_000,
            Mood::Silent => u64::MAX,
            Mood::Slow => now + timeout,
            Mood::OftenSlow if is_odd => now + timeout,
            _ => now + LATENCY,
        };
        let (is_late, answer) = (due == now + timeout, (0, String::new()));
        self.out.push(Call {
            id,
            source: Some(source),
            blocks,
            due,
            end: now + timeout,
            is_late,
            answer,
        });
        let blocking = self.out.iter().filter(|call| call.blocks).count();
        self.most_blocking = self.most_blocking.max(blocking);
        Ok(())
    }

    fn notice(&mut self, _: SourceId, notice: &SourceEvent) {
        self.warnings += usize::from(notice.level() == Some(log::Level::Warn));
    }

    fn breaker(&mut self, position: BreakerState, before: Option<BreakerState>, _: Option<&str>) {
        let was_closed = before.is_none_or(|before| before == BreakerState::Closed);
        self.opens += usize::from(was_closed && position == BreakerState::Open);
        self.position = Some(position);
    }

    fn set_tick_period(&mut self, _: Duration) {}
}

impl World {
    fn mood_of(&self, source: SourceId) -> Mood {
        let own = self.moods.get(&source).copied().filter(|_| self.mood == Mood::Well);
        own.unwrap_or(self.mood)
    }

    /// Consul hangs: of what it was asked nothing is answered in time.
    pub fn hang(&mut self) {
        for call in &mut self.out {
            (call.due, call.is_late) = (call.end, true);
        }
    }

    /// Lets the instances of a source change.
    pub fn change(&mut self, source: SourceId) {
        *self.changes.entry(source).or_default() += 1;
        for call in self.out.iter_mut().filter(|call| call.source == Some(source) && call.blocks) {
            call.due = call.due.min(self.now);
        }
    }

    /// Begins to look anew at the longest time without a call.
    pub fn forget_gaps(&mut self) {
        self.idle.values_mut().for_each(|(_, longest)| *longest = 0);
    }

    /// What the agent says to a call for a registration.
    fn errand(&mut self, request: &Request) -> (u16, String) {
        let path = request.path.split('?').next().unwrap();
        if path == "/v1/agent/service/register" {
            let mut body: Value = serde_json::from_str(&request.body).unwrap();
            let checks = body["Checks"].take();
            let check = |check: &Value| {
                (check["CheckID"].as_str().unwrap().to_owned(), json!({"Status": check["Status"]}))
            };
            body["Service"] = body["Name"].take();
            let id = body["ID"].as_str().unwrap().to_owned();
            let checks = checks.as_array().unwrap().iter().map(check).collect();
            self.registered.insert(id, (body, checks));
            return (200, String::new());
        }
        if let Some(check) = path.strip_prefix("/v1/agent/check/update/") {
            if self.refused_reports > 0 {
                self.refused_reports -= 1;
                return (500, "Failed to report".into());
            }
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let check = check.replace("%3A", ":");
            for (_, checks) in self.registered.values_mut() {
                if let Some(known) = checks.get_mut(&check) {
                    known["Status"] = body["Status"].clone();
                }
            }
            self.reports.entry(check).or_default().push(self.now);
            return (200, String::new());
        }
        assert_eq!(request.method, Method::Get, "{path}");
        if self.refuses_looks {
            return (500, "Failed to look".into());
        }
        if path == "/v1/agent/checks" {
            let of = |id: &str| request.path.contains(&format!("%22{id}%22"));
            let found = self.registered.iter().find(|(id, _)| of(id));
            return (200, json!(found.map(|(_, (_, checks))| checks)).to_string());
        }
        if path == "/v1/agent/self" {
            return (200, json!({"Config": {"NodeName": "node", "Datacenter": "dc1"}}).to_string());
        }
        match self.registered.get(path.strip_prefix("/v1/agent/service/").unwrap()) {
            Some((body, _)) => (200, body.to_string()),
            None => (404, "unknown service ID".into()),
        }
    }
}

fn time(milliseconds: u64) -> Time {
    Time::from_start(Duration::from_millis(milliseconds))
}

/// One VM that fetches all services.
pub struct Bench {
    pub agent: Manager,
    router: Router,
    pub world: World,
    config: Config,
    next_tick: u64,
}

impl Bench {
    pub fn new(services: u16, consul: Consul, seed: u64) -> Self {
        Self::registering(services, 0, consul, seed)
    }

    /// One that keeps so many registrations, too, each with a check of a TTL of 10 s.
    pub fn registering(services: u16, registrations: u16, consul: Consul, seed: u64) -> Self {
        let services = (0..services).map(|n| Service::new(format!("s{n}"))).collect();
        let register: Vec<Value> = (0..registrations)
            .map(|n| {
                json!({"name": format!("r{n}"), "id": format!("r{n}"), "address": "10.0.0.9",
                    "port": 80, "checks": [{"ttl": "10s"}]})
            })
            .collect();
        let mut json = json!({"consul": {"cluster": "consul"}, "services": [{"name": "web"}]});
        if !register.is_empty() {
            json["register"] = register.into();
        }
        let parsed = Config::parse(json.to_string().as_bytes()).unwrap();
        let config = Config { consul, services, ..parsed };
        let subjects = config.sources().map(|source| SourceSpec::new(&config, source)).collect();
        let mut rng = Rng::new(seed);
        let world = World {
            now: 0,
            mood: Mood::Well,
            moods: HashMap::new(),
            data: HashMap::new(),
            cas: 0,
            out: Vec::new(),
            sent: Vec::new(),
            most_blocking: 0,
            index: 1_000_000,
            changes: HashMap::new(),
            position: None,
            opens: 0,
            loads: 0,
            warnings: 0,
            idle: HashMap::new(),
            registered: BTreeMap::new(),
            reports: BTreeMap::new(),
            refused_reports: 0,
            refuses_looks: false,
        };
        let agent = Manager::new(subjects, &config.consul, rng.split()).with_registrations(&config);
        Self { agent, router: Router::new(&config, &mut rng), world, config, next_tick: 0 }
    }

    /// A client asks for a name in a datacenter.
    pub fn name(&mut self, name: &str, datacenter: Option<&str>) -> SourceId {
        let service = Service::new(name.to_owned());
        let subject = SourceSpec::of(&self.config, &service, datacenter);
        let source = self.agent.add(SourceSpec { on_trial: true, ..subject }, time(self.world.now));
        let source = source.expect("a place");
        self.world.idle.insert(source, (self.world.now, 0));
        source
    }

    /// What a name needs is done.
    pub fn follow(&mut self, source: SourceId) {
        self.handle(Event::Added(source));
    }

    /// Nobody asks for a name any more.
    pub fn forget(&mut self, source: SourceId) {
        self.agent.remove(source, true, time(self.world.now));
        driver::settle(&mut self.agent, &mut self.router, &mut self.world);
    }

    pub fn handle(&mut self, event: Event<'_>) {
        driver::run(&mut self.agent, &mut self.router, &mut self.world, event);
    }

    /// Lets so much time pass.
    pub fn run(&mut self, milliseconds: u64, mood: Mood) {
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
            self.answer(&call);
        }
    }

    fn answer(&mut self, call: &Call) {
        let world = &mut self.world;
        let mood = call.source.map_or(Mood::Well, |source| world.mood_of(source));
        let is_odd = world.sent.len() % 2 == 1;
        world.index -= u64::from(mood == Mood::Restless);
        let changes = call.source.and_then(|source| world.changes.get(&source));
        let changes = changes.copied().unwrap_or_default();
        let index = (world.index + changes).to_string();
        let port = if mood == Mood::Unusable { 0 } else { 80 + changes % 10_000 };
        let body = json!([{"Node": {"Address": "10.0.0.1"}, "Service": {"Port": port}}]);
        let well = (200, body.to_string());
        let (status, body) = match mood {
            _ if call.source.is_none() => call.answer.clone(),
            Mood::Failing => (500, "No cluster leader".into()),
            Mood::Denying => (403, "Permission denied".into()),
            Mood::Flaky if is_odd => (503, String::new()),
            Mood::Mistaken => {
                let text = "Failed to create boolean expression evaluator: 1:18 (17): no match";
                (500, text.into())
            }
            Mood::Nowhere => (500, "No path to datacenter".into()),
            Mood::Missing => (404, "Query not found".into()),
            Mood::Slow | Mood::OftenSlow if call.is_late => {
                (504, "upstream request timeout".into())
            }
            Mood::Balanced if call.blocks => (504, "Gateway Time-out".into()),
            _ => well,
        };
        let response = Response {
            status,
            from_envoy: call.is_late,
            index: Some(index.as_bytes()),
            filtered_by_acls: false,
            last_contact: None,
            age: None,
            body: body.as_bytes(),
        };
        let answer = match mood {
            Mood::TooLarge => Err(CallFailure::NoAnswer),
            _ => Ok(response),
        };
        if let Some(source) = call.source
            && let Some((idle_since, _)) = world.idle.get_mut(&source)
            && !world.out.iter().any(|other| other.source == Some(source))
        {
            *idle_since = world.now;
        }
        self.handle(Event::Answered { call: call.id, response: answer });
    }

    /// How many calls there were since then.
    pub fn calls_since(&self, since: u64) -> usize {
        self.world.sent.iter().filter(|(sent, _)| *sent >= since).count()
    }

    /// How often each source was asked for since then.
    pub fn asked_since(&self, since: u64) -> BTreeMap<SourceId, usize> {
        let mut asked: BTreeMap<SourceId, usize> = BTreeMap::new();
        for (_, source) in self.world.sent.iter().filter(|(sent, _)| *sent >= since) {
            *asked.entry(*source).or_default() += 1;
        }
        asked
    }

    pub fn resolved(&self) -> usize {
        self.agent.sources().iter().filter(|tracker| tracker.installed().is_some()).count()
    }

    /// The longest time without a call for a source.
    pub fn longest_gap(&self, source: SourceId) -> u64 {
        let (idle_since, longest) = self.world.idle.get(&source).copied().unwrap_or_default();
        longest.max(self.world.now.saturating_sub(idle_since))
    }

    /// The longest time without a report on the check of a registration.
    pub fn longest_silence(&self, registration: u16) -> u64 {
        let id = format!("r{registration}");
        let reports =
            self.world.reports.iter().filter(|(check, _)| check.split(':').any(|part| part == id));
        let times = reports.flat_map(|(_, times)| times).copied();
        let times: Vec<u64> = [0].into_iter().chain(times).chain([self.world.now]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX)
    }

    /// The most calls in any minute.
    pub fn most_in_a_minute(&self) -> usize {
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
