//! A snapshot on its way to the other VMs.

use crate::model::snapshot::Snapshot;
use crate::shared::head::Term;
use crate::shared::record::{Record, Version};

/// The record that a fetcher is publishing, if it is: stored first, then pointed to by the
/// head.
#[derive(Debug, Default)]
pub(super) struct Publication(Option<Record>);

impl Publication {
    /// Begins with a snapshot that follows on `last`, as far as this VM knows.
    pub(super) fn begin(
        &mut self,
        term: Term,
        last: Option<Version>,
        snapshot: Snapshot,
    ) -> &Record {
        let version = Version { term, generation: after(last) };
        self.0.insert(Record { version, snapshot })
    }

    /// Whether a record is on its way.
    pub(super) const fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// What to do, where the head says that `before` is published: point the head to the
    /// record, or store it again under a higher number than this VM knew of.
    pub(super) fn next(&mut self, before: Option<Version>) -> Option<Next<'_>> {
        let record = self.0.as_mut()?;
        let least = after(before);
        if record.version.generation >= least {
            return Some(Next::Point(record.version));
        }
        record.version.generation = least;
        Some(Next::Store(record))
    }

    /// Takes the record out: it is published, or it never will be.
    pub(super) const fn take(&mut self) -> Option<Record> {
        self.0.take()
    }
}

/// The next step of a publication.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// Store this record, and look at the head again.
    Store(&'a Record),
    /// Write a head that points to this version.
    Point(Version),
}

/// The versions whose places no head points to any more, once `term` has published: both
/// places of the term that had published before, if it was another one.
pub(super) fn obsolete(before: Option<Version>, term: Term) -> impl Iterator<Item = Version> {
    before.filter(|before| before.term != term).into_iter().flat_map(Version::places)
}

fn after(version: Option<Version>) -> u64 {
    version.map_or(0, |version| version.generation).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn version(term: u64, generation: u64) -> Version {
        Version { term: Term(term), generation }
    }

    #[test]
    fn a_record_is_pointed_to_when_nothing_newer_is_published() {
        let mut publication = Publication::default();
        let record = publication.begin(Term(2), Some(version(1, 4)), Snapshot::default());
        assert_eq!(record.version, version(2, 5));
        assert_eq!(publication.next(Some(version(1, 4))), Some(Next::Point(version(2, 5))));
    }

    #[test]
    fn a_record_that_would_go_back_is_stored_again_under_a_higher_number() {
        let mut publication = Publication::default();
        publication.begin(Term(2), None, Snapshot::default());
        let again = Record { version: version(2, 8), snapshot: Snapshot::default() };
        assert_eq!(publication.next(Some(version(1, 7))), Some(Next::Store(&again)));
        assert_eq!(publication.next(Some(version(1, 7))), Some(Next::Point(version(2, 8))));
    }

    #[test]
    fn both_places_of_an_earlier_term_are_obsolete_and_none_of_the_own() {
        let places: Vec<_> = obsolete(Some(version(1, 7)), Term(2)).collect();
        assert_eq!(places, [version(1, 7), version(1, 8)]);
        assert_eq!(obsolete(Some(version(2, 7)), Term(2)).count(), 0);
        assert_eq!(obsolete(None, Term(1)).count(), 0);
    }
}
