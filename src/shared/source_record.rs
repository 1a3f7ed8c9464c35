//! The record of a source: its leader and the published version.

use core::time::Duration;

use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::VmId;
use crate::shared::snapshot_record::SnapshotVersion;

pub use crate::shared::snapshot_record::Term;

/// The suitability of a VM to lead. The lowest rank is the most suitable.
///
/// The main thread's VM never serves requests and is the oldest, so it has the lowest rank. `born`
/// only orders the VMs: with a wrong clock another VM would lead just as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// True if the VM has ever served a request. Long work there delays requests.
    pub serving: bool,
    /// The time at which the VM was made, in nanoseconds of a clock that all VMs of the process
    /// share.
    pub born: u64,
}

impl Rank {
    /// The rank of a leader that has released its lease. Every other VM is more suitable.
    pub const RELEASED: Self = Self { serving: true, born: u64::MAX };
}

/// The holder of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The VM that holds the lease.
    pub owner: VmId,
    /// The term of the lease.
    pub term: Term,
    /// The rank of the holder. The holder gives way to a more suitable VM.
    pub rank: Rank,
}

/// The record that all VMs read about a source at every tick. It is small and always rewritten
/// whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRecord {
    /// The VM that leads.
    pub owner: VmId,
    /// The term of the leader.
    pub term: Term,
    /// The rank of the leader. The leader gives way to a more suitable VM.
    pub rank: Rank,
    /// The version of the published snapshot, if there is one.
    pub published: Option<SnapshotVersion>,
    /// The time between the last response of Consul and the write of this record.
    /// [`SourceRecord::UNKNOWN_AGE`] if the leader does not know it.
    pub age: Duration,
    /// The number of instances that Consul listed then, healthy or not. A new leader compares its
    /// first response with it.
    pub listed: u32,
}

impl SourceRecord {
    /// The age of a snapshot that was found in shared data and may be of any age.
    pub const UNKNOWN_AGE: Duration = Duration::from_millis(u64::MAX);

    /// Returns the holder of the lease.
    pub const fn holder(&self) -> Holder {
        Holder { owner: self.owner, term: self.term, rank: self.rank }
    }

    /// Encodes the record in 54 bytes.
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

    /// Decodes a record.
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
    fn source_record_decodes_as_encoded() {
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
    fn bytes_are_refused_when_they_are_no_source_record() {
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
