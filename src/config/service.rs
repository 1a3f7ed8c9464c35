//! A service to discover.

use core::net::SocketAddr;

use serde_json::{Map, Value};

use super::consul::scope;
use super::cursor::{Cursor, Object};
use super::dependencies::Dependencies;
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::host_pattern::HostPattern;
use super::load_balancing::LoadBalancing;
use super::policy::Policy;
use super::prepared_query::PreparedQuery;
use super::shrink_guard::ShrinkGuardConfig;
use super::staleness::Staleness;
use super::template::Template;
use super::versions::Versions;
use super::xds::Xds;

/// A service to discover: what is asked of Consul, and how an instance is picked.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name here, which metrics, log lines and other services call it by. No two have one.
    pub name: String,
    /// Its name in Consul; none: the same. With a prepared query it has none.
    pub service: Option<String>,
    /// The hosts whose requests go to it. Empty in the only service: those of every host;
    /// beside others: none, and the route's metadata names the service.
    pub hosts: Vec<HostPattern>,
    /// The prepared query that finds its instances; none: they are asked for by name.
    pub query: Option<PreparedQuery>,
    /// The namespace that it is in (Consul Enterprise); none: that of `consul`.
    pub namespace: Option<String>,
    /// The admin partition that it is in (Consul Enterprise); none: that of `consul`.
    pub partition: Option<String>,
    /// The cluster peer that has exported it; none: it is the cluster's own.
    pub peer: Option<String>,
    /// Whether it is reached by its sidecar proxies, or by itself where it is Connect-native.
    pub connect: bool,
    /// The tags that an instance must have, all of them.
    pub tags: Vec<String>,
    /// The metadata that an instance's node must have, sorted by key.
    pub node_meta: Vec<(String, String)>,
    /// An expression in Consul's filter language that an instance must meet.
    pub filter: Option<String>,
    /// Whether Consul merges its central configuration of the service into the instances.
    pub merge_central_config: bool,
    /// The worst health that an instance may have.
    pub health: HealthThreshold,
    /// Which of an instance's addresses is used.
    pub address: AddressChoice,
    /// The datacenters that have it, in order of preference; empty: that of `consul`.
    pub datacenters: Vec<String>,
    /// Whether instances may be reached by a name, which Envoy's dynamic forward proxy resolves.
    pub resolve_names: bool,
    /// What its instances speak, for a policy that goes by answers.
    pub protocol: Protocol,
    /// How an endpoint is picked.
    pub load_balancing: LoadBalancing,
    /// Which version a request goes to; none: any.
    pub versions: Option<Versions>,
    /// When an answer of Consul is doubted.
    pub shrink_guard: ShrinkGuardConfig,
    /// When its endpoints are too old; none: never.
    pub staleness: Option<Staleness>,
    /// The endpoints that it has until Consul has answered for it once; empty: none.
    pub fallback: Vec<SocketAddr>,
    /// What it depends on; none: on nothing that is known here.
    pub dependencies: Option<Dependencies>,
    /// The keys of an instance's metadata that Envoy's cluster is told, sorted, none twice.
    pub endpoint_metadata: Vec<String>,
    /// Fields of Envoy's `Cluster` that its own has, beside or in place of those of all.
    pub cluster: Map<String, Value>,
}

