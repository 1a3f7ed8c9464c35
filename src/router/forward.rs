//! A request on its way to an endpoint.

use core::iter;
use core::net::SocketAddr;
use core::num::NonZeroU32;
use core::str;
use core::time::Duration;
use std::rc::Rc;

use crate::balancer::ticket::Ticket;
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::Handoff;
use crate::handoff::HandoffMethod;
use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::Address;
use crate::model::service::ServiceId;
use crate::util::time::Time;

/// A request on its way: the endpoints of its attempts, and what its response is measured by.
#[derive(Debug)]
#[must_use = "a forward that is dropped at once counts no request"]
pub struct Forward {
    pub(super) service: ServiceId,
    pub(super) ticket: Ticket,
    /// The endpoints of the retries; none from the place on at which the endpoints ran out.
    pub(super) retry_hosts: RetryHosts,
    pub(super) handoff: HandoffMethod,
    /// The time of the pick; the start of time if the service does not need it.
    pub(super) sent: Time,
    /// True if the body was still to come at the time of the pick.
    pub(super) has_body: bool,
    /// True if it is known that no cookie binds the client to an instance.
    pub(super) is_unbound: bool,
}

/// The endpoints of the retries.
pub(super) type RetryHosts = [Option<Rc<UpstreamHost>>; Handoff::MAX_ATTEMPTS as usize - 1];

impl Forward {
    /// Returns the request in flight.
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Returns the service of the request.
    pub const fn service(&self) -> ServiceId {
        self.service
    }

    /// Returns true if the body was still to come at the time of the pick. The latency then depends on
    /// the client, too.
    pub const fn has_body(&self) -> bool {
        self.has_body
    }

    /// Returns the handoff of the picks.
    pub const fn handoff(&self) -> HandoffMethod {
        self.handoff
    }

    /// Returns true if the handler must find out whether a cookie binds the client to an instance: Envoy
    /// has lately sent another request with the same pick to another host.
    pub fn is_doubted(&self) -> bool {
        self.handoff == HandoffMethod::StatefulSession && self.ticket.host().is_doubted(self.sent)
    }

    /// Notes that the request has no cookie.
    pub const fn set_unbound(&mut self) {
        self.is_unbound = true;
    }

    /// Lists the encoded handoff of each attempt in order. If there are fewer endpoints than attempts, the
    /// endpoints repeat from the first on.
    pub fn handoffs(&self) -> impl Iterator<Item = &EncodedHandoff> {
        self.endpoints().map(|host| host.handoff())
    }

    /// Lists the endpoint of each attempt in order.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Rc<UpstreamHost>> {
        iter::once(self.ticket.host())
            .chain(self.retry_hosts.iter().flatten())
            .cycle()
            .take(usize::from(self.handoff.attempts()))
    }

    /// Returns the endpoint of an attempt. Envoy may make more attempts than it was given endpoints for.
    pub(super) fn endpoint(&self, attempt: Attempt) -> Option<&Rc<UpstreamHost>> {
        self.endpoints().nth(attempt.retries() as usize)
    }

    /// Returns the time since the pick if the first attempt has responded. The share of each of several
    /// attempts is not known.
    pub fn latency(&self, attempt: Attempt, now: Time) -> Option<Duration> {
        (attempt.retries() == 0).then(|| now.since(self.sent))
    }

    /// Returns the last of the `made` attempts that went to the address which Envoy's router names. Returns
    /// `None` if none did: a route may lead to another cluster. A name may lead to any address.
    ///
    /// The result is not always the last attempt: with hedging, an earlier one may respond first. If Envoy
    /// has made more attempts than there are endpoints for, the last attempt has none.
    pub fn attempt_to(&self, upstream: &[u8], made: Attempt) -> Option<Attempt> {
        let upstream = parse_upstream(upstream)?;
        let is_it = |host: &Rc<UpstreamHost>| match host.address() {
            Address::Ip(address) => *address == upstream,
            Address::Name(..) => true,
        };
        let attempts = self.endpoints().zip(1..).take(made.0.get() as usize);
        let last = attempts.filter(|(host, _)| is_it(host)).last();
        let is_beyond = made.retries() >= u32::from(self.handoff.attempts());
        last.map(|(_, number)| if is_beyond { made } else { Attempt::new(number) })
    }

    /// Returns true if the endpoint has a name, which Envoy's dynamic forward proxy resolves.
    pub fn goes_by_name(&self) -> bool {
        matches!(self.ticket.host().address(), Address::Name(..))
    }
}

/// Reads the address that Envoy's router names.
pub(super) fn parse_upstream(address: &[u8]) -> Option<SocketAddr> {
    str::from_utf8(address).ok()?.parse().ok()
}

/// The number of an attempt of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt(NonZeroU32);

impl Attempt {
    /// The first attempt, which is no retry.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Returns the attempt of this number, as Envoy counts: the first is 1.
    pub fn new(number: u64) -> Self {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    /// Returns the number of attempts before this one.
    pub const fn retries(self) -> u32 {
        self.0.get() - 1
    }
}
