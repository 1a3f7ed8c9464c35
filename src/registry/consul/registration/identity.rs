//! The identity of an agent.

use core::fmt;

use serde::Deserialize;

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
