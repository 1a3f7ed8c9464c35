//! A query that is sent, and its number.

use core::time::Duration;

use super::{State, Watch};
use crate::calls::caller::QueryId;
use crate::consul::index::ConsulIndex;
use crate::consul::query::ReadMode;
use crate::util::time::Time;

/// A query to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutgoingQuery {
    /// Its number, to come back with the answer.
    pub id: QueryId,
    /// The index to block on; `None` asks for an answer at once.
    pub index: Option<ConsulIndex>,
    /// How fresh the answer must be.
    pub freshness: ReadMode,
    /// Whether it asks for the instances of the service that a prepared query
    /// [looks for](crate::discovery::watch::Watch::origin), instead of for what the query finds.
    pub instances: bool,
    /// How much longer than usual the answer may take: Consul is slow.
    pub extra: Duration,
}

/// A query that is out.
#[derive(Debug, Clone, Copy)]
pub(in crate::discovery) struct QueryInFlight {
    pub(in crate::discovery) ask: OutgoingQuery,
    pub(in crate::discovery) blocks: bool,
    /// Its answer must not be older than that: what it blocks on, if it does, unless an extra
    /// query has moved it on.
    pub(in crate::discovery) floor: Option<ConsulIndex>,
    pub(in crate::discovery) asked: Time,
    pub(in crate::discovery) lost: Time,
}

impl QueryInFlight {
    /// When it was asked, if it is a fresh, consistent read.
    pub(super) fn consistently(&self) -> Option<Time> {
        (self.ask.freshness == ReadMode::Consistent).then_some(self.asked)
    }
}

impl Watch {
    /// Since when a query has been out that waits for a change; none if it does not.
    pub fn blocking_since(&self, id: QueryId) -> Option<Time> {
        match self.state {
            State::Asking(asking) if asking.ask.id == id && asking.blocks => Some(asking.asked),
            _ => None,
        }
    }
}
