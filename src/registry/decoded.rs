//! The contents of a response's body.

use crate::model::snapshot::Snapshot;
use crate::registry::rejected_instances::RejectedInstances;

/// The most endpoints that one service may have, those with the same address counted each,
/// and with them the unhealthy ones.
/// A service beyond it is more likely a mistake than a service, and a snapshot of it would
/// be copied to every VM.
pub const MAX_ENDPOINTS: usize = 65_536;

/// The contents of a response's body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoded {
    /// The instances that take traffic.
    pub snapshot: Snapshot,
    /// The other instances, counted by reason.
    pub dropped: RejectedInstances,
    /// The number of addresses that would take traffic if all of their instances were healthy.
    pub registered: u32,
    /// The unhealthy instances as they would be if they were healthy. They are listed, and have
    /// not vanished.
    pub unhealthy: Snapshot,
    /// The service in which a prepared query has found the instances. `None` for every other query.
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
