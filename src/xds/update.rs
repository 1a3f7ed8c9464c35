//! What has become of a service that Envoy may know.

use std::rc::Rc;

use crate::config::Service;
use crate::model::assignment::Assignment;

/// What has become of a service that Envoy may know.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// It is there, and its endpoints are not known yet.
    Added(Rc<Service>),
    /// Its endpoints are these from now on.
    Assigned {
        /// Its name.
        service: Rc<str>,
        /// Its endpoints.
        assignment: Assignment,
    },
    /// It has gone.
    Removed {
        /// Its name.
        service: Rc<str>,
    },
    /// Every service that the catalog lists has been added. Until then nothing is taken away from an
    /// Envoy that knows more, as one does whose VM has been loaded anew.
    Listed,
}
