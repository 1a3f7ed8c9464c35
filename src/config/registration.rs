//! A service that is registered with Consul.

use core::net::IpAddr;
use core::time::Duration;

use super::check::{Check, CheckKind};
use super::consul::scope;
use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::probe::Probe;
use super::service::{Service, metadata, name, tags};

/// A service that this proxy registers with Consul, and whose health it keeps true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The service's name.
    pub name: String,
    /// What identifies this instance at its agent; empty until the configuration is
    /// [completed](super::Config::with_node_defaults).
    pub id: String,
    /// The address at which it is reached: an IP address or a host name; empty until the
    /// configuration is completed.
    pub address: String,
    /// The port; 0 until the configuration is completed.
    pub port: u16,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata, sorted by key; what the configuration calls `version` is part of it.
    pub meta: Vec<(String, String)>,
    /// How much of the load it takes.
    pub weights: Weights,
    /// Whether others may change the tags in Consul's catalog.
    pub enable_tag_override: bool,
    /// Further addresses by which it is reached, sorted by name.
    pub tagged_addresses: Vec<TaggedAddress>,
    /// The datacenter that the agent must be of; none: any.
    pub datacenter: Option<String>,
    /// The namespace (Consul Enterprise); none: that of `consul`.
    pub namespace: Option<String>,
    /// The admin partition (Consul Enterprise); none: that of `consul`.
    pub partition: Option<String>,
    /// How Consul learns whether it is healthy.
    pub checks: Vec<Check>,
    /// What is asked whether this proxy drains; none: it is never known early.
    pub drain: Option<Probe>,
    /// The services without which it only warns.
    pub depends_on: Vec<String>,
}

/// How much of the load an instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// While all checks pass.
    pub passing: u16,
    /// While some warn.
    pub warning: u16,
}

/// A further address by which an instance is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedAddress {
    /// Its name, such as `wan`.
    pub name: String,
    /// The address: an IP address or a host name.
    pub address: String,
    /// The port.
    pub port: u16,
}

impl Registration {
    /// The most registrations.
    pub const MAX: usize = 64;
    /// The most bytes of an id.
    pub const MAX_ID_BYTES: usize = 255;
    /// The most bytes of an address.
    pub const MAX_ADDRESS_BYTES: usize = 255;
    /// The most checks.
    pub const MAX_CHECKS: usize = 16;
    /// The most tagged addresses.
    pub const MAX_TAGGED_ADDRESSES: usize = 16;
    /// The most dependencies.
    pub const MAX_DEPENDENCIES: usize = 16;
    /// The key of the metadata that `version` stands under.
    pub const VERSION_KEY: &str = "version";
    /// How the keys of metadata begin that no service may have, but Consul itself.
    pub const RESERVED_PREFIX: &str = "consul-";
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "name",
        "id",
        "address",
        "port",
        "version",
        "tags",
        "meta",
        "weights",
        "enable_tag_override",
        "tagged_addresses",
        "datacenter",
        "namespace",
        "partition",
        "checks",
        "drain",
        "depends_on",
    ];

    /// The shortest TTL of its checks, where one has any.
    pub fn least_ttl(&self) -> Option<Duration> {
        let ttl = |check: &Check| match &check.kind {
            CheckKind::Ttl { ttl, .. } => Some(*ttl),
            CheckKind::Run(_) => None,
        };
        self.checks.iter().filter_map(ttl).min()
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let checks = object.optional("checks", |node| node.array(Self::MAX_CHECKS, Check::read))?;
        let reports = |check: &Check| matches!(check.kind, CheckKind::Ttl { .. });
        if !checks.iter().flatten().any(reports)
            && let Some(field) = ["drain", "depends_on"].into_iter().find(|it| object.has(it))
        {
            return Err(object.error_at(field, FieldError::Needs { other: "a check with a ttl" }));
        }
        Ok(Self {
            name: object.required("name", "the service's name in Consul", name)?,
            id: object.optional("id", id)?.unwrap_or_default(),
            address: object.optional("address", address)?.unwrap_or_default(),
            port: object.optional("port", port)?.unwrap_or_default(),
            tags: object.optional("tags", tags)?.unwrap_or_default(),
            meta: meta(&object)?,
            weights: object.optional("weights", Weights::read)?.unwrap_or_default(),
            enable_tag_override: object
                .optional("enable_tag_override", Cursor::boolean)?
                .unwrap_or(false),
            tagged_addresses: object
                .optional("tagged_addresses", |node| {
                    node.entries(Self::MAX_TAGGED_ADDRESSES, TaggedAddress::read)
                })?
                .unwrap_or_default(),
            datacenter: object.optional("datacenter", scope)?,
            namespace: object.optional("namespace", scope)?,
            partition: object.optional("partition", scope)?,
            checks: checks.unwrap_or_default(),
            drain: object.optional("drain", Probe::read_drain)?,
            depends_on: object
                .optional("depends_on", |node| {
                    node.array(Self::MAX_DEPENDENCIES, |node| {
                        node.single_line(Self::MAX_ID_BYTES).map(str::to_owned)
                    })
                })?
                .unwrap_or_default(),
        })
    }
}

