//! The membership of this VM in the list of VMs, and the removal of dead members.

use core::time::Duration;

use hashbrown::HashMap;

use crate::shared::key::VmId;
use crate::shared::members::{Member, Members, QueueId};
use crate::shared::message::Message;
use crate::util::time::Time;

/// The interval between two reads of the list.
const INTERVAL: Duration = Duration::from_secs(5);
/// The number of checks in a row with a queue that is not empty, after which its owner counts as
/// dead.
const DEAD_AFTER: u8 = 3;

/// The part of this VM in the list of members.
///
/// A dead VM leaves its entry behind. Only its queue shows that it is dead: messages stay there.
/// The leader checks the queues at intervals and removes members that have not read their queue for
/// several checks, so that messages to dead VMs do not pile up. A slow VM that was removed adds
/// itself again. Two checks are an interval apart, because no VM can have read a message that was
/// sent a moment ago.
#[derive(Debug)]
pub struct Membership {
    me: VmId,
    queue: Option<QueueId>,
    born: Option<u64>,
    is_oldest: bool,
    next_read: Time,
    /// The time of the next check of the queues.
    next_check: Time,
    unresponsive: HashMap<VmId, u8>,
    leaving: bool,
}

impl Membership {
    /// Starts without a queue.
    pub fn new(me: VmId) -> Self {
        Self {
            me,
            queue: None,
            born: None,
            is_oldest: false,
            next_read: Time::ZERO,
            next_check: Time::ZERO,
            unresponsive: HashMap::new(),
            leaving: false,
        }
    }

    /// Returns true if the queue of this VM must still be registered.
    pub const fn needs_queue(&self) -> bool {
        self.queue.is_none()
    }

    /// Takes the queue that was registered.
    pub const fn on_queue(&mut self, queue: QueueId) {
        self.queue = Some(queue);
    }

    /// Sets the time at which this VM was made.
    pub const fn on_born(&mut self, born: u64) {
        self.born = Some(born);
    }

    /// Returns true if no member is older than this VM. The oldest VM is normally the main
    /// thread's, and does the work that needs doing once.
    pub const fn is_oldest(&self) -> bool {
        self.is_oldest
    }

    /// Returns the queue, once it is registered.
    pub const fn queue(&self) -> Option<QueueId> {
        self.queue
    }

    /// Requests the removal of this VM's entry by the next reconciliation.
    pub const fn leave(&mut self) {
        self.leaving = true;
    }

    /// Returns true if the list must be read now. Returns true once per interval.
    pub fn poll_refresh(&mut self, now: Time) -> bool {
        let due = self.queue.is_some() && now >= self.next_read;
        if due {
            self.next_read = now + INTERVAL;
        }
        due
    }

    /// Makes the next read due at once, because the list was not written.
    pub const fn refresh_soon(&mut self) {
        self.next_read = Time::ZERO;
    }

    /// Updates whether this VM is the oldest member.
    pub fn on_members(&mut self, members: &Members) {
        let first = members.oldest_born();
        self.is_oldest = self.born.is_some_and(|born| first.is_none_or(|first| born <= first));
    }

    /// Returns the list that must replace `members`, if it differs: with this VM and without dead
    /// VMs.
    pub fn reconcile(&mut self, members: &Members) -> Option<Members> {
        let (queue, born) = (self.queue?, self.born?);
        let mut dead: Vec<VmId> = members
            .iter()
            .map(|member| member.vm)
            .filter(|vm| self.unresponsive.get(vm).is_some_and(|&reads| reads >= DEAD_AFTER))
            .collect();
        self.unresponsive.retain(|vm, _| members.contains(*vm) && !dead.contains(vm));
        if self.leaving {
            dead.push(self.me);
        }
        if dead.is_empty() && members.contains(self.me) {
            return None;
        }
        let mut better = members.clone();
        better.remove(&dead);
        if !self.leaving {
            better.add(Member { vm: self.me, queue, born });
        }
        Some(better)
    }

    /// Returns true if a leader must check the queues now. A VM that does not lead forgets earlier
    /// checks, since they may be old when it leads again.
    pub fn poll_queue_check(&mut self, is_leader: bool, now: Time) -> bool {
        if !is_leader {
            self.unresponsive.clear();
        }
        let due = is_leader && now >= self.next_check;
        if due {
            self.next_check = now + INTERVAL;
        }
        due
    }

