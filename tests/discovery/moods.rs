//! One VM that asks for many services and keeps registrations, and a Consul with moods.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use consul_resolver::calls::caller::CallId;
use consul_resolver::config::{Config, Consul, Service};
use consul_resolver::driver;
use consul_resolver::host::{Event, Host};
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::http::{CallFailure, HttpRequest, Method, Refusal};
use consul_resolver::registry::source_spec::SourceSpec;
use consul_resolver::util::rng::Rng;
use serde_json::{Value, json};

use crate::testkit::host::Registry;
use crate::testkit::reply::Reply;
use crate::testkit::vm::{Vm, millis};

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
    /// The agent's reply to a call for a registration.
    reply: Option<Reply>,
}

/// A Consul.
pub struct World {
    mood: Mood,
    /// Sources whose mood is another one.
    pub moods: HashMap<SourceId, Mood>,
    out: Vec<Call>,
    /// When each query was sent, and for which source.
    pub sent: Vec<(u64, SourceId)>,
    pub most_blocking: usize,
    index: u64,
    /// How often the instances of each source have changed.
    changes: HashMap<SourceId, u64>,
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

impl Registry for World {
    fn on_request(
        &mut self,
        id: CallId,
        request: &HttpRequest,
        now: Duration,
    ) -> Result<(), CallFailure> {
        let (now, timeout) = (millis(now), millis(request.timeout));
        let CallId::Query { source, .. } = id else {
            let (status, body) = self.errand(request, now);
            let reply = Some(Reply::new(status, body).at(self.index));
            let (due, end) = (now + LATENCY, now + timeout);
            let (source, blocks, is_late) = (None, false, false);
            self.out.push(Call { id, source, blocks, due, end, is_late, reply });
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
        let (end, is_late) = (now + timeout, due == now + timeout);
        self.out.push(Call { id, source: Some(source), blocks, due, end, is_late, reply: None });
        let blocking = self.out.iter().filter(|call| call.blocks).count();
        self.most_blocking = self.most_blocking.max(blocking);
        Ok(())
    }

    fn poll_response(&mut self, now: Duration) -> Option<(CallId, Result<Reply, CallFailure>)> {
        let now = millis(now);
        let due = self.out.iter().position(|call| call.due <= now);
        // Consul has died: those that block break off with it.
        let broken = || self.out.iter().position(|call| self.mood == Mood::Failing && call.blocks);
        let call = self.out.remove(due.or_else(broken)?);
        let Some(source) = call.source else { return Some((call.id, Ok(call.reply?))) };
        let reply = self.reply(&call, source);
        if let Some((idle_since, _)) = self.idle.get_mut(&source)
            && !self.out.iter().any(|other| other.source == Some(source))
        {
            *idle_since = now;
        }
        Some((call.id, reply))
    }

    fn next_response(&self) -> Option<Duration> {
        self.out.iter().map(|call| call.due).min().map(Duration::from_millis)
    }
}

impl World {
    fn mood_of(&self, source: SourceId) -> Mood {
        let own = self.moods.get(&source).copied().filter(|_| self.mood == Mood::Well);
        own.unwrap_or(self.mood)
    }

    fn reply(&mut self, call: &Call, source: SourceId) -> Result<Reply, CallFailure> {
        let mood = self.mood_of(source);
        let is_odd = self.sent.len() % 2 == 1;
        self.index -= u64::from(mood == Mood::Restless);
        let changes = self.changes.get(&source).copied().unwrap_or_default();
        let port = if mood == Mood::Unusable { 0 } else { 80 + changes % 10_000 };
        let body = json!([{"Node": {"Address": "10.0.0.1"}, "Service": {"Port": port}}]);
        let reply = match mood {
            Mood::TooLarge => return Err(CallFailure::NoAnswer),
            Mood::Failing => Reply::new(500, "No cluster leader"),
            Mood::Denying => Reply::new(403, "Permission denied"),
            Mood::Flaky if is_odd => Reply::new(503, ""),
            Mood::Mistaken => Reply::new(
                500,
                "Failed to create boolean expression evaluator: 1:18 (17): no match",
            ),
            Mood::Nowhere => Reply::new(500, "No path to datacenter"),
            Mood::Missing => Reply::new(404, "Query not found"),
            Mood::Slow | Mood::OftenSlow if call.is_late => {
                Reply::new(504, "upstream request timeout")
            }
            Mood::Balanced if call.blocks => Reply::new(504, "Gateway Time-out"),
            _ => Reply::new(200, body.to_string()),
        };
        Ok(Reply { from_envoy: call.is_late, ..reply.at(self.index + changes) })
    }

