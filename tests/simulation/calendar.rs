//! What is going to happen, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::consul::HeldId;
use crate::envoy::Event;
use crate::replies::Reply;
use crate::vm::{ContextId, Mail};

/// Something that happens at a moment.
pub enum Happening {
    /// A VM goes on with what it is in the middle of.
    Step(usize),
    /// Something comes for a context.
    Mail(ContextId, Mail),
    /// An answer of Consul arrives.
    Reply(Reply),
    /// Consul has held a query for as long as it was asked to.
    HeldLongEnough(HeldId),
    /// A request comes to a worker.
    Request(usize),
    /// An instance comes or goes.
    Change,
    /// Something goes wrong.
    Fault,
    /// A new configuration reaches a VM.
    Configure(usize, usize),
    /// A configuration is in use no longer in a VM.
    Drain(usize, usize),
    /// Something happens to one of Envoy's subscriptions.
    Envoy(Event),
}

/// What is going to happen, by time; of what happens at one moment, what was planned first comes
/// first.
#[derive(Default)]
pub struct Calendar {
    entries: BinaryHeap<Entry>,
    count: u64,
}

struct Entry {
    at: u64,
    number: u64,
    what: Happening,
}

impl Calendar {
    /// Plans something.
    pub fn plan(&mut self, at: u64, what: Happening) {
        self.count += 1;
        self.entries.push(Entry { at, number: self.count, what });
    }

    /// The next that happens before `end`.
    pub fn next(&mut self, end: u64) -> Option<(u64, Happening)> {
        if self.entries.peek()?.at >= end {
            return None;
        }
        self.entries.pop().map(|entry| (entry.at, entry.what))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap gives that one first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
