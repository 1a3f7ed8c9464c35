//! What Envoy is told, as far as it is compared: by a context that answers, or if Consul itself did.

use std::collections::{BTreeMap, BTreeSet};

use consul_resolver::config::{Config, OnStale};
use consul_resolver::model::endpoint::Address;
use consul_resolver::xds::resource::ResourceKind;
use serde_json::Value;

use crate::consul::Consul;
use crate::sources::{
    CATALOG, ILL, SOURCES, address, endpoints, is_critical, is_listed, is_unusable, of_service,
};
use crate::vm::Context;

/// The endpoints of a service that stand in until Consul has answered.
pub const FALLBACK: &str = "10.255.0.1:9";

/// What Envoy is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Of each priority that has any the endpoints, and whether they are healthy.
    Endpoints(Vec<BTreeMap<String, bool>>),
    /// The clusters as they are written, by their services.
    Clusters(BTreeMap<String, String>),
    /// The domains of all virtual hosts.
    Routes(BTreeSet<String>),
}

/// What a context may tell.
#[derive(Debug)]
pub struct Expected {
    /// What it may tell; the first is what it has installed.
    pub all: Vec<Told>,
    /// Whether all of that is known, so that it is told.
    pub is_known: bool,
    /// Whether enough is known, so that it may be told.
    pub may_be_told: bool,
}

impl Told {
    /// No endpoints.
    pub const NOTHING: Self = Self::Endpoints(Vec::new());

    /// Reads the resources of an answer.
    pub fn read(kind: ResourceKind, resources: &[Value]) -> Self {
        match kind {
            ResourceKind::Endpoints => {
                let [assignment] = resources else { panic!("one of {resources:?}") };
                Self::Endpoints(priorities(assignment))
            }
            ResourceKind::Clusters => {
                let service = |it: &Value| text(&it["eds_cluster_config"]["service_name"]);
                Self::Clusters(resources.iter().map(|it| (service(it), it.to_string())).collect())
            }
            ResourceKind::Routes => {
                let hosts = resources.iter().flat_map(|it| list(&it["virtual_hosts"]));
                Self::Routes(hosts.flat_map(|it| list(&it["domains"])).map(text).collect())
            }
        }
    }

    /// Whether it is the same, where clusters are the same if their services are.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Clusters(one), Self::Clusters(other)) => one.keys().eq(other.keys()),
            _ => self == other,
        }
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Endpoints(levels) => levels.iter().map(BTreeMap::len).sum(),
            Self::Clusters(_) | Self::Routes(_) => 0,
        }
    }

    /// What Consul would have Envoy told by a configuration, if it spoke to it itself.
    pub fn by_consul(kind: ResourceKind, name: &str, config: &Config, consul: &Consul) -> Self {
        let is_found = |source: &usize| consul.ports(CATALOG).contains(&(*source as u16));
        if kind != ResourceKind::Endpoints {
            return Self::of_list(kind, config, |source| is_found(&source));
        }
        let sources = of_service(config, name).unwrap_or_default();
        let several = sources.len() > 1;
        let level = |source: &usize| {
            let ports = consul.ports(*source);
            let healthy = endpoints(*source, ports);
            let ill = ports.iter().filter(|it| is_critical(*source, **it));
            let ill = ill.filter(|it| several && !is_unusable(*source, **it)).map(|it| it % ILL);
            let ill = ill.map(|port| (port, false));
            // Who is healthy under one id is healthy.
            let all = ill.chain(healthy.into_iter().map(|port| (port, true)));
            all.map(|(port, is)| (format!("{}:{port}", address(*source)), is)).collect()
        };
        Self::Endpoints(
            sources.iter().map(level).filter(|it: &BTreeMap<_, _>| !it.is_empty()).collect(),
        )
    }

    fn of_list(kind: ResourceKind, config: &Config, is_found: impl Fn(usize) -> bool) -> Self {
        let is_own = |name: &str| config.services.iter().any(|it| it.name == name);
        let found = (0..SOURCES.len()).filter(|it| is_listed(*it) && config.discover.is_some());
        let found = found.filter(|it| is_found(*it)).map(|it| SOURCES[it].as_str());
        let found: Vec<_> = found.filter(|name| !is_own(name)).collect();
        let own = config.services.iter().map(|it| it.name.as_str());
        match kind {
            ResourceKind::Routes => {
                let own = own.map(|name| format!("{name}.test"));
                Self::Routes(own.chain(found.iter().map(|it| format!("{it}.internal"))).collect())
            }
            _ => {
                Self::Clusters(own.chain(found).map(|it| (it.to_owned(), String::new())).collect())
            }
        }
    }
}

