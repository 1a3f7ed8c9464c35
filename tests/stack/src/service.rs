//! What is registered at a registry: a service's instance and its checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::duration;

/// A check's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// All is well.
    Passing,
    /// Doubtful; served only where a client asks for it.
    Warning,
    /// Not to be used.
    Critical,
}

impl Status {
    /// Consul's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// Reads Consul's word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical].into_iter().find(|s| s.as_str() == word)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a check comes to its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The service reports; after this long without a report it is critical.
    Ttl(Duration),
    /// The agent asks the URL: 2xx passes, 429 warns, all else is critical.
    Http {
        /// What is asked.
        url: String,
        /// How often.
        interval: Duration,
        /// How long an answer may take.
        timeout: Duration,
    },
}

/// One check of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    id: Option<String>,
    probe: Probe,
    status: Option<Status>,
    deregister_after: Option<Duration>,
}

impl Check {
    /// A check that is set by hand; critical until then, as in Consul.
    pub fn ttl(ttl: Duration) -> Self {
        Self { id: None, probe: Probe::Ttl(ttl), status: None, deregister_after: None }
    }

    /// A check in which the agent asks a URL; an answer may take as long as the interval.
    pub fn http(url: impl Into<String>, interval: Duration) -> Self {
        let probe = Probe::Http { url: url.into(), interval, timeout: interval };
        Self { id: None, probe, status: None, deregister_after: None }
    }

    /// Names the check; else it is `service:<id>`, with `:1`, `:2`, … where there are several.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The state to begin with.
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Removes the service after it has been critical this long (Consul: one minute at least).
    pub fn deregister_after(mut self, after: Duration) -> Self {
        self.deregister_after = Some(after);
        self
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        if let Some(id) = &self.id {
            object.insert("CheckID".into(), json!(id));
        }
        match &self.probe {
            Probe::Ttl(ttl) => {
                object.insert("TTL".into(), json!(duration::format(*ttl)));
            }
            Probe::Http { url, interval, timeout } => {
                object.insert("HTTP".into(), json!(url));
                object.insert("Interval".into(), json!(duration::format(*interval)));
                object.insert("Timeout".into(), json!(duration::format(*timeout)));
            }
        }
        if let Some(status) = self.status {
            object.insert("Status".into(), json!(status.as_str()));
        }
        if let Some(after) = self.deregister_after {
            object.insert("DeregisterCriticalServiceAfter".into(), json!(duration::format(after)));
        }
        Value::Object(object)
    }
}

/// A node that has no agent: only the catalog is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
    /// Region and zone; Consul before 1.17 refuses them.
    pub locality: Option<(String, String)>,
}

impl Node {
    /// A node without metadata.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds metadata.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Sets region and zone.
    pub fn locality(mut self, region: impl Into<String>, zone: impl Into<String>) -> Self {
        self.locality = Some((region.into(), zone.into()));
        self
    }
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The service's name.
    pub name: String,
    /// The instance's id, unique at its agent.
    pub id: String,
    /// An IP, a host name, or empty: then clients use the node's address.
    pub address: String,
    /// Consul takes any number, beyond 65535 too.
    pub port: u32,
    /// Tags, in order.
    pub tags: Vec<String>,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
    /// Weights while passing and while warning; 1 and 1 when absent.
    pub weights: Option<(u32, u32)>,
    /// Further addresses by name (`lan`, `wan`, …).
    pub tagged_addresses: BTreeMap<String, (String, u32)>,
    /// Checks; without any, the instance is passing as long as its node is.
    pub checks: Vec<Check>,
    /// Region and zone; Consul before 1.17 refuses them.
    pub locality: Option<(String, String)>,
    /// The node it is on, where that is not the agent's own.
    pub node: Option<Node>,
}

