//! A message that waits for the list of members.

use crate::shared::key::VmId;
use crate::shared::members::{Member, Members};
use crate::shared::message::Message;

/// A message and its recipient. It is sent once the list of members is loaded, which contains their
/// queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The recipient.
    pub to: Recipient,
    /// The message.
    pub message: Message,
}

/// The recipient of a message; never the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// All other VMs.
    Everyone,
    /// The VM of that id.
    One(VmId),
    /// The oldest VM.
    Oldest,
}

impl Outgoing {
    /// Returns true if the message is for this member.
    pub fn is_for(&self, member: Member, members: &Members) -> bool {
        match self.to {
            Recipient::Everyone => true,
            Recipient::One(vm) => vm == member.vm,
            Recipient::Oldest => members.oldest_born() == Some(member.born),
        }
    }
}
