//! A service that is registered with Consul.

use core::net::IpAddr;
use core::time::Duration;

use super::check::{Check, CheckKind};
use super::consul::scope;
use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::health_check::Probe;
use super::object::{Object, field};
use super::selection::{
    MAX_NAME_BYTES, MAX_NODE_META, MAX_NODE_META_VALUE_BYTES, metadata, name, tags,
};
use crate::util::excerpt::Excerpt;

/// A service that this proxy registers with Consul, and whose health it keeps true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The service's name.
    pub name: String,
    /// Id of this instance at its agent; empty until the configuration is
    /// [completed](super::whole::Config::with_node_defaults).
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
    /// Share of the load.
    pub weights: Weights,
    /// Lets others change the tags in Consul's catalog.
    pub enable_tag_override: bool,
    /// Further addresses by which it is reached, sorted by name.
    pub tagged_addresses: Vec<TaggedAddress>,
    /// The datacenter that the agent must be of; none: any.
    pub datacenter: Option<String>,
    /// The namespace (Consul Enterprise); none: that of `consul`.
    pub namespace: Option<String>,
    /// The admin partition (Consul Enterprise); none: that of `consul`.
    pub partition: Option<String>,
    /// Checks by which Consul learns its health.
    pub checks: Vec<Check>,
    /// Probe that tells if this proxy drains; none: it is never known early.
    pub drain: Option<Probe>,
    /// The services without which it only warns.
    pub depends_on: Vec<String>,
}

/// Share of the load that an instance takes.
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
    /// Prefix of the keys of metadata that Consul keeps for its own.
    pub const RESERVED_PREFIX: &str = "consul-";
    /// The shortest TTL of its checks, where one has any.
    pub fn least_ttl(&self) -> Option<Duration> {
        let ttl = |check: &Check| match &check.kind {
            CheckKind::Ttl { ttl, .. } => Some(*ttl),
            CheckKind::Run(_) => None,
        };
        self.checks.iter().filter_map(ttl).min()
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("registration")?;
        let mut found = Self {
            name: String::new(),
            id: String::new(),
            address: String::new(),
            port: 0,
            tags: Vec::new(),
            meta: Vec::new(),
            weights: Weights::default(),
            enable_tag_override: false,
            tagged_addresses: Vec::new(),
            datacenter: None,
            namespace: None,
            partition: None,
            checks: Vec::new(),
            drain: None,
            depends_on: Vec::new(),
        };
        object.require(
            field("name", "The service's name in Consul."),
            "the service's name in Consul",
            &mut found.name,
            name,
        );
        object.set(
            field(
                "id",
                "The id of the instance at its agent. Default: `<name>-<id of Envoy's \
                 node>-<address>-<port>`, without the node where that has no id.",
            ),
            &mut found.id,
            id,
        );
        object.set(
            field(
                "address",
                "The address of the service for others: an IP address or a host name. Default: \
                 `metadata.consul.address` of Envoy's node.",
            ),
            &mut found.address,
            address,
        );
        object.set(
            field(
                "port",
                "The port of the service for others. Default: `metadata.consul.port` of Envoy's node.",
            ),
            &mut found.port,
            port,
        );
        let mut version = None;
        object.set_some(
            field("version", "The version, which becomes the metadata `version`."),
            &mut version,
            |node| node.single_line(MAX_NODE_META_VALUE_BYTES).map(str::to_owned),
        );
        object.set(field("tags", "The tags."), &mut found.tags, tags);
        object.set(
            field(
                "meta",
                "The metadata, at most 63 pairs beside `version`. Keys that begin with `consul-` are \
                 Consul's own.",
            ),
            &mut found.meta,
            own_metadata,
        );
        found.add_version(&mut object, version);
        object.set(
            field("weights", "The share of the load that the instance takes."),
            &mut found.weights,
            Weights::read,
        );
        object.set(
            field(
                "enable_tag_override",
                "Lets others change the tags in Consul's catalog; their tags are kept.",
            ),
            &mut found.enable_tag_override,
            Cursor::boolean,
        );
        object.set(
            field(
                "tagged_addresses",
                "Further addresses by which the service is reached, by their names, such as `wan`.",
            ),
            &mut found.tagged_addresses,
            |node| node.entries(Self::MAX_TAGGED_ADDRESSES, TaggedAddress::read),
        );
        object.set_some(
            field(
                "datacenter",
                "The datacenter that the agent must be of: the service is registered nowhere else. \
                 Agents before Consul 1.11 do not say of which they are.",
            ),
            &mut found.datacenter,
            scope,
        );
        object.set_some(
            field("namespace", "The namespace (Consul Enterprise). Default: that of `consul`."),
            &mut found.namespace,
            scope,
        );
        object.set_some(
            field(
                "partition",
                "The admin partition (Consul Enterprise). Default: that of `consul`.",
            ),
            &mut found.partition,
            scope,
        );
        object.set(
            field(
                "checks",
                "The checks of the service: each has exactly one of `ttl`, \
                 which this proxy reports on, and `http`, `tcp` and `grpc`, which Consul runs. Without \
                 any the service always counts as healthy.",
            ),
            &mut found.checks,
            |node| node.array(Self::MAX_CHECKS, Check::read),
        );
        object.set_some(
            field(
                "drain",
                "A probe that tells that this proxy is about to stop: while the response has another status than the expected ones, the checks with a `ttl` are critical. Here the default path is \
                 `/ready` of Envoy's administration interface, the interval 1 s, and the first answer \
                 decides.",
            ),
            &mut found.drain,
            Probe::read_drain,
        );
        object.set(
            field(
                "depends_on",
                "Services of `services` without which the checks with a `ttl` warn, once they have been \
                 down for a while.",
            ),
            &mut found.depends_on,
            |node| {
                node.array(Self::MAX_DEPENDENCIES, |node| {
                    node.single_line(Self::MAX_ID_BYTES).map(str::to_owned)
                })
            },
        );
        let reports = |check: &Check| matches!(check.kind, CheckKind::Ttl { .. });
        if object.are_read(&["checks"]) && !found.checks.iter().any(reports) {
            for field in ["drain", "depends_on"] {
                if object.has(field) {
                    object.refuse(field, FieldError::Needs { other: "a check with a ttl" });
                }
            }
        }
        object.finish(found)
    }

    /// Makes the version a part of the metadata.
    fn add_version(&mut self, object: &mut Object<'_>, version: Option<String>) {
        if let Some(version) = version.filter(|_| object.are_read(&["meta"])) {
            if self.meta.iter().any(|(key, _)| key == Self::VERSION_KEY) {
                object.refuse("version", FieldError::Beside { other: "meta.version" });
            } else if self.meta.len() == MAX_NODE_META {
                let (limit, found) = (self.meta.len(), self.meta.len() + 1);
                object.refuse("meta", FieldError::TooMany { limit, found });
            }
            self.meta.push((Self::VERSION_KEY.to_owned(), version));
        }
        self.meta.sort_unstable();
    }
}

