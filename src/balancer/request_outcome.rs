//! The outcome of a request at the endpoint that it went to.

use core::time::Duration;

/// The outcome of a request at an endpoint, as `peak_ewma` judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It has done what was asked for; in that time, where that is known.
    Success(Option<Duration>),
    /// It has not, whoever is to blame: it may have refused, which takes no time.
    Failure,
}
