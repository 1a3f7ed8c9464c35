//! A worker's live view of one service.

use std::rc::Rc;

use core::mem;
use core::net::SocketAddr;

use crate::balance::alias::AliasTable;
use crate::balance::least_request;
use crate::balance::round_robin::RoundRobin;
use crate::balance::target::Target;
use crate::balance::ticket::Ticket;
use crate::config::Policy;
use crate::model::endpoint::Endpoint;
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;

/// A worker's live view of one service: the endpoints of the latest snapshot with what the
/// worker knows of them, and the policy that picks among them.
///
/// Everything that grows with the number of endpoints is done by [`Pool::install`]; a pick
/// takes the same time with 10 and with 10,000, and allocates nothing.
#[derive(Debug)]
pub struct Pool {
    /// Sorted by address, as the snapshot is.
    targets: Vec<Rc<Target>>,
    table: AliasTable,
    picker: Picker,
    rng: Rng,
}

/// A policy with what it remembers from pick to pick.
#[derive(Debug)]
enum Picker {
    RoundRobin(RoundRobin),
    Random,
    LeastRequest,
}

impl Pool {
    /// An empty pool. Each needs a generator of its own: with the same one, all workers
    /// would pick alike.
    pub fn new(policy: Policy, mut rng: Rng) -> Self {
        let picker = match policy {
            Policy::RoundRobin => Picker::RoundRobin(RoundRobin::new(&[], 0, &mut rng)),
            Policy::Random => Picker::Random,
            Policy::LeastRequest => Picker::LeastRequest,
        };
        Self { targets: Vec::new(), table: AliasTable::default(), picker, rng }
    }

    /// Replaces the endpoints by those of `snapshot`.
    ///
    /// An endpoint whose address stays keeps its [`Target`], and with it its statistics,
    /// and has its weight updated; for each new one `prepare` makes the handoff. Tickets of
    /// removed endpoints stay valid. A round robin goes on with the endpoint that was
    /// next (or the one after it by address), so a service that changes all the time does
    /// not send everything to its first endpoints.
    pub fn install(
        &mut self,
        snapshot: &Snapshot,
        prepare: &mut dyn FnMut(&Endpoint) -> Box<[u8]>,
    ) {
        let next = self.next_in_turn();
        let mut old = mem::take(&mut self.targets).into_iter().peekable();
        let mut place = |endpoint: &Endpoint| {
            while old.next_if(|t| t.address() < endpoint.address).is_some() {}
            if let Some(kept) = old.next_if(|t| t.address() == endpoint.address) {
                kept.set_weight(endpoint.weight);
                return kept;
            }
            Rc::new(Target::new(endpoint, prepare(endpoint)))
        };
        self.targets = snapshot.endpoints().iter().map(&mut place).collect();

        let weights: Vec<_> = snapshot.endpoints().iter().map(|e| e.weight).collect();
        self.table = AliasTable::new(&weights);
        if let Picker::RoundRobin(turns) = &mut self.picker {
            let first = match next {
                Some(next) => self.targets.partition_point(|t| t.address() < next),
                None => self.rng.below(weights.len() as u32) as usize,
            };
            *turns = RoundRobin::new(&weights, first, &mut self.rng);
        }
    }

    /// Picks an endpoint for a request by the policy; none when there is none.
    pub fn pick(&mut self) -> Option<Ticket> {
        let index = match &mut self.picker {
            Picker::RoundRobin(turns) => turns.take(),
            Picker::Random => self.table.draw(&mut self.rng),
            Picker::LeastRequest => {
                least_request::choose(&self.table, &self.targets, &mut self.rng)
            }
        }?;
        self.targets.get(index).map(Ticket::new)
    }

