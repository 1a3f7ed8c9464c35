//! The outcome of a response of Consul.

use crate::model::snapshot::Snapshot;
use crate::registry::error::RegistryError;
use crate::registry::error_kind::ErrorKind;
use crate::telemetry::Doubt;

/// The outcome of a response.
#[derive(Debug)]
pub enum ResponseOutcome {
    /// Nothing to apply: no query waits for this response any more.
    Late,
    /// Nothing to apply: Consul's index went back, or the response is older than `max_stale`
    /// permits. The source is read again.
    Reread,
    /// Nothing to apply: the response to an extra query is older than the current state, or
    /// doubtful.
    Older,
    /// The response is doubted. Missing endpoints are kept, and Consul is read again at once. The
    /// snapshot combines both; publish it if there is one.
    Doubted(Doubt, Option<Snapshot>),
    /// The response confirms an earlier doubt, which is not over. The snapshot is as in `Doubted`.
    Held(Option<Snapshot>),
    /// Nothing to apply: an extra query has failed, which says nothing about the main query.
    Wasted(ErrorKind),
    /// The endpoints have not changed.
    Unchanged,
    /// The endpoints have changed. Publish them, then call
    /// [`Watch::on_applied`](super::watch::Watch::on_applied).
    Changed(Snapshot),
    /// The query has failed, and the endpoints stay as they are.
    Failed(RegistryError),
}

impl ResponseOutcome {
    /// Returns the outcome of a response that is held back. `doubt` is the reason if none was held
    /// back before.
    pub(super) fn held(doubt: Option<Doubt>, snapshot: Option<Snapshot>) -> Self {
        match doubt {
            Some(doubt) => Self::Doubted(doubt, snapshot),
            None => Self::Held(snapshot),
        }
    }
}
