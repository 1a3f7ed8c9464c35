//! Turns by weight.

use core::num::NonZeroU32;

use crate::util::rng::Rng;

/// A smooth weighted round robin. Each index has its turns evenly spaced instead of in a row. Over one
/// period (the sum of the weights, divided by their greatest common divisor) each has exactly as many
/// turns as its weight. With equal weights each has one turn in each round.
///
/// The scheduler walks round a ring of slots. Each visit adds the weight of the slot to its credit, and
/// a slot with full credit has its turn: gRPC's *static stride scheduler*
/// (gRFC A58, client-side weighted round robin), kept as a running sum instead of a product
/// and a remainder.
///
/// Unlike in gRPC, **each round begins at a random slot and goes in a random direction**, and each
/// period starts with other credits. In a fixed order, requests that come as regularly as the turns
/// would stay with the same indices for ever. If every second request is a preflight that another
/// filter answers, one of two hosts would have all real requests. A round costs one random number.
///
/// With one slot for each index a pick passes over as many slots as the greatest weight is above the
/// mean: thousands if one host of weight 65,535 stands among many of weight 1. gRPC prevents that by
/// capping the ratio at 10. Here no weight is capped: an index heavier than the mean has *several
/// slots*, spread over the ring, none of which weighs more than the mean (rounded up). That makes less
/// than two slots for each index, of which a pick visits less than 2 + 1 / mean on average.
///
/// A single pick may visit more, if many light slots happen to follow each other. After
/// [`RoundRobin::MOST_LOOKS`] visits it takes the present slot, due or not. That never happens with up
/// to half as many hosts: there is always a slot of full weight, and it is met before.
#[derive(Debug, Clone)]
pub(super) struct RoundRobin {
    /// In the order of the walk.
    slots: Vec<Slot>,
    /// The next slot, unless the round is over.
    at: usize,
    /// The remaining visits of this round.
    visits: usize,
    is_backward: bool,
    /// The remaining rounds of this period.
    rounds: u32,
    /// The credit with which the next slot starts a period, in units of 2⁻³² of full credit; only in
    /// the first round of a period.
    phase: Option<u32>,
    /// The full credit, at which a slot has its turn: the weight of the heaviest slot.
    full: u32,
}

/// A place on the ring.
#[derive(Debug, Clone, Copy)]
struct Slot {
    index: u32,
    weight: u32,
    credit: u32,
}

/// The golden ratio's fraction in units of 2⁻³²: any number of its multiples spread evenly.
const GOLDEN: u32 = 0x9e37_79b9;

impl RoundRobin {
    /// The most slots that one pick visits.
    const MOST_LOOKS: u32 = 256;

    /// Builds a ring for these weights, each below 2³¹.
    ///
    /// The slots start with random credit. So workers do not walk in step, and no index is favoured if
    /// rings are replaced long before a period is over.
    pub(super) fn new(weights: &[NonZeroU32], rng: &mut Rng) -> Self {
        let common = weights
            .iter()
            .fold(0, |divisor, weight| greatest_common_divisor(divisor, weight.get().into()));
        let reduced = |weight: &NonZeroU32| u64::from(weight.get()) / common.max(1);
        let total: u64 = weights.iter().map(reduced).sum();
        let full = total.div_ceil(weights.len().max(1) as u64) as u32;

        let mut slots = Vec::with_capacity(weights.len());
        for (index, weight) in weights.iter().enumerate() {
            let mut left = reduced(weight) as u32;
            while left > 0 {
                let weight = left.min(full);
                left -= weight;
                slots.push(Slot { index: index as u32, weight, credit: 0 });
            }
        }
        if slots.len() > weights.len() {
            slots = spread(&slots);
        }
        let mut phase = rng.next_u64() as u32;
        for slot in &mut slots {
            slot.credit = credit(&mut phase, full);
        }
        Self { slots, at: 0, visits: 0, is_backward: false, rounds: 0, phase: None, full }
    }