impl Service {
    /// The most bytes of a name, and of a tagged address's name.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The most host patterns of one service.
    pub const MAX_HOSTS: usize = 1024;
    /// The most tags.
    pub const MAX_TAGS: usize = 64;
    /// The most bytes of a tag.
    pub const MAX_TAG_BYTES: usize = 255;
    /// The most pairs of `node_meta`.
    pub const MAX_NODE_META: usize = 64;
    /// The most bytes of one of its keys, as in Consul.
    pub const MAX_NODE_META_KEY_BYTES: usize = 128;
    /// The most bytes of one of its values, as in Consul.
    pub const MAX_NODE_META_VALUE_BYTES: usize = 512;
    /// The most bytes of a filter: it travels in the query's URL.
    pub const MAX_FILTER_BYTES: usize = 4096;
    /// The most datacenters.
    pub const MAX_DATACENTERS: usize = 16;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "name",
        "service",
        "hosts",
        "query",
        "limit",
        "near",
        "namespace",
        "partition",
        "peer",
        "connect",
        "tags",
        "node_meta",
        "filter",
        "merge_central_config",
        "health",
        "address",
        "datacenters",
        "resolve_names",
        "protocol",
        "load_balancing",
        "versions",
        "shrink_guard",
        "max_age",
        "on_stale",
        "fallback",
        "depends_on",
        "on_dependency_down",
        "endpoint_metadata",
        "cluster",
    ];
    /// The most endpoints of `fallback`.
    pub const MAX_FALLBACK: usize = 64;

    /// Names a service and leaves all else at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            service: None,
            hosts: Vec::new(),
            query: None,
            namespace: None,
            partition: None,
            peer: None,
            connect: false,
            tags: Vec::new(),
            node_meta: Vec::new(),
            filter: None,
            merge_central_config: false,
            health: HealthThreshold::default(),
            address: AddressChoice::default(),
            datacenters: Vec::new(),
            resolve_names: false,
            protocol: Protocol::default(),
            load_balancing: LoadBalancing::default(),
            versions: None,
            shrink_guard: ShrinkGuardConfig::default(),
            staleness: None,
            fallback: Vec::new(),
            dependencies: None,
            endpoint_metadata: Vec::new(),
            cluster: Map::new(),
        }
    }

    /// Its name in Consul.
    pub fn name_in_consul(&self) -> &str {
        self.service.as_ref().unwrap_or(&self.name)
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let name = object.required("name", "the service's name", name)?;
        let service = object.optional("service", self::name)?;
        Self::read_fields(&object, Self { service, ..Self::new(name) })
    }

    /// Reads what many services have in common, of which only these fields can be.
    pub(super) fn read_template(
        node: &Cursor<'_>,
        fields: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        Self::read_fields(&node.object(fields)?, Self::new(""))
    }

    fn read_fields(object: &Object<'_>, defaults: Self) -> Result<Self, ConfigError> {
        let load_balancing =
            object.optional("load_balancing", LoadBalancing::read)?.unwrap_or_default();
        let protocol =
            object.optional("protocol", |node| node.one_of("protocol", Protocol::CHOICES))?;
        if protocol.is_some() && !matches!(load_balancing.policy, Policy::PeakEwma { .. }) {
            let other = "load_balancing.policy: peak_ewma";
            return Err(object.error_at("protocol", FieldError::Needs { other }));
        }
        Ok(Self {
            hosts: object.optional("hosts", hosts)?.unwrap_or_default(),
            query: PreparedQuery::read(object)?,
            namespace: object.optional("namespace", scope)?,
            partition: object.optional("partition", scope)?,
            peer: object.optional("peer", scope)?,
            connect: object.optional("connect", Cursor::boolean)?.unwrap_or(false),
            tags: object.optional("tags", tags)?.unwrap_or_default(),
            node_meta: object.optional("node_meta", metadata)?.unwrap_or_default(),
            filter: object.optional("filter", filter)?,
            merge_central_config: object
                .optional("merge_central_config", Cursor::boolean)?
                .unwrap_or(false),
            health: object
                .optional("health", |node| node.one_of("health", HealthThreshold::CHOICES))?
                .unwrap_or_default(),
            address: object.optional("address", AddressChoice::read)?.unwrap_or_default(),
            datacenters: object.optional("datacenters", datacenters)?.unwrap_or_default(),
            resolve_names: object.optional("resolve_names", Cursor::boolean)?.unwrap_or(false),
            protocol: protocol.unwrap_or_default(),
            load_balancing,
            versions: object.optional("versions", Versions::read)?,
            shrink_guard: object
                .optional("shrink_guard", ShrinkGuardConfig::read)?
                .unwrap_or_default(),
            staleness: Staleness::read(object)?,
            fallback: object.optional("fallback", fallback)?.unwrap_or_default(),
            endpoint_metadata: Xds::endpoint_metadata(object)?,
            cluster: Template::CLUSTER.read_field(object, "cluster")?,
            ..defaults
        })
    }
}

/// The worst health that an instance may have and still take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HealthThreshold {
    /// Every check passes.
    #[default]
    Passing,
    /// Checks may warn; such an instance counts by its warning weight.
    Warning,
    /// Checks say nothing, but that an instance is in maintenance.
    Any,
}

