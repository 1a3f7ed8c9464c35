//! What the agent has registered, and the local service that is registered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use consul_resolver::registry::http::{HttpRequest, Method};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;

/// The ids that configurations register.
pub static IDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let usual = [EDGE, EXTRA, "plain-1", DRAINS].map(str::to_owned);
    usual.into_iter().chain((0..MANY).map(|n| format!("many-{n}"))).collect()
});
/// One of them, which is probed.
pub const EDGE: &str = "edge-1";
/// Another one, which is not.
pub const EXTRA: &str = "extra-1";
/// The one of them whose checks say whether Envoy drains.
pub const DRAINS: &str = "gate-1";
/// How many there are of those that some worlds have besides.
pub const MANY: usize = 24;

/// An agent, as far as registrations go.
pub struct Registry {
    services: BTreeMap<String, Registered>,
    /// The ids that no book has any more, though they are registered: Envoy has forgotten its shared
    /// data.
    orphaned: BTreeSet<String>,
    /// Whether the local service answers as it should.
    pub is_well: bool,
    /// Whether what is registered loses its checks.
    pub drops_checks: bool,
    /// With which status the agent refuses to register anything, where it does.
    pub refuses: Option<u16>,
    /// So many of the next calls are answered 500.
    pub stumbles: usize,
    /// When something has happened last for which a check may be critical for a while.
    shaken: u64,
    /// When calls about an id came, within the last minute.
    calls: BTreeMap<String, Vec<u64>>,
    /// When something has happened that leads to calls, within the last minute.
    news: Vec<u64>,
    /// How often something was registered.
    registrations: usize,
}

/// What there is under an id.
#[derive(Debug)]
pub struct Found {
    /// Its definition, but for the checks.
    pub body: Value,
    /// How many checks it has.
    pub checks: usize,
    /// The worst status of them; none where it has none.
    pub status: Option<&'static str>,
    /// Whether it stands in no book.
    pub is_orphaned: bool,
}

struct Registered {
    body: Value,
    checks: BTreeMap<String, Check>,
}

#[derive(Debug, Clone)]
struct Check {
    status: &'static str,
    /// How long a report holds, where it is reported on.
    ttl: Option<u64>,
    reported: u64,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            is_well: true,
            drops_checks: false,
            refuses: None,
            stumbles: 0,
            shaken: 0,
            calls: BTreeMap::new(),
            news: Vec::new(),
            registrations: 0,
        }
    }
}

impl Registry {
    /// Takes a call; gives the answer's status and body.
    pub fn call(&mut self, request: &HttpRequest, now: u64) -> (u16, String) {
        let path = request.path.split('?').next().expect("a path");
        let after = |prefix: &str| path.strip_prefix(prefix).map(|id| id.replace("%3A", ":"));
        let body = || serde_json::from_str::<Value>(&request.body).expect("JSON");
        if self.stumbles > 0 {
            self.stumbles -= 1;
            return (500, "rpc error: No cluster leader".to_owned());
        }
        if let Some(id) = after("/v1/agent/service/deregister/") {
            self.note(&id, now);
            self.orphaned.remove(&id);
            return match self.services.remove(&id) {
                Some(_) => (200, String::new()),
                None => (404, format!("Unknown service ID {id:?}")),
            };
        }
        if path == "/v1/agent/service/register" {
            let body = body();
            let id = body["ID"].as_str().expect("an id").to_owned();
            self.note(&id, now);
            if let Some(status) = self.refuses {
                return (status, "Permission denied".to_owned());
            }
            self.registrations += 1;
            self.orphaned.remove(&id);
            self.register(&id, body, now);
            return (200, String::new());
        }
        if let Some(check) = after("/v1/agent/check/update/") {
            let id = check.split(':').nth(1).expect("an id").to_owned();
            self.note(&id, now);
            return self.report(&id, &check, &body(), now);
        }
        if path == "/v1/agent/checks" {
            let is_meant = |id: &&String| request.path.contains(&format!("%22{id}%22"));
            let id = IDS.iter().find(is_meant).expect("a known id");
            self.note(id, now);
            let checks = self.services.get(id).map(|service| &service.checks);
            let shown =
                |(id, check): (&String, &Check)| (id.clone(), json!({"Status": check.status(now)}));
            let shown: serde_json::Map<_, _> = checks.into_iter().flatten().map(shown).collect();
            return (200, Value::Object(shown).to_string());
        }
        if path == "/v1/agent/self" {
            return (200, json!({"Config": {"NodeName": "n", "Datacenter": "dc1"}}).to_string());
        }
        let id = after("/v1/agent/service/").expect("a known path");
        assert_eq!(request.method, Method::Get, "{path}");
        self.note(&id, now);
        match self.services.get(&id) {
            Some(service) => (200, service.body.to_string()),
            None => (404, format!("unknown service ID: {id}")),
        }
    }

