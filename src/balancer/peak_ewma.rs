//! The one that would answer sooner.

use core::time::Duration;

use crate::balancer::request_outcome::RequestOutcome;
use crate::balancer::upstream_host::UpstreamHost;
use crate::util::time::Time;

/// The natural logarithm of how many times its latency an endpoint is taken to need that answers
/// nothing but failures: of 1000.
const FAILURE_PENALTY: f64 = 6.9;
/// The share of failures that is no reason to avoid an endpoint: any client may ask for what is not
/// there, and where nothing else differs the least penalty would decide every pick.
const TOLERATED: f64 = 1.0 / 8.0;

/// The latency that is to be expected of a target, in seconds; of one that has not answered yet
/// it is the `usual` one.
///
/// Failures make it longer, by their share of the latest answers. How soon they came counts for
/// nothing: an endpoint that refuses at once would look like the fastest of all, and draw the
/// traffic of the others to where it fails. It also has nothing in flight for long, so the penalty
/// is greater than the number of requests that wait elsewhere. And while it gives no latency, its
/// average falls towards 0: as far as it fails it is taken for no faster than is usual.
///
/// Failures are not taken for latencies themselves: the usual latency is made of latencies, and
/// with penalties in it each would raise the next one. An endpoint that fails as often as the
/// others do is no worse than they are.
pub(super) fn expected(target: &UpstreamHost, usual: f64, now: Time, decay: Duration) -> f64 {
    let failures = target.failures().value(now, decay);
    let latency = match target.latency() {
        Some(latency) => latency.value(now, decay).max(usual * failures),
        None => usual,
    };
    match failures - TOLERATED {
        excess if excess > 0.0 => latency * (FAILURE_PENALTY * excess).exp(),
        _ => latency,
    }
}

/// Tells whether an endpoint with this expected latency will do. Where it is more than twice the usual
/// one, others are looked at: of five endpoints, one slow and one that fails, one draw of two in
/// ten has no other.
pub(super) fn is_good(expected: f64, usual: f64) -> bool {
    expected <= 2.0 * usual
}

/// The cost of another request to a target: its latency × (requests in flight + 1), as in
/// Finagle's `Balancers.p2cPeakEwma` and linkerd2-proxy's `PeakEwma`, of which the cheaper of
/// two drawn at random is taken.
///
/// Those know no weights. Here the requests in flight count for a target's share relative to the
/// mean, and the draw is by weight: an idle pool of equally fast endpoints sends exactly by
/// weight, and a busy one loads them by it.
pub(super) fn cost(latency: f64, target: &UpstreamHost, mean_share: f64) -> f64 {
    let in_flight = f64::from(target.active()) * mean_share / f64::from(target.share().get());
    latency * (in_flight + 1.0)
}

/// The mean latency of the endpoints that have answered, at which those start that have not: at none
/// they would be flooded, and at a great one never tried.
#[derive(Debug, Default)]
pub(super) struct MeanLatency(Option<Duration>);

impl MeanLatency {
    /// The latency in seconds; none while nobody has answered.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.0.as_ref().map(Duration::as_secs_f64)
    }

    /// Learns how a target has answered.
    pub(super) fn on_response(
        &mut self,
        target: &UpstreamHost,
        outcome: RequestOutcome,
        now: Time,
        decay: Duration,
    ) {
        match outcome {
            RequestOutcome::Success(latency) => {
                target.observe(latency, now, decay);
                // The others have not answered yet, and are not to look slower or faster for it.
                self.0 = self.0.or(latency);
            }
            RequestOutcome::Failure => target.observe_failure(self.0, now, decay),
        }
    }

    /// Learns that a target has not answered for so long, when the client left. While nobody has
    /// answered, that is no more than is usual.
    pub(super) fn on_silence(
        &self,
        target: &UpstreamHost,
        time: Duration,
        now: Time,
        decay: Duration,
    ) {
        if let Some(usual) = self.0 {
            target.observe_silence(time, usual, now, decay);
        }
    }

    /// Takes the mean of the latencies.
    pub(super) fn measure<'a>(
        &mut self,
        targets: impl Iterator<Item = &'a UpstreamHost>,
        now: Time,
        decay: Duration,
    ) {
        let (sum, count) = targets
            .filter_map(UpstreamHost::latency)
            .fold((0.0, 0_u32), |(sum, count), one| (sum + one.value(now, decay), count + 1));
        // A mean of durations is one; of none there is none.
        let mean = Duration::try_from_secs_f64(sum / f64::from(count));
        self.0 = mean.ok().or(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::ticket::Ticket;
    use crate::handoff::encoded_handoff::EncodedHandoff;
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
        let target = Rc::new(UpstreamHost::new(&heavy, EncodedHandoff::default()));
        assert_eq!(cost(0.5, &target, 2.0), 0.5);
        let _busy = [0; 4].map(|_| Ticket::new(&target));
        assert_eq!(cost(0.5, &target, 2.0), 1.5, "4 requests at twice the mean weight are 2");
    }
}
