//! The response to a query, decoded.

use core::time::Duration;

use crate::model::snapshot::Snapshot;
use crate::registry::rejected_instances::RejectedInstances;
use crate::registry::resume::{Progress, Resume};

/// The response to a [`Query`](crate::registry::query::Query), decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResponse {
    /// The position of the state in the registry's history. It may be an earlier one than the
    /// request's.
    pub resume: Resume,
    /// The state.
    pub decoded: Decoded,
    /// True if the registry has left out the part that the token may not see.
    pub is_partial: bool,
    /// The age of the state. `None` if the registry does not tell it.
    pub age: Option<Duration>,
    /// True if the state is older than the configuration permits. Never true if the age is unknown.
    pub is_too_old: bool,
    /// The way in which the next change is noticed.
    pub next: NextRead,
}

/// The way in which a source is read after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRead {
    /// The next request may wait at the registry for a change.
    Block,
    /// The registry does not wait. The source is read again after this time.
    Poll(Duration),
}

impl NextRead {
    /// Returns the time until the next read, if the registry does not wait.
    pub const fn poll_interval(self) -> Option<Duration> {
        match self {
            Self::Block => None,
            Self::Poll(after) => Some(after),
        }
    }
}

impl QueryResponse {
    /// Returns a response with all of the state, of unknown age, from a registry that blocks.
    pub const fn new(resume: Resume, decoded: Decoded) -> Self {
        let (age, next) = (None, NextRead::Block);
        Self { resume, decoded, is_partial: false, age, is_too_old: false, next }
    }

    /// Returns true if the state is an earlier one than that of `last`.
    pub fn went_back_from(&self, last: Resume) -> bool {
        self.resume.progress_since(last) == Progress::WentBack
    }

    /// Returns true if the responses of this source have an order, by which an outdated one shows.
    pub const fn is_ordered(&self) -> bool {
        self.next.poll_interval().is_none()
    }
}

/// The maximum number of endpoints of one service. Endpoints with the same address count each, and
/// unhealthy ones count, too.
///
/// A larger service is more likely a mistake than a service, and its snapshot would be copied to
/// every VM.
pub const MAX_ENDPOINTS: usize = 65_536;

/// The decoded body of a response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    /// The instances that take traffic.
    pub snapshot: Snapshot,
    /// The instances that take no traffic, by reason.
    pub dropped: RejectedInstances,
    /// The number of addresses that would take traffic if all their instances were healthy. The
    /// snapshot holds those that do.
    pub registered: u32,
    /// The unhealthy instances, as if they were healthy. They are listed, so they have not
    /// vanished.
    pub unhealthy: Snapshot,
    /// The place where a prepared query has found the instances. `None` if no prepared query was
    /// sent.
    pub origin: Option<QueryOrigin>,
}

/// The service in which a prepared query looks for instances, as its response names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryOrigin {
    /// The service; empty if the registry does not name it.
    pub service: String,
    /// The datacenter of the last search; empty if the registry does not name it.
    pub datacenter: String,
}
