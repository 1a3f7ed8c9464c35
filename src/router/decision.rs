//! What becomes of a request.

use core::iter;
use std::rc::Rc;

use crate::balancer::ticket::Ticket;
use crate::balancer::upstream_host::{EncodedHandoff, UpstreamHost};
use crate::config::Handoff;
use crate::model::service::ServiceId;
use crate::router::handoff::HandoffEncoding;
use crate::router::reply::Reply;
use crate::util::time::Time;

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

/// A request on its way: where it goes, where its retries go, and what its answer will teach.
#[derive(Debug)]
#[must_use = "a forward that is dropped at once counts no request"]
pub struct Forward {
    pub(super) service: ServiceId,
    pub(super) ticket: Ticket,
    /// For the retries; none from the place on at which the endpoints ran out.
    pub(super) others: Others,
    pub(super) preparation: HandoffEncoding,
    /// When it was sent; the start of time where that is not wanted.
    pub(super) sent: Time,
    /// Whether its body was still to come then.
    pub(super) has_body: bool,
    /// Whether it is known that no cookie binds its client to an instance.
    pub(super) is_unbound: bool,
}

/// The endpoints of the retries.
pub(super) type Others = [Option<Rc<UpstreamHost>>; Handoff::MAX_ATTEMPTS as usize - 1];

impl Forward {
    /// The request in flight.
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The service that it is of.
    pub const fn service(&self) -> ServiceId {
        self.service
    }

    /// Whether its body was still to come when its endpoint was picked: how long an answer takes
    /// is then the client's doing, too.
    pub const fn has_body(&self) -> bool {
        self.has_body
    }

    /// How its endpoints were prepared for the handoff.
    pub const fn preparation(&self) -> HandoffEncoding {
        self.preparation
    }

    /// Whether it has to be known if a cookie binds its client to an instance: Envoy has sent a request
    /// that the same endpoint was picked for to another host lately.
    pub fn is_doubted(&self) -> bool {
        self.preparation == HandoffEncoding::Session && self.ticket.host().is_doubted(self.sent)
    }

    /// Takes in that it has no cookie.
    pub const fn set_unbound(&mut self) {
        self.is_unbound = true;
    }

    /// The handoff of each attempt, in their order.
    ///
    /// There is always one for every attempt: where there are fewer endpoints, they come
    /// again from the first on.
    pub fn handoffs(&self) -> impl Iterator<Item = &EncodedHandoff> {
        self.endpoints().map(|target| target.handoff())
    }

    /// The endpoint of each attempt, in their order.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Rc<UpstreamHost>> {
        iter::once(self.ticket.host())
            .chain(self.others.iter().flatten())
            .cycle()
            .take(usize::from(self.preparation.attempts()))
    }
}
