//! What an agent has under an id.

use serde_json::{Map, Value};

use crate::registry::consul::registration::definition::CheckStatus;

/// A service as its agent has it. What is absent, null or of another kind is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActualService {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata, sorted by key.
    pub meta: Vec<(String, String)>,
    /// Its weights: passing, and warning.
    pub weights: (u64, u64),
    /// Whether others may change its tags.
    pub enable_tag_override: bool,
    /// Its tagged addresses.
    pub tagged_addresses: Vec<(String, String, u64)>,
    /// The agent's datacenter; none where it does not say.
    pub datacenter: Option<String>,
}

/// A check as its agent has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActualCheck {
    /// Its id.
    pub id: String,
    /// Its state; none where it is none that is known here.
    pub status: Option<CheckStatus>,
}

impl ActualService {
    /// Reads the body of `/v1/agent/service/<id>`; none where it is no object.
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
            // Versions of Consul differ in the case of these.
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
    /// Whether it is what takes a service out of service.
    pub fn is_maintenance(&self) -> bool {
        self.id.starts_with("_service_maintenance:")
    }

    /// Reads the body of `/v1/agent/checks`; none where it is no object.
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
