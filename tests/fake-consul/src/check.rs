//! Checks: how they are registered, and what is known of them.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::probe::Probe;
use super::registration::{self, RegistrationError, time};
use stack::Status;

/// How a check is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    Ttl(Duration),
    Probe(Box<Probe>),
    Maintenance,
    Node,
}

impl CheckKind {
    /// Consul's word in `Type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ttl(_) => "ttl",
            Self::Probe(_) => "http",
            Self::Maintenance => "maintenance",
            Self::Node => "",
        }
    }

    /// When a check registered now has something to do: a TTL runs out, or a first probe, which
    /// Consul puts at a random time within the interval.
    pub fn first_due(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Ttl(ttl) => Some(now + *ttl),
            Self::Probe(probe) => Some(now + probe.interval.mul_f64(fastrand::f64())),
            Self::Maintenance | Self::Node => None,
        }
    }
}

/// What Consul keeps of a report's output: its first 4096 bytes.
pub fn kept_output(output: &str) -> Cow<'_, str> {
    const MOST: usize = 4_096;
    let length = output.len();
    let Some(first) = output.as_bytes().get(..MOST).filter(|_| length > MOST) else {
        return output.into();
    };
    let first = String::from_utf8_lossy(first);
    format!("{first} ... (captured {MOST} of {length} bytes)").into()
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

    /// Whether nothing is said of the check: then Consul takes it for none.
    pub fn is_empty(value: &Value) -> bool {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(_, value)| !value.is_null())
            .all(|(key, value)| key.eq_ignore_ascii_case("TTL") && value.as_str() == Some("0s"))
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
        let ttl = time("TTL")?.filter(|ttl| !ttl.is_zero());
        let interval = time("Interval")?.filter(|interval| !interval.is_zero());
        if ttl.is_some() && interval.is_some() {
            return Err(RegistrationError::TtlAndInterval);
        }
        let kind = match (Probe::from_json(value)?, ttl) {
            (Some(probe), _) => CheckKind::Probe(Box::new(probe)),
            (None, Some(ttl)) => CheckKind::Ttl(ttl),
            (None, None) => return Err(RegistrationError::MissingTtl),
        };
        let name = Some(text("Name")?).filter(|name| !name.is_empty());
        let given_id = text("CheckID")?;
        let status = match text("Status")?.as_str() {
            "" => Status::Critical,
            word => Status::from_word(word).ok_or(RegistrationError::BadStatus)?,
        };
        let after = time("DeregisterCriticalServiceAfter")?.filter(|after| !after.is_zero());
        Ok(Self {
            id: if given_id.is_empty() { id } else { given_id },
            name: name.unwrap_or_else(|| format!("Service '{}' check", service.0)),
            notes: text("Notes")?,
            output: String::new(),
            status,
            kind,
            deregister_after: after,
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
    /// The instance's id, its service's name and tags.
    pub service: Option<(String, String, Vec<String>)>,
    pub course: Course,
    pub create_index: u64,
    pub modify_index: u64,
}

impl CheckRow {
    /// Whether registering this definition again would change nothing that clients see.
    pub fn is_defined_by(&self, check: &CheckDefinition) -> bool {
        self.name == check.name
            && self.notes == check.notes
            && self.course.kind.as_str() == check.kind.as_str()
    }
}

/// How a check comes to its states from its registration on. It begins anew with each registration,
/// which is why one who registers again and again is never found to have been critical for long.
#[derive(Debug, Clone)]
pub struct Course {
    pub kind: CheckKind,
    pub deregister_after: Option<Duration>,
    /// When a TTL runs out, or the next probe is due.
    pub due: Option<Instant>,
    /// When it was first said to be critical: not when it was registered so.
    pub critical_since: Option<Instant>,
    /// What the service has last said in a report.
    pub reported: String,
}

impl Course {
    pub fn begin(check: &CheckDefinition, now: Instant) -> Self {
        Self {
            kind: check.kind.clone(),
            deregister_after: check.deregister_after,
            due: check.kind.first_due(now),
            critical_since: None,
            reported: String::new(),
        }
    }

    /// Whether it has something to do now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// What Consul says of a TTL that has run out.
    pub fn expired(&self) -> String {
        match self.reported.as_str() {
            "" => "TTL expired".to_owned(),
            last => format!("TTL expired (last output before timeout follows): {last}"),
        }
    }
}
