//! The requests that wait for a service.

use std::cell::Cell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::host::Host;
use crate::model::service::ServiceId;
use crate::proxy::envoy_host::EnvoyHost;
use crate::proxy::subscriptions::read_acknowledged;
use crate::request::warmup::Warmup;
use crate::router::Router;
use crate::router::forward::Forward;
use crate::router::reply::Reply;
use crate::util::time::Time;

/// The maximum number of requests that wait in one VM. Beyond that, requests get a reply at once.
const MOST: usize = 4_096;

/// The maximum number of requests that continue in one call into the VM. Envoy continues each after
/// the call. A reply makes Envoy call the VM again within that, so thousands would exhaust the
/// stack.
const MOST_AT_ONCE: usize = 50;

/// The slot for the forward of a request that waited. Its own context holds the other end.
pub(super) type ForwardSlot = Rc<Cell<Option<Forward>>>;

/// A paused request.
pub(super) struct Waiter {
    /// The service that the request waits for.
    pub(super) service: ServiceId,
    /// True if a client has named the service.
    pub(super) is_named: bool,
    /// The end of the wait.
    pub(super) deadline: Time,
    /// True if a body was still to come when the request was paused.
    pub(super) has_body: bool,
    /// The reply after the deadline.
    pub(super) reply: Rc<Reply>,
    /// The slot for its forward.
    pub(super) slot: ForwardSlot,
}

/// All paused requests of one root context, by the HTTP context that is paused.
pub(super) struct Waiting {
    waiters: HashMap<u32, Waiter>,
    /// The number of requests that wait for names that clients have sent, and its limit.
    named: usize,
    most_named: usize,
    /// True if more requests may be ready than were taken out last.
    has_rest: bool,
}

impl Waiting {
    /// Starts without waiting requests. At most `most_named` may wait for names that clients have
    /// sent.
    pub(super) fn new(most_named: u32) -> Self {
        let most_named = most_named as usize;
        Self { waiters: HashMap::new(), named: 0, most_named, has_rest: false }
    }

    /// Returns true if another request may wait.
    pub(super) fn has_room(&self, is_named: bool) -> bool {
        self.waiters.len() < MOST && (!is_named || self.named < self.most_named)
    }

    /// Adds a request.
    pub(super) fn add(&mut self, context: u32, waiter: Waiter) {
        self.named += usize::from(waiter.is_named);
        self.waiters.insert(context, waiter);
    }

    /// Removes a request that has ended by itself.
    pub(super) fn remove(&mut self, context: u32) {
        if let Some(waiter) = self.waiters.remove(&context) {
            self.named -= usize::from(waiter.is_named);
        }
    }

    /// Returns true if no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Returns true if the deadline of a request is over.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.waiters.values().any(|waiter| now >= waiter.deadline)
    }

    /// Returns true if more requests may be ready than were taken out last.
    pub(super) fn has_rest(&self) -> bool {
        self.has_rest && !self.is_empty()
    }

    /// Takes out the requests that need not wait any longer, as many as may continue at once.
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

/// Returns true if this worker knows the endpoints of a service before Envoy's own cluster does. A
/// pick would then name a host that the cluster does not have. Names that clients have sent have no
/// such cluster.
pub(super) fn is_ahead(
    warmup: &mut Option<Warmup>,
    router: &Router,
    host: &mut EnvoyHost,
    service: ServiceId,
) -> bool {
    let Some(warmup) = warmup else { return false };
    if warmup.is_ready(service) || !router.picks_hosts(service) {
        return false;
    }
    let now = host.now();
    let name = host.service_name(service).unwrap_or_default();
    !warmup.look_up(service, name, now, read_acknowledged)
}
