//! Services that are found by the names that Consul's own DNS has for them.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::host_pattern::HostPattern;
use super::service::Service;

/// How requests are served whose host is a name of Consul's DNS, such as `web.service.consul`.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsNames {
    /// The domain that the names end with, in lower case.
    pub domain: String,
    /// How long a name is kept that nobody asks for.
    pub idle_timeout: Duration,
    /// The most names that are kept.
    pub max_services: u32,
    /// The most requests of a worker that wait for a name to be resolved.
    pub max_waiting: u32,
    /// What each service is like, but for what its name says; it has no hosts.
    pub service: Service,
}

impl DnsNames {
    /// The domain where none is given; Consul's own default.
    pub const DEFAULT_DOMAIN: &str = "consul";
    /// The shortest and the longest `idle_timeout`.
    pub const IDLE_TIMEOUT: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_secs(86_400);
    /// The `idle_timeout` where none is given.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
    /// The most `max_services`.
    pub const MAX_SERVICES: u32 = 10_000;
    /// The `max_services` where none is given.
    pub const DEFAULT_MAX_SERVICES: u32 = 256;
    /// The most `max_waiting`.
    pub const MAX_WAITING: u32 = 4_096;
    /// The `max_waiting` where none is given.
    pub const DEFAULT_MAX_WAITING: u32 = 1_000;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] =
        &["domain", "idle_timeout", "max_services", "max_waiting", "service"];
    /// The fields of `service`: those of a service that many can have in common. The datacenter
    /// is said by the name.
    pub const SERVICE_FIELDS: &[&str] = &[
        "connect",
        "tags",
        "node_meta",
        "filter",
        "merge_central_config",
        "health",
        "address",
        "resolve_names",
        "protocol",
        "load_balancing",
        "versions",
        "shrink_guard",
        "max_age",
        "on_stale",
    ];

    /// The most names that are held: those that are kept, and as many that Consul did not know
    /// a moment ago.
    pub const fn unknown_too(&self) -> u32 {
        self.max_services.saturating_mul(2)
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        Ok(Self {
            domain: object
                .optional("domain", domain)?
                .unwrap_or_else(|| Self::DEFAULT_DOMAIN.to_owned()),
            idle_timeout: object
                .optional("idle_timeout", |node| node.duration(Self::IDLE_TIMEOUT))?
                .unwrap_or(Self::DEFAULT_IDLE_TIMEOUT),
            max_services: object
                .optional("max_services", |node| node.integer(1..=Self::MAX_SERVICES))?
                .unwrap_or(Self::DEFAULT_MAX_SERVICES),
            max_waiting: object
                .optional("max_waiting", |node| node.integer(0..=Self::MAX_WAITING))?
                .unwrap_or(Self::DEFAULT_MAX_WAITING),
            service: object
                .optional("service", |node| Service::read_template(node, Self::SERVICE_FIELDS))?
                .unwrap_or_else(|| Service::new("")),
        })
    }
}

/// Reads a domain, which is a host.
fn domain(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let text = node.string()?;
    match text.parse() {
        Ok(HostPattern::Exact(domain)) if !domain.starts_with('[') => Ok(domain),
        Ok(_) => Err(node.error(FieldError::DomainExpected)),
        Err(cause) => Err(node.error(FieldError::Host { pattern: Excerpt::of(text), cause })),
    }
}
