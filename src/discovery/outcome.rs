//! What an answer of Consul has led to.

use crate::consul::error::{ErrorKind, QueryError};
use crate::discovery::doubt::Doubt;
use crate::model::snapshot::Snapshot;

/// What an answer has led to.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing: no query waits for this answer any more.
    Late,
    /// Nothing to apply: Consul's index went back, or the answer is older than `max_stale` admits,
    /// and the service is read again.
    Reread,
    /// Nothing to apply: an extra query was answered from an older state, or its answer is doubted.
    Older,
    /// Nothing to apply: the answer is doubted, and read again at once.
    Doubted(Doubt),
    /// Nothing to apply: the answer is held back as an earlier one was, and read again.
    Held,
    /// Nothing to apply: an extra query failed, which says nothing about the one that blocks.
    Wasted(ErrorKind),
    /// The endpoints are those that are known already.
    Unchanged,
    /// These are the endpoints; publish them, then call [`Watch::on_applied`](super::watch::Watch::on_applied).
    Changed(Snapshot),
    /// The endpoints stay as they are.
    Failed(QueryError),
}

impl Outcome {
    /// What came of the call, for which somebody still waited.
    pub fn of_call(&self) -> Option<Result<(), ErrorKind>> {
        match self {
            Self::Late => None,
            Self::Failed(error) => Some(Err(error.kind())),
            Self::Wasted(kind) => Some(Err(*kind)),
            Self::Reread
            | Self::Older
            | Self::Doubted(_)
            | Self::Held
            | Self::Unchanged
            | Self::Changed(_) => Some(Ok(())),
        }
    }
}
