//! One service's place in the router.

use std::rc::Rc;

use crate::balance::hints::Hints;
use crate::balance::pool::{Pool, PoolEvent};
use crate::balance::retry_budget::Budget;
use crate::config::{Locality, Service};
use crate::model::service::ServiceId;
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::router::decision::{Decision, Forward, Others};
use crate::router::handoff::Preparation;
use crate::router::reply::Reply;
use crate::router::reservation::{Reservation, SharedBudget};
use crate::router::wants::Wants;
use crate::time::Time;

/// One service's place in the router.
#[derive(Debug)]
pub(super) struct Route {
    service: ServiceId,
    pub(super) pool: Pool,
    pub(super) wants: Wants,
    preparation: Preparation,
    budget: Option<SharedBudget>,
    no_healthy_endpoints: Rc<Reply>,
    not_resolved_yet: Rc<Reply>,
}

impl Route {
    /// The route of a service that was never resolved.
    pub(super) fn new(
        id: ServiceId,
        service: &Service,
        locality: Option<&Locality>,
        preparation: Preparation,
        rng: Rng,
    ) -> Self {
        Self {
            service: id,
            pool: Pool::new(service, locality, rng),
            wants: Wants::of(service),
            preparation: if service.resolve_names { Preparation::DynamicHost } else { preparation },
            budget: service.retry_budget.map(Budget::new).map(SharedBudget::new),
            no_healthy_endpoints: Rc::new(Reply::no_healthy_endpoints(&service.name)),
            not_resolved_yet: Rc::new(Reply::not_resolved_yet(&service.name)),
        }
    }

    /// Replaces the endpoints of one datacenter.
    pub(super) fn install(&mut self, preference: usize, snapshot: &Snapshot, now: Time) {
        let preparation = self.preparation;
        self.pool
            .install(preference, snapshot, now, &mut |endpoint| preparation.of(&endpoint.address));
    }

    /// Lets time pass, and tells what has happened.
    pub(super) fn on_tick(&mut self, now: Time) -> Vec<PoolEvent> {
        self.pool.on_tick(now);
        self.pool.take_events()
    }

    /// Decides what becomes of a request.
    pub(super) fn decide(&mut self, hints: &Hints) -> Decision {
        if !self.pool.is_resolved() {
            return Decision::Wait(Rc::clone(&self.not_resolved_yet));
        }
        let mut others: Others = [const { None }; _];
        let wanted = u32::from(self.preparation.attempts()) - 1;
        let reservation = self.budget.as_ref().map(|budget| budget.reserve(wanted, hints.now));
        let retries = reservation.as_ref().map_or(wanted, Reservation::granted);
        let places = others.get_mut(..retries as usize).unwrap_or_default();
        let Some(ticket) = self.pool.pick(hints, places) else {
            return Decision::Reply(Rc::clone(&self.no_healthy_endpoints));
        };
        Decision::Forward(Forward {
            service: self.service,
            ticket,
            others,
            preparation: self.preparation,
            sent: hints.now,
            pin: hints.pin,
            reservation,
        })
    }
}
