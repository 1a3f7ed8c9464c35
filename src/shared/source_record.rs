//! The head of a service: who fetches it, and which record is published.

use core::time::Duration;

use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::VmId;
use crate::shared::snapshot_record::SnapshotVersion;

/// How often a service's lease has changed hands; each fetcher has a term of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// How suitable a VM is to fetch: the least is the most suitable.
///
/// The main thread's VM never serves requests and is the first to be made, so it is the
/// least of all. `born` orders the VMs and does nothing else: were the clock that it comes
/// from wrong, another VM would fetch just as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Whether the VM has ever served a request: long work there delays others.
    pub serving: bool,
    /// When the VM was made, in nanoseconds of a clock that all VMs of the process share.
    pub born: u64,
}

impl Rank {
    /// The rank of one that fetches no longer: everyone else is more suitable.
    pub const RELEASED: Self = Self { serving: true, born: u64::MAX };
}

/// Who has a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its owner.
    pub owner: VmId,
    /// Since which change of hands.
    pub term: Term,
    /// How suitable the owner is: it gives way to a VM that is more so.
    pub rank: Rank,
}

/// What all VMs read about a service at every tick; small, and always rewritten whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRecord {
    /// Who fetches.
    pub owner: VmId,
    /// Since which change of hands.
    pub term: Term,
    /// How suitable the owner is: it gives way to a VM that is more so.
    pub rank: Rank,
    /// The record that is published, if there is one.
    pub published: Option<SnapshotVersion>,
    /// How long before this head was written Consul last answered; [`SourceRecord::UNKNOWN_AGE`] where its
    /// owner does not know.
    pub age: Duration,
    /// How many instances Consul listed at that time, healthy or not: what a fetcher that takes
    /// over judges its first answer by.
    pub listed: u32,
}

impl SourceRecord {
    /// The age of what was found, and may have been left there at any time.
    pub const UNKNOWN_AGE: Duration = Duration::from_millis(u64::MAX);

    /// Who fetches.
    pub const fn holder(&self) -> Holder {
        Holder { owner: self.owner, term: self.term, rank: self.rank }
    }

    /// Writes the head: 54 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(54);
        let age = u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX);
        let version = self.published.unwrap_or_default();
        out.extend(self.owner.0.to_le_bytes());
        out.extend(self.term.0.to_le_bytes());
        out.push(u8::from(self.rank.serving));
        out.extend(self.rank.born.to_le_bytes());
        out.push(u8::from(self.published.is_some()));
        out.extend(version.term.0.to_le_bytes());
        out.extend(version.generation.to_le_bytes());
        out.extend(age.to_le_bytes());
        out.extend(self.listed.to_le_bytes());
        out
    }

    /// Reads a head.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let owner = VmId(reader.u64()?);
        let term = Term(reader.u64()?);
        let rank = Rank { serving: reader.flag("head.serving")?, born: reader.u64()? };
        let is_published = reader.flag("head.published")?;
        let version = SnapshotVersion { term: Term(reader.u64()?), generation: reader.u64()? };
        let age = Duration::from_millis(reader.u64()?);
        let listed = reader.u32()?;
        reader.finish()?;
        let published = is_published.then_some(version);
        Ok(Self { owner, term, rank, published, age, listed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_head_reads_back_as_written() {
        let mut head = SourceRecord {
            owner: VmId(3),
            term: Term(9),
            rank: Rank { serving: true, born: 5 },
            published: Some(SnapshotVersion { term: Term(8), generation: 77 }),
            age: Duration::from_millis(1_234),
            listed: 12,
        };
        assert_eq!(SourceRecord::decode(&head.encode()), Ok(head));
        (head.published, head.age) = (None, SourceRecord::UNKNOWN_AGE);
        assert_eq!(SourceRecord::decode(&head.encode()), Ok(head));
    }

    #[test]
    fn bytes_that_are_no_head_are_told_apart() {
        let bytes = SourceRecord {
            owner: VmId(1),
            term: Term(1),
            rank: Rank { serving: false, born: 5 },
            published: None,
            age: Duration::ZERO,
            listed: 0,
        }
        .encode();
        assert_eq!(SourceRecord::decode(&[]), Err(CodecError::Empty));
        assert_eq!(SourceRecord::decode(&bytes[..20]), Err(CodecError::Truncated { at: 17 }));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(SourceRecord::decode(&longer), Err(CodecError::Trailing { bytes: 1 }));
        let mut odd = bytes;
        odd[16] = 2;
        assert_eq!(SourceRecord::decode(&odd), Err(CodecError::Invalid { field: "head.serving" }));
    }
}
