//! A message on its way to other VMs.

use crate::shared::key::VmId;
use crate::shared::members::{Member, Members};
use crate::shared::message::Message;

/// A message and whom it is for; sent once the list of members is loaded, which tells their
/// queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Whom it is for.
    pub to: Recipient,
    /// What it says.
    pub message: Message,
}

/// Whom a letter is for; never the VM that writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// All other VMs.
    Everyone,
    /// One of them.
    One(VmId),
    /// Those of the VM that was made first.
    Oldest,
}

impl Outgoing {
    /// Whether it is for this one of the members.
    pub fn is_for(&self, member: Member, members: &Members) -> bool {
        match self.to {
            Recipient::Everyone => true,
            Recipient::One(vm) => vm == member.vm,
            Recipient::Oldest => members.oldest_born() == Some(member.born),
        }
    }
}
