//! A query that is sent, and its number.

use crate::consul::index::ConsulIndex;
use crate::consul::query::Freshness;
use crate::time::Time;

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

/// A query that is out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) ask: Ask,
    pub(super) blocks: bool,
    /// Its answer must not be older than that: what it blocks on, if it does, unless an extra
    /// query has moved it on.
    pub(super) floor: Option<ConsulIndex>,
    pub(super) asked: Time,
    pub(super) lost: Time,
}
