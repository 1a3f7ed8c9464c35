//! The publication of a snapshot to the other VMs.

use std::rc::Rc;

use crate::host::Expect;
use crate::model::snapshot::Snapshot;
use crate::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use crate::shared::source_record::Term;

/// The record that a leader is publishing, if any.
///
/// The records of a source have only two slots, so a leader writes where another VM has written
/// before, and a VM that has lost its lease without noticing may try to. That attempt must fail. So
/// the leader first reads the slot, then the source record, and then stores the record on condition
/// that the slot has not changed.
///
/// If another VM took the lease in between, either our compare-and-set fails, or that VM overwrites
/// our record later. The current leader never writes to the slot that the source record points to.
#[derive(Debug, Default)]
pub(super) struct Publication(Option<InProgress>);

#[derive(Debug)]
struct InProgress {
    record: SnapshotRecord,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The slot was not read yet.
    Begun,
    /// The slot was read.
    Loaded(Expect),
    /// The record is stored in the slot.
    Stored,
}

impl Publication {
    /// Begins to publish a snapshot after the version `last`. Returns its version.
    pub(super) fn begin(
        &mut self,
        term: Term,
        last: Option<SnapshotVersion>,
        snapshot: Rc<Snapshot>,
    ) -> SnapshotVersion {
        let version = SnapshotVersion { term, generation: after(last) };
        self.0 =
            Some(InProgress { record: SnapshotRecord { version, snapshot }, stage: Stage::Begun });
        version
    }

    /// Returns true if this version is being published.
    pub(super) fn is_of(&self, version: SnapshotVersion) -> bool {
        self.0.as_ref().is_some_and(|it| it.record.version == version)
    }

    /// Takes the condition for a store to the slot.
    pub(super) const fn on_slot_loaded(&mut self, expect: Expect) {
        if let Some(InProgress { stage: stage @ Stage::Begun, .. }) = &mut self.0 {
            *stage = Stage::Loaded(expect);
        }
    }

    /// Takes the result of the store. Another VM may have written first.
    pub(super) const fn on_stored(&mut self, written: bool) {
        if let Some(InProgress { stage: stage @ Stage::Loaded(_), .. }) = &mut self.0 {
            *stage = if written { Stage::Stored } else { Stage::Begun };
        }
    }

    /// Returns the next step while this VM leads and `before` is published. A record whose
    /// generation does not follow `before` is renumbered and stored again: a lower generation would
    /// go back, and a higher one may use the slot of the published record.
    pub(super) fn next(&mut self, before: Option<SnapshotVersion>) -> Option<PublicationStep<'_>> {
        let InProgress { record, stage } = self.0.as_mut()?;
        if before.is_some() && record.version.generation != after(before) {
            record.version.generation = after(before);
            *stage = Stage::Begun;
        }
        Some(match *stage {
            Stage::Begun => PublicationStep::LoadSlot(record.version),
            Stage::Loaded(expect) => PublicationStep::StoreRecord(record, expect),
            Stage::Stored => PublicationStep::StoreHead(record.version),
        })
    }

    /// Removes the record, which is published or abandoned.
    pub(super) fn take(&mut self) -> Option<SnapshotRecord> {
        self.0.take().map(|publication| publication.record)
    }
}

/// The next step of a publication.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicationStep<'a> {
    /// Load the slot of this version, then the source record.
    LoadSlot(SnapshotVersion),
    /// Store this record, then load the source record.
    StoreRecord(&'a SnapshotRecord, Expect),
    /// Store a source record that points to this version.
    StoreHead(SnapshotVersion),
}

fn after(version: Option<SnapshotVersion>) -> u64 {
    version.map_or(0, |version| version.generation).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::key::Cas;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SEEN: Expect = Expect::Unchanged(Cas(7));

    fn version(term: u64, generation: u64) -> SnapshotVersion {
        SnapshotVersion { term: Term(term), generation }
    }

    fn record(version: SnapshotVersion) -> SnapshotRecord {
        SnapshotRecord { version, snapshot: Rc::default() }
    }

    #[test]
    fn record_is_pointed_to_when_it_is_stored_in_its_slot() {
        let (mut publication, before) = (Publication::default(), Some(version(1, 4)));
        assert_eq!(publication.begin(Term(2), before, Rc::default()), version(2, 5));
        assert!(publication.is_of(version(2, 5)) && !publication.is_of(version(1, 4)));
        assert_eq!(publication.next(before), Some(PublicationStep::LoadSlot(version(2, 5))));
        publication.on_slot_loaded(SEEN);
        assert_eq!(
            publication.next(before),
            Some(PublicationStep::StoreRecord(&record(version(2, 5)), SEEN))
        );
        publication.on_stored(true);
        assert_eq!(publication.next(before), Some(PublicationStep::StoreHead(version(2, 5))));
        assert_eq!(publication.take(), Some(record(version(2, 5))));
        assert_eq!(publication.next(before), None);
    }

    #[test]
    fn slot_is_loaded_again_when_another_vm_was_faster() {
        let mut publication = Publication::default();
        publication.begin(Term(2), None, Rc::default());
        publication.on_slot_loaded(Expect::Absent);
        publication.on_slot_loaded(SEEN);
        let first = record(version(2, 1));
        assert_eq!(
            publication.next(None),
            Some(PublicationStep::StoreRecord(&first, Expect::Absent)),
            "one load"
        );
        publication.on_stored(false);
        assert_eq!(publication.next(None), Some(PublicationStep::LoadSlot(version(2, 1))));
    }

    #[test]
    fn record_is_renumbered_when_its_generation_would_go_back() {
        let (mut publication, before) = (Publication::default(), Some(version(1, 7)));
        publication.begin(Term(2), None, Rc::default());
        publication.on_slot_loaded(SEEN);
        publication.on_stored(true);
        assert_eq!(
            publication.next(before),
            Some(PublicationStep::LoadSlot(version(2, 8))),
            "another place"
        );
        publication.on_slot_loaded(Expect::Absent);
        let again = record(version(2, 8));
        assert_eq!(
            publication.next(before),
            Some(PublicationStep::StoreRecord(&again, Expect::Absent))
        );
    }

    #[test]
    fn record_never_uses_the_slot_of_the_published_one() {
        let mut publication = Publication::default();
        // The installed snapshot was published before the records were emptied and restarted.
        publication.begin(Term(5), Some(version(3, 8)), Rc::default());
        assert_eq!(
            publication.next(Some(version(4, 1))),
            Some(PublicationStep::LoadSlot(version(5, 2)))
        );
    }
}
