//! The node that an instance is on.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::registration::{RegistrationError, locality, strings, text};

/// The name of the agent's own node.
pub const NODE: &str = stack::consul::NODE;

/// The datacenter of the agent.
pub const DATACENTER: &str = "dc1";

const NODE_ID: &str = "5e0f4a3c-7d1b-4a86-9d39-2f6c1b8e7a40";

/// A node as the catalog has it: the agent's own, or one that only the catalog was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Empty for a node without an agent.
    id: String,
    address: String,
    tagged_addresses: Option<BTreeMap<String, String>>,
    meta: Option<BTreeMap<String, String>>,
    /// Region and zone (Consul 1.17).
    locality: Option<(String, String)>,
}

impl Node {
    /// The agent's own.
    pub fn own() -> Self {
        let address = "127.0.0.1".to_owned();
        let segment = ("consul-network-segment".to_owned(), String::new());
        let kinds = ["lan", "lan_ipv4", "wan", "wan_ipv4"];
        Self {
            name: NODE.to_owned(),
            id: NODE_ID.to_owned(),
            tagged_addresses: Some(kinds.map(|kind| (kind.to_owned(), address.clone())).into()),
            address,
            meta: Some([segment].into()),
            locality: None,
        }
    }

    /// Reads what `PUT /v1/catalog/register` says of the node.
    pub fn from_json(body: &Value) -> Result<Self, RegistrationError> {
        let (name, address) = (text(body, "Node", "Node")?, text(body, "Address", "Address")?);
        if name.is_empty() || address.is_empty() {
            return Err(RegistrationError::MissingNode);
        }
        let meta = strings(body, "NodeMeta")?;
        Ok(Self {
            name,
            id: String::new(),
            address,
            tagged_addresses: None,
            meta: Some(meta).filter(|meta| !meta.is_empty()),
            locality: locality(body)?,
        })
    }

    /// Whether its metadata has all of these.
    pub fn has_meta(&self, wanted: &BTreeMap<String, String>) -> bool {
        let own = |key| self.meta.as_ref().and_then(|meta| meta.get(key));
        wanted.iter().all(|(key, value)| own(key) == Some(value))
    }

    /// The object `Node` of a health entry.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "ID": self.id,
            "Node": self.name,
            "Address": self.address,
            "Datacenter": DATACENTER,
            "TaggedAddresses": self.tagged_addresses,
            "Meta": self.meta,
            "CreateIndex": 5,
            "ModifyIndex": 7,
        });
        add_locality(&mut object, self.locality.as_ref());
        object
    }
}

/// Adds `Locality` where there is one: Consul knows it since 1.17.
pub fn add_locality(object: &mut Value, locality: Option<&(String, String)>) {
    if let (Value::Object(object), Some((region, zone))) = (object, locality) {
        let mut both = Map::new();
        both.insert("Region".to_owned(), json!(region));
        both.insert("Zone".to_owned(), json!(zone));
        object.insert("Locality".to_owned(), Value::Object(both));
    }
}
