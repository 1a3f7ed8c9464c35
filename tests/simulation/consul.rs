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
    /// The service's name.
    pub service: String,
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
    /// The ports of each service's instances, all at 10.0.0.1.
    services: BTreeMap<String, BTreeSet<u16>>,
    /// Every port that a service has ever had.
    ever: BTreeMap<String, BTreeSet<u16>>,
    index: u64,
    held: Vec<Held>,
    /// Whether every query fails.
    pub failing: bool,
}

impl Consul {
    /// An agent that knows these services, none of which has an instance.
    pub fn new(services: &[&str]) -> Self {
        let none = || services.iter().map(|name| (String::from(*name), BTreeSet::new())).collect();
        Self { services: none(), ever: none(), index: 1_000, held: Vec::new(), failing: false }
    }

    /// Registers an instance, or deregisters it if it is there.
    pub fn toggle(&mut self, service: &str, port: u16) {
        let ports = self.services.get_mut(service).expect("the service is known");
        if !ports.remove(&port) {
            ports.insert(port);
        }
        self.ever.get_mut(service).expect("the service is known").insert(port);
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
        let index = parameters
            .split('&')
            .find_map(|parameter| parameter.strip_prefix("index="))
            .map(|index| index.parse().expect("a number"));
        let until = if index.is_some() { now + 55_000 } else { now };
        self.held.push(Held { vm, call, service: service.to_owned(), index, until });
    }

    /// Forgets the queries of a VM that has died: Envoy cancels its callouts.
    pub fn forget(&mut self, vm: (usize, u32)) {
        self.held.retain(|held| held.vm != vm);
    }

    /// How many queries block on a service.
    pub fn blocking(&self, service: &str) -> usize {
        self.held.iter().filter(|held| held.service == service && held.index.is_some()).count()
    }

    /// Takes out the answers that are ready.
    pub fn poll_replies(&mut self, now: u64) -> Vec<Reply> {
        let (index, failing) = (self.index, self.failing);
        let is_ready = |held: &mut Held| {
            failing || held.until <= now || held.index.is_none_or(|asked| asked != index)
        };
        let ready: Vec<Held> = self.held.extract_if(.., is_ready).collect();
        ready.into_iter().map(|held| self.reply(held)).collect()
    }

    /// The ports of a service's instances.
    pub fn ports(&self, service: &str) -> &BTreeSet<u16> {
        &self.services[service]
    }

    /// Whether a service ever had an instance at that port.
    pub fn ever_had(&self, service: &str, port: u16) -> bool {
        self.ever[service].contains(&port)
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
        let body: Vec<_> = self.services[&to.service].iter().map(instance).collect();
        let body = serde_json::to_vec(&body).expect("JSON");
        Reply { to, status: 200, index: Some(self.index), body }
    }
}
