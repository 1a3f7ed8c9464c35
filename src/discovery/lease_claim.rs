//! A claim of the lease of a source, until it is written.

use crate::discovery::source_view::SourceView;
use crate::election::lease::ClaimReason;
use crate::host::{Context, Expect, SourceRecordStore};
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::{Rank, SourceRecord, Term};

/// A claim that is being written.
#[derive(Debug)]
pub(super) struct LeaseClaim {
    /// The reason why the lease may be claimed.
    pub(super) reason: ClaimReason,
    /// The snapshot that the source record keeps pointing to.
    pub(super) published: Option<SnapshotVersion>,
    /// The number of instances that Consul has listed for that snapshot.
    pub(super) listed: u32,
}

impl LeaseClaim {
    /// Claims the lease by the source record as it stands. The term is new, so the next snapshot is
    /// newer in any case. The snapshot of a released lease that is not installed here may be of any
    /// age, so the record points to it no longer.
    pub(super) fn store(
        head: Option<&SourceRecord>,
        holder: (Term, Rank),
        reason: ClaimReason,
        expect: Expect,
        source: &mut SourceView,
        context: &mut Context<'_>,
    ) -> Self {
        let is_known = |head: &&SourceRecord| {
            head.rank != Rank::RELEASED || source.version() == head.published
        };
        let (published, listed) = head
            .filter(is_known)
            .and_then(|head| Some((Some(head.published?), head.listed)))
            .unwrap_or_default();
        if published.is_none() {
            source.age.forget();
        }
        let record = source.record(holder, published, listed, context.now);
        source.store(&record, SourceRecordStore::Claim, expect, context);
        Self { reason, published, listed }
    }
}
