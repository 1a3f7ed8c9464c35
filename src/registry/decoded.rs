//! The contents of a response's body.

use crate::model::snapshot::Snapshot;
use crate::registry::rejected_instances::RejectedInstances;

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
