//! The body of `PUT /v1/agent/service/register`, as Consul reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::check::CheckDefinition;
use super::fields;
use super::meta::{self, MetaError};
use super::node::Node;
use stack::duration;

/// Why a registration is refused; the texts are Consul's.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// No name.
    #[error("Missing service name")]
    MissingName,
    /// A weight of zero while passing.
    #[error("Invalid Weights: Passing must be greater than 0")]
    ZeroWeight,
    /// A weight below zero while warning.
    #[error("Invalid Weights: Warning must be greater or equal than 0")]
    NegativeWeight,
    /// A weight beyond 65535.
    #[error("Invalid Weights: DNS Weight must be between 0 and 65535")]
    WeightTooLarge,
    /// An HTTP check that is never run.
    #[error("Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks")]
    MissingInterval,
    /// A check that neither reports nor is run.
    #[error("Invalid check: TTL must be > 0 for TTL checks")]
    MissingTtl,
    /// A check that the fake does not run, though Consul does.
    #[error("the fake Consul runs checks over HTTP only: use the real one")]
    OnlyHttp,
    /// A check that both reports and is run.
    #[error("Invalid check: Interval and TTL cannot both be specified")]
    TtlAndInterval,
    /// A check that begins with no state there is.
    #[error("Status for checks must 'passing', 'warning', 'critical'")]
    BadStatus,
    /// An address that means every address.
    #[error("Invalid service address")]
    AnyAddress,
    /// Metadata that is not taken.
    #[error("Invalid Service Meta: {0}")]
    Meta(#[source] MetaError),
    /// A field of a name that is not known.
    #[error("Request decode failed: json: unknown field {name:?}")]
    Unknown {
        /// The field's name.
        name: String,
    },
    /// A node without name or address.
    #[error("Must provide node and address")]
    MissingNode,
    /// A value of a wrong type or form.
    #[error("Request decode failed: invalid {field}")]
    Malformed {
        /// The field's name.
        field: &'static str,
    },
}

/// An instance as it was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub id: String,
    pub name: String,
    pub tags: Vec<String>,
    pub address: String,
    pub port: i64,
    pub meta: BTreeMap<String, String>,
    pub tagged_addresses: BTreeMap<String, (String, i64)>,
    pub passing_weight: i64,
    pub warning_weight: i64,
    pub enable_tag_override: bool,
    pub checks: Vec<CheckDefinition>,
    /// Region and zone (Consul 1.17).
    pub locality: Option<(String, String)>,
    /// The node it is on, where that is not the agent's own.
    pub node: Option<Node>,
}

impl Registration {
    /// Reads the body of a request, and refuses what Consul refuses.
    pub fn from_request(body: &Value) -> Result<Self, RegistrationError> {
        fields::refuse_unknown(body)?;
        let registration = Self::from_json(body)?;
        // Consul looks at the text: other ways to write them it takes.
        if matches!(registration.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(RegistrationError::AnyAddress);
        }
        meta::check(&registration.meta).map_err(RegistrationError::Meta)?;
        Ok(registration)
    }

    /// Reads a body, also one that Consul would refuse: a test may want an instance that cannot be.
    /// Keys are in any case, as Go reads them.
    pub fn from_json(body: &Value) -> Result<Self, RegistrationError> {
        let text = |key| text(body, key, "service");
        let name = text("Name")?;
        if name.is_empty() {
            return Err(RegistrationError::MissingName);
        }
        let id = Some(text("ID")?).filter(|id| !id.is_empty()).unwrap_or_else(|| name.clone());
        let (passing_weight, warning_weight) = weights(body)?;
        let mut registration = Self {
            tags: tags(body)?,
            address: text("Address")?,
            port: number(body, "Port")?.unwrap_or(0),
            meta: strings(body, "Meta")?,
            tagged_addresses: tagged_addresses(body)?,
            passing_weight,
            warning_weight,
            enable_tag_override: flag(body, "EnableTagOverride")?,
            checks: checks(body, (&name, &id))?,
            locality: locality(body)?,
            node: None,
            id,
            name,
        };
        registration.add_own_tagged_addresses();
        Ok(registration)
    }

    /// Reads the body of `PUT /v1/catalog/register`: an instance on a node that has no agent, and
    /// so nobody to run its checks.
    pub fn from_catalog_json(body: &Value) -> Result<Self, RegistrationError> {
        let missing = RegistrationError::Malformed { field: "Service" };
        let mut service = field(body, "Service").cloned().ok_or(missing)?;
        let name = text(&service, "Service", "Service")?;
        service["Name"] = Value::from(name);
        let checks = field(body, "Checks").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            checks: checks.map(CheckDefinition::from_catalog_json).collect::<Result<_, _>>()?,
            node: Some(Node::from_json(body)?),
            // It is an agent that adds an instance's own address to these.
            tagged_addresses: tagged_addresses(&service)?,
            ..Self::from_json(&service)?
        })
    }

    /// The service `consul`, which a server registers itself.
    pub fn of_server() -> Self {
        Self {
            id: "consul".to_owned(),
            name: "consul".to_owned(),
            tags: Vec::new(),
            address: String::new(),
            port: 8300,
            meta: BTreeMap::from([("raft_version".to_owned(), "3".to_owned())]),
            tagged_addresses: BTreeMap::new(),
            passing_weight: 1,
            warning_weight: 1,
            enable_tag_override: false,
            checks: Vec::new(),
            locality: None,
            node: None,
        }
    }

    /// Whether all but the checks is the same.
    pub fn same_service(&self, other: &Self) -> bool {
        let without_checks =
            |registration: &Self| Self { checks: Vec::new(), ..registration.clone() };
        without_checks(self) == without_checks(other)
    }

    /// Consul adds an IP address under `lan_ipv4` and `wan_ipv4` (or `…_ipv6`).
    fn add_own_tagged_addresses(&mut self) {
        let address = self.address.parse::<IpAddr>();
        let names = match address.map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(_)) => ["lan_ipv4", "wan_ipv4"],
            Ok(IpAddr::V6(_)) => ["lan_ipv6", "wan_ipv6"],
            Err(_) => return,
        };
        for name in names {
            let own = (self.address.clone(), self.port);
            self.tagged_addresses.entry(name.to_owned()).or_insert(own);
        }
    }
}