    /// Consul hangs: of what it was asked nothing is answered in time.
    pub fn hang(&mut self) {
        for call in &mut self.out {
            (call.due, call.is_late) = (call.end, true);
        }
    }

    /// Begins to look anew at the longest time without a call.
    pub fn forget_gaps(&mut self) {
        self.idle.values_mut().for_each(|(_, longest)| *longest = 0);
    }

    /// What the agent says to a call for a registration.
    fn errand(&mut self, request: &HttpRequest, now: u64) -> (u16, String) {
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
            self.reports.entry(check).or_default().push(now);
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

/// One VM that fetches all services.
pub struct Bench {
    pub vm: Vm<World>,
    config: Config,
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
        let world = World {
            mood: Mood::Well,
            moods: HashMap::new(),
            out: Vec::new(),
            sent: Vec::new(),
            most_blocking: 0,
            index: 1_000_000,
            changes: HashMap::new(),
            idle: HashMap::new(),
            registered: BTreeMap::new(),
            reports: BTreeMap::new(),
            refused_reports: 0,
            refuses_looks: false,
        };
        Self { vm: Vm::new(&config, world, Rng::new(seed)), config }
    }

    pub fn now(&self) -> u64 {
        self.vm.now()
    }

    pub fn world(&mut self) -> &mut World {
        &mut self.vm.host.registry
    }

    /// A client asks for a name in a datacenter.
    pub fn name(&mut self, name: &str, datacenter: Option<&str>) -> SourceId {
        let service = Service::new(name.to_owned());
        let spec = SourceSpec::of(&self.config, &service, datacenter);
        let (now, time) = (self.vm.now(), self.vm.time());
        let source = self.vm.manager.add(SourceSpec { on_trial: true, ..spec }, time);
        let source = source.expect("a place");
        self.world().idle.insert(source, (now, 0));
        source
    }

    /// What a name needs is done.
    pub fn follow(&mut self, source: SourceId) {
        self.vm.handle(Event::Added(source));
    }

    /// Nobody asks for a name any more.
    pub fn forget(&mut self, source: SourceId) {
        let Vm { manager, router, host, .. } = &mut self.vm;
        manager.remove(source, true, Host::now(host));
        driver::settle(manager, router, host);
    }

    /// Lets the instances of a source change.
    pub fn change(&mut self, source: SourceId) {
        let (now, world) = (self.vm.now(), self.world());
        *world.changes.entry(source).or_default() += 1;
        for call in world.out.iter_mut().filter(|call| call.source == Some(source) && call.blocks) {
            call.due = call.due.min(now);
        }
    }

    /// Lets so much time pass.
    pub fn run(&mut self, milliseconds: u64, mood: Mood) {
        self.world().mood = mood;
        self.vm.run(milliseconds);
    }

    /// How many calls there were since then.
    pub fn calls_since(&self, since: u64) -> usize {
        self.vm.host.registry.sent.iter().filter(|(sent, _)| *sent >= since).count()
    }

    /// How often each source was asked for since then.
    pub fn asked_since(&self, since: u64) -> BTreeMap<SourceId, usize> {
        let mut asked: BTreeMap<SourceId, usize> = BTreeMap::new();
        for (_, source) in self.vm.host.registry.sent.iter().filter(|(sent, _)| *sent >= since) {
            *asked.entry(*source).or_default() += 1;
        }
        asked
    }

    pub fn resolved(&self) -> usize {
        self.vm.manager.sources().iter().filter(|tracker| tracker.installed().is_some()).count()
    }

    /// The longest time without a call for a source.
    pub fn longest_gap(&self, source: SourceId) -> u64 {
        let (idle_since, longest) =
            self.vm.host.registry.idle.get(&source).copied().unwrap_or_default();
        longest.max(self.now().saturating_sub(idle_since))
    }

    /// The longest time without a report on the check of a registration.
    pub fn longest_silence(&self, registration: u16) -> u64 {
        let id = format!("r{registration}");
        let reports = self
            .vm
            .host
            .registry
            .reports
            .iter()
            .filter(|(check, _)| check.split(':').any(|part| part == id));
        let times = reports.flat_map(|(_, times)| times).copied();
        let times: Vec<u64> = [0].into_iter().chain(times).chain([self.now()]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(u64::MAX)
    }

    /// The most calls in any minute.
    pub fn most_in_a_minute(&self) -> usize {
        let sent = &self.vm.host.registry.sent;
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
