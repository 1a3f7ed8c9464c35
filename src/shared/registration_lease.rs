//! The lease of a registration: the VM that keeps it.

use crate::model::service::QueryKey;
use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::VmId;
use crate::shared::source_record::{Holder, Rank, Term};

/// The record that all VMs read about a registration at every tick. It is small and always
/// rewritten whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrationLease {
    /// The VM that holds the lease.
    pub holder: Holder,
    /// The digest of the registered definition. Another configuration may register something else
    /// under the same id.
    pub digest: QueryKey,
    /// True if exactly this was registered since Envoy started. Until then it is unknown with which
    /// token the agent has it.
    pub is_kept: bool,
}

impl RegistrationLease {
    /// Returns true if the holder has released the lease.
    pub fn is_left(&self) -> bool {
        self.holder.rank == Rank::RELEASED
    }

    /// Encodes the lease in 42 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Holder { owner, term, rank } = self.holder;
        let mut out = Vec::with_capacity(42);
        out.extend(owner.0.to_le_bytes());
        out.extend(term.0.to_le_bytes());
        out.push(u8::from(rank.serving));
        out.extend(rank.born.to_le_bytes());
        out.extend(self.digest.0.to_le_bytes());
        out.push(u8::from(self.is_kept));
        out
    }

    /// Decodes a lease.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        let owner = VmId(reader.u64()?);
        let term = Term(reader.u64()?);
        let rank = Rank { serving: reader.flag("charge.serving")?, born: reader.u64()? };
        let digest = QueryKey(u128::from_le_bytes(reader.array()?));
        let is_kept = reader.flag("charge.kept")?;
        reader.finish()?;
        Ok(Self { holder: Holder { owner, term, rank }, digest, is_kept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn lease_decodes_as_encoded_and_other_bytes_are_refused() {
        let holder =
            Holder { owner: VmId(3), term: Term(9), rank: Rank { serving: true, born: 5 } };
        let lease = RegistrationLease { holder, digest: QueryKey(u128::MAX - 7), is_kept: true };
        let bytes = lease.encode();
        assert_eq!(RegistrationLease::decode(&bytes), Ok(lease));
        assert_eq!(RegistrationLease::decode(&[]), Err(CodecError::Empty));
        assert_eq!(RegistrationLease::decode(&bytes[..30]), Err(CodecError::Truncated { at: 25 }));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(RegistrationLease::decode(&longer), Err(CodecError::Trailing { bytes: 1 }));
        let mut odd = bytes;
        odd[16] = 2;
        assert_eq!(
            RegistrationLease::decode(&odd),
            Err(CodecError::Invalid { field: "charge.serving" })
        );
    }
}
