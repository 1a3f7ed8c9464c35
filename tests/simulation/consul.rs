//! A Consul agent: a few services, blocking queries, and errors.

use std::collections::{BTreeMap, BTreeSet};

use consul_resolver::discovery::event::CallId;
use serde_json::json;

/// A query that the agent holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// The VM that asks, by its number, and its life, since it may be reborn.
    pub vm: (usize, u32),
    /// Which of its calls it is.
    pub call: CallId,
    /// The service's name, with `@` and the datacenter if one is asked for.
    pub source: String,
    /// The index that it waits on.
    pub index: Option<u64>,
    /// When it is answered at the latest, in milliseconds.
    pub until: u64,
}

/// An answer that is on its way.
pub struct Reply {
    /// To whom.
    pub to: Held,
    /// The status; 0 stands for an answer that broke off.
    pub status: u16,
    /// The index, if it has one.
    pub index: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// The agent.
pub struct Consul {
    /// The ports of each source's instances, all at 10.0.0.1.
    sources: BTreeMap<String, BTreeSet<u16>>,
    /// Every port that a source has ever had.
    ever: BTreeMap<String, BTreeSet<u16>>,
    index: u64,
    held: Vec<Held>,
    /// How many queries without an index there were, for each source.
    plain: BTreeMap<String, usize>,
    /// Whether every query fails.
    pub failing: bool,
    /// Whether queries that block are left alone whatever changes.
    pub deaf: bool,
}

impl Consul {
    /// An agent that knows these sources, none of which has an instance.
    pub fn new(sources: &[&str]) -> Self {
        let none = || sources.iter().map(|name| (String::from(*name), BTreeSet::new())).collect();
        Self {
            sources: none(),
            ever: none(),
            index: 1_000,
            held: Vec::new(),
            plain: BTreeMap::new(),
            failing: false,
            deaf: false,
        }
    }

    /// Registers an instance, or deregisters it if it is there.
    pub fn toggle(&mut self, source: &str, port: u16) {
        let ports = self.sources.get_mut(source).expect("the source is known");
        if !ports.remove(&port) {
            ports.insert(port);
        }
        self.ever.get_mut(source).expect("the source is known").insert(port);
        self.index += 1;
    }

    /// Starts again with a lower index; queries that are out break off.
    pub fn restart(&mut self) -> Vec<Reply> {
        self.index = self.index.saturating_sub(900).max(1);
        let broken = |to| Reply { to, status: 0, index: None, body: Vec::new() };
        self.held.drain(..).map(broken).collect()
    }

    /// Takes a query by its path.
    pub fn ask(&mut self, vm: (usize, u32), call: CallId, path: &str, now: u64) {
        let (route, parameters) = path.split_once('?').unwrap_or((path, ""));
        let service = route.strip_prefix("/v1/health/service/").expect("a health query");
        let parameter = |name: &str| parameters.split('&').find_map(|p| p.strip_prefix(name));
        let index = parameter("index=").map(|index| index.parse().expect("a number"));
        let source = match parameter("dc=") {
            Some(datacenter) => format!("{service}@{datacenter}"),
            None => service.to_owned(),
        };
        if index.is_none() {
            *self.plain.entry(source.clone()).or_default() += 1;
        }
        let until = if index.is_some() { now + 55_000 } else { now };
        self.held.push(Held { vm, call, source, index, until });
    }

    /// Forgets the queries of a VM that has died: Envoy cancels its callouts.
    pub fn forget(&mut self, vm: (usize, u32)) {
        self.held.retain(|held| held.vm != vm);
    }

    /// How many queries block on a source.
    pub fn blocking(&self, source: &str) -> usize {
        self.held.iter().filter(|held| held.source == source && held.index.is_some()).count()
    }

    /// How many queries for a source there were that did not block.
    pub fn plain(&self, source: &str) -> usize {
        self.plain.get(source).copied().unwrap_or(0)
    }

    /// Takes out the answers that are ready.
    pub fn poll_replies(&mut self, now: u64) -> Vec<Reply> {
        let (index, failing, deaf) = (self.index, self.failing, self.deaf);
        let is_ready = |held: &mut Held| {
            let is_woken = held.index.is_none_or(|asked| asked != index && !deaf);
            failing || held.until <= now || is_woken
        };
        let ready: Vec<Held> = self.held.extract_if(.., is_ready).collect();
        ready.into_iter().map(|held| self.reply(held)).collect()
    }

    /// The ports of a source's instances.
    pub fn ports(&self, source: &str) -> &BTreeSet<u16> {
        &self.sources[source]
    }

    /// Whether a service ever had an instance at that port, in any datacenter.
    pub fn ever_had(&self, service: &str, port: u16) -> bool {
        let of_service = |source: &str| source.split('@').next() == Some(service);
        self.ever.iter().any(|(source, ports)| of_service(source) && ports.contains(&port))
    }

    fn reply(&self, to: Held) -> Reply {
        if self.failing {
            let body = b"No cluster leader".to_vec();
            return Reply { to, status: 500, index: None, body };
        }
        let instance = |port: &u16| {
            json!({
                "Node": { "Node": "n1", "Address": "10.0.0.1" },
                "Service": { "ID": format!("i{port}"), "Address": "", "Port": port },
                "Checks": [],
            })
        };
        let body: Vec<_> = self.sources[&to.source].iter().map(instance).collect();
        let body = serde_json::to_vec(&body).expect("JSON");
        Reply { to, status: 200, index: Some(self.index), body }
    }
}
