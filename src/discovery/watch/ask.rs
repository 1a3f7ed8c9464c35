//! A query that is sent, and its number.

use crate::consul::index::ConsulIndex;
use crate::consul::query::Freshness;

/// The number of a query, so that an answer that comes too late is not taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueryId(pub u64);

impl QueryId {
    /// The number after this one.
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A query to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Its number, to come back with the answer.
    pub id: QueryId,
    /// The index to block on; `None` asks for an answer at once.
    pub index: Option<ConsulIndex>,
    /// How fresh the answer must be.
    pub freshness: Freshness,
}
