//! The less loaded of some hosts drawn at random.

use std::rc::Rc;

use crate::balancer::policy::host_group::HostGroup;
use crate::balancer::upstream_host::UpstreamHost;
use crate::util::rng::Rng;

/// The policy `least_request`: draws hosts at random by weight, and takes the least loaded.
///
/// Two random choices are exponentially better than one, and a third adds little (Mitzenmacher, *The
/// Power of Two Choices in Randomized Load Balancing*, 2001). A search for the least loaded of all
/// hosts would cost more with each host, and would send the requests of all workers to the same host.
#[derive(Debug)]
pub(in crate::balancer) struct LeastRequest {
    /// The number of hosts that are drawn.
    pub(super) choice_count: u8,
    /// The exponent of the load.
    pub(super) active_request_bias: f64,
}

impl LeastRequest {
    /// Chooses a host of `group`, among those that `is_allowed` accepts.
    pub(super) fn choose<'a>(
        &self,
        group: &'a HostGroup,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&'a Rc<UpstreamHost>> {
        let bias = self.active_request_bias;
        let is_better = |this: &UpstreamHost, that: &UpstreamHost| is_better(this, that, bias);
        group.best_of(self.choice_count, rng, is_allowed, is_better, |_| true)
    }
}

/// Returns true if `this` should rather have another request than `that`. The host with the greater
/// `weight / (active + 1)^bias` is better, as in Envoy (its documentation, *Weighted least request*).
/// A bias of 0 ignores the requests in flight.
///
/// Of two idle hosts neither is better, so the host drawn first is taken and an idle pool sends exactly
/// by weight. To prefer the heavier host there would count its weight twice, in the draw and in the
/// choice.
fn is_better(this: &UpstreamHost, that: &UpstreamHost, bias: f64) -> bool {
    if bias == 0.0 || (this.active() == 0 && that.active() == 0) {
        return false;
    }
    let score = |host: &UpstreamHost| f64::from(host.share().get()) / load(host.active(), bias);
    score(this) > score(that)
}

fn load(active: u32, bias: f64) -> f64 {
    let load = f64::from(active) + 1.0;
    // A bias of 1 is nearly always configured, and a power costs as much as the rest of the pick.
    if bias == 1.0 { load } else { load.powf(bias) }
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

    fn host(weight: u16) -> Rc<UpstreamHost> {
        let endpoint = Endpoint::new("10.0.0.1:80".parse::<SocketAddr>().unwrap())
            .weighing(NonZeroU16::new(weight).unwrap());
        Rc::new(UpstreamHost::new(&endpoint, EncodedHandoff::default()))
    }

    fn load_with(host: &Rc<UpstreamHost>, requests: usize) -> Vec<Ticket> {
        (0..requests).map(|_| Ticket::new(host)).collect()
    }

    #[test]
    fn load_is_the_number_of_requests_relative_to_the_weight() {
        let (light, heavy) = (host(1), host(3));
        let _one = load_with(&light, 1);
        let two = load_with(&heavy, 4);
        assert!(is_better(&heavy, &light, 1.0), "3 / 5 is more than 1 / 2");
        assert!(!is_better(&light, &heavy, 1.0));
        let _three = load_with(&heavy, 1);
        assert!(!is_better(&heavy, &light, 1.0), "3 / 6 is not more than 1 / 2");
        drop(two);
        assert!(is_better(&heavy, &light, 1.0));
    }

    #[test]
    fn neither_host_is_better_when_both_are_idle() {
        assert!(!is_better(&host(3), &host(1), 1.0));
        assert!(!is_better(&host(1), &host(3), 1.0));
    }

    #[test]
    fn requests_count_more_when_the_bias_is_greater() {
        let (light, heavy) = (host(1), host(8));
        let _load = load_with(&heavy, 3);
        // 8 / 4 and 8 / 16 beside 1.
        assert!(is_better(&heavy, &light, 1.0));
        assert!(is_better(&light, &heavy, 2.0));
        assert!(!is_better(&light, &heavy, 0.0) && !is_better(&heavy, &light, 0.0));
    }
}
