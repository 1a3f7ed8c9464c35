//! What has happened to a service, as one worker sees it.

use std::rc::Rc;

/// What has happened to a service, as one worker sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteEvent {
    /// There are more versions than a header can name; those that few endpoints have cannot be.
    TooManyVersions {
        /// How many there are.
        found: usize,
    },
    /// Consul has not confirmed them for too long; or has again.
    Stale(bool),
    /// Consul has not answered for it within the warm-up, and it has the endpoints of its
    /// `fallback` until then.
    FellBack,
    /// Other ones of those that it depends on are down: these. None where all are well again.
    DependenciesDown(Vec<Rc<str>>),
}
