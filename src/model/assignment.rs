//! The endpoints of a service for Envoy's own cluster.

use std::rc::Rc;

use crate::model::snapshot::Snapshot;

/// The endpoints of a service for Envoy's own cluster: a snapshot for each of its datacenters, in order
/// of preference. The snapshot of a datacenter without a response is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The snapshots; each is a priority of Envoy.
    pub levels: Vec<Rc<Snapshot>>,
}