    /// Fills `others` with different endpoints that are not that of `first`, for its
    /// retries. Where there are too few, the last places are none.
    ///
    /// They are drawn by weight whatever the policy: most are never used, so they neither
    /// take a turn of the round robin nor count as in flight. Takes time in proportion to
    /// the square of the number of `others`, not to that of the endpoints.
    pub fn alternatives(&mut self, first: &Ticket, others: &mut [Option<Rc<Target>>]) {
        others.fill(None);
        for place in 0..others.len() {
            let drawn = self.table.draw_unless(&mut self.rng, |index| {
                self.targets.get(index).is_none_or(|target| {
                    let is_target = |other: &Rc<Target>| Rc::ptr_eq(other, target);
                    first.goes_to(target) || others.iter().flatten().any(is_target)
                })
            });
            let target = drawn.and_then(|index| self.targets.get(index));
            let (Some(target), Some(other)) = (target, others.get_mut(place)) else {
                return;
            };
            *other = Some(Rc::clone(target));
        }
    }

    /// The endpoints, sorted by address.
    pub fn targets(&self) -> &[Rc<Target>] {
        &self.targets
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The requests in flight to all endpoints; those to removed ones are not counted.
    pub fn in_flight(&self) -> u64 {
        self.targets.iter().map(|t| u64::from(t.active())).sum()
    }

    /// The endpoint that the round robin visits next.
    fn next_in_turn(&self) -> Option<SocketAddr> {
        let Picker::RoundRobin(turns) = &self.picker else {
            return None;
        };
        let target = turns.next().and_then(|index| self.targets.get(index))?;
        Some(target.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU16;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ALL: [Policy; 3] = [Policy::RoundRobin, Policy::Random, Policy::LeastRequest];

    /// Endpoints on ports 1, 2, 3 … with these weights; weight 0 leaves a port out.
    fn snapshot(weights: &[u16]) -> Snapshot {
        let endpoints = weights.iter().zip(1..).filter_map(|(&weight, port)| {
            Some(Endpoint {
                address: SocketAddr::from(([10, 0, 0, 1], port)),
                weight: NonZeroU16::new(weight)?,
            })
        });
        Snapshot::new(endpoints.collect())
    }

    fn install(pool: &mut Pool, weights: &[u16]) {
        pool.install(&snapshot(weights), &mut |e| e.address.to_string().into_bytes().into());
    }

    fn pool(policy: Policy, seed: u64, weights: &[u16]) -> Pool {
        let mut pool = Pool::new(policy, Rng::new(seed));
        install(&mut pool, weights);
        pool
    }

    fn port(ticket: &Ticket) -> u16 {
        ticket.target().address().port()
    }

    #[test]
    fn an_idle_pool_sends_by_weight() {
        const SEED: u64 = 99;
        const PICKS: u32 = 100_000;
        let weights = [1, 2, 3, 4, 10];
        for policy in ALL {
            let mut pool = pool(policy, SEED, &weights);
            let mut seen = [0_u32; 5];
            for _ in 0..PICKS {
                seen[usize::from(port(&pool.pick().unwrap())) - 1] += 1;
            }
            let chi_square: f64 = weights
                .iter()
                .zip(seen)
                .map(|(&weight, seen)| {
                    let want = f64::from(PICKS) * f64::from(weight) / 20.0;
                    (f64::from(seen) - want).powi(2) / want
                })
                .sum();
            // 18.47: one in a thousand for 4 degrees of freedom.
            assert!(chi_square < 18.47, "{policy:?}, seed {SEED}: {chi_square} of {seen:?}");
        }
    }

    #[test]
    fn least_request_avoids_a_loaded_endpoint() {
        let mut pool = pool(Policy::LeastRequest, 1, &[1, 1, 1]);
        let loaded = Rc::clone(&pool.targets()[1]);
        let _load: Vec<_> = (0..10).map(|_| Ticket::new(&loaded)).collect();
        for _ in 0..1_000 {
            assert_ne!(port(&pool.pick().unwrap()), 2);
        }
    }

    #[test]
    fn least_request_loads_endpoints_by_their_weight() {
        let mut pool = pool(Policy::LeastRequest, 1, &[1, 1, 2, 4]);
        let _load: Vec<_> = (0..800).map(|_| pool.pick().unwrap()).collect();
        let active: Vec<_> = pool.targets().iter().map(|t| t.active()).collect();
        for (active, want) in active.iter().zip([100_u32, 100, 200, 400]) {
            assert!(active.abs_diff(want) <= want / 20, "{active} for {want}");
        }
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_statistics_and_takes_its_new_weight() {
        for policy in ALL {
            let mut pool = pool(policy, 7, &[1, 1, 1]);
            let tickets: Vec<_> = (0..6).map(|_| pool.pick().unwrap()).collect();
            let before: Vec<_> = pool.targets().iter().map(Rc::clone).collect();
            install(&mut pool, &[0, 5, 1, 1]);
            assert!(Rc::ptr_eq(&before[1], &pool.targets()[0]));
            assert!(Rc::ptr_eq(&before[2], &pool.targets()[1]));
            assert_eq!(pool.targets()[0].weight().get(), 5);
            assert_eq!(pool.targets()[2].active(), 0);
            let stayed = before[1].active() + before[2].active();
            assert_eq!(pool.in_flight(), u64::from(stayed));
            drop(tickets);
            assert_eq!(pool.in_flight(), 0);
        }
    }

    #[test]
    fn tickets_of_a_removed_endpoint_return_to_zero() {
        let mut pool = pool(Policy::Random, 7, &[1]);
        let tickets = [pool.pick().unwrap(), pool.pick().unwrap()];
        let removed = Rc::clone(&pool.targets()[0]);
        install(&mut pool, &[]);
        install(&mut pool, &[1]);
        assert_eq!(removed.active(), 2);
        assert_eq!(pool.in_flight(), 0, "it came back as another");
        drop(tickets);
        assert_eq!(removed.active(), 0);
    }

    #[test]
    fn a_round_robin_goes_on_where_it_was_when_endpoints_change() {
        let mut pool = pool(Policy::RoundRobin, 5, &[1, 1, 1, 1, 1]);
        while port(&pool.pick().unwrap()) != 2 {}
        install(&mut pool, &[1, 1, 1, 1, 1, 1]);
        assert_eq!(port(&pool.pick().unwrap()), 3);
        install(&mut pool, &[1, 1, 1, 0, 1, 1]);
        assert_eq!(port(&pool.pick().unwrap()), 5);
        install(&mut pool, &[1, 1]);
        assert_eq!(port(&pool.pick().unwrap()), 1);
    }

    #[test]
    fn a_round_robin_starts_at_another_place_in_every_worker() {
        let mut seen = [false; 4];
        for seed in 0..40 {
            let mut pool = pool(Policy::RoundRobin, seed, &[1, 1, 1, 1]);
            seen[usize::from(port(&pool.pick().unwrap())) - 1] = true;
        }
        assert_eq!(seen, [true; 4]);
    }

    #[test]
    fn an_empty_pool_picks_nothing_and_a_single_endpoint_is_always_picked() {
        for policy in ALL {
            let mut pool = Pool::new(policy, Rng::new(1));
            assert!(pool.is_empty() && pool.pick().is_none());
            install(&mut pool, &[1]);
            assert_eq!(pool.len(), 1);
            for _ in 0..10 {
                let ticket = pool.pick().unwrap();
                let mut others = [None, None];
                pool.alternatives(&ticket, &mut others);
                assert!(others.iter().all(Option::is_none));
            }
            install(&mut pool, &[]);
            assert!(pool.pick().is_none());
        }
    }

    #[test]
    fn alternatives_are_distinct_and_take_no_turn() {
        let weights = [1, 500, 1, 1];
        let mut pool = pool(Policy::RoundRobin, 3, &weights);
        let mut undisturbed = self::pool(Policy::RoundRobin, 3, &weights);
        for _ in 0..200 {
            let ticket = pool.pick().unwrap();
            assert_eq!(port(&ticket), port(&undisturbed.pick().unwrap()));
            let mut others = [None, None, None];
            pool.alternatives(&ticket, &mut others);
            let others = others.iter().flatten().map(|t| t.address().port());
            let mut ports: Vec<_> = others.chain([port(&ticket)]).collect();
            ports.sort_unstable();
            assert_eq!(ports, [1, 2, 3, 4]);
        }
        assert_eq!(pool.in_flight(), 0);
    }
}
