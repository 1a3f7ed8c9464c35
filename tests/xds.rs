//! Envoy's subscriptions under any sequence of changes, losses and rejections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use consul_resolver::config::{ClustersConfig, Config, Service, Xds};
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::{Assignment, Snapshot};
use consul_resolver::util::time::Time;
use consul_resolver::xds::request::{StreamId, SubscriptionRequest};
use consul_resolver::xds::resource::ResourceKind;
use consul_resolver::xds::resources::Update;
use consul_resolver::xds::server::Server;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The configured services, and those that come and go.
const SERVICES: [&str; 5] = ["a", "b", "rejected", "found-1", "found-2"];
const CONFIGURED: usize = 3;
const HOLD: Duration = Duration::from_secs(25);
const REFRESH_DELAY: Duration = Duration::from_millis(20);
/// How often the filter looks whether something is due, whatever it was told.
const TICK: Duration = Duration::from_millis(250);
/// What a VM's clock says at the start.
const START: Duration = Duration::from_secs(1_000);

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// A service has so many endpoints, from this port on.
    Assign(usize, u16, u16),
    Add(usize),
    Remove(usize),
    Wait(u64),
    /// The stream of a cluster is reset.
    Reset(usize),
    /// The next response to a cluster is lost.
    Lose(usize),
    /// The VM is loaded anew.
    Reload,
    /// The VM's clock is set back.
    SetBack(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![2 => 0..4_u16, 1 => Just(300)];
    let client = 0..7_usize;
    prop_oneof![
        8 => (0..SERVICES.len(), size, 1..4_u16).prop_map(|(s, n, port)| Step::Assign(s, n, port)),
        2 => (CONFIGURED..SERVICES.len()).prop_map(Step::Add),
        1 => (CONFIGURED..SERVICES.len()).prop_map(Step::Remove),
        8 => prop_oneof![4 => 0..100_u64, 1 => 0..40_000_u64].prop_map(Step::Wait),
        2 => client.clone().prop_map(Step::Reset),
        1 => client.prop_map(Step::Lose),
        1 => Just(Step::Reload),
        1 => (0..5_000_u64).prop_map(Step::SetBack),
    ]
}

/// A subscription of Envoy's, as its fetcher works.
#[derive(Debug)]
struct Client {
    kind: ResourceKind,
    names: Vec<&'static str>,
    rejects: bool,
    version: String,
    /// By name, the endpoints that it was told of last: the first port, and how many there are.
    knows: BTreeMap<String, (u64, usize)>,
    stream: Option<u32>,
    asks: Duration,
    loses: bool,
}

impl Client {
    fn new(kind: ResourceKind, names: &[&'static str]) -> Self {
        Self {
            kind,
            names: names.to_vec(),
            rejects: names.contains(&"rejected"),
            version: String::new(),
            knows: BTreeMap::new(),
            stream: None,
            asks: Duration::ZERO,
            loses: false,
        }
    }
}

struct World {
    server: Server,
    clients: Vec<Client>,
    /// What is so: the services, and their endpoints where they are known.
    known: BTreeMap<&'static str, Option<Assignment>>,
    time: Duration,
    set_back: Duration,
    streams: u32,
    /// What every version has stood for, and what content had which.
    contents: BTreeMap<(ResourceKind, String), BTreeSet<String>>,
    versions: BTreeMap<(ResourceKind, BTreeSet<String>), String>,
}

fn server() -> Server {
    let config = br#"{"consul": {"cluster": "c"}, "route_metadata": true,
        "services": [{"name": "a"}, {"name": "b"}, {"name": "rejected"}]}"#;
    let xds = Xds {
        cluster: "xds".to_owned(),
        address: "/run/xds.sock".to_owned(),
        hold: HOLD,
        clusters: Some(ClustersConfig {
            name: "{service}".to_owned(),
            template: Default::default(),
        }),
        routes: None,
    };
    let config = Config { xds: Some(xds.clone()), ..Config::parse(config).unwrap() };
    Server::new(&config, &xds, "me")
}

