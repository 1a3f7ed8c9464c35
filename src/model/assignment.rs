//! The endpoints of a service as Envoy's own cluster is to know them.

use std::rc::Rc;

use crate::model::snapshot::Snapshot;

/// The endpoints of a service as Envoy's own cluster is to know them: a snapshot for each of its
/// datacenters, in order of preference. One that Consul has not answered for is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The snapshots; each is a priority of Envoy's.
    pub levels: Vec<Rc<Snapshot>>,
}
