//! The one that would answer sooner.

use core::time::Duration;

use crate::balance::target::Target;
use crate::ewma;
use crate::time::Time;

/// How many times its latency an endpoint is taken to need just after a failure.
const FAILURE_PENALTY: f64 = 10.0;

/// The latency that is to be expected of a target, in seconds; of one that has not answered yet
/// it is the `usual` one.
///
/// A failure makes it longer, the less the longer ago it was. How soon the failure came counts
/// for nothing: an endpoint that refuses at once would look like the fastest of all, and draw
/// the traffic of the others to where it fails. Nor is it taken for a latency itself: the usual
/// latency is made of latencies, and with penalties in it each would raise the next one.
pub(super) fn expected(target: &Target, usual: f64, now: Time, decay: Duration) -> f64 {
    let failure = target.failed_at().map(|at| ewma::remaining(now.since(at), decay));
    let latency = match target.latency() {
        Some(latency) => latency.value(now, decay),
        // As if its failure had come after the usual time: it too is tried again.
        None => usual * failure.unwrap_or(1.0),
    };
    latency * (1.0 + (FAILURE_PENALTY - 1.0) * failure.unwrap_or(0.0))
}

/// The cost of another request to a target: its latency × (requests in flight + 1), as in
/// Finagle's `Balancers.p2cPeakEwma` and linkerd2-proxy's `PeakEwma`, of which the cheaper of
/// two drawn at random is taken.
///
/// Those know no weights. Here the requests in flight count for a target's share relative to the
/// mean, and the draw is by weight: an idle pool of equally fast endpoints sends exactly by
/// weight, and a busy one loads them by it.
pub(super) fn cost(latency: f64, target: &Target, mean_share: f64) -> f64 {
    let in_flight = f64::from(target.active()) * mean_share / f64::from(target.share().get());
    latency * (in_flight + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::target::Prepared;
    use crate::balance::ticket::Ticket;
    use crate::model::endpoint::Endpoint;
    use core::net::SocketAddr;
    use core::num::NonZeroU16;
    use std::rc::Rc;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_cost_is_latency_times_requests_in_flight_for_the_weight() {
        let endpoint = Endpoint::new("10.0.0.1:80".parse::<SocketAddr>().unwrap());
        let heavy = endpoint.weighing(NonZeroU16::new(4).unwrap());
        let target = Rc::new(Target::new(&heavy, Prepared::default()));
        assert_eq!(cost(0.5, &target, 2.0), 0.5);
        let _busy = [0; 4].map(|_| Ticket::new(&target));
        assert_eq!(cost(0.5, &target, 2.0), 1.5, "4 requests at twice the mean weight are 2");
    }
}
