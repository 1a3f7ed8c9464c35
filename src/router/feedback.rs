//! What an answer teaches.

use core::net::SocketAddr;
use core::num::NonZeroU32;
use core::str;
use core::time::Duration;
use std::rc::Rc;

use crate::balancer::ticket::RequestOutcome;
use crate::balancer::upstream_host::UpstreamHost;
use crate::model::endpoint::Address;
use crate::model::service::ServiceId;
use crate::router::Router;
use crate::router::decision::Forward;
use crate::util::time::Time;

/// What is to be told about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// How many endpoints have failed.
    pub failures: u32,
    /// Whether one of them could perhaps not be reached.
    pub suspects: bool,
}

impl Router {
    /// Learns which attempt of a request was answered: the endpoints of the earlier ones have
    /// failed. Of later ones, which Envoy makes beside one that takes long (hedging), nothing is
    /// known. Tells how many have failed.
    pub fn on_response(&mut self, forward: &Forward, attempt: Attempt, now: Time) -> u32 {
        let mut failures = 0;
        if let Some(route) = self.route_mut(forward.service) {
            for target in forward.endpoints().take(attempt.retries() as usize) {
                // Why it was retried is not known any more; whatever it was, Envoy's router took
                // it for a failure of the endpoint.
                failures += 1;
                route.pool.on_outcome(target, RequestOutcome::Failure, now);
            }
        }
        failures
    }

    /// Whether a service has an endpoint at the address that Envoy's router names.
    pub fn has_endpoint(&self, service: ServiceId, upstream: &[u8]) -> bool {
        let Some(upstream) = parse(upstream).map(Address::Ip) else { return false };
        let route = self.routes.get(service);
        route.is_some_and(|it| it.pool.has(&upstream))
    }

    /// Learns how the endpoint that has answered did; tells how many have failed.
    pub fn on_outcome(
        &mut self,
        forward: &Forward,
        attempt: Attempt,
        outcome: RequestOutcome,
        now: Time,
    ) -> u32 {
        // Envoy may make more attempts than it was given endpoints for.
        let Some(target) = forward.endpoint(attempt) else {
            return 0;
        };
        if let Some(route) = self.route_mut(forward.service) {
            route.pool.on_outcome(target, outcome, now);
        }
        u32::from(outcome == RequestOutcome::Failure)
    }

    /// Learns that Envoy has sent a request to another host at once than was picked. Where that is one
    /// of the same service and no cookie binds the client to it, Envoy does not use the pick: that is a
    /// failure of the pick. At the first one it is not known whether there is a cookie.
    pub fn on_passed_over(&mut self, forward: &Forward, upstream: &[u8], now: Time) {
        if self.has_endpoint(forward.service, upstream) {
            forward.ticket.host().doubt(now);
            if forward.is_unbound {
                self.on_outcome(forward, Attempt::FIRST, RequestOutcome::Failure, now);
            }
        }
    }

    /// Learns that the client of a request has left before its endpoint has answered.
    pub fn on_silence(&mut self, forward: &Forward, now: Time) {
        if let Some(route) = self.route_mut(forward.service) {
            let time = now.since(forward.sent);
            route.pool.on_silence(forward.ticket.host(), time, now);
        }
    }
}

impl Forward {
    /// How long it has been under way, where the first attempt was answered: how the time is
    /// shared between several is not known.
    pub fn latency(&self, attempt: Attempt, now: Time) -> Option<Duration> {
        (attempt.retries() == 0).then(|| now.since(self.sent))
    }

    /// Which of the attempts that were `made` is that to the address which Envoy's router names; of
    /// several the last one. None where it is none of them: a route may lead to another cluster.
    /// Where a name leads is not known here: to any address.
    ///
    /// It is not always the last attempt: with hedging an earlier one may be answered first. Of more
    /// attempts than there are endpoints for, the last one is of none.
    pub fn attempt_to(&self, upstream: &[u8], made: Attempt) -> Option<Attempt> {
        let upstream = parse(upstream)?;
        let is_it = |target: &Rc<UpstreamHost>| match target.address() {
            Address::Ip(address) => *address == upstream,
            Address::Name(..) => true,
        };
        let attempts = self.endpoints().zip(1..).take(made.0.get() as usize);
        let last = attempts.filter(|(target, _)| is_it(target)).last();
        let is_beyond = made.retries() >= u32::from(self.preparation.attempts());
        last.map(|(_, number)| if is_beyond { made } else { Attempt::new(number) })
    }

    /// Whether its endpoint has a name, which Envoy's dynamic forward proxy resolves.
    pub fn goes_by_name(&self) -> bool {
        matches!(self.ticket.host().address(), Address::Name(..))
    }

    fn endpoint(&self, attempt: Attempt) -> Option<&Rc<UpstreamHost>> {
        self.endpoints().nth(attempt.retries() as usize)
    }
}

fn parse(address: &[u8]) -> Option<SocketAddr> {
    str::from_utf8(address).ok()?.parse().ok()
}

/// Which attempt of a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt(NonZeroU32);

impl Attempt {
    /// The first one, which is no retry.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The attempt of this number, as Envoy counts: the first is 1.
    pub fn new(number: u64) -> Self {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
    }

    /// How many were made before it.
    pub const fn retries(self) -> u32 {
        self.0.get() - 1
    }
}