    /// Finishes the round of an earlier ring first, from its next slot on whose index has a `place` in
    /// this ring.
    pub(super) fn go_on(&mut self, earlier: &Self, place: impl Fn(usize) -> Option<usize>) {
        let mut rest = earlier.rest().enumerate();
        let Some((gone, next)) = rest.find_map(|(n, index)| Some((n, place(index)?))) else {
            return;
        };
        self.at = self.slots.iter().position(|slot| slot.index as usize == next).unwrap_or(0);
        self.visits = (earlier.visits - gone).min(self.slots.len());
        self.is_backward = earlier.is_backward;
    }

    /// Returns the index whose turn it is; none of an empty ring.
    pub(super) fn take(&mut self, rng: &mut Rng) -> Option<usize> {
        let mut looks = 0;
        loop {
            if self.visits == 0 {
                self.begin_round(rng);
            }
            let length = self.slots.len();
            let slot = self.slots.get_mut(self.at)?;
            self.visits -= 1;
            self.at = match (self.is_backward, self.at) {
                (false, at) if at + 1 == length => 0,
                (false, at) => at + 1,
                (true, 0) => length - 1,
                (true, at) => at - 1,
            };
            looks += 1;
            if let Some(phase) = &mut self.phase {
                slot.credit = credit(phase, self.full);
            }
            // Neither is above full credit, which is below 2³¹.
            let credit = slot.credit + slot.weight;
            let left = credit.checked_sub(self.full);
            slot.credit = left.unwrap_or(credit);
            if left.is_some() || looks == Self::MOST_LOOKS {
                return Some(slot.index as usize);
            }
        }
    }

    /// The indices of the slots whose visits remain in this round.
    fn rest(&self) -> impl Iterator<Item = usize> {
        let length = self.slots.len();
        let step = move |n| if self.is_backward { length - n } else { n };
        let slots =
            (0..self.visits).filter_map(move |n| self.slots.get((self.at + step(n)) % length));
        slots.map(|slot| slot.index as usize)
    }

    /// Chooses the first slot and the direction of the next round. In the first round of a period all
    /// slots get new credits.
    ///
    /// A period has as many rounds as full credit. Over a period each slot has as many turns as its
    /// weight, and ends with the credit with which it began.
    fn begin_round(&mut self, rng: &mut Rng) {
        let bits = rng.next_u64();
        let length = self.slots.len();
        self.at = (((bits >> 32) * length as u64) >> 32) as usize;
        (self.visits, self.is_backward) = (length, bits & 1 == 1);
        let is_first = self.rounds == 0;
        self.phase = is_first.then(|| rng.next_u64() as u32);
        self.rounds = if is_first { self.full } else { self.rounds }.saturating_sub(1);
    }
}

/// Returns the credit with which a slot starts, and advances the phase to the next slot.
const fn credit(phase: &mut u32, full: u32) -> u32 {
    let credit = ((*phase as u64 * full as u64) >> 32) as u32;
    *phase = phase.wrapping_add(GOLDEN);
    credit
}

/// Moves adjacent slots far apart, by golden steps round the ring. Every place is reached once if the
/// step and the length have no common divisor. A length with a common divisor is rounded up, and the
/// places past the end are left out.
fn spread(slots: &[Slot]) -> Vec<Slot> {
    let step_of = |length: u64| (length * u64::from(GOLDEN)) >> 32;
    let (length, step) = (slots.len() as u64..)
        .map(|length| (length, step_of(length)))
        .find(|&(length, step)| greatest_common_divisor(length, step) == 1)
        .unwrap_or((slots.len() as u64, 1));
    (0..length).filter_map(|turn| slots.get((turn * step % length) as usize).copied()).collect()
}

