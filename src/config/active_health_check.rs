//! What this proxy asks a service's endpoints by itself.

use core::ops::RangeInclusive;

use super::consul::Consul;
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::health_check::HealthCheck;
use super::node::Node;
use super::probe::Probe;
use super::problem::Problem;

/// How it is found out by requests to the endpoints of a service which of them are healthy, and
/// what counts beside that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveHealthCheck {
    /// The Envoy cluster that takes a request to whatever address a header names, and what is
    /// asked.
    pub probe: Probe,
    /// The most probes in a second, of all endpoints together.
    pub max_per_second: u32,
    /// The most probes that are out at once.
    pub max_concurrent: u32,
    /// What Consul's own checks count for.
    pub consul_health: ConsulHealth,
}

impl ActiveHealthCheck {
    /// The least and the most `max_per_second`.
    pub const RATE: RangeInclusive<u32> = 1..=10_000;
    /// The `max_per_second` where none is given.
    pub const DEFAULT_RATE: u32 = 100;
    /// The least and the most `max_concurrent`.
    pub const CONCURRENCY: RangeInclusive<u32> = 1..=1_000;
    /// The `max_concurrent` where none is given.
    pub const DEFAULT_CONCURRENCY: u32 = 50;
    /// The header that says where a probe goes.
    pub const HEADER: &str = "x-envoy-original-dst-host";
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "cluster",
        "path",
        "host",
        "method",
        "headers",
        "expected_statuses",
        "expected_body",
        "interval",
        "unhealthy_interval",
        "interval_jitter",
        "timeout",
        "healthy_threshold",
        "unhealthy_threshold",
        "max_per_second",
        "max_concurrent",
        "consul_health",
    ];

    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let expected = "the name of a cluster in Envoy that goes where a header says";
        let cluster = object.required("cluster", expected, |node| {
            node.line(Consul::MAX_NAME_BYTES).map(str::to_owned)
        })?;
        let check = HealthCheck::read(&object, HealthCheck::default())?;
        if let Some((name, _)) = check.headers.iter().find(|(name, _)| name == Self::HEADER) {
            let expected = "a header to set: it says which endpoint is asked";
            let text = Excerpt::of(name);
            return Err(object.refused("headers", Problem::Malformed { text, expected }));
        }
        let (mut max_per_second, mut max_concurrent) =
            (Self::DEFAULT_RATE, Self::DEFAULT_CONCURRENCY);
        object.set("max_per_second", &mut max_per_second, |node| node.integer(Self::RATE))?;
        object
            .set("max_concurrent", &mut max_concurrent, |node| node.integer(Self::CONCURRENCY))?;
        let consul_health = object
            .optional("consul_health", |node| node.choice("role", ConsulHealth::CHOICES))?
            .unwrap_or_default();
        Ok(Self { probe: Probe { cluster, check }, max_per_second, max_concurrent, consul_health })
    }
}

/// What Consul's checks count for beside this proxy's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConsulHealth {
    /// An endpoint must be healthy by both.
    #[default]
    And,
    /// Nothing: instances that Consul calls critical are endpoints, too; those in maintenance are
    /// not.
    Ignore,
}

impl ConsulHealth {
    /// The roles, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("and", Self::And), ("ignore", Self::Ignore)];
}