impl Weights {
    /// The most of a weight, as in Consul.
    pub const MAX: u32 = 65_535;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["passing", "warning"];

    fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut found = Self::default();
        object.set("passing", &mut found.passing, |node| {
            node.integer(1..=Self::MAX).map(|weight| weight as u16)
        })?;
        object.set("warning", &mut found.warning, |node| {
            node.integer(0..=Self::MAX).map(|weight| weight as u16)
        })?;
        Ok(found)
    }
}

/// Consul's own.
impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

impl TaggedAddress {
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["address", "port"];

    fn read<'a>(name: &'a str, node: &Cursor<'a>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let most = Service::MAX_NAME_BYTES;
        let name = node.key(name, most, |c| !c.is_control(), "no control characters")?.to_owned();
        Ok(Self {
            name,
            address: object.required("address", "an IP address or a host name", address)?,
            port: object.required("port", "a port", port)?,
        })
    }
}

/// Reads an id, which is a segment of a URL's path, and part of a filter.
fn id(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\\' | '`');
    let expected = "only visible ASCII characters, without \"/\", \"`\", \"\\\" and quotes";
    let id = node.text(Registration::MAX_ID_BYTES, is_allowed, expected)?;
    match id {
        "." | ".." => Err(node.error(FieldError::PathSegment)),
        id => Ok(id.to_owned()),
    }
}

/// Reads an IP address or a host name, without a port.
pub(super) fn address(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    let expected = "an IP address or a host name, without a port";
    let text = node.text(Registration::MAX_ADDRESS_BYTES, is_allowed, expected)?;
    if !is_address(text) {
        let expected = "an address at which others reach it, without a port";
        return Err(node.error(FieldError::Malformed { text: Excerpt::of(text), expected }));
    }
    Ok(text.to_owned())
}

/// Whether others can reach something there: an IP address, or a host name without a port.
pub(super) fn is_address(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => !text.contains([':', '/', ' ']),
    }
}

fn port(node: &Cursor<'_>) -> Result<u16, ConfigError> {
    node.integer(1..=u32::from(u16::MAX)).map(|port| port as u16)
}

/// Reads the metadata, and the version that becomes a part of it.
fn meta(object: &Object<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut meta = object.optional("meta", own_metadata)?.unwrap_or_default();
    let version =
        object.optional("version", |node| node.single_line(Service::MAX_NODE_META_VALUE_BYTES))?;
    if let Some(version) = version {
        if meta.iter().any(|(key, _)| key == Registration::VERSION_KEY) {
            return Err(object.error_at("version", FieldError::Beside { other: "meta.version" }));
        }
        if meta.len() == Service::MAX_NODE_META {
            let problem = FieldError::TooMany { limit: meta.len(), found: meta.len() + 1 };
            return Err(object.error_at("meta", problem));
        }
        meta.push((Registration::VERSION_KEY.to_owned(), version.to_owned()));
    }
    meta.sort_unstable();
    Ok(meta)
}

/// Reads metadata, none of which is [Consul's own](https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference#meta).
fn own_metadata(node: &Cursor<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let meta = metadata(node)?;
    match meta.iter().find(|(key, _)| key.starts_with(Registration::RESERVED_PREFIX)) {
        Some((key, _)) => {
            let expected = "a key for a service: Consul keeps \"consul-\" for its own";
            let problem = FieldError::Malformed { text: Excerpt::of(key), expected };
            Err(ConfigError::refused(node.place().field(key), problem))
        }
        None => Ok(meta),
    }
}
