//! Where the versions of a range begin or end.

use core::cmp::Ordering;

use super::number::Version;

/// Where an interval begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) numbers: [u64; 3],
    pub(super) prerelease: String,
    pub(super) is_inclusive: bool,
}

impl Limit {
    pub(super) fn version(&self) -> Version<'_> {
        Version { numbers: self.numbers, prerelease: &self.prerelease }
    }

    /// Whether a version is on that side, or is the limit itself where that belongs to it.
    pub(super) fn has_on(&self, side: Ordering, version: Version<'_>) -> bool {
        match version.cmp(self.version()) {
            Ordering::Equal => self.is_inclusive,
            ordering => ordering == side,
        }
    }

    /// Whether it names a pre-release of the same three numbers.
    pub(super) fn names_prerelease(&self, version: Version<'_>) -> bool {
        !self.prerelease.is_empty() && self.numbers == version.numbers
    }

    /// Whether something is between this low limit and a high one.
    pub(super) fn is_below(&self, high: &Self) -> bool {
        match self.version().cmp(high.version()) {
            Ordering::Less => true,
            Ordering::Equal => self.is_inclusive && high.is_inclusive,
            Ordering::Greater => false,
        }
    }
}