impl Service {
    /// An instance without address, port and checks.
    pub fn new(name: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: id.into(),
            address: String::new(),
            port: 0,
            tags: Vec::new(),
            meta: BTreeMap::new(),
            weights: None,
            tagged_addresses: BTreeMap::new(),
            checks: Vec::new(),
            locality: None,
            node: None,
        }
    }

    /// Sets address and port.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address.ip().to_string();
        self.port = u32::from(address.port());
        self
    }

    /// Sets the address as text: a host name, an empty one, nonsense.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the port.
    pub fn port(mut self, port: u32) -> Self {
        self.port = port;
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds metadata.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Sets the weights.
    pub fn weights(mut self, passing: u32, warning: u32) -> Self {
        self.weights = Some((passing, warning));
        self
    }

    /// Adds a further address.
    pub fn tagged_address(mut self, name: impl Into<String>, address: IpAddr, port: u16) -> Self {
        self.tagged_addresses.insert(name.into(), (address.to_string(), u32::from(port)));
        self
    }

    /// Sets region and zone.
    pub fn locality(mut self, region: impl Into<String>, zone: impl Into<String>) -> Self {
        self.locality = Some((region.into(), zone.into()));
        self
    }

    /// Puts it on a node without an agent: its checks stay as they are registered, and it is
    /// removed by [`Registry::deregister_at`](crate::Registry::deregister_at).
    pub fn on(mut self, node: Node) -> Self {
        self.node = Some(node);
        self
    }

    /// Adds a check.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a check with this state that is set by hand and does not expire within an hour: see
    /// [`Service::check_id`] and [`Registry::set_check`](crate::Registry::set_check).
    pub fn with_status(self, status: Status) -> Self {
        self.check(Check::ttl(Duration::from_secs(3_600)).status(status))
    }

    /// The id of the only check of the instance `id`, where it was given none.
    pub fn check_id(id: &str) -> String {
        format!("service:{id}")
    }

    /// The checks that are set by hand and have a state to begin with: their ids and states.
    pub fn ttl_reports(&self) -> Vec<(String, Status)> {
        let id = |at: usize| match self.checks.len() {
            1 => Self::check_id(&self.id),
            _ => format!("{}:{}", Self::check_id(&self.id), at + 1),
        };
        let reports = self.checks.iter().enumerate().filter_map(|(at, check)| {
            let is_ttl = matches!(check.probe, Probe::Ttl(_));
            let status = check.status.filter(|_| is_ttl)?;
            Some((check.id.clone().unwrap_or_else(|| id(at)), status))
        });
        reports.collect()
    }

    /// The body of `PUT /v1/agent/service/register`.
    pub fn to_json(&self) -> Value {
        let address = |(address, port): &(String, u32)| json!({"Address": address, "Port": port});
        let mut body = json!({
            "Name": self.name,
            "ID": self.id,
            "Address": self.address,
            "Port": self.port,
            "Tags": self.tags,
            "Meta": self.meta,
        });
        let mut set = |key: &str, value: Value| {
            if let Value::Object(object) = &mut body {
                object.insert(key.to_owned(), value);
            }
        };
        if let Some((passing, warning)) = self.weights {
            set("Weights", json!({"Passing": passing, "Warning": warning}));
        }
        if !self.tagged_addresses.is_empty() {
            let all = self.tagged_addresses.iter().map(|(name, at)| (name.clone(), address(at)));
            set("TaggedAddresses", Value::Object(all.collect()));
        }
        if !self.checks.is_empty() {
            set("Checks", self.checks.iter().map(Check::to_json).collect());
        }
        if let Some(locality) = &self.locality {
            set("Locality", region_and_zone(locality));
        }
        body
    }

    /// The body of `PUT /v1/catalog/register`, for an instance on that node.
    pub fn to_catalog_json(&self, node: &Node) -> Value {
        let mut service = self.to_json();
        service["Service"] = json!(self.name);
        let checks = self.ttl_reports().into_iter().map(|(id, status)| {
            json!({"CheckID": id, "Name": id, "ServiceID": self.id, "Status": status.as_str()})
        });
        let mut body = json!({
            "Node": node.name,
            "Address": "127.0.0.1",
            "NodeMeta": node.meta,
            "Checks": checks.collect::<Vec<_>>(),
        });
        if let Value::Object(service) = &mut service {
            service.remove("Name");
            service.remove("Checks");
        }
        body["Service"] = service;
        if let Some(locality) = &node.locality {
            body["Locality"] = region_and_zone(locality);
        }
        body
    }
}

fn region_and_zone((region, zone): &(String, String)) -> Value {
    json!({"Region": region, "Zone": zone})
}
