//! How many requests may be retried, or calls to Consul.

use core::ops::RangeInclusive;

use super::error::ConfigError;
use super::node::Node;

/// Of the requests of the last seconds, how many may be retried; or, of the calls to Consul that
/// were answered well, how many may follow a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// In percent of the requests, or of the good calls.
    pub percent: u8,
    /// So many a second whatever the percentage.
    pub min_per_second: u32,
}

impl RetryBudget {
    /// The most `min_per_second`.
    pub const MAX_MIN_PER_SECOND: u32 = 100_000;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["percent", "min_per_second"];

    /// The budget of calls to Consul where none is given: a hundred services are read again at
    /// once after an outage, and a thousand within two minutes.
    pub const OF_CALLS: Self = Self { percent: 20, min_per_second: 10 };

    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        Self::default().replaced(node, 0..=Self::MAX_MIN_PER_SECOND)
    }

    /// Reads the budget of calls to Consul. A floor of 0 is refused: with it a service that has
    /// failed while no other succeeds would never be asked for again.
    pub(super) fn read_of_calls(node: &Node<'_>) -> Result<Self, ConfigError> {
        Self::OF_CALLS.replaced(node, 1..=Self::MAX_MIN_PER_SECOND)
    }

    fn replaced(
        mut self,
        node: &Node<'_>,
        floors: RangeInclusive<u32>,
    ) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        object.set("percent", &mut self.percent, Node::percent)?;
        object.set("min_per_second", &mut self.min_per_second, |node| node.integer(floors))?;
        Ok(self)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 3 }
    }
}
