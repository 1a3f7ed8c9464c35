//! Checks: how they are registered, and what is known of them.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::registration::{self, RegistrationError, time};
use crate::service::Status;

/// How a check is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    Ttl(Duration),
    Http { url: String, interval: Duration, timeout: Duration },
    Maintenance,
    Node,
}

impl CheckKind {
    /// Consul's word in `Type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ttl(_) => "ttl",
            Self::Http { .. } => "http",
            Self::Maintenance => "maintenance",
            Self::Node => "",
        }
    }

    /// When a check registered now has something to do: a TTL runs out, or a first probe, which
    /// Consul puts at a random time within the interval.
    pub fn first_due(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Ttl(ttl) => Some(now + *ttl),
            Self::Http { interval, .. } => Some(now + interval.mul_f64(fastrand::f64())),
            Self::Maintenance | Self::Node => None,
        }
    }
}

/// A check as it was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckDefinition {
    pub id: String,
    pub name: String,
    pub notes: String,
    pub output: String,
    pub status: Status,
    pub kind: CheckKind,
    pub deregister_after: Option<Duration>,
}

impl CheckDefinition {
    /// A check of the node itself.
    pub fn node(id: &str, name: &str, output: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            notes: String::new(),
            output: output.to_owned(),
            status: Status::Passing,
            kind: CheckKind::Node,
            deregister_after: None,
        }
    }

    /// The critical check that is maintenance mode, of an instance or of the node.
    pub fn maintenance(instance: Option<&str>, reason: &str) -> Self {
        let (id, name, default) = match instance {
            Some(id) => (
                format!("_service_maintenance:{id}"),
                "Service Maintenance Mode",
                "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.",
            ),
            None => (
                "_node_maintenance".to_owned(),
                "Node Maintenance Mode",
                "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.",
            ),
        };
        let notes = if reason.is_empty() { default } else { reason };
        Self {
            notes: notes.to_owned(),
            status: Status::Critical,
            kind: CheckKind::Maintenance,
            ..Self::node(&id, name, "")
        }
    }

    /// Reads one element of `Checks` of `PUT /v1/catalog/register`: a state that nobody probes.
    pub fn from_catalog_json(value: &Value) -> Result<Self, RegistrationError> {
        let text = |key| registration::text(value, key, "check");
        let (id, name, status) = (text("CheckID")?, text("Name")?, text("Status")?);
        Ok(Self {
            status: Status::from_word(&status).unwrap_or(Status::Critical),
            notes: text("Notes")?,
            ..Self::node(&id, &name, &text("Output")?)
        })
    }

    /// Reads one element of `Checks` of a service (its name and id); `id` is the check's where it
    /// is given none.
    pub fn from_json(
        value: &Value,
        service: (&str, &str),
        id: String,
    ) -> Result<Self, RegistrationError> {
        let text = |key| registration::text(value, key, "check");
        let time = |key| time(value, key);
        let (given_id, url) = (text("CheckID")?, text("HTTP")?);
        let kind = if url.is_empty() {
            let ttl =
                time("TTL")?.filter(|ttl| !ttl.is_zero()).ok_or(RegistrationError::MissingTtl)?;
            CheckKind::Ttl(ttl)
        } else {
            let interval = time("Interval")?
                .filter(|i| !i.is_zero())
                .ok_or(RegistrationError::MissingInterval)?;
            CheckKind::Http {
                url,
                interval,
                timeout: time("Timeout")?.unwrap_or(Duration::from_secs(10)),
            }
        };
        let name = Some(text("Name")?).filter(|name| !name.is_empty());
        let status = text("Status")?;
        let after = time("DeregisterCriticalServiceAfter")?.filter(|after| !after.is_zero());
        Ok(Self {
            id: if given_id.is_empty() { id } else { given_id },
            name: name.unwrap_or_else(|| format!("Service '{}' check", service.0)),
            notes: text("Notes")?,
            output: String::new(),
            status: Status::from_word(&status).unwrap_or(Status::Critical),
            kind,
            deregister_after: after.map(|after| after.max(Duration::from_secs(60))),
        })
    }
}

/// A check, of a service or (without one) of the node.
#[derive(Debug, Clone)]
pub struct CheckRow {
    pub id: String,
    pub name: String,
    pub notes: String,
    pub output: String,
    pub status: Status,
    pub kind: CheckKind,
    /// The instance's id, its service's name and tags.
    pub service: Option<(String, String, Vec<String>)>,
    pub deregister_after: Option<Duration>,
    /// When a TTL runs out, or the next probe is due.
    pub due: Option<Instant>,
    pub critical_since: Option<Instant>,
    pub create_index: u64,
    pub modify_index: u64,
}

impl CheckRow {
    /// Whether registering this definition again would change nothing.
    pub fn is_defined_by(&self, check: &CheckDefinition) -> bool {
        self.name == check.name
            && self.notes == check.notes
            && self.kind == check.kind
            && self.deregister_after == check.deregister_after
    }
}