/// Returns the greatest common divisor by Euclid's algorithm; of zero and a number the number.
const fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn ring(of: &[u16], seed: u64) -> RoundRobin {
        let weights: Vec<_> = of.iter().map(|&w| NonZeroU32::new(w.into()).unwrap()).collect();
        RoundRobin::new(&weights, &mut Rng::new(seed))
    }

    fn turns(ring: &mut RoundRobin, count: usize, rng: &mut Rng) -> Vec<usize> {
        (0..count).map(|_| ring.take(rng).unwrap()).collect()
    }

    #[test]
    fn index_has_one_turn_a_round_when_weights_are_equal() {
        let mut ring = ring(&[9, 9, 9], 1);
        let mut orders = std::collections::BTreeSet::new();
        for round in turns(&mut ring, 300, &mut Rng::new(1)).chunks(3) {
            orders.insert(round.to_vec());
        }
        // Each of the three may be first, in either direction.
        let all = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        assert_eq!(orders.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn index_has_its_weight_in_turns_over_a_period() {
        let lopsided = [1, 1, 65_535, 1, 2, 30_000, 1];
        for of in [&[2, 1][..], &[3, 2, 1], &[5, 1, 1], &[20, 10], &lopsided] {
            let common = if of == [20, 10] { 10 } else { 1 };
            let period = of.iter().map(|&w| usize::from(w)).sum::<usize>() / common;
            let (mut ring, mut rng) = (ring(of, 3), Rng::new(3));
            for _ in 0..3 {
                let mut seen = vec![0; of.len()];
                for index in turns(&mut ring, period, &mut rng) {
                    seen[index] += common;
                }
                assert!(seen.iter().zip(of).all(|(&s, &w)| s == usize::from(w)), "{seen:?}");
            }
        }
    }

    #[test]
    fn turns_are_spread_over_the_period() {
        for seed in 0..50 {
            let mut ring = ring(&[1, 10, 1, 1, 1, 1, 1, 1, 1, 1, 1], seed);
            let turns = turns(&mut ring, 2_000, &mut Rng::new(seed));
            let runs = turns.chunk_by(|a, b| a == b).filter(|run| run[0] == 1).map(<[usize]>::len);
            // The index has half of all turns, so every run has at least one. A round has runs of at
            // most three; the end of a round and the beginning of the next make six. Of random turns
            // a third would be in runs of more than three.
            assert!(runs.clone().max() <= Some(6), "seed {seed}: {turns:?}");
            let in_long_rows: usize = runs.filter(|&length| length > 3).sum();
            assert!(in_long_rows < 100, "seed {seed}: {in_long_rows} of {turns:?}");
        }
    }

    #[test]
    fn ring_has_less_than_two_slots_for_each_index() {
        let mut rng = Rng::new(8);
        let random = (0..1_000).map(|_| 1 + rng.below(999) as u16).collect();
        let mut one_giant = vec![1; 1_000];
        one_giant[500] = u16::MAX;
        let half: Vec<u16> = (0..1_000).map(|i| if i < 500 { 1 } else { 100 }).collect();
        for of in [random, one_giant, half] {
            let ring = ring(&of, 4);
            let slots = ring.slots.len();
            assert!(slots < 2 * of.len(), "{slots} slots");
            let weight: f64 = ring.slots.iter().map(|s| f64::from(s.weight)).sum();
            let looks = slots as f64 * f64::from(ring.full) / weight;
            assert!(looks < 2.1, "{looks} slots a pick on average");
        }
    }

    #[test]
    fn visits_of_a_pick_are_bounded_when_light_slots_are_in_a_row() {
        let slot = |index, weight| Slot { index, weight, credit: 0 };
        let mut slots = vec![slot(0, 1); 10_000];
        slots.push(slot(1, 1_000));
        let visits = slots.len();
        let mut ring = RoundRobin { slots, visits, full: 1_000, ..ring(&[], 1) };
        assert_eq!(ring.take(&mut Rng::new(1)), Some(0));
        assert_eq!(ring.at, RoundRobin::MOST_LOOKS as usize);
    }

    #[test]
    fn workers_do_not_walk_in_step_when_seeds_differ() {
        let weights = [1, 2, 3, 4, 5];
        let of_worker = |seed| turns(&mut ring(&weights, seed), 15, &mut Rng::new(seed));
        assert_ne!(of_worker(1), of_worker(2));
    }

    #[test]
    fn empty_ring_has_no_turns() {
        let mut empty = ring(&[], 1);
        assert_eq!(empty.rest().next(), None);
        assert_eq!(empty.take(&mut Rng::new(1)), None);
    }
}
