//! Services that are found by the names that Consul's own DNS has for them.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::host_pattern::HostPattern;
use super::object::field;
use super::service::Service;
use crate::util::excerpt::Excerpt;

/// Requests whose host is a name of Consul's DNS, such as `web.service.consul`.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsNames {
    /// The domain that the names end with, in lower case.
    pub domain: String,
    /// Time without requests after which a name is dropped.
    pub idle_timeout: Duration,
    /// The most names that are kept.
    pub max_services: u32,
    /// The most requests of a worker that wait for a name to be resolved.
    pub max_waiting: u32,
    /// Settings of each service, but for those that its name has; hosts are empty.
    pub service: Service,
}

impl DnsNames {
    /// The shortest and the longest `idle_timeout`.
    pub const IDLE_TIMEOUT: RangeInclusive<Duration> =
        Duration::from_secs(10)..=Duration::from_secs(86_400);
    /// The most `max_services`.
    pub const MAX_SERVICES: u32 = 10_000;
    /// The most `max_waiting`.
    pub const MAX_WAITING: u32 = 4_096;
    /// The most names that are held: those that are kept, and as many that Consul did not know
    /// a moment ago.
    pub const fn unknown_too(&self) -> u32 {
        self.max_services.saturating_mul(2)
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("dns_names")?;
        let mut found = Self {
            domain: "consul".to_owned(),
            idle_timeout: Duration::from_secs(600),
            max_services: 256,
            max_waiting: 1_000,
            service: Service::default(),
        };
        object.set(
            field("domain", "The domain that the names end with."),
            &mut found.domain,
            domain,
        );
        object.set(
            field("idle_timeout", "The time for which a name without requests is kept."),
            &mut found.idle_timeout,
            |node| node.duration(Self::IDLE_TIMEOUT),
        );
        object.set(
            field("max_services", "The most names that are kept."),
            &mut found.max_services,
            |node| node.integer(1..=Self::MAX_SERVICES),
        );
        object.set(
            field(
                "max_waiting",
                "The most requests of a worker that wait for a name to be resolved.",
            ),
            &mut found.max_waiting,
            |node| node.integer(0..=Self::MAX_WAITING),
        );
        object.set(
            field("service", "The settings of each service, but for those that its name has."),
            &mut found.service,
            Service::read_of_dns,
        );
        object.finish(found)
    }
}

/// Reads a domain, which is a host.
fn domain(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.describe(
        r#"{ "minLength": 1, "maxLength": 253,
             "pattern": "^[A-Za-z0-9_-]{1,63}(\\.[A-Za-z0-9_-]{1,63})*$" }"#,
    );
    let text = node.string()?;
    match text.parse() {
        Ok(HostPattern::Exact(domain)) if !domain.starts_with('[') => Ok(domain),
        Ok(_) => Err(node.error(FieldError::DomainExpected)),
        Err(cause) => Err(node.error(FieldError::Host { pattern: Excerpt::of(text), cause })),
    }
}
