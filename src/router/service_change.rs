//! Services that come and go, for discovery.

use crate::model::service::{ServiceId, SourceId};
use crate::registry::source_spec::SourceSpec;

/// A change that discovery follows.
#[derive(Debug)]
pub enum ServiceChange {
    /// Follow the catalog.
    Catalog(Box<SourceSpec>),
    /// Follow a service.
    Added(Addition),
    /// Tell the other VMs again that requests name a host.
    Requested {
        /// The sources of the service.
        sources: Vec<SourceId>,
        /// The host.
        host: Box<str>,
    },
    /// Forget a service.
    Removed {
        /// The service that has gone.
        service: ServiceId,
        /// The sources of its endpoints.
        sources: Vec<SourceId>,
        /// True if a request had named the service.
        is_on_demand: bool,
    },
}

/// A service that requests can go to from now on.
#[derive(Debug)]
pub struct Addition {
    /// The service.
    pub service: ServiceId,
    /// The name in log lines.
    pub name: String,
    /// The sources, in the order of preference.
    pub specs: Vec<SourceSpec>,
    /// The origin of the name.
    pub origin: Origin,
}

/// The origin of a service's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Consul's catalog lists the service.
    Catalog,
    /// A request has this host.
    Request(Box<str>),
    /// Another VM has such a request.
    OtherVm,
}
