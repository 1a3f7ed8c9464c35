//! Which agent it is that answers.

use core::fmt;

use serde::Deserialize;

/// Which agent it is that answers, by what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentIdentity {
    /// The name of its node.
    pub node: String,
    /// The id of its node; empty where it says none.
    pub id: String,
    /// Its datacenter.
    pub datacenter: String,
}

/// What is read of `/v1/agent/self`.
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
    /// Reads the body of `/v1/agent/self`; none where it does not say which agent it is.
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
