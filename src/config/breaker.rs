//! When Consul is left alone.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::duration::Spelled;
use super::error::ConfigError;
use super::field_error::FieldError;

/// When the circuit breaker towards Consul opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// It opens after so many failed calls in a row; 0: never for that.
    pub consecutive_failures: u32,
    /// It opens where so many percent of the calls of the last 30 seconds have failed; 0: never
    /// for that.
    pub failure_percent: u8,
    /// The fewest calls of the last 30 seconds whose percentage says anything.
    pub minimum_calls: u32,
    /// How long it stays open at most, the first time; twice as long each further time.
    pub base_open_time: Duration,
    /// How long it stays open at most.
    pub max_open_time: Duration,
}

impl BreakerConfig {
    /// The most of what is counted.
    pub const MAX_COUNT: u32 = 1_000_000;
    /// The shortest and the longest of its times.
    pub const TIMES: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(600);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &[
        "consecutive_failures",
        "failure_percent",
        "minimum_calls",
        "base_open_time",
        "max_open_time",
    ];

    /// Reads what differs from the defaults. `max_open_time` must not be below
    /// `base_open_time`; where it is left out it is at least that.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut found = Self::default();
        object.set("consecutive_failures", &mut found.consecutive_failures, |node| {
            node.integer(0..=Self::MAX_COUNT)
        })?;
        object.set("failure_percent", &mut found.failure_percent, Cursor::percent)?;
        object.set("minimum_calls", &mut found.minimum_calls, |node| {
            node.integer(1..=Self::MAX_COUNT)
        })?;
        for (name, slot) in [
            ("base_open_time", &mut found.base_open_time),
            ("max_open_time", &mut found.max_open_time),
        ] {
            object.set(name, slot, |node| node.duration(Self::TIMES))?;
        }
        let (base, most) = (found.base_open_time, found.max_open_time);
        if base > most && object.has("max_open_time") {
            let (found, most) = (Spelled(base).to_string(), Spelled(most).to_string());
            let problem = FieldError::Above { found, other: "max_open_time", most };
            return Err(object.error_at("base_open_time", problem));
        }
        Ok(Self { max_open_time: most.max(base), ..found })
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            minimum_calls: 20,
            base_open_time: Duration::from_secs(1),
            max_open_time: Duration::from_secs(30),
        }
    }
}
