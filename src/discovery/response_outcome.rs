//! What an answer of Consul has led to.

use crate::consul::error::{ErrorKind, QueryError};
use crate::discovery::doubt::Doubt;
use crate::model::snapshot::Snapshot;

/// What an answer has led to.
#[derive(Debug)]
pub enum ResponseOutcome {
    /// Nothing: no query waits for this answer any more.
    Late,
    /// Nothing to apply: Consul's index went back, or the answer is older than `max_stale` admits,
    /// and the service is read again.
    Reread,
    /// Nothing to apply: an extra query was answered from an older state, or its answer is doubted.
    Older,
    /// The answer is doubted: what is gone from it is held back, and read again at once. The rest of
    /// it is these endpoints, if they are others; publish them.
    Doubted(Doubt, Option<Snapshot>),
    /// The same of an answer that is held back as an earlier one was.
    Held(Option<Snapshot>),
    /// Nothing to apply: an extra query failed, which says nothing about the one that blocks.
    Wasted(ErrorKind),
    /// The endpoints are those that are known already.
    Unchanged,
    /// These are the endpoints; publish them, then call [`Watch::on_applied`](super::watch::Watch::on_applied).
    Changed(Snapshot),
    /// The endpoints stay as they are.
    Failed(QueryError),
}

impl ResponseOutcome {
    /// That of an answer which is held back; `doubt` says why, where none was before.
    pub(super) fn held(doubt: Option<Doubt>, snapshot: Option<Snapshot>) -> Self {
        match doubt {
            Some(doubt) => Self::Doubted(doubt, snapshot),
            None => Self::Held(snapshot),
        }
    }
}
