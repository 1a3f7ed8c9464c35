//! The host that would respond soonest.

use core::time::Duration;
use std::rc::Rc;

use crate::balancer::policy::host_group::HostGroup;
use crate::balancer::ticket::RequestOutcome;
use crate::balancer::upstream_host::UpstreamHost;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The natural logarithm of the factor by which the expected latency of a host grows if all of its
/// responses are failures: of 1000.
const FAILURE_PENALTY: f64 = 6.9;
/// The share of failures that is no reason to avoid a host. Any client may ask for a missing page, and
/// among otherwise equal hosts the least penalty would decide every pick.
const TOLERATED: f64 = 1.0 / 8.0;

/// The policy `peak_ewma`: draws hosts at random by weight, and takes the cheapest by latency and
/// requests in flight.
#[derive(Debug)]
pub(in crate::balancer) struct LatencyPolicy {
    /// The number of hosts that are drawn.
    choice_count: u8,
    /// The time in which the weight of a latency falls to 1/e.
    decay: Duration,
    /// The mean latency of the hosts that have responded; none before the first response. New hosts
    /// start with the mean: with no latency they would be flooded, and with a long one never tried.
    mean_latency: Option<Duration>,
}

impl LatencyPolicy {
    /// Creates a policy that has not seen a response.
    pub(super) const fn new(choice_count: u8, decay: Duration) -> Self {
        Self { choice_count, decay, mean_latency: None }
    }

    /// Chooses a host of `group`, among those that `is_allowed` accepts.
    pub(super) fn choose<'a>(
        &self,
        group: &'a HostGroup,
        now: Time,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&'a Rc<UpstreamHost>> {
        // Before the first response any value will do: it is the same for all hosts.
        let mean = self.mean_latency.as_ref().map_or(1.0, Duration::as_secs_f64);
        let expected = |host: &UpstreamHost| expected(host, mean, now, self.decay);
        let cost = |host: &UpstreamHost| cost(expected(host), host, group.mean_share());
        let is_better = |this: &UpstreamHost, that: &UpstreamHost| cost(this) < cost(that);
        let is_good = |host: &UpstreamHost| is_good(expected(host), mean);
        group.best_of(self.choice_count, rng, is_allowed, is_better, is_good)
    }

    /// Takes the outcome of a request at `host` into account.
    pub(super) fn on_outcome(&mut self, host: &UpstreamHost, outcome: RequestOutcome, now: Time) {
        match outcome {
            RequestOutcome::Success(latency) => {
                host.observe(latency, now, self.decay);
                // The first latency becomes the mean at once, so that hosts without a response look
                // neither slower nor faster for it.
                self.mean_latency = self.mean_latency.or(latency);
            }
            RequestOutcome::Failure => host.observe_failure(self.mean_latency, now, self.decay),
        }
    }

    /// Takes into account that `host` had not responded after `time`, when the client left. Before the
    /// first response of any host, `time` says nothing.
    pub(super) fn on_silence(&self, host: &UpstreamHost, time: Duration, now: Time) {
        if let Some(mean) = self.mean_latency {
            host.observe_silence(time, mean, now, self.decay);
        }
    }

    /// Takes the mean of the hosts' latencies.
    pub(super) fn measure<'a>(&mut self, hosts: impl Iterator<Item = &'a UpstreamHost>, now: Time) {
        let (sum, count) = hosts
            .filter_map(UpstreamHost::latency)
            .fold((0.0, 0_u32), |(sum, count), it| (sum + it.value(now, self.decay), count + 1));
        // Without a latency the quotient is not a number, and the mean stays.
        let mean = Duration::try_from_secs_f64(sum / f64::from(count));
        self.mean_latency = mean.ok().or(self.mean_latency);
    }
}

/// Returns the expected latency of a host, in seconds. A host without a response has the `mean`.
///
/// Failures raise the latency, by their share of the latest responses. The time of a failure does not
/// count: a host that refuses at once would look like the fastest of all, and draw the traffic of
/// healthy hosts. Such a host also has few requests in flight, so the penalty is greater than the
/// number of requests that wait elsewhere. And its average falls towards 0 while it gives no latency,
/// so the share of its failures is charged with the mean.
///
/// Failures do not count as latencies themselves: the mean is made of latencies, and penalties in it
/// would raise each other. A host that fails as often as all hosts do is no worse than they are.
fn expected(host: &UpstreamHost, mean: f64, now: Time, decay: Duration) -> f64 {
    let failures = host.failures().value(now, decay);
    let latency = match host.latency() {
        Some(latency) => latency.value(now, decay).max(mean * failures),
        None => mean,
    };
    match failures - TOLERATED {
        excess if excess > 0.0 => latency * (FAILURE_PENALTY * excess).exp(),
        _ => latency,
    }
}

/// Returns true if a host with this expected latency will do. Above twice the mean more hosts are
/// drawn: of five hosts, one slow and one failing, a draw of two hits only those in one of ten cases.
fn is_good(expected: f64, mean: f64) -> bool {
    expected <= 2.0 * mean
}

/// Returns the cost of another request to a host: its latency × (requests in flight + 1), as in
/// Finagle's `Balancers.p2cPeakEwma` and linkerd2-proxy's `PeakEwma`.
///
/// Those know no weights. Here the requests in flight count relative to the host's share of the mean,
/// and the draw is by weight: an idle pool of equally fast hosts sends exactly by weight, and a busy
/// pool is loaded by it.
fn cost(latency: f64, host: &UpstreamHost, mean_share: f64) -> f64 {
    let in_flight = f64::from(host.active()) * mean_share / f64::from(host.share().get());
    latency * (in_flight + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::ticket::Ticket;
    use crate::handoff::encoded_handoff::EncodedHandoff;
    use crate::model::endpoint::Endpoint;
    use core::net::SocketAddr;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn cost_is_latency_times_requests_relative_to_the_weight() {
        let endpoint = Endpoint::new("10.0.0.1:80".parse::<SocketAddr>().unwrap());
        let heavy = endpoint.weighing(NonZeroU16::new(4).unwrap());
        let host = Rc::new(UpstreamHost::new(&heavy, EncodedHandoff::default()));
        assert_eq!(cost(0.5, &host, 2.0), 0.5);
        let _busy = [0; 4].map(|_| Ticket::new(&host));
        assert_eq!(cost(0.5, &host, 2.0), 1.5, "4 requests at twice the mean weight are 2");
    }
}
