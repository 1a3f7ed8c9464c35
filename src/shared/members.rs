//! The queues of all VMs, by which the leader wakes them.

use crate::shared::bytes::{CodecError, Reader};
use crate::shared::key::VmId;

/// A shared queue, as the token that Envoy gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// A VM that wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The VM.
    pub vm: VmId,
    /// The queue of the VM.
    pub queue: QueueId,
    /// The time at which the VM was made; see [`Rank`](crate::shared::source_record::Rank).
    pub born: u64,
}

/// All VMs that want to be woken, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members(Vec<Member>);

impl Members {
    /// Adds a member if it is not present yet.
    pub fn add(&mut self, member: Member) {
        if !self.contains(member.vm) {
            self.0.push(member);
        }
    }

    /// Removes the given members.
    pub fn remove(&mut self, gone: &[VmId]) {
        self.0.retain(|member| !gone.contains(&member.vm));
    }

    /// Returns true if the VM is a member.
    pub fn contains(&self, vm: VmId) -> bool {
        self.0.iter().any(|member| member.vm == vm)
    }

    /// Returns the time at which the oldest member was made.
    pub fn oldest_born(&self) -> Option<u64> {
        self.0.iter().map(|member| member.born).min()
    }

    /// Returns all members in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Member> + '_ {
        self.0.iter().copied()
    }

    /// Writes the list: 20 bytes for each member.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 20 + 1);
        out.push(1);
        for member in &self.0 {
            out.extend(member.vm.0.to_le_bytes());
            out.extend(member.queue.0.to_le_bytes());
            out.extend(member.born.to_le_bytes());
        }
        out
    }

    /// Reads a list.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes)?;
        if !reader.flag("members.present")? {
            return Err(CodecError::Invalid { field: "members.present" });
        }
        let mut members = Self::default();
        while reader.left() > 0 {
            let (vm, queue) = (VmId(reader.u64()?), QueueId(reader.u32()?));
            members.add(Member { vm, queue, born: reader.u64()? });
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn member(n: u32) -> Member {
        Member { vm: VmId(u64::from(n) << 40), queue: QueueId(n), born: u64::from(n) }
    }

    #[test]
    fn members_decode_as_encoded_each_once() {
        let mut members = Members::default();
        assert_eq!(Members::decode(&members.encode()), Ok(members.clone()));
        for n in [1, 2, 1, 3] {
            members.add(member(n));
        }
        members.remove(&[member(2).vm]);
        assert_eq!(members.iter().collect::<Vec<_>>(), [member(1), member(3)]);
        assert_eq!(members.oldest_born(), Some(1));
        assert_eq!(Members::decode(&members.encode()), Ok(members));
    }

    #[test]
    fn list_is_refused_when_it_is_cut_off() {
        let mut members = Members::default();
        members.add(member(5));
        let bytes = members.encode();
        assert!(Members::decode(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(Members::decode(&[]), Err(CodecError::Empty));
    }
}