    /// Loses everything, as an agent that is started anew without its data.
    pub fn lose(&mut self, now: u64) {
        self.services.clear();
        self.shake(now);
        self.news.extend(self.calls.values().flatten().max().copied());
    }

    /// Something has happened for which a check may be critical for a while.
    pub fn shake(&mut self, until: u64) {
        self.shaken = self.shaken.max(until);
    }

    /// When that was last.
    pub const fn shaken(&self) -> u64 {
        self.shaken
    }

    /// Envoy forgets its shared data, and the book with it.
    pub fn lose_book(&mut self) {
        self.orphaned = self.services.keys().cloned().collect();
    }

    /// Something has happened that leads to calls.
    pub fn on_news(&mut self, now: u64) {
        self.news.retain(|at| at + MINUTE > now);
        self.news.push(now);
    }

    /// How often something was registered since [`Registry::forget_calls`].
    pub const fn registrations(&self) -> usize {
        self.registrations
    }

    /// Begins to count anew.
    pub fn forget_calls(&mut self) {
        self.registrations = 0;
    }

    /// Somebody else changes something of each.
    pub fn tamper(&mut self) {
        for service in self.services.values_mut() {
            service.body["Port"] = 1.into();
        }
    }

    /// The local service begins to answer as it should, or ends to.
    pub fn set_well(&mut self, is_well: bool, now: u64) {
        self.is_well = is_well;
        self.shake(now);
        self.on_news(now);
    }

    /// What there is under an id.
    pub fn get(&self, id: &str, now: u64) -> Option<Found> {
        let service = self.services.get(id)?;
        let statuses = service.checks.values().map(|check| check.status(now));
        let rank =
            |status: &&str| ["critical", "warning", "passing"].iter().position(|it| it == status);
        Some(Found {
            body: service.body.clone(),
            checks: service.checks.len(),
            status: statuses.min_by_key(rank),
            is_orphaned: self.orphaned.contains(id),
        })
    }

    /// How the checks of an id stand that are reported on; none: nobody has for longer than its TTL.
    pub fn reports(&self, id: &str, now: u64) -> Vec<Option<&'static str>> {
        let checks = self.services.get(id).map(|service| service.checks.values());
        let checks = checks.into_iter().flatten().filter_map(|check| check.ttl.zip(Some(check)));
        checks.map(|(ttl, it)| (now < it.reported + ttl).then_some(it.status)).collect()
    }

    /// The most calls about one id within the last minute, and how often something has happened in it
    /// that leads to calls.
    pub fn calls(&mut self, now: u64) -> (usize, usize) {
        self.news.retain(|at| at + MINUTE > now);
        let recent = |calls: &Vec<u64>| calls.iter().filter(|at| **at + MINUTE > now).count();
        (self.calls.values().map(recent).max().unwrap_or(0), self.news.len())
    }

    fn note(&mut self, id: &str, now: u64) {
        let calls = self.calls.entry(id.to_owned()).or_default();
        calls.retain(|at| at + MINUTE > now);
        calls.push(now);
    }

    /// Registers, and keeps how the checks stand that stay, as Consul does.
    fn register(&mut self, id: &str, mut body: Value, now: u64) {
        let listed = body["Checks"].take();
        let listed = listed.as_array().cloned().unwrap_or_default();
        body["Service"] = body["Name"].take();
        let before = self.services.get(id).map(|it| it.checks.clone()).unwrap_or_default();
        let check = |check: &Value| {
            let id = check["CheckID"].as_str().expect("an id").to_owned();
            let status = word(check["Status"].as_str().unwrap_or("critical"));
            let status = before.get(&id).map_or(status, |it| it.status(now));
            let ttl = check["TTL"].as_str().map(|ttl| {
                ttl.strip_suffix("ms").and_then(|ms| ms.parse::<u64>().ok()).expect("ms") * 1_000
            });
            (id, Check { status, ttl, reported: now })
        };
        let checks = match self.drops_checks {
            true => BTreeMap::new(),
            false => listed.iter().map(check).collect(),
        };
        self.services.insert(id.to_owned(), Registered { body, checks });
    }

    fn report(&mut self, id: &str, check: &str, body: &Value, now: u64) -> (u16, String) {
        let checks = self.services.get_mut(id).map(|service| &mut service.checks);
        let Some(known) = checks.and_then(|checks| checks.get_mut(check)) else {
            return (500, format!("CheckID {check:?} does not have associated TTL"));
        };
        let status = word(body["Status"].as_str().expect("a status"));
        let is_news = known.status != status;
        (known.status, known.reported) = (status, now);
        if is_news {
            self.on_news(now);
        }
        (200, String::new())
    }
}

impl Check {
    fn status(&self, now: u64) -> &'static str {
        match self.ttl {
            Some(ttl) if self.reported + ttl <= now => "critical",
            _ => self.status,
        }
    }
}

/// A word for a status, for ever.
fn word(status: &str) -> &'static str {
    let known = ["critical", "warning", "passing"].into_iter().find(|word| *word == status);
    known.expect("a status that Consul knows")
}
