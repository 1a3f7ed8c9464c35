//! What has happened to a service, as one worker sees it.

use crate::balance::pool::PoolEvent;

/// What has happened to a service, as one worker sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteEvent {
    /// Something about its endpoints.
    Pool(PoolEvent),
    /// Consul has not confirmed them for too long; or has again.
    Stale(bool),
    /// Consul has not answered for it within the warm-up, and it has the endpoints of its
    /// `fallback` until then.
    FellBack,
}
