//! A change of a service that Envoy may know.

use std::rc::Rc;

use crate::config::Service;
use crate::model::assignment::Assignment;

/// A change of a service that Envoy may know.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// A service was added; its endpoints are not known yet.
    Added(Rc<Service>),
    /// The endpoints of a service have changed.
    Assigned {
        /// The name of the service.
        service: Rc<str>,
        /// The endpoints.
        assignment: Assignment,
    },
    /// A service was removed.
    Removed {
        /// The name of the service.
        service: Rc<str>,
    },
    /// All services of the catalog have been added. Until then nothing is removed from an Envoy that knows
    /// more services, as after a restart of the VM.
    Listed,
}