impl World {
    fn new() -> Self {
        let eds = |names: &[&'static str]| Client::new(ResourceKind::Endpoints, names);
        Self {
            server: server(),
            clients: vec![
                eds(&["a"]),
                eds(&["a"]),
                eds(&["b"]),
                eds(&["found-1"]),
                eds(&["a", "b", "found-2"]),
                Client::new(ResourceKind::Clusters, &[]),
                eds(&["rejected"]),
            ],
            known: SERVICES[..CONFIGURED].iter().map(|name| (*name, None)).collect(),
            time: Duration::ZERO,
            set_back: Duration::ZERO,
            streams: 0,
            contents: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    fn now(&self) -> Time {
        Time::from_start(START + self.time - self.set_back)
    }

    fn update(&mut self, update: Update) {
        self.server.on_update(update, self.now());
    }

    fn on_step(&mut self, step: Step) {
        match step {
            Step::Assign(service, size, first) => {
                let name = SERVICES[service];
                let endpoint = |port| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
                let endpoints = (first..first + size).map(endpoint).collect();
                let assignment = Assignment { levels: vec![Rc::new(Snapshot::new(endpoints))] };
                if let Some(known) = self.known.get_mut(name) {
                    *known = Some(assignment.clone());
                    self.update(Update::Assigned { service: name.into(), assignment });
                }
            }
            Step::Add(service) => {
                let name = SERVICES[service];
                self.known.entry(name).or_default();
                self.update(Update::Added(Rc::new(Service::new(name))));
            }
            Step::Remove(service) => {
                let name = SERVICES[service];
                self.known.remove(name);
                self.update(Update::Removed { service: name.into() });
            }
            Step::Wait(millis) => self.run(Duration::from_millis(millis)),
            Step::Reset(client) => self.reset(client),
            Step::Lose(client) => self.clients[client].loses = true,
            Step::Reload => {
                self.server = server();
                (0..self.clients.len()).for_each(|client| self.reset(client));
                for (name, assignment) in self.known.clone() {
                    self.update(Update::Added(Rc::new(Service::new(name))));
                    if let Some(assignment) = assignment {
                        self.update(Update::Assigned { service: name.into(), assignment });
                    }
                }
            }
            Step::SetBack(millis) => {
                self.run(Duration::ZERO);
                self.set_back += Duration::from_millis(millis);
            }
        }
    }

    fn reset(&mut self, client: usize) {
        let now = self.now();
        let client = &mut self.clients[client];
        if let Some(stream) = client.stream.take() {
            self.server.on_gone(StreamId(stream), now);
            client.asks = self.time + REFRESH_DELAY;
        }
    }

    /// Lets time pass, and everybody do what is due.
    fn run(&mut self, span: Duration) {
        let end = self.time + span;
        loop {
            self.take_responses();
            let outstanding = self.clients.iter().filter(|client| client.stream.is_some()).count();
            assert_eq!(self.server.held(), outstanding, "no request is lost");
            let due = self.server.due().map(|due| due.since_start() + self.set_back - START);
            assert!(due.is_none_or(|due| due > self.time), "{due:?} at {:?}", self.time);
            let asks = self.clients.iter().filter(|it| it.stream.is_none()).map(|it| it.asks);
            let next = asks.chain(due).min().unwrap_or(end).min(self.time + TICK);
            if next > end {
                self.time = end;
                return;
            }
            self.time = self.time.max(next);
            (0..self.clients.len()).for_each(|client| self.ask(client));
        }
    }

    fn ask(&mut self, client: usize) {
        let now = self.now();
        let client = &mut self.clients[client];
        if client.stream.is_some() || client.asks > self.time {
            return;
        }
        self.streams += 1;
        client.stream = Some(self.streams);
        let body = json!({
            "version_info": client.version,
            "node": {"id": "me"},
            "resource_names": client.names,
        })
        .to_string();
        let path = client.kind.path().as_bytes();
        let request = SubscriptionRequest { method: b"POST", path, body: body.as_bytes() };
        self.server.on_request(StreamId(self.streams), request, now);
    }

    fn take_responses(&mut self) {
        while let Some((StreamId(stream), response)) = self.server.poll_response(self.now()) {
            let client = self.clients.iter_mut().find(|client| client.stream == Some(stream));
            let client = client.expect("a stream is answered once, and while it is there");
            client.stream = None;
            client.asks = self.time + REFRESH_DELAY;
            if response.status != 200 {
                assert_eq!(response.status, 304);
                continue;
            }
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            let version = body["version_info"].as_str().unwrap().to_owned();
            let resources = body["resources"].as_array().unwrap();
            let texts: BTreeSet<String> = resources.iter().map(Value::to_string).collect();
            let content =
                self.contents.entry((client.kind, version.clone())).or_insert(texts.clone());
            assert!(*content == texts, "a version has one content");
            let known = self.versions.entry((client.kind, texts)).or_insert(version.clone());
            assert_eq!(*known, version, "a content has one version");
            assert_ne!(version, client.version, "what it has is no news");
            if client.rejects || core::mem::take(&mut client.loses) {
                continue;
            }
            client.version = version;
            if client.kind == ResourceKind::Clusters {
                client.knows.clear();
            }
            let field = if client.kind == ResourceKind::Clusters { "name" } else { "cluster_name" };
            for resource in resources {
                let name = resource[field].as_str().unwrap().to_owned();
                let hosts = resource["endpoints"][0]["lb_endpoints"].as_array();
                let hosts = hosts.map(Vec::as_slice).unwrap_or_default();
                let first = hosts.first().map(|host| &host["endpoint"]["address"]);
                let port = first.and_then(|it| it["socket_address"]["port_value"].as_u64());
                client.knows.insert(name, (port.unwrap_or(0), hosts.len()));
            }
        }
    }

    /// Everybody knows what is so.
    fn check(&self) {
        for client in self.clients.iter().filter(|client| !client.rejects) {
            if client.kind == ResourceKind::Clusters {
                let known: Vec<_> = client.knows.keys().collect();
                assert_eq!(known, self.known.keys().collect::<Vec<_>>());
                continue;
            }
            for name in &client.names {
                let Some(endpoints) = self.endpoints(name) else { continue };
                assert_eq!(client.knows.get(*name), Some(&endpoints), "{name}");
            }
        }
    }

    /// What Envoy is to know of a service; none: anything, as nothing is known.
    fn endpoints(&self, name: &str) -> Option<(u64, usize)> {
        let Some(assignment) = self.known.get(name) else { return Some((0, 0)) };
        let endpoints = assignment.as_ref()?.levels[0].endpoints();
        let port = endpoints.first().map_or(0, |endpoint| endpoint.address.port());
        Some((port.into(), endpoints.len()))
    }
}

proptest! {
    // Promise: R-302
    #[test]
    fn every_subscriber_is_told_the_newest_in_time(
        steps in vec(step(), 1..60), has_losses: bool,
    ) {
        // A large service takes 20 × 12 µs for each of its 300 endpoints, for up to four
        // responses; what is lost three times in a row counts as rejected.
        let bound = if has_losses { 120_000 } else { 700 };
        let mut world = World::new();
        let is_in = |step: &Step| has_losses || !matches!(step, Step::Lose(_));
        steps.into_iter().filter(is_in).for_each(|step| world.on_step(step));
        world.clients.iter_mut().for_each(|client| client.loses = false);
        world.run(Duration::from_millis(bound));
        world.check();
    }
}
