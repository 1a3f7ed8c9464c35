//! Pools under arbitrary sequences of snapshots, picks and ends of requests, and what
//! requests cost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;

use consul_resolver::balance::pool::Pool;
use consul_resolver::balance::ticket::Ticket;
use consul_resolver::config::{Config, Policy};
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::service::ServiceId;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::router::decision::Decision;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// What a worker sees: ports with their weights, requests, and their ends.
#[derive(Debug, Clone)]
enum Event {
    Install(BTreeMap<u16, NonZeroU16>),
    Request { retries: usize },
    End { which: prop::sample::Index },
}

fn weight() -> impl Strategy<Value = NonZeroU16> {
    let weight = prop_oneof![4 => 1..=10_u16, 2 => 1..=1_000_u16, 1 => Just(u16::MAX)];
    weight.prop_filter_map("a weight of 0", NonZeroU16::new)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => btree_map(1..12_u16, weight(), 0..8).prop_map(Event::Install),
        6 => (0..4_usize).prop_map(|retries| Event::Request { retries }),
        4 => any::<prop::sample::Index>().prop_map(|which| Event::End { which }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::RoundRobin), Just(Policy::Random), Just(Policy::LeastRequest)]
}

fn snapshot(weights: &BTreeMap<u16, NonZeroU16>) -> Snapshot {
    let endpoints = weights.iter().map(|(&port, &weight)| Endpoint {
        address: SocketAddr::from(([10, 0, 0, 1], port)),
        weight,
    });
    Snapshot::new(endpoints.collect())
}

fn install(pool: &mut Pool, weights: &BTreeMap<u16, NonZeroU16>) {
    pool.install(&snapshot(weights), &mut |endpoint| {
        endpoint.address.to_string().into_bytes().into()
    });
}

fn port(ticket: &Ticket) -> u16 {
    ticket.target().address().port()
}

proptest! {
    #[test]
    fn picks_are_of_the_latest_snapshot_and_counts_are_those_of_live_tickets(
        policy in policy(),
        seed: u64,
        events in vec(event(), 1..120),
    ) {
        let mut pool = Pool::new(policy, Rng::new(seed));
        let mut latest = BTreeMap::new();
        // Each with whether its endpoint has been in every snapshot since.
        let mut tickets: Vec<(Ticket, bool)> = Vec::new();
        for event in events {
            match event {
                Event::Install(weights) => {
                    install(&mut pool, &weights);
                    for (ticket, stays) in &mut tickets {
                        *stays &= weights.contains_key(&port(ticket));
                    }
                    latest = weights;
                }
                Event::Request { retries } => {
                    let Some(ticket) = pool.pick() else {
                        prop_assert!(latest.is_empty());
                        continue;
                    };
                    let mut others = vec![None; retries];
                    pool.alternatives(&ticket, &mut others);
                    let targets = others.iter().flatten();
                    let ports: Vec<_> = targets.map(|t| t.address().port())
                        .chain([port(&ticket)])
                        .collect();
                    prop_assert_eq!(ports.len(), latest.len().min(retries + 1));
                    prop_assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
                    prop_assert!(ports.iter().all(|port| latest.contains_key(port)));
                    tickets.push((ticket, true));
                }
                Event::End { which } if !tickets.is_empty() => {
                    drop(tickets.swap_remove(which.index(tickets.len())));
                }
                Event::End { .. } => {}
            }
            let live = tickets.iter().filter(|(_, stays)| *stays).count();
            prop_assert_eq!(pool.in_flight(), live as u64);
            let weights: BTreeMap<_, _> = pool.targets().iter()
                .map(|target| (target.address().port(), target.weight()))
                .collect();
            prop_assert_eq!(&weights, &latest);
        }
        let removed: Vec<_> = pool.targets().iter().map(Rc::clone).collect();
        install(&mut pool, &BTreeMap::new());
        drop(tickets);
        prop_assert!(removed.iter().all(|target| target.active() == 0));
    }

    #[test]
    fn a_round_robin_gives_everyone_exactly_its_weight_over_a_period(
        seed: u64,
        weights in vec(1..=300_u16, 1..=100),
        heavy in proptest::option::of(1_000..=u16::MAX),
        common in 1..=10_u16,
        ahead in 0..50_usize,
    ) {
        // At most 300 × 10 for most, so `common` never makes a weight overflow.
        let weights: Vec<u16> = match heavy {
            Some(heavy) => weights.into_iter().chain([heavy]).collect(),
            None => weights.into_iter().map(|weight| weight * common).collect(),
        };
        let total: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
        let numbered: BTreeMap<_, _> = (1..)
            .zip(weights.iter().map(|&weight| NonZeroU16::new(weight).unwrap()))
            .collect();
        let mut pool = Pool::new(Policy::RoundRobin, Rng::new(seed));
        install(&mut pool, &numbered);
        for _ in 0..ahead {
            drop(pool.pick());
        }
        let divisor = weights.iter().fold(0, |a, &b| divisor(a, usize::from(b)));
        let mut seen = vec![0; weights.len()];
        for _ in 0..total / divisor {
            seen[usize::from(port(&pool.pick().unwrap())) - 1] += divisor;
        }
        let wanted: Vec<_> = weights.iter().map(|&weight| usize::from(weight)).collect();
        prop_assert_eq!(seen, wanted);
    }
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[test]
fn a_request_allocates_nothing() {
    let weights: BTreeMap<_, _> =
        (1..=100).map(|port| (port, NonZeroU16::MIN.saturating_add(port % 7))).collect();
    for policy in ["round_robin", "random", "least_request"] {
        let json = format!(
            r#"{{ "consul": {{ "cluster": "consul" }}, "unmatched": "reject",
                  "handoff": {{ "via": "headers", "attempts": 4 }},
                  "services": [
                      {{ "name": "web", "hosts": ["*.web.test"],
                         "load_balancing": {{ "policy": "{policy}" }} }},
                      {{ "name": "empty", "hosts": ["[::1]"] }},
                      {{ "name": "unresolved", "hosts": ["unresolved.test"] }}
                  ] }}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let mut router = Router::new(&config, &mut Rng::new(1));
        router.install(ServiceId(0), &snapshot(&weights));
        router.install(ServiceId(1), &Snapshot::default());
        let mut handoffs = 0;
        let cost = allocation_counter::measure(|| {
            for n in 0..1_000 {
                let hosts = ["A.web.test:80", "[0::1]:80", "unresolved.test.", "?"];
                let service = router.service_by_host(Some(hosts[n % 4].as_bytes()));
                if let Decision::Forward(forward) = router.decide(service) {
                    handoffs += forward.handoffs().count();
                    drop(forward.into_ticket());
                }
            }
        });
        assert_eq!((cost.count_total, handoffs), (0, 1_000), "{policy}");
    }
}
