//! How many calls to Consul may follow a failure.

use super::cursor::Cursor;
use super::error::ConfigError;

/// How many calls to Consul may follow a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudgetConfig {
    /// In percent of the calls of the last seconds that were answered well.
    pub percent: u8,
    /// So many a second whatever the percentage.
    pub min_per_second: u32,
}

impl RetryBudgetConfig {
    /// The most `min_per_second`.
    pub const MAX_MIN_PER_SECOND: u32 = 100_000;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["percent", "min_per_second"];

    /// Reads a budget. A floor of 0 is refused: with it a service that has failed while no other
    /// succeeds would never be asked for again.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut budget = Self::default();
        object.set("percent", &mut budget.percent, Cursor::percent)?;
        object.set("min_per_second", &mut budget.min_per_second, |node| {
            node.integer(1..=Self::MAX_MIN_PER_SECOND)
        })?;
        Ok(budget)
    }
}

/// A hundred services are read again at once after an outage, and a thousand within two minutes.
impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 10 }
    }
}
