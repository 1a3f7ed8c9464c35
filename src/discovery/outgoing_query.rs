//! A query to send, and a query that is out.

use core::time::Duration;

use crate::calls::caller::QueryId;
use crate::registry::http::ReadMode;
use crate::registry::resume::Resume;
use crate::util::time::Time;

/// A query to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutgoingQuery {
    /// The id of the query, which comes back with the response.
    pub id: QueryId,
    /// The position after which a change is awaited. `None` asks for a response at once.
    pub resume: Option<Resume>,
    /// The freshness of the response.
    pub freshness: ReadMode,
    /// True if the query reads the instances of a prepared query's
    /// [service](crate::discovery::watch::Watch::origin) instead of the prepared query itself.
    pub instances: bool,
    /// The extra time for the response of a slow Consul.
    pub extra: Duration,
}

/// A query that is out.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryInFlight {
    pub(super) ask: OutgoingQuery,
    pub(super) blocks: bool,
    /// The earliest valid position of the response: that of the request, unless an extra query has
    /// advanced it.
    pub(super) floor: Option<Resume>,
    pub(super) asked: Time,
    pub(super) lost: Time,
}

impl QueryInFlight {
    /// Returns the time at which the query was sent, if it is a fresh, consistent read.
    pub(super) fn consistently(&self) -> Option<Time> {
        (self.ask.freshness == ReadMode::Authoritative).then_some(self.asked)
    }
}
