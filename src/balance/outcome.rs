//! What a request says of the endpoint that it went to.

use core::time::Duration;

/// How an endpoint did at a request, as `peak_ewma` judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has done what was asked for; in that time, where that is known.
    Success(Option<Duration>),
    /// It has not, whoever is to blame: it may have refused, which takes no time.
    Failure,
}
