//! The less loaded of two.

use std::rc::Rc;

use crate::balance::alias::AliasTable;
use crate::balance::target::Target;
use crate::rng::Rng;

/// Draws two different targets by weight and chooses the one that has fewer requests in
/// flight for its weight; none of no targets.
///
/// Two random choices are exponentially better than one, and a third adds little
/// (Mitzenmacher, *The Power of Two Choices in Randomized Load Balancing*, 2001). Looking
/// for the least loaded of all would cost more with each endpoint, and would send the
/// requests of all workers to the same one.
///
/// Of two that are equally loaded the first drawn is chosen. So a pool that is idle sends
/// exactly by weight: preferring the heavier one there would count its weight twice, once
/// in the draw and once in the choice.
pub(super) fn choose(table: &AliasTable, targets: &[Rc<Target>], rng: &mut Rng) -> Option<usize> {
    let first = table.draw(rng)?;
    let Some(second) = table.draw_unless(rng, |index| index == first) else {
        return Some(first);
    };
    let (one, two) = (targets.get(first)?, targets.get(second)?);
    Some(if is_less_loaded(two, one) { second } else { first })
}

/// Compares requests per weight, multiplied crosswise instead of divided.
fn is_less_loaded(this: &Target, that: &Target) -> bool {
    let load = |of: &Target, by: &Target| u64::from(of.active()) * u64::from(by.weight().get());
    load(this, that) < load(that, this)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::ticket::Ticket;
    use crate::model::endpoint::Endpoint;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn target(weight: u16) -> Rc<Target> {
        let endpoint = Endpoint {
            address: "10.0.0.1:80".parse().unwrap(),
            weight: NonZeroU16::new(weight).unwrap(),
        };
        Rc::new(Target::new(&endpoint, Box::default()))
    }

    #[test]
    fn load_is_requests_for_the_weight() {
        let (light, heavy) = (target(1), target(3));
        assert!(!is_less_loaded(&light, &heavy));
        assert!(!is_less_loaded(&heavy, &light));
        let _one = Ticket::new(&light);
        let _two = [Ticket::new(&heavy), Ticket::new(&heavy)];
        assert!(is_less_loaded(&heavy, &light));
        let _three = Ticket::new(&heavy);
        assert!(!is_less_loaded(&heavy, &light));
        assert!(!is_less_loaded(&light, &heavy));
    }

    #[test]
    fn two_are_never_the_same_one() {
        let targets = [target(1), target(1)];
        let weights: Vec<_> = targets.iter().map(|t| t.weight()).collect();
        let table = AliasTable::new(&weights);
        let _busy = Ticket::new(&targets[0]);
        let mut rng = Rng::new(2);
        for _ in 0..1_000 {
            assert_eq!(choose(&table, &targets, &mut rng), Some(1));
        }
    }
}