fn checks(body: &Value, service: (&str, &str)) -> Result<Vec<CheckDefinition>, RegistrationError> {
    let one = field(body, "Check").filter(|check| !CheckDefinition::is_empty(check)).into_iter();
    let many = field(body, "Checks").map_or(Ok(&[][..]), |checks| {
        let malformed = RegistrationError::Malformed { field: "Checks" };
        checks.as_array().map(Vec::as_slice).ok_or(malformed)
    })?;
    let all: Vec<&Value> = one.chain(many).collect();
    let id = |i: usize| match all.len() {
        1 => format!("service:{}", service.1),
        _ => format!("service:{}:{}", service.1, i + 1),
    };
    let read = all.iter().enumerate();
    read.map(|(i, check)| CheckDefinition::from_json(check, service, id(i))).collect()
}

fn weights(body: &Value) -> Result<(i64, i64), RegistrationError> {
    let Some(weights) = field(body, "Weights") else {
        return Ok((1, 1));
    };
    let weight = |key| Ok(number(weights, key)?.unwrap_or(0));
    let (passing, warning) = (weight("Passing")?, weight("Warning")?);
    match (passing, warning) {
        (..1, _) => Err(RegistrationError::ZeroWeight),
        (_, ..0) => Err(RegistrationError::NegativeWeight),
        (65_536.., _) | (_, 65_536..) => Err(RegistrationError::WeightTooLarge),
        both => Ok(both),
    }
}

fn tags(body: &Value) -> Result<Vec<String>, RegistrationError> {
    let malformed = || RegistrationError::Malformed { field: "Tags" };
    let tags = field(body, "Tags").map(|tags| tags.as_array().ok_or_else(malformed)).transpose()?;
    let tags = tags.into_iter().flatten();
    tags.map(|tag| tag.as_str().map(str::to_owned).ok_or_else(malformed)).collect()
}

/// An object of texts; empty where it is absent or null.
pub fn strings(
    body: &Value,
    name: &'static str,
) -> Result<BTreeMap<String, String>, RegistrationError> {
    let pairs = field(body, name).and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(key, value)| {
            let value = value.as_str().ok_or(RegistrationError::Malformed { field: name })?;
            Ok((key.clone(), value.to_owned()))
        })
        .collect()
}

/// Region and zone, where either is given.
pub fn locality(body: &Value) -> Result<Option<(String, String)>, RegistrationError> {
    let Some(locality) = field(body, "Locality") else {
        return Ok(None);
    };
    let part = |key| text(locality, key, "Locality");
    Ok(Some((part("Region")?, part("Zone")?)).filter(|both| *both != Default::default()))
}

fn tagged_addresses(body: &Value) -> Result<BTreeMap<String, (String, i64)>, RegistrationError> {
    let pairs = field(body, "TaggedAddresses").and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(name, at)| {
            if !at.is_object() {
                return Err(RegistrationError::Malformed { field: "TaggedAddresses" });
            }
            let address = text(at, "Address", "TaggedAddresses")?;
            Ok((name.clone(), (address, number(at, "Port")?.unwrap_or(0))))
        })
        .collect()
}

/// A field that is there and not null; the key in any case, underscores ignored.
pub fn field<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let same = |other: &str| other.replace('_', "").eq_ignore_ascii_case(key);
    let (_, value) = object.as_object()?.iter().find(|(other, _)| same(other))?;
    Some(value).filter(|value| !value.is_null())
}

/// A text; empty where it is absent or null.
pub fn text(object: &Value, key: &str, of: &'static str) -> Result<String, RegistrationError> {
    match field(object, key) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(RegistrationError::Malformed { field: of }),
    }
}

fn flag(object: &Value, key: &'static str) -> Result<bool, RegistrationError> {
    let malformed = RegistrationError::Malformed { field: key };
    field(object, key).map_or(Ok(false), |value| value.as_bool().ok_or(malformed))
}

/// A whole number, where it is there and not null.
pub fn number(object: &Value, key: &'static str) -> Result<Option<i64>, RegistrationError> {
    let malformed = RegistrationError::Malformed { field: key };
    field(object, key).map(|value| value.as_i64().ok_or(malformed)).transpose()
}

/// A duration as text, or as a number of nanoseconds.
pub fn time(object: &Value, key: &'static str) -> Result<Option<Duration>, RegistrationError> {
    let parsed = match field(object, key) {
        None => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => duration::parse(text),
        Some(value) => value.as_u64().map(Duration::from_nanos),
    };
    parsed.map(Some).ok_or(RegistrationError::Malformed { field: key })
}
