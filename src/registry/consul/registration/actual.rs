//! The actual state of an agent: its identity, and the service and checks that it has.

use core::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::registry::consul::registration::definition::CheckStatus;

/// A service as the agent has it. A field that is absent, null or of the wrong kind is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActualService {
    /// The name.
    pub name: String,
    /// The address.
    pub address: String,
    /// The port.
    pub port: u64,
    /// The tags.
    pub tags: Vec<String>,
    /// The metadata, sorted by key.
    pub meta: Vec<(String, String)>,
    /// The weights: passing, then warning.
    pub weights: (u64, u64),
    /// True if others may change the tags.
    pub enable_tag_override: bool,
    /// The tagged addresses.
    pub tagged_addresses: Vec<(String, String, u64)>,
    /// The agent's datacenter, if the agent names it.
    pub datacenter: Option<String>,
}

/// A check as the agent has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActualCheck {
    /// The id.
    pub id: String,
    /// The state. `None` if the state is unknown here.
    pub status: Option<CheckStatus>,
}

impl ActualService {
    /// Decodes the body of `/v1/agent/service/<id>`. Returns `None` if it is no object.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let body = body.as_object()?;
        let weights = object(body, "Weights");
        let weight = |name| weights.and_then(|it| it.get(name)?.as_u64()).unwrap_or(1);
        let tags = body.get("Tags").and_then(Value::as_array);
        let strings = |object: &Map<String, Value>| {
            let pair =
                |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            object.iter().filter_map(pair).collect::<Vec<_>>()
        };
        let address = |(name, value): (&String, &Value)| {
            let value = value.as_object()?;
            // The case of these names differs between versions of Consul.
            let address = [text(value, "Address"), text(value, "address")].concat();
            Some((name.clone(), address, number(value, "Port").max(number(value, "port"))))
        };
        let mut meta = object(body, "Meta").map(strings).unwrap_or_default();
        meta.sort_unstable();
        Some(Self {
            name: text(body, "Service"),
            address: text(body, "Address"),
            port: number(body, "Port"),
            tags: tags
                .map(|tags| tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
            meta,
            weights: (weight("Passing"), weight("Warning")),
            enable_tag_override: body
                .get("EnableTagOverride")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            tagged_addresses: object(body, "TaggedAddresses")
                .map(|it| it.iter().filter_map(address).collect())
                .unwrap_or_default(),
            datacenter: body.get("Datacenter").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

impl ActualCheck {
    /// Returns true if this check takes a service into maintenance.
    pub fn is_maintenance(&self) -> bool {
        self.id.starts_with("_service_maintenance:")
    }

    /// Decodes the body of `/v1/agent/checks`. Returns `None` if it is no object.
    pub(super) fn decode_all(body: &[u8]) -> Option<Vec<Self>> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let check = |(id, check): (&String, &Value)| {
            let word = check.get("Status").and_then(Value::as_str);
            let status = CheckStatus::ALL.into_iter().find(|status| Some(status.word()) == word);
            Self { id: id.clone(), status }
        };
        Some(body.as_object()?.iter().map(check).collect())
    }
}

fn object<'a>(of: &'a Map<String, Value>, field: &str) -> Option<&'a Map<String, Value>> {
    of.get(field)?.as_object()
}

fn text(of: &Map<String, Value>, field: &str) -> String {
    of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(of: &Map<String, Value>, field: &str) -> u64 {
    of.get(field).and_then(Value::as_u64).unwrap_or_default()
}

/// The identity of an agent, as the agent gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentIdentity {
    /// The name of the node.
    pub node: String,
    /// The id of the node. Empty if the agent does not tell it.
    pub id: String,
    /// The datacenter.
    pub datacenter: String,
}

/// The fields of `/v1/agent/self` that are read.
#[derive(Deserialize)]
struct WireSelf {
    #[serde(rename = "Config")]
    config: WireConfig,
}

#[derive(Deserialize)]
struct WireConfig {
    #[serde(rename = "NodeName")]
    node: String,
    #[serde(rename = "NodeID", default)]
    id: String,
    #[serde(rename = "Datacenter")]
    datacenter: String,
}

impl AgentIdentity {
    /// Decodes the body of `/v1/agent/self`. Returns `None` if it contains no identity.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let WireSelf { config } = serde_json::from_slice(body).ok()?;
        let WireConfig { node, id, datacenter } = config;
        Some(Self { node, id, datacenter })
    }
}

impl fmt::Display for AgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.node, self.datacenter)
    }
}
