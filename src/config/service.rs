//! A service to discover.

use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::host_pattern::HostPattern;
use super::node::Node;
use super::problem::Problem;

/// A service to discover: what is asked of Consul, and how an instance is picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in Consul.
    pub name: String,
    /// The hosts whose requests go to it. Empty in the only service: those of every host;
    /// beside others: none, and the route's metadata names the service.
    pub hosts: Vec<HostPattern>,
    /// The tags that an instance must have, all of them.
    pub tags: Vec<String>,
    /// An expression in Consul's filter language that an instance must meet.
    pub filter: Option<String>,
    /// The worst health that an instance may have.
    pub health: HealthThreshold,
    /// Which of an instance's addresses is used.
    pub address: AddressChoice,
    /// How an instance is picked.
    pub policy: Policy,
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
    /// The most bytes of a filter: it travels in the query's URL.
    pub const MAX_FILTER_BYTES: usize = 4096;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] =
        &["name", "hosts", "tags", "filter", "health", "address", "load_balancing"];
    /// The fields of `load_balancing` that the configuration knows.
    pub const LOAD_BALANCING_FIELDS: &[&str] = &["policy"];

    /// Names a service and leaves all else at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hosts: Vec::new(),
            tags: Vec::new(),
            filter: None,
            health: HealthThreshold::default(),
            address: AddressChoice::default(),
            policy: Policy::default(),
        }
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let defaults = Self::new(object.required("name", "the service's name in Consul", name)?);
        Ok(Self {
            name: defaults.name,
            hosts: object.optional("hosts", hosts)?.unwrap_or(defaults.hosts),
            tags: object.optional("tags", tags)?.unwrap_or(defaults.tags),
            filter: object.optional("filter", filter)?,
            health: object
                .optional("health", |node| node.choice("health", HealthThreshold::CHOICES))?
                .unwrap_or(defaults.health),
            address: object.optional("address", AddressChoice::read)?.unwrap_or(defaults.address),
            policy: object.optional("load_balancing", Policy::read)?.unwrap_or(defaults.policy),
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
}

impl HealthThreshold {
    /// The thresholds, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("passing", Self::Passing), ("warning", Self::Warning)];
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

    fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        Ok(match node.line(Service::MAX_NAME_BYTES)? {
            Self::SERVICE => Self::Service,
            name => Self::Tagged(name.to_owned()),
        })
    }
}

/// How an instance is picked for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The less busy of two at random, by weight.
    LeastRequest,
}

impl Policy {
    /// The policies, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("random", Self::Random),
        ("least_request", Self::LeastRequest),
    ];

    fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let policy = node
            .object(Service::LOAD_BALANCING_FIELDS)?
            .optional("policy", |node| node.choice("policy", Self::CHOICES))?;
        Ok(policy.unwrap_or_default())
    }
}

/// Reads a name that can stand as one segment of a URL's path: `/` would begin another,
/// and `.` and `..` are taken away on the way.
fn name(node: &Node<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| !c.is_control() && c != '/';
    let expected = "no \"/\" and no control characters";
    match node.text(Service::MAX_NAME_BYTES, is_allowed, expected)? {
        "." | ".." => Err(node.refused(Problem::PathSegment)),
        name => Ok(name.to_owned()),
    }
}

/// An empty list is refused: read literally it means no host, and by the rule for an
/// absent one it would mean every host.
fn hosts(node: &Node<'_>) -> Result<Vec<HostPattern>, ConfigError> {
    let hosts = node.array(Service::MAX_HOSTS, |node| {
        let text = node.string()?;
        text.parse()
            .map_err(|cause| node.refused(Problem::Host { pattern: Excerpt::of(text), cause }))
    })?;
    if hosts.is_empty() {
        let expected = "a host pattern, or no hosts field at all";
        return Err(node.refused(Problem::Empty { expected }));
    }
    Ok(hosts)
}

fn tags(node: &Node<'_>) -> Result<Vec<String>, ConfigError> {
    let tags = node.array(Service::MAX_TAGS, |node| node.line(Service::MAX_TAG_BYTES))?;
    Ok(tags.into_iter().map(str::to_owned).collect())
}

/// Consul itself checks the expression; it may span lines.
fn filter(node: &Node<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let expected = "no control characters but line ends and tabs";
    node.text(Service::MAX_FILTER_BYTES, is_allowed, expected).map(str::to_owned)
}
