//! Whom to wake: this VM's entry in the list of members, and the entries of the dead.

use core::time::Duration;

use hashbrown::HashMap;

use crate::shared::key::VmId;
use crate::shared::members::{Member, Members, QueueId};
use crate::util::time::Time;

/// How often the list is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// Looks in a row at which a queue was not empty, until its owner counts as dead.
const DEAD_AFTER: u8 = 3;

/// This VM's part in the list of members.
///
/// A VM that dies leaves its entry behind, and there is no way to see that but by its
/// queue: messages stay there. A fetcher looks into the queues once in a while and removes
/// the entries of those who did not read for several looks, so that messages to the dead
/// do not pile up. One who was only slow adds itself again. Looks are an interval apart, however
/// often the list is loaded: a message that was sent a moment ago nobody can have read.
#[derive(Debug)]
pub struct Membership {
    me: VmId,
    queue: Option<QueueId>,
    born: Option<u64>,
    is_oldest: bool,
    next_look: Time,
    /// From when on the queues may be looked into again.
    next_probe: Time,
    silent: HashMap<VmId, u8>,
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
            next_look: Time::ZERO,
            next_probe: Time::ZERO,
            silent: HashMap::new(),
            leaving: false,
        }
    }

    /// Whether this VM's queue is still to be registered.
    pub const fn needs_queue(&self) -> bool {
        self.queue.is_none()
    }

    /// Takes the queue that was registered.
    pub const fn on_queue(&mut self, queue: QueueId) {
        self.queue = Some(queue);
    }

    /// Learns when this VM was made.
    pub const fn on_born(&mut self, born: u64) {
        self.born = Some(born);
    }

    /// Whether no member's VM was made before this one: it is, as far as anyone can tell, the
    /// main thread's, and does what needs doing once.
    pub const fn is_oldest(&self) -> bool {
        self.is_oldest
    }

    /// The queue, once it is registered.
    pub const fn queue(&self) -> Option<QueueId> {
        self.queue
    }

    /// Wants this VM's own entry removed at the next review.
    pub const fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the list is to be looked at now; not again before an interval has passed.
    pub fn poll_refresh(&mut self, now: Time) -> bool {
        let due = self.queue.is_some() && now >= self.next_look;
        if due {
            self.next_look = now + INTERVAL;
        }
        due
    }

    /// Forgets the wait for the next look: the list was not written.
    pub const fn refresh_soon(&mut self) {
        self.next_look = Time::ZERO;
    }

    /// Sees who is there.
    pub fn on_members(&mut self, members: &Members) {
        let first = members.oldest_born();
        self.is_oldest = self.born.is_some_and(|born| first.is_none_or(|first| born <= first));
    }

    /// What the list should be instead of `members`, if anything: with this VM, without the dead.
    pub fn reconcile(&mut self, members: &Members) -> Option<Members> {
        let (queue, born) = (self.queue?, self.born?);
        let mut dead: Vec<VmId> = members
            .iter()
            .map(|member| member.vm)
            .filter(|vm| self.silent.get(vm).is_some_and(|&looks| looks >= DEAD_AFTER))
            .collect();
        self.silent.retain(|vm, _| members.contains(*vm) && !dead.contains(vm));
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

    /// Whether the queues are to be looked into now, by a fetcher. Whoever does not fetch forgets
    /// what it saw: by the time that it fetches again that may be long ago.
    pub fn poll_probe(&mut self, is_fetcher: bool, now: Time) -> bool {
        if !is_fetcher {
            self.silent.clear();
        }
        let due = is_fetcher && now >= self.next_probe;
        if due {
            self.next_probe = now + INTERVAL;
        }
        due
    }

    /// Everyone in the list but this VM.
    pub fn peers(&self, members: &Members) -> impl Iterator<Item = Member> {
        let me = self.me;
        members.iter().filter(move |member| member.vm != me).collect::<Vec<_>>().into_iter()
    }

    /// Learns whether messages wait in a member's queue.
    pub fn on_probed(&mut self, member: VmId, pending: bool) {
        if pending {
            let looks = self.silent.entry(member).or_insert(0);
            *looks = looks.saturating_add(1);
        } else {
            self.silent.remove(&member);
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
    fn a_vm_adds_itself_once() {
        let mut membership = with_queue();
        let members = membership.reconcile(&Members::default()).unwrap();
        assert!(members.contains(ME));
        assert_eq!(membership.reconcile(&members), None);
    }

    #[test]
    fn the_first_born_knows_it_once_it_has_seen_the_others() {
        let mut membership = with_queue();
        assert!(!membership.is_oldest(), "it has not looked yet");
        membership.on_members(&both());
        assert!(membership.is_oldest());
        membership.on_born(2);
        membership.on_members(&both());
        assert!(!membership.is_oldest());
    }

    #[test]
    fn one_who_never_reads_is_removed_and_one_who_reads_once_is_not() {
        let mut membership = with_queue();
        for _ in 0..DEAD_AFTER {
            assert_eq!(membership.reconcile(&both()), None);
            membership.on_probed(OTHER, true);
        }
        let members = membership.reconcile(&both()).unwrap();
        assert!(members.contains(ME) && !members.contains(OTHER));

        for pending in [true, true, false, true, true] {
            membership.on_probed(OTHER, pending);
        }
        assert_eq!(membership.reconcile(&both()), None);
    }

    // Promise: R-604
    #[test]
    fn looks_into_queues_are_an_interval_apart() {
        let mut membership = with_queue();
        assert!(membership.poll_probe(true, Time::ZERO));
        assert!(!membership.poll_probe(true, Time::ZERO + INTERVAL / 2));
        membership.refresh_soon();
        assert!(!membership.poll_probe(true, Time::ZERO + INTERVAL / 2), "the list alone");
        assert!(membership.poll_probe(true, Time::ZERO + INTERVAL));
    }

    // Promise: R-604
    #[test]
    fn looks_are_forgotten_when_another_vm_fetches() {
        let mut membership = with_queue();
        for _ in 1..DEAD_AFTER {
            membership.on_probed(OTHER, true);
        }
        assert!(!membership.poll_probe(false, Time::ZERO));
        membership.on_probed(OTHER, true);
        assert_eq!(membership.reconcile(&both()), None);
    }

    #[test]
    fn one_who_leaves_takes_its_entry_along() {
        let mut membership = with_queue();
        membership.leave();
        let members = membership.reconcile(&both()).unwrap();
        assert!(!members.contains(ME) && members.contains(OTHER));
    }

    #[test]
    fn the_list_is_looked_at_once_in_an_interval() {
        let mut membership = Membership::new(ME);
        assert!(!membership.poll_refresh(Time::ZERO), "there is no queue to enter yet");
        membership.on_queue(QueueId(10));
        assert!(membership.poll_refresh(Time::ZERO));
        assert!(!membership.poll_refresh(Time::ZERO + INTERVAL / 2));
        assert!(membership.poll_refresh(Time::ZERO + INTERVAL));
    }
}
