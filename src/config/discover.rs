//! Services that are found in Consul's catalog.

use super::cursor::Cursor;
use super::error::Refusals;
use super::host_template::HostTemplate;
use super::object::field;
use super::selection::tags;
use super::service::Service;

/// Services of Consul's catalog that are served without being configured.
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
    /// Settings of each service; name and hosts are empty.
    pub service: Service,
}

impl Discover {
    /// The most `max_services`.
    pub const MAX_SERVICES: u32 = 10_000;
    /// The most names that can be excluded.
    pub const MAX_EXCLUDED: usize = 1_024;

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("discover")?;
        let mut found = Self {
            tags: Vec::new(),
            // Consul's own servers are in every catalog, and speak no HTTP at their address there.
            exclude: vec!["consul".to_owned()],
            reserved: Vec::new(),
            host: HostTemplate::default(),
            max_services: 1_000,
            service: Service::default(),
        };
        object.set(
            field(
                "tags",
                "The tags that a service must have, all of them, each on one of its instances at least; in \
                 any case.",
            ),
            &mut found.tags,
            tags,
        );
        object.set(
            field("exclude", "The names of services that are left alone, in any case."),
            &mut found.exclude,
            |node| {
                node.array(Self::MAX_EXCLUDED, |node| {
                    node.single_line(Service::MAX_NAME_BYTES).map(str::to_owned)
                })
            },
        );
        object.require(
            field(
                "host",
                "The host by which each service is served, with `{service}` in the place of its name.",
            ),
            "a host such as \"{service}.internal\"",
            &mut found.host,
            HostTemplate::read,
        );
        object.set(
            field(
                "max_services",
                "The most services. Those beyond it are left out, counted and logged.",
            ),
            &mut found.max_services,
            |node| node.integer(1..=Self::MAX_SERVICES),
        );
        object.set(
            field("service", "The settings of each service."),
            &mut found.service,
            Service::read_of_catalog,
        );
        found.tags.iter_mut().for_each(|tag| tag.make_ascii_lowercase());
        found.exclude.iter_mut().for_each(|name| name.make_ascii_lowercase());
        object.finish(found)
    }
}
