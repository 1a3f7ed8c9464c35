//! The two policies that go by a hash: how evenly they spread, by weight, and how few keys
//! move when an endpoint comes or goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::num::NonZeroU16;

use consul_resolver::balancer::policy::maglev::Maglev;
use consul_resolver::balancer::policy::ring_hash::Ring;
use consul_resolver::config::Policy;
use consul_resolver::util::hash::xxh64;
use proptest::collection::vec;
use proptest::prelude::*;

type Keys = Vec<(String, NonZeroU16)>;

fn keys(weights: &[NonZeroU16]) -> Keys {
    let key = |n| format!("10.{}.{}.{}:8080", n / 65_536, n / 256 % 256, n % 256);
    weights.iter().enumerate().map(|(n, &weight)| (key(n), weight)).collect()
}

fn ring(keys: &Keys) -> Ring {
    Ring::new(keys, Policy::DEFAULT_MINIMUM_RING_SIZE, Policy::DEFAULT_MAXIMUM_RING_SIZE)
}

fn maglev(keys: &Keys) -> Maglev {
    Maglev::new(keys, Policy::DEFAULT_TABLE_SIZE)
}

/// The hashes of some users.
fn users(count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(|user| xxh64(format!("user-{user}").as_bytes(), 0))
}

fn weight(most: u16) -> impl Strategy<Value = NonZeroU16> {
    (1..=most).prop_filter_map("a weight of 0", NonZeroU16::new)
}

/// What happens to the keys of `count` users when the last endpoint comes: the share that it
/// gets, and the share that moves between the others. When it goes, it is the same backwards.
fn moved(
    keys: &Keys,
    count: u32,
    with: impl Fn(u64) -> Option<usize>,
    without: impl Fn(u64) -> Option<usize>,
) -> (f64, f64) {
    let (mut own, mut others) = (0, 0);
    for user in users(count) {
        let owner = with(user).unwrap();
        if owner == keys.len() - 1 {
            own += 1;
        } else if without(user) != Some(owner) {
            others += 1;
        }
    }
    (f64::from(own) / f64::from(count), f64::from(others) / f64::from(count))
}

/// The share of the last of some endpoints by its weight.
fn fair_share(keys: &Keys) -> f64 {
    let total = keys.iter().map(|(_, weight)| f64::from(weight.get())).sum::<f64>();
    f64::from(keys.last().unwrap().1.get()) / total
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_ring_with_room_moves_no_key_between_endpoints_that_stay(
        weights in vec(weight(4), 1..16),
    ) {
        let keys = keys(&weights);
        let without = keys[..keys.len() - 1].to_vec();
        let (with, without) = (ring(&keys), ring(&without));
        let (own, others) = moved(&keys, 10_000, |h| with.lookup(h), |h| without.lookup(h));
        prop_assert_eq!(others, 0.0);
        // 6 standard deviations of a share of so many entries, and of so many users.
        let share = fair_share(&keys);
        let deviation = share * (1.0 - share) * (1.0 / with.len() as f64 + 1.0 / 10_000.0);
        prop_assert!((own - share).abs() <= 6.0 * deviation.sqrt(), "{} for {}", own, share);
    }

    #[test]
    fn no_ring_moves_more_than_twice_the_share_that_must_move(
        weights in vec(weight(20), 1..300),
    ) {
        let keys = keys(&weights);
        let without = keys[..keys.len() - 1].to_vec();
        let (with, without) = (ring(&keys), ring(&without));
        let (own, others) = moved(&keys, 20_000, |h| with.lookup(h), |h| without.lookup(h));
        // Beside that, 6 standard deviations of so many entries, and of so many users.
        let twice = 2.0 * fair_share(&keys);
        let deviation = twice * (1.0 / with.len() as f64 + 1.0 / 20_000.0);
        let bound = twice + 6.0 * deviation.sqrt();
        prop_assert!(own + others <= bound, "{} + {} above {}", own, others, bound);
    }

    #[test]
    fn table_moves_few_other_keys_when_it_is_a_hundred_times_larger(
        weights in vec(weight(20), 2..650),
    ) {
        let keys = keys(&weights);
        let without = keys[..keys.len() - 1].to_vec();
        let (with, without) = (maglev(&keys), maglev(&without));
        let places = with.len() as u32;
        let owner = |table: &Maglev, place: u32| table.lookup(u64::from(place));
        let stays = |place: &u32| owner(&with, *place) != Some(keys.len() - 1);
        let moved = (0..places)
            .filter(stays)
            .filter(|&place| owner(&with, place) != owner(&without, place))
            .count();
        prop_assert!(moved as f64 <= 0.02 * f64::from(places), "{} of {}", moved, places);
    }
}

/// Fails when 20,000 users are not spread over `WEIGHTS` by their weights.
fn assert_by_weight(lookup: impl Fn(u64) -> Option<usize>) {
    const USERS: u32 = 20_000;
    let mut seen = [0_u32; WEIGHTS.len()];
    for user in users(USERS) {
        seen[lookup(user).unwrap()] += 1;
    }
    let total = WEIGHTS.iter().map(|&weight| f64::from(weight)).sum::<f64>();
    let chi_square = WEIGHTS
        .iter()
        .zip(seen)
        .map(|(&weight, seen)| {
            let want = f64::from(USERS) * f64::from(weight) / total;
            (f64::from(seen) - want).powi(2) / want
        })
        .sum::<f64>();
    // 18.47: one in a thousand for 4 degrees of freedom.
    assert!(chi_square < 18.47, "{chi_square} of {seen:?}");
}

const WEIGHTS: [u16; 5] = [1, 2, 3, 4, 10];

fn weighted() -> Keys {
    keys(&WEIGHTS.map(|weight| NonZeroU16::new(weight).unwrap()))
}

#[test]
fn a_table_spreads_users_by_weight() {
    let table = maglev(&weighted());
    assert_by_weight(|hash| table.lookup(hash));
}

#[test]
fn a_large_ring_spreads_users_by_weight() {
    // So many entries that where they are makes no difference beside the chance of users.
    let ring = Ring::new(&weighted(), 1 << 16, 8 << 20);
    assert_by_weight(|hash| ring.lookup(hash));
}
