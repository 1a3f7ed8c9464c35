//! What a pool is told of a request that has ended.

use core::time::Duration;

use crate::balance::outlier::monitor::Admission;
use crate::balance::outlier::outcome::Outcome;

/// How a request to an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How the endpoint took the request.
    pub admission: Admission,
    /// How it did.
    pub outcome: Outcome,
    /// How soon it answered, where that is known.
    pub latency: Option<Duration>,
}
