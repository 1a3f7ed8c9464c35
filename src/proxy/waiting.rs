//! Requests that wait for a service that was never resolved yet.

use std::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::model::service::ServiceId;
use crate::router::decision::Forward;
use crate::router::reply::Reply;
use crate::time::Time;

/// How many requests may wait in one VM; beyond that, they are answered at once.
const MOST: usize = 4_096;

/// Where the way of a request that waited is put: its own context holds the other end.
pub(super) type ForwardSlot = Rc<Cell<Option<Forward>>>;

/// A paused request.
pub(super) struct Waiter {
    /// What it waits for.
    pub(super) service: ServiceId,
    /// Until when.
    pub(super) deadline: Time,
    /// What it is answered then.
    pub(super) reply: Rc<Reply>,
    /// Where its way is put.
    pub(super) slot: ForwardSlot,
}

/// All paused requests of one root context, by the HTTP context that is paused.
#[derive(Default)]
pub(super) struct Waiting(HashMap<u32, Waiter>);

impl Waiting {
    /// Whether another request may wait.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MOST
    }

    /// Lets a request wait.
    pub(super) fn add(&mut self, context: u32, waiter: Waiter) {
        self.0.insert(context, waiter);
    }

    /// Forgets a request that has ended by itself.
    pub(super) fn remove(&mut self, context: u32) {
        self.0.remove(&context);
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out those that need not wait any longer.
    pub(super) fn take_due(&mut self, is_due: impl Fn(&Waiter) -> bool) -> Vec<(u32, Waiter)> {
        self.0.extract_if(|_, waiter| is_due(waiter)).collect()
    }
}
