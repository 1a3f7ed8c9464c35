//! How often each endpoint is picked: chi-square at a fixed seed for every policy, and for
//! whatever else divides requests.

use std::num::NonZeroU16;
use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::balancer::ticket::RequestOutcome;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::util::rng::Rng;

use crate::fleet::{Fleet, POLICIES, SEED, at, hashed, in_zone, of_version, policy, weighing};
use crate::statistics::assert_follows;

const REQUESTS: u32 = 100_000;
const WEIGHTS: [u16; 5] = [1, 2, 3, 4, 10];

fn shares() -> Vec<f64> {
    WEIGHTS.iter().map(|&weight| f64::from(weight)).collect()
}

#[test]
fn an_idle_pool_sends_by_weight_whatever_the_policy() {
    // The two that hash do so with requests that have no key.
    for name in POLICIES {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&WEIGHTS));
        let seen = fleet.count(REQUESTS, WEIGHTS.len());
        assert_follows(&seen, &shares(), &format!("{name}, seed {SEED}"));
    }
}

#[test]
fn endpoints_of_equal_latency_are_sent_to_by_weight() {
    let mut fleet = Fleet::new(&policy("peak_ewma")).of(weighing(&WEIGHTS));
    let mut seen = vec![0; WEIGHTS.len()];
    for _ in 0..REQUESTS {
        let ticket = fleet.pick().unwrap();
        seen[usize::from(crate::fleet::port(&ticket)) - 1] += 1;
        fleet.end(ticket, RequestOutcome::Success(Some(Duration::from_millis(5))));
    }
    assert_follows(&seen, &shares(), &format!("seed {SEED}"));
}

#[test]
fn random_hashes_go_by_weight() {
    // A ring is only as even as it is large: with 16,384 entries for a weight of 1 a share is
    // wrong by 1 % at most, which is within the noise of so many requests.
    for load_balancing in [
        r#""load_balancing": { "policy": "ring_hash", "hash_on": { "path": true },
                               "minimum_ring_size": 16384 }"#,
        r#""load_balancing": { "policy": "maglev", "hash_on": { "path": true } }"#,
    ] {
        let mut fleet = Fleet::new(load_balancing).of(weighing(&WEIGHTS));
        let mut rng = Rng::new(SEED);
        let seen = fleet.count_for(20_000, WEIGHTS.len(), |_| hashed(rng.next_u64()));
        assert_follows(&seen, &shares(), &format!("{load_balancing}, seed {SEED}"));
    }
}

#[test]
fn split_follows_its_weights_and_shares_follow_host_weights() {
    let versions = r#""load_balancing": { "policy": "random" },
        "versions": { "split": { "1.x": 95, "2.x": 5, "3.x": 0 } }"#;
    let mut endpoints = weighing(&[1, 3, 1, 1, 1]);
    for (endpoint, version) in
        endpoints.iter_mut().zip(["1.0.0", "1.4.2", "2.0.0", "2.1.0", "3.0.0"])
    {
        endpoint.version = Some(version.into());
    }
    let wanted = [95.0 / 4.0, 95.0 * 3.0 / 4.0, 2.5, 2.5, 0.0];
    for sticks in [false, true] {
        let mut fleet = Fleet::new(versions).of(endpoints.clone());
        let mut rng = Rng::new(SEED);
        let seen = fleet.count_for(REQUESTS, 5, |_| PickContext {
            split: Some(rng.next_u64()).filter(|_| sticks),
            ..PickContext::default()
        });
        assert_follows(&seen, &wanted, &format!("sticks: {sticks}, seed {SEED}"));
    }
}

#[test]
fn zones_have_their_shares_of_the_requests() {
    // 20, 40 and 40 % of the endpoints, for a third of the proxies each: 60 % stay.
    let zones = ["a", "b", "b", "c", "c"];
    let endpoints: Vec<Endpoint> =
        zones.iter().zip(1..).map(|(zone, port)| in_zone(port, zone)).collect();
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let locality = r#"{ "zone": "a", "min_cluster_size": 5 }"#;
        let mut fleet = Fleet::located(&policy(name), locality).of(endpoints.clone());
        let seen = fleet.count(REQUESTS, 5);
        assert_follows(&seen, &[60.0, 10.0, 10.0, 10.0, 10.0], &format!("{name}, seed {SEED}"));
    }
}

#[test]
fn datacenters_have_their_loads() {
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let service = format!(r#""datacenters": ["dc1", "dc2", "dc3"], {}"#, policy(name));
        let mut fleet = Fleet::new(&service);
        // 1 of 2, 1 of 4, 1 of 1: they can take 70 %, 35 % and all.
        fleet.install_in(0, Snapshot::new(vec![at(1)]).with_unhealthy(crate::fleet::ill(1)));
        fleet.install_in(1, Snapshot::new(vec![at(2)]).with_unhealthy(crate::fleet::ill(3)));
        fleet.install_in(2, Snapshot::new(vec![at(3)]));
        let seen = fleet.count(REQUESTS, 3);
        assert_follows(&seen, &[70.0, 30.0, 0.0], &format!("{name}, seed {SEED}"));
    }
}