impl Weights {
    /// The most of a weight, as in Consul.
    pub const MAX: u32 = 65_535;

    fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("weights")?;
        let mut found = Self::default();
        object.set(field("passing", "While all checks pass."), &mut found.passing, |node| {
            node.integer(1..=Self::MAX).map(|weight| weight as u16)
        });
        object.set(field("warning", "While some checks warn."), &mut found.warning, |node| {
            node.integer(0..=Self::MAX).map(|weight| weight as u16)
        });
        object.finish(found)
    }
}

/// Consul's own.
impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

impl TaggedAddress {
    fn read<'a>(name: &'a str, node: &Cursor<'a>) -> Result<Self, Refusals> {
        let mut object = node.object("tagged_address")?;
        let most = MAX_NAME_BYTES;
        let name = node.key(name, most, |c| !c.is_control(), "no control characters")?.to_owned();
        let mut found = Self { name, address: String::new(), port: 0 };
        object.require(
            field("address", "An IP address or a host name, without a port."),
            "an IP address or a host name",
            &mut found.address,
            address,
        );
        object.require(field("port", "The port."), "a port", &mut found.port, port);
        object.finish(found)
    }
}

/// Reads an id, which is a segment of a URL's path, and part of a filter.
fn id(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\\' | '`');
    let expected = "only visible ASCII characters, without \"/\", \"`\", \"\\\" and quotes";
    let id = node.text(Registration::MAX_ID_BYTES, is_allowed, expected)?;
    match id {
        "." | ".." => Err(node.error(FieldError::PathSegment)),
        id => Ok(id.to_owned()),
    }
}

/// Reads an IP address or a host name, without a port.
pub(super) fn address(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
    let expected = "an IP address or a host name, without a port";
    let text = node.text(Registration::MAX_ADDRESS_BYTES, is_allowed, expected)?;
    if !is_address(text) {
        let expected = "an address at which others reach it, without a port";
        return Err(node.error(FieldError::Malformed { text: Excerpt::of(text), expected }));
    }
    Ok(text.to_owned())
}

/// Tells if others can reach something there: an IP address, or a host name without a port.
pub(super) fn is_address(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => !text.contains([':', '/', ' ']),
    }
}

fn port(node: &Cursor<'_>) -> Result<u16, Refusals> {
    node.integer(1..=u32::from(u16::MAX)).map(|port| port as u16)
}

/// Reads metadata, none of which is [Consul's own](https://developer.hashicorp.com/consul/docs/services/configuration/services-configuration-reference#meta).
fn own_metadata(node: &Cursor<'_>) -> Result<Vec<(String, String)>, Refusals> {
    node.describe(r#"{ "propertyNames": { "pattern": "^(?!consul-)[A-Za-z0-9_-]+$" } }"#);
    let meta = metadata(node)?;
    match meta.iter().find(|(key, _)| key.starts_with(Registration::RESERVED_PREFIX)) {
        Some((key, _)) => {
            let expected = "a key for a service: Consul keeps \"consul-\" for its own";
            let problem = FieldError::Malformed { text: Excerpt::of(key), expected };
            Err(Refusals::one(node.place().field(key), problem))
        }
        None => Ok(meta),
    }
}
