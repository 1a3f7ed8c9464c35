//! Where routes are made.

use core::time::Duration;

use crate::config::{Config, Locality, Service};
use crate::handoff::HandoffMethod;
use crate::model::service::ServiceId;
use crate::router::route::Route;
use crate::util::rng::Rng;

/// What every route is made with, whenever it is made.
#[derive(Debug)]
pub(super) struct RouteFactory {
    locality: Option<Locality>,
    pub(super) handoff: HandoffMethod,
    warmup_timeout: Duration,
    rng: Rng,
}

impl RouteFactory {
    /// Takes from the configuration what is the same for all services.
    pub(super) fn new(config: &Config, rng: Rng) -> Self {
        Self {
            locality: config.locality.clone(),
            handoff: HandoffMethod::new(&config.handoff),
            warmup_timeout: config.warmup_timeout,
            rng,
        }
    }

    /// Makes the route of a service that was never resolved.
    pub(super) fn route(&mut self, id: ServiceId, service: &Service) -> Route {
        let Self { locality, handoff, warmup_timeout, rng } = self;
        Route::new(id, service, locality.as_ref(), *handoff, *warmup_timeout, rng.split())
    }
}
