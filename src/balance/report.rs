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
    /// What the answer tells of how fast the endpoint is, where it is no failure of it.
    pub sample: Option<Sample>,
}

/// What an answer tells of how fast its endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// It has done what was asked for, in that time.
    Latency(Duration),
    /// It has refused, which takes no time: the request may be wrong, or too many have come.
    Refusal,
}
