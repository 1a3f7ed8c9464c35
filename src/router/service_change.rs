//! What is to be done about services that come and go.

use crate::discovery::source_spec::SourceSpec;
use crate::model::service::{ServiceId, SourceId};

/// A service, or the catalog, is to be followed from now on, or no more.
#[derive(Debug)]
pub enum ServiceChange {
    /// Follow the catalog.
    Catalog(Box<SourceSpec>),
    /// Follow a service.
    Added(Addition),
    /// Tell the others again that requests come for a host.
    Wanted {
        /// Where its service has its endpoints from.
        sources: Vec<SourceId>,
        /// The host.
        host: Box<str>,
    },
    /// Follow a service no more.
    Removed {
        /// The service that has gone.
        service: ServiceId,
        /// Where it had its endpoints from.
        sources: Vec<SourceId>,
        /// Whether it was a client that had named it.
        is_named: bool,
    },
}

/// A service that requests can go to from now on.
#[derive(Debug)]
pub struct Addition {
    /// The service.
    pub service: ServiceId,
    /// What log lines call it.
    pub name: String,
    /// What is to be asked of Consul, in the order of preference.
    pub subjects: Vec<SourceSpec>,
    /// Where its name comes from.
    pub origin: Origin,
}

/// Where the name of a service comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Consul's catalog lists it.
    Catalog,
    /// A request has this host.
    Request(Box<str>),
    /// Another VM has such a request.
    OtherVm,
}