#[test]
fn a_version_has_loads_of_its_own() {
    let service = r#""datacenters": ["dc1", "dc2"], "versions": { "header": "x-version" }"#;
    let mut fleet = Fleet::new(service);
    let in_first = (1..=8).map(|port| of_version(port, if port == 8 { "2.0.0" } else { "1.0.0" }));
    // The other instance of this version is ill, as are seven without a version.
    let ill = crate::fleet::ill(7).into_iter().chain([of_version(200, "2.0.0")]).collect();
    fleet.install_in(0, Snapshot::new(in_first.collect()).with_unhealthy(ill));
    fleet.install_in(1, Snapshot::new(vec![of_version(9, "2.0.0")]));
    let named = |name: &str| PickContext { version: Some(name.into()), ..PickContext::default() };
    let seen = fleet.count_for(REQUESTS, 9, |_| named("2.x"));
    assert_follows(&seen, &[0., 0., 0., 0., 0., 0., 0., 70.0, 30.0], &format!("seed {SEED}"));
    let seen = fleet.count_for(1_000, 9, |_| named("1.x"));
    assert_eq!((seen[7], seen[8]), (0, 0), "nobody else has it");
}

#[test]
fn version_stays_in_its_datacenter_while_it_is_healthy_there() {
    let service = r#""datacenters": ["dc1", "dc2"], "versions": { "header": "x-version" }"#;
    let mut fleet = Fleet::new(service);
    let of_both = || (1..=11).map(|port| of_version(port, if port == 11 { "2.0" } else { "1.0" }));
    // All ten of 1.0 are well, and of 2.0 one of ten.
    let ill = (101..=109).map(|port| of_version(port, "2.0")).collect();
    fleet.install_in(0, Snapshot::new(of_both().collect()).with_unhealthy(ill));
    let in_second = (12..=13).map(|port| of_version(port, if port == 13 { "2.0" } else { "1.0" }));
    fleet.install_in(1, Snapshot::new(in_second.collect()));
    let named = |name: &str| PickContext { version: Some(name.into()), ..PickContext::default() };
    let seen = fleet.count_for(1_000, 13, |_| named("1.0"));
    assert_eq!((seen[11], seen[12]), (0, 0), "nothing leaves");
    let seen = fleet.count_for(REQUESTS, 13, |_| named("2.x"));
    let seen = [seen[10], seen[12]];
    assert_follows(&seen, &[14.0, 86.0], &format!("seed {SEED}"));
    // 11 of 20 of any version can take 77 %.
    let seen = fleet.count(REQUESTS, 13);
    let (stay, leave) = (seen[..11].iter().sum(), seen[11..].iter().sum());
    assert_follows(&[stay, leave], &[77.0, 23.0], &format!("seed {SEED}"));
}

#[test]
fn retries_of_a_heavy_endpoint_go_to_the_others_by_weight() {
    let weights = [1, 2, 65_535, 3, 4, 10];
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let mut fleet = Fleet::new(&policy(name)).of(weighing(&weights));
        let mut seen = [0; 5];
        for _ in 0..REQUESTS / 5 {
            let attempts = fleet.attempts_for(&PickContext::default(), 1);
            if attempts[0] == 3 {
                let retry = usize::from(attempts[1]);
                seen[retry - 1 - usize::from(retry > 3)] += 1;
            }
        }
        assert_follows(&seen, &[1.0, 2.0, 3.0, 4.0, 10.0], &format!("{name}, seed {SEED}"));
    }
}

#[test]
fn what_a_zone_cannot_take_goes_to_the_others_by_capacity() {
    // The own zone has enough: one of weight 10, beside one in `b` and nine in `c`.
    let zones = ["a", "b", "c", "c", "c", "c", "c", "c", "c", "c", "c"];
    let mut endpoints: Vec<_> = zones.iter().zip(1..).map(|(zone, at)| in_zone(at, zone)).collect();
    endpoints[0].weight = NonZeroU16::new(10).unwrap();
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let mut fleet = Fleet::located(&policy(name), r#"{ "zone": "a" }"#).of(endpoints.clone());
        let mut retries = [0; 2];
        for _ in 0..REQUESTS / 5 {
            let attempts = fleet.attempts_for(&PickContext::default(), 1);
            assert_eq!(attempts[0], 1);
            retries[usize::from(attempts[1] > 2)] += 1;
        }
        assert_follows(&retries, &[1.0, 9.0], &format!("{name}, retries, seed {SEED}"));
    }
}

#[test]
fn host_has_its_factor_of_the_requests_when_starting_slowly() {
    let half = Duration::from_secs(30);
    for name in ["round_robin", "random", "least_request", "peak_ewma"] {
        let service = policy(name).replace(" }", r#", "slow_start": "60s" }"#);
        for (wait, factor) in
            [(Duration::ZERO, 0.1), (half / 10, 0.1), (half, 0.5), (half * 2, 1.0)]
        {
            let mut fleet = Fleet::new(&service).of(weighing(&[1, 2]));
            fleet.install(weighing(&[1, 2, 2]));
            fleet.wait(wait);
            let seen = fleet.count(REQUESTS, 3);
            let what = format!("{name}, {factor}, seed {SEED}");
            assert_follows(&seen, &[1.0, 2.0, 2.0 * factor], &what);
        }
    }
}
