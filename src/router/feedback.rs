//! What an answer teaches.

use crate::balancer::ticket::RequestOutcome;
use crate::model::endpoint::Address;
use crate::model::service::ServiceId;
use crate::router::Router;
use crate::router::forward::{Attempt, Forward, parse_upstream};
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
        let Some(upstream) = parse_upstream(upstream).map(Address::Ip) else { return false };
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
