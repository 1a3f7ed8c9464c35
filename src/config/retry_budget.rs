//! How many requests may be retried.

use super::error::ConfigError;
use super::node::Node;

/// Of the requests of the last seconds, how many may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// In percent of the requests.
    pub percent: u8,
    /// So many a second whatever the percentage.
    pub min_per_second: u32,
}

impl RetryBudget {
    /// The most `min_per_second`.
    pub const MAX_MIN_PER_SECOND: u32 = 100_000;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["percent", "min_per_second"];

    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut budget = Self::default();
        object.set("percent", &mut budget.percent, Node::percent)?;
        object.set("min_per_second", &mut budget.min_per_second, |node| {
            node.integer(0..=Self::MAX_MIN_PER_SECOND)
        })?;
        Ok(budget)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 3 }
    }
}
