//! Services that are found in Consul's catalog.

use super::cursor::Cursor;
use super::error::ConfigError;
use super::host_template::HostTemplate;
use super::service::{Service, tags};

/// Which services of Consul's catalog are served without being configured, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Discover {
    /// The tags that a service must have, all of them, each on one of its instances at least; in
    /// lower case.
    pub tags: Vec<String>,
    /// The names of services that are left alone, in lower case.
    pub exclude: Vec<String>,
    /// The names of services whose clusters would have the name of another one of Envoy's.
    pub reserved: Vec<String>,
    /// The host by which each is served.
    pub host: HostTemplate,
    /// The most services.
    pub max_services: u32,
    /// What each is like, but for its name; it has no hosts.
    pub service: Service,
}

impl Discover {
    /// The most `max_services`.
    pub const MAX_SERVICES: u32 = 10_000;
    /// The `max_services` where none is given.
    pub const DEFAULT_MAX_SERVICES: u32 = 1_000;
    /// The most names that can be excluded.
    pub const MAX_EXCLUDED: usize = 1_024;
    /// What is excluded where nothing is said: Consul's own servers, which are in every catalog
    /// and speak no HTTP at the address that they have there.
    pub const DEFAULT_EXCLUDE: &str = "consul";
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["tags", "exclude", "host", "max_services", "service"];
    /// The fields of `service`: those of a service that many can have in common.
    pub const SERVICE_FIELDS: &[&str] = &[
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
        "endpoint_metadata",
        "cluster",
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let excluded = object.optional("exclude", |node| {
            node.array(Self::MAX_EXCLUDED, |node| node.single_line(Service::MAX_NAME_BYTES))
        })?;
        let mut tags = object.optional("tags", tags)?.unwrap_or_default();
        tags.iter_mut().for_each(|tag| tag.make_ascii_lowercase());
        Ok(Self {
            tags,
            exclude: excluded
                .unwrap_or_else(|| vec![Self::DEFAULT_EXCLUDE])
                .into_iter()
                .map(str::to_ascii_lowercase)
                .collect(),
            reserved: Vec::new(),
            host: object.required("host", "a host such as \"{service}.internal\"", |node| {
                HostTemplate::read(node)
            })?,
            max_services: object
                .optional("max_services", |node| node.integer(1..=Self::MAX_SERVICES))?
                .unwrap_or(Self::DEFAULT_MAX_SERVICES),
            service: object
                .optional("service", |node| Service::read_template(node, Self::SERVICE_FIELDS))?
                .unwrap_or_else(|| Service::new("")),
        })
    }
}