impl Expected {
    /// What a context may tell now.
    pub fn of(kind: ResourceKind, name: &str, context: &Context, config: &Config) -> Self {
        let has = |name: &str| context.router.service_by_name(name.as_bytes());
        let is_listed = !context.discovers
            || context.tracker(CATALOG).is_some_and(|tracker| tracker.installed().is_some());
        if kind != ResourceKind::Endpoints {
            let told = Told::of_list(kind, config, |source| has(&SOURCES[source]).is_some());
            return Self { all: vec![told], is_known: is_listed, may_be_told: is_listed };
        }
        let Some(service) = has(name) else {
            let all = vec![Told::NOTHING];
            return Self { all, is_known: is_listed, may_be_told: is_listed };
        };
        let sources = of_service(config, name).expect("a service that can be there");
        let several = sources.len() > 1;
        let levels = sources.iter().map(|source| {
            let record = context.tracker(*source).and_then(|tracker| tracker.installed());
            let snapshot = record.map(|record| &record.snapshot);
            let healthy = snapshot.iter().flat_map(|it| it.endpoints()).map(|it| (it, true));
            let ill = snapshot.and_then(|it| it.unhealthy()).filter(|_| several);
            let ill = ill.into_iter().flatten().map(|it| (it, false));
            let is_sent = |address: &Address| matches!(address, Address::Ip(_));
            let all = healthy.chain(ill).filter(|(it, _)| is_sent(&it.address));
            all.map(|(it, is_healthy)| (it.address.to_string(), is_healthy)).collect()
        });
        let levels: Vec<BTreeMap<_, _>> =
            levels.filter(|it: &BTreeMap<_, _>| !it.is_empty()).collect();
        let settings = config.services.iter().find(|it| it.name == name);
        let mut all = vec![Told::Endpoints(levels)];
        let limit = settings.and_then(|it| it.staleness);
        if limit.is_some_and(|limit| limit.on_stale == OnStale::Fail) {
            all.push(Told::NOTHING);
        }
        let falls_back = settings.is_some_and(|it| !it.fallback.is_empty());
        if falls_back && all[0] == Told::NOTHING {
            all.push(Told::Endpoints(vec![BTreeMap::from([(FALLBACK.to_owned(), true)])]));
        }
        let is_known = context.router.is_resolved(service) && !context.router.is_pending(service);
        let trackers = sources.iter().filter_map(|source| context.tracker(*source));
        let may_be_told =
            falls_back || trackers.into_iter().any(|tracker| tracker.installed().is_some());
        Self { all, is_known, may_be_told }
    }

    /// Whether that is among it.
    pub fn has(&self, told: &Told) -> bool {
        self.all.iter().any(|it| it.is_like(told))
    }
}

/// The priorities of an assignment, of which none is left out.
fn priorities(assignment: &Value) -> Vec<BTreeMap<String, bool>> {
    let mut all: BTreeMap<u64, BTreeMap<String, bool>> = BTreeMap::new();
    for locality in list(&assignment["endpoints"]) {
        let level = all.entry(locality["priority"].as_u64().unwrap_or(0)).or_default();
        for host in list(&locality["lb_endpoints"]) {
            let socket = &host["endpoint"]["address"]["socket_address"];
            let address = format!("{}:{}", text(&socket["address"]), socket["port_value"]);
            let is_healthy = text(&host["health_status"]) == "HEALTHY";
            assert_eq!(level.insert(address, is_healthy), None, "no endpoint twice");
        }
    }
    assert!(all.keys().copied().eq(0..all.len() as u64), "a gap: {:?}", all.keys());
    all.into_values().collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
