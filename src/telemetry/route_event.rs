//! The events of a service, as one worker sees it.

use std::rc::Rc;

/// An event of a service, as one worker sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteEvent {
    /// The endpoints have more versions than a header can name. Versions with few endpoints cannot
    /// be named.
    TooManyVersions {
        /// The number of versions.
        found: usize,
    },
    /// True if Consul has not confirmed the endpoints for too long, false if it has again.
    Stale(bool),
    /// Consul has not answered within the warm-up. The service has the endpoints of its `fallback`
    /// until it does.
    FellBack,
    /// The dependencies that are down have changed to these. None if all have endpoints again.
    DependenciesDown(Vec<Rc<str>>),
}