    /// Returns all members but this VM.
    pub fn peers(&self, members: &Members) -> impl Iterator<Item = Member> {
        let me = self.me;
        members.iter().filter(move |member| member.vm != me).collect::<Vec<_>>().into_iter()
    }

    /// Takes the result of a check: whether messages wait in the queue of `member`. The next check is
    /// an interval later, also if this one was late because the VM stood still.
    pub fn on_queue_checked(&mut self, member: VmId, pending: bool, now: Time) {
        self.next_check = self.next_check.max(now + INTERVAL);
        if pending {
            let reads = self.unresponsive.entry(member).or_insert(0);
            *reads = reads.saturating_add(1);
        } else {
            self.unresponsive.remove(&member);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ME: VmId = VmId(1);
    const OTHER: VmId = VmId(2);

    fn with_queue() -> Membership {
        let mut membership = Membership::new(ME);
        membership.on_queue(QueueId(10));
        membership.on_born(1);
        membership
    }

    fn both() -> Members {
        let mut members = Members::default();
        members.add(Member { vm: ME, queue: QueueId(10), born: 1 });
        members.add(Member { vm: OTHER, queue: QueueId(20), born: 2 });
        members
    }

    #[test]
    fn vm_adds_itself_once() {
        let mut membership = with_queue();
        let members = membership.reconcile(&Members::default()).unwrap();
        assert!(members.contains(ME));
        assert_eq!(membership.reconcile(&members), None);
    }

    #[test]
    fn oldest_vm_is_known_when_the_members_were_read() {
        let mut membership = with_queue();
        assert!(!membership.is_oldest(), "it has not looked yet");
        membership.on_members(&both());
        assert!(membership.is_oldest());
        membership.on_born(2);
        membership.on_members(&both());
        assert!(!membership.is_oldest());
    }

    #[test]
    fn member_is_removed_when_it_never_reads_its_queue() {
        let mut membership = with_queue();
        for _ in 0..DEAD_AFTER {
            assert_eq!(membership.reconcile(&both()), None);
            membership.on_queue_checked(OTHER, true, Time::ZERO);
        }
        let members = membership.reconcile(&both()).unwrap();
        assert!(members.contains(ME) && !members.contains(OTHER));

        for pending in [true, true, false, true, true] {
            membership.on_queue_checked(OTHER, pending, Time::ZERO);
        }
        assert_eq!(membership.reconcile(&both()), None);
    }

    // Promise: R-604
    #[test]
    fn queue_checks_are_an_interval_apart() {
        let mut membership = with_queue();
        assert!(membership.poll_queue_check(true, Time::ZERO));
        assert!(!membership.poll_queue_check(true, Time::ZERO + INTERVAL / 2));
        membership.refresh_soon();
        assert!(!membership.poll_queue_check(true, Time::ZERO + INTERVAL / 2), "the list alone");
        assert!(membership.poll_queue_check(true, Time::ZERO + INTERVAL));
    }

    // Promise: R-604
    #[test]
    fn queue_checks_are_forgotten_when_another_vm_leads() {
        let mut membership = with_queue();
        for _ in 1..DEAD_AFTER {
            membership.on_queue_checked(OTHER, true, Time::ZERO);
        }
        assert!(!membership.poll_queue_check(false, Time::ZERO));
        membership.on_queue_checked(OTHER, true, Time::ZERO);
        assert_eq!(membership.reconcile(&both()), None);
    }

    #[test]
    fn entry_is_removed_when_its_vm_leaves() {
        let mut membership = with_queue();
        membership.leave();
        let members = membership.reconcile(&both()).unwrap();
        assert!(!members.contains(ME) && members.contains(OTHER));
    }

    #[test]
    fn list_is_read_once_in_an_interval() {
        let mut membership = Membership::new(ME);
        assert!(!membership.poll_refresh(Time::ZERO), "there is no queue to enter yet");
        membership.on_queue(QueueId(10));
        assert!(membership.poll_refresh(Time::ZERO));
        assert!(!membership.poll_refresh(Time::ZERO + INTERVAL / 2));
        assert!(membership.poll_refresh(Time::ZERO + INTERVAL));
    }
}
