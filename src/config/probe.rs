//! What this proxy asks by itself.

use core::time::Duration;

use super::consul::Consul;
use super::cursor::Cursor;
use super::error::ConfigError;
use super::health_check::HealthCheck;

/// A request of this proxy to one of its clusters, such as that of the local service, by which it
/// finds out whether that is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The Envoy cluster that is asked.
    pub cluster: String,
    /// What it is asked, and how often.
    pub check: HealthCheck,
}

impl Probe {
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "cluster",
        "path",
        "host",
        "method",
        "headers",
        "expected_statuses",
        "warning_statuses",
        "expected_body",
        "interval",
        "unhealthy_interval",
        "interval_jitter",
        "timeout",
        "healthy_threshold",
        "unhealthy_threshold",
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        Self::read_from(node, HealthCheck::default())
    }

    /// Reads how it is found out whether this Envoy drains: at `/ready`, every second, and the first
    /// answer decides, unless something else is said.
    pub(super) fn read_drain(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let interval = Duration::from_secs(1);
        let defaults = HealthCheck {
            path: "/ready".to_owned(),
            interval,
            unhealthy_interval: interval,
            unhealthy_threshold: 1,
            ..HealthCheck::default()
        };
        Self::read_from(node, defaults)
    }

    fn read_from(node: &Cursor<'_>, defaults: HealthCheck) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        Ok(Self {
            cluster: object.required("cluster", "the name of a cluster in Envoy", |node| {
                node.single_line(Consul::MAX_NAME_BYTES).map(str::to_owned)
            })?,
            check: HealthCheck::read(&object, defaults)?,
        })
    }
}
