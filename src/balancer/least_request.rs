//! The less loaded of two.

use crate::balancer::upstream_host::UpstreamHost;

/// Whether `this` is better to have another request than `that`: by Envoy's
/// `weight / (active + 1)^bias`, the greater the better (Envoy documentation, *Weighted least
/// request*). A bias of 0 leaves the requests out of account.
///
/// The two were drawn at random by weight: two random choices are exponentially better than one,
/// and a third adds little (Mitzenmacher, *The Power of Two Choices in Randomized Load
/// Balancing*, 2001). Looking for the least loaded of all would cost more with each endpoint,
/// and would send the requests of all workers to the same one.
///
/// Of two idle ones neither is better, so the one that was drawn first is taken and a pool that
/// is idle sends exactly by weight: preferring the heavier one there would count its weight
/// twice, once in the draw and once in the choice.
pub(super) fn is_better(this: &UpstreamHost, that: &UpstreamHost, bias: f64) -> bool {
    if bias == 0.0 || (this.active() == 0 && that.active() == 0) {
        return false;
    }
    let score =
        |target: &UpstreamHost| f64::from(target.share().get()) / load(target.active(), bias);
    score(this) > score(that)
}

fn load(active: u32, bias: f64) -> f64 {
    let load = f64::from(active) + 1.0;
    // Nearly always, and a power costs as much as the rest of the pick.
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
    use std::rc::Rc;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn target(weight: u16) -> Rc<UpstreamHost> {
        let endpoint = Endpoint::new("10.0.0.1:80".parse::<SocketAddr>().unwrap())
            .weighing(NonZeroU16::new(weight).unwrap());
        Rc::new(UpstreamHost::new(&endpoint, EncodedHandoff::default()))
    }

    fn load_with(target: &Rc<UpstreamHost>, requests: usize) -> Vec<Ticket> {
        (0..requests).map(|_| Ticket::new(target)).collect()
    }

    #[test]
    fn load_is_requests_for_the_weight() {
        let (light, heavy) = (target(1), target(3));
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
    fn of_two_idle_ones_neither_is_better() {
        assert!(!is_better(&target(3), &target(1), 1.0));
        assert!(!is_better(&target(1), &target(3), 1.0));
    }

    #[test]
    fn the_bias_tells_how_much_requests_count() {
        let (light, heavy) = (target(1), target(8));
        let _load = load_with(&heavy, 3);
        // 8 / 4 and 8 / 16 beside 1.
        assert!(is_better(&heavy, &light, 1.0));
        assert!(is_better(&light, &heavy, 2.0));
        assert!(!is_better(&light, &heavy, 0.0) && !is_better(&heavy, &light, 0.0));
    }
}
