//! A snapshot on its way to the other VMs.

use std::rc::Rc;

use crate::discovery::event::Expect;
use crate::model::snapshot::Snapshot;
use crate::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use crate::shared::source_record::Term;

/// The record that a fetcher is publishing, if it is.
///
/// Two places are all that the records of a service ever have, so a fetcher writes where others
/// have written, and a VM that has lost the lease without knowing may try to. It must not
/// succeed: what stands in the place is looked at first, then the head; then the record is
/// stored, on condition that the place is as it was. Whoever has taken the lease meanwhile
/// either has not written there yet, and will, or has, and then nothing is stored. And whoever has
/// the lease by right writes to the other place than that of the record which the head points to.
#[derive(Debug, Default)]
pub(super) struct Publication(Option<InProgress>);

#[derive(Debug)]
struct InProgress {
    record: SnapshotRecord,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// What stands in the record's place is not known.
    Begun,
    /// It is.
    Looked(Expect),
    /// The record stands there.
    Stored,
}

impl Publication {
    /// Begins with a snapshot that follows on `last`, as far as this VM knows; the version that
    /// it is to have.
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

    /// Whether it is this version that is under way.
    pub(super) fn is_of(&self, version: SnapshotVersion) -> bool {
        self.0.as_ref().is_some_and(|it| it.record.version == version)
    }

    /// Learns what a store to the record's place has to expect.
    pub(super) const fn on_looked(&mut self, expect: Expect) {
        if let Some(InProgress { stage: stage @ Stage::Begun, .. }) = &mut self.0 {
            *stage = Stage::Looked(expect);
        }
    }

    /// Learns whether the record was stored; another VM may have been faster.
    pub(super) const fn on_stored(&mut self, written: bool) {
        if let Some(InProgress { stage: stage @ Stage::Looked(_), .. }) = &mut self.0 {
            *stage = if written { Stage::Stored } else { Stage::Begun };
        }
    }

    /// What to do, where the head is this VM's and says that `before` is published. A record whose
    /// number is not the one that follows gets that, and is stored anew: a lower one would go back,
    /// and a higher one may have the very place of what is published.
    pub(super) fn next(&mut self, before: Option<SnapshotVersion>) -> Option<PublicationStep<'_>> {
        let InProgress { record, stage } = self.0.as_mut()?;
        if before.is_some() && record.version.generation != after(before) {
            record.version.generation = after(before);
            *stage = Stage::Begun;
        }
        Some(match *stage {
            Stage::Begun => PublicationStep::Look(record.version),
            Stage::Looked(expect) => PublicationStep::Store(record, expect),
            Stage::Stored => PublicationStep::Point(record.version),
        })
    }

    /// Takes the record out: it is published, or it never will be.
    pub(super) fn take(&mut self) -> Option<SnapshotRecord> {
        self.0.take().map(|under_way| under_way.record)
    }
}

/// The next step of a publication.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicationStep<'a> {
    /// Look at the place of this version, and at the head again.
    Look(SnapshotVersion),
    /// Store this record, and look at the head again.
    Store(&'a SnapshotRecord, Expect),
    /// Write a head that points to this version.
    Point(SnapshotVersion),
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
    fn a_record_is_stored_where_it_was_looked_and_pointed_to_once_it_is() {
        let (mut publication, before) = (Publication::default(), Some(version(1, 4)));
        assert_eq!(publication.begin(Term(2), before, Rc::default()), version(2, 5));
        assert!(publication.is_of(version(2, 5)) && !publication.is_of(version(1, 4)));
        assert_eq!(publication.next(before), Some(PublicationStep::Look(version(2, 5))));
        publication.on_looked(SEEN);
        assert_eq!(
            publication.next(before),
            Some(PublicationStep::Store(&record(version(2, 5)), SEEN))
        );
        publication.on_stored(true);
        assert_eq!(publication.next(before), Some(PublicationStep::Point(version(2, 5))));
        assert_eq!(publication.take(), Some(record(version(2, 5))));
        assert_eq!(publication.next(before), None);
    }

    #[test]
    fn where_another_vm_was_faster_its_record_is_looked_at() {
        let mut publication = Publication::default();
        publication.begin(Term(2), None, Rc::default());
        publication.on_looked(Expect::Absent);
        publication.on_looked(SEEN);
        let first = record(version(2, 1));
        assert_eq!(
            publication.next(None),
            Some(PublicationStep::Store(&first, Expect::Absent)),
            "one look"
        );
        publication.on_stored(false);
        assert_eq!(publication.next(None), Some(PublicationStep::Look(version(2, 1))));
    }

    #[test]
    fn a_record_that_would_go_back_is_stored_again_under_a_higher_number() {
        let (mut publication, before) = (Publication::default(), Some(version(1, 7)));
        publication.begin(Term(2), None, Rc::default());
        publication.on_looked(SEEN);
        publication.on_stored(true);
        assert_eq!(
            publication.next(before),
            Some(PublicationStep::Look(version(2, 8))),
            "another place"
        );
        publication.on_looked(Expect::Absent);
        let again = record(version(2, 8));
        assert_eq!(publication.next(before), Some(PublicationStep::Store(&again, Expect::Absent)));
    }

    #[test]
    fn a_record_never_has_the_place_of_what_is_published() {
        let mut publication = Publication::default();
        // What is installed here was published before all was taken away and begun anew.
        publication.begin(Term(5), Some(version(3, 8)), Rc::default());
        assert_eq!(
            publication.next(Some(version(4, 1))),
            Some(PublicationStep::Look(version(5, 2)))
        );
    }
}
