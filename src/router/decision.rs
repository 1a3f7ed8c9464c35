//! What becomes of a request.

use core::iter;
use std::rc::Rc;

use crate::balance::pool::Pool;
use crate::balance::target::Target;
use crate::balance::ticket::Ticket;
use crate::config::Handoff;
use crate::router::reply::Reply;

/// What becomes of a request.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// It is of no service, and goes on untouched.
    Pass,
    /// It is answered at once.
    Reply(Rc<Reply>),
    /// Its service has never been resolved. It waits for the first snapshot, and is
    /// answered with this if that takes too long.
    Wait(Rc<Reply>),
    /// It goes to an endpoint.
    Forward(Forward),
}

/// Where a request goes, and where its retries go.
#[derive(Debug)]
#[must_use = "a forward that is dropped at once counts no request"]
pub struct Forward {
    ticket: Ticket,
    /// For the retries; none from the place on at which the endpoints ran out.
    others: [Option<Rc<Target>>; Handoff::MAX_ATTEMPTS as usize - 1],
    attempts: u8,
}

impl Forward {
    /// Picks an endpoint and prepares `attempts` attempts, from 1 to [`Handoff::MAX_ATTEMPTS`];
    /// none where the pool is empty.
    pub(super) fn pick(pool: &mut Pool, attempts: u8) -> Option<Self> {
        let ticket = pool.pick()?;
        let mut others = [const { None }; Handoff::MAX_ATTEMPTS as usize - 1];
        let retries = usize::from(attempts.saturating_sub(1));
        if let Some(wanted) = others.get_mut(..retries) {
            pool.alternatives(&ticket, wanted);
        }
        Some(Self { ticket, others, attempts })
    }

    /// The request in flight.
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The ticket alone, to be kept until the request is over.
    pub fn into_ticket(self) -> Ticket {
        self.ticket
    }

    /// The handoff of each attempt, in their order.
    ///
    /// There is always one for every attempt: where there are fewer endpoints, they come
    /// again from the first on. Envoy's composite cluster would replace the real answer of
    /// an endpoint by a 503 of its own if a retry had nowhere to go.
    pub fn handoffs(&self) -> impl Iterator<Item = &[u8]> {
        let others = self.others.iter().flatten().map(Rc::as_ref);
        iter::once(self.ticket.target())
            .chain(others)
            .map(Target::handoff)
            .cycle()
            .take(usize::from(self.attempts))
    }
}