impl HealthThreshold {
    /// The thresholds, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] =
        &[("passing", Self::Passing), ("warning", Self::Warning), ("any", Self::Any)];
}

/// Which of an instance's addresses is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum AddressChoice {
    /// The service's own address, or its node's where it has none.
    #[default]
    Service,
    /// The tagged address of this name: `lan`, `wan`, or any that was registered.
    Tagged(String),
}

impl AddressChoice {
    /// What the configuration calls [`AddressChoice::Service`].
    const SERVICE: &str = "service";

    fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        Ok(match node.single_line(Service::MAX_NAME_BYTES)? {
            Self::SERVICE => Self::Service,
            name => Self::Tagged(name.to_owned()),
        })
    }
}

/// What an endpoint speaks, as far as its answers are judged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// An answer is judged by its status.
    #[default]
    Http,
    /// An answer is judged by its `grpc-status`, in the headers or the trailers.
    Grpc,
}

impl Protocol {
    /// The protocols, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("http", Self::Http), ("grpc", Self::Grpc)];
}

/// Reads a name that Consul can be asked for, in the path of a URL. A `/` is encoded there; Consul
/// decodes it, and then clears away what is empty, `.` or `..` beside one.
pub(super) fn name(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let name = node.single_line(Service::MAX_NAME_BYTES)?;
    match name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err(node.error(FieldError::PathSegment)),
        false => Ok(name.to_owned()),
    }
}

/// Reads addresses with their ports; an empty list is refused, for it means nothing.
fn fallback(node: &Cursor<'_>) -> Result<Vec<SocketAddr>, ConfigError> {
    let found = node.array(Service::MAX_FALLBACK, |node| {
        let text = node.string()?;
        let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        address.ok_or_else(|| node.error(FieldError::NoSocketAddress { text: Excerpt::of(text) }))
    })?;
    if found.is_empty() {
        let expected = "addresses such as \"10.0.0.7:8080\", or no fallback field at all";
        return Err(node.error(FieldError::Empty { expected }));
    }
    Ok(found)
}

/// An empty list is refused: read literally it means no host, and by the rule for an
/// absent one it would mean every host.
fn hosts(node: &Cursor<'_>) -> Result<Vec<HostPattern>, ConfigError> {
    let hosts = node.array(Service::MAX_HOSTS, |node| {
        let text = node.string()?;
        text.parse()
            .map_err(|cause| node.error(FieldError::Host { pattern: Excerpt::of(text), cause }))
    })?;
    if hosts.is_empty() {
        let expected = "a host pattern, or no hosts field at all";
        return Err(node.error(FieldError::Empty { expected }));
    }
    Ok(hosts)
}

pub(super) fn tags(node: &Cursor<'_>) -> Result<Vec<String>, ConfigError> {
    let tags = node.array(Service::MAX_TAGS, |node| node.single_line(Service::MAX_TAG_BYTES))?;
    Ok(tags.into_iter().map(str::to_owned).collect())
}

/// Reads pairs of a key and a value, which may be empty; of a colon in it Consul would take the rest of a key for a
/// value.
pub(super) fn metadata(node: &Cursor<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    node.entries(Service::MAX_NODE_META, |key, node| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let expected = "only ASCII letters, digits, \"-\" and \"_\" in a key";
        let key = node.key(key, Service::MAX_NODE_META_KEY_BYTES, is_allowed, expected)?;
        let value = match node.string()? {
            "" => "",
            _ => node.single_line(Service::MAX_NODE_META_VALUE_BYTES)?,
        };
        Ok((key.to_owned(), value.to_owned()))
    })
}

/// Reads datacenters in their order, each once (in any case: Consul has them in lower case).
fn datacenters(node: &Cursor<'_>) -> Result<Vec<String>, ConfigError> {
    let names = node.array(Service::MAX_DATACENTERS, scope)?;
    if names.is_empty() {
        let expected = "a datacenter, or no datacenters field at all";
        return Err(node.error(FieldError::Empty { expected }));
    }
    node.check_differ(&names, |one, other| one.eq_ignore_ascii_case(other))?;
    Ok(names)
}

/// Consul itself checks the expression; it may span lines.
fn filter(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let expected = "no control characters but line ends and tabs";
    node.text(Service::MAX_FILTER_BYTES, is_allowed, expected).map(str::to_owned)
}
