//! The terms of a source's leaders, and the versions of its snapshots.

/// The number of leaders that a source has had. Each leader has a term of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// Returns the term after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The version of a source's snapshot. Later versions are greater.
///
/// The generation keeps counting over the terms until the published snapshot is removed. The term
/// tells which leader wrote the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SnapshotVersion {
    /// The term of the leader that published the snapshot.
    pub term: Term,
    /// The number of the snapshot.
    pub generation: u64,
}

impl SnapshotVersion {
    /// Returns one version for each of the two slots of records.
    pub const fn slots(self) -> [Self; 2] {
        [self, Self { generation: self.generation.wrapping_add(1), ..self }]
    }
}
