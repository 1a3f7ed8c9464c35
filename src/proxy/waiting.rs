//! Requests that wait for a service that was never resolved yet.

use std::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::model::service::ServiceId;
use crate::router::forward::Forward;
use crate::router::reply::Reply;
use crate::util::time::Time;

/// How many requests may wait in one VM; beyond that, they are answered at once.
const MOST: usize = 4_096;

/// How many requests are let go in one call into the VM. Envoy lets each go when the call is over; one
/// that is answered then makes it call the VM, at the end of which it lets the next one go, inside the
/// first: thousands of them would need more stack than the VM has.
const MOST_AT_ONCE: usize = 50;

/// Where the way of a request that waited is put: its own context holds the other end.
pub(super) type ForwardSlot = Rc<Cell<Option<Forward>>>;

/// A paused request.
pub(super) struct Waiter {
    /// What it waits for.
    pub(super) service: ServiceId,
    /// Whether that is a name that a client has sent.
    pub(super) is_named: bool,
    /// Until when.
    pub(super) deadline: Time,
    /// Whether its body was still to come when it was paused.
    pub(super) has_body: bool,
    /// What it is answered then.
    pub(super) reply: Rc<Reply>,
    /// Where its way is put.
    pub(super) slot: ForwardSlot,
}

/// All paused requests of one root context, by the HTTP context that is paused.
pub(super) struct Waiting {
    waiters: HashMap<u32, Waiter>,
    /// How many of them wait for names that clients have sent, and may at most.
    named: usize,
    most_named: usize,
    /// Whether there may be more that need not wait than were taken out last.
    has_rest: bool,
}

impl Waiting {
    /// Nobody waits yet; of those that will, so many may wait for names that clients have sent.
    pub(super) fn new(most_named: u32) -> Self {
        let most_named = most_named as usize;
        Self { waiters: HashMap::new(), named: 0, most_named, has_rest: false }
    }

    /// Whether another request may wait.
    pub(super) fn has_room(&self, is_named: bool) -> bool {
        self.waiters.len() < MOST && (!is_named || self.named < self.most_named)
    }

    /// Lets a request wait.
    pub(super) fn add(&mut self, context: u32, waiter: Waiter) {
        self.named += usize::from(waiter.is_named);
        self.waiters.insert(context, waiter);
    }

    /// Forgets a request that has ended by itself.
    pub(super) fn remove(&mut self, context: u32) {
        if let Some(waiter) = self.waiters.remove(&context) {
            self.named -= usize::from(waiter.is_named);
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Whether somebody has waited long enough.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.waiters.values().any(|waiter| now >= waiter.deadline)
    }

    /// Whether there may be more that need not wait than were taken out last.
    pub(super) fn has_rest(&self) -> bool {
        self.has_rest && !self.is_empty()
    }

    /// Takes out those that need not wait any longer, or as many of them as may go at once.
    pub(super) fn take_due(
        &mut self,
        mut is_due: impl FnMut(&Waiter) -> bool,
    ) -> Vec<(u32, Waiter)> {
        let due = self.waiters.extract_if(|_, waiter| is_due(waiter));
        let due: Vec<_> = due.take(MOST_AT_ONCE).collect();
        self.has_rest = due.len() == MOST_AT_ONCE;
        self.named -= due.iter().filter(|(_, waiter)| waiter.is_named).count();
        due
    }
}
