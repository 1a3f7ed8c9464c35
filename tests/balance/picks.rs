//! Pools under arbitrary sequences of snapshots, picks, answers and ticks.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::balancer::ticket::RequestOutcome;
use consul_resolver::balancer::ticket::Ticket;
use consul_resolver::model::endpoint::Endpoint;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::fleet::{Fleet, POLICIES, at, policy, port, weighing};

/// What a worker sees: ports with their weights, requests, their ends, and time.
#[derive(Debug, Clone)]
enum Event {
    Install(BTreeMap<u16, NonZeroU16>),
    Request { retries: usize, hash: Option<u64> },
    End { which: Index, outcome: Option<RequestOutcome> },
    Wait { milliseconds: u64 },
}

fn weight() -> impl Strategy<Value = NonZeroU16> {
    let weight = prop_oneof![4 => 1..=10_u16, 2 => 1..=1_000_u16, 1 => Just(u16::MAX)];
    weight.prop_filter_map("a weight of 0", NonZeroU16::new)
}

fn event() -> impl Strategy<Value = Event> {
    let outcome =
        select(vec![RequestOutcome::Success(Some(Duration::ZERO)), RequestOutcome::Failure]);
    prop_oneof![
        1 => btree_map(1..12_u16, weight(), 0..8).prop_map(Event::Install),
        12 => (0..4_usize, any::<Option<u64>>())
            .prop_map(|(retries, hash)| Event::Request { retries, hash }),
        10 => (any::<Index>(), prop::option::weighted(0.9, outcome))
            .prop_map(|(which, outcome)| Event::End { which, outcome }),
        2 => (0..20_000_u64).prop_map(|milliseconds| Event::Wait { milliseconds }),
    ]
}

fn endpoints(weights: &BTreeMap<u16, NonZeroU16>) -> Vec<Endpoint> {
    weights.iter().map(|(&port, &weight)| at(port).weighing(weight)).collect()
}

fn service() -> impl Strategy<Value = String> {
    (select(POLICIES.to_vec()), any::<bool>()).prop_map(|(name, is_bounded)| {
        let hashes = matches!(name, "ring_hash" | "maglev");
        let bound = if is_bounded && hashes { r#", "hash_balance_factor": 110 }"# } else { " }" };
        // A small ring and a small table: they are rebuilt all the time.
        let small = match name {
            "ring_hash" => r#", "minimum_ring_size": 16"#,
            "maglev" => r#", "table_size": 101"#,
            _ => "",
        };
        let policy = policy(name);
        let policy = policy.strip_suffix(" }").unwrap();
        format!("{policy}{small}{bound}")
    })
}

proptest! {
    #[test]
    fn picks_are_of_the_newest_and_counts_are_of_live_tickets(
        service in service(),
        seed: u64,
        events in vec(event(), 1..200),
    ) {
        let mut fleet = Fleet::seeded(&service, seed);
        let mut latest = BTreeMap::new();
        // Each with whether its endpoint has been in every snapshot since.
        let mut tickets: Vec<(Ticket, bool)> = Vec::new();
        for event in events {
            match event {
                Event::Install(weights) => {
                    fleet.install(endpoints(&weights));
                    for (ticket, stays) in &mut tickets {
                        *stays &= weights.contains_key(&port(ticket));
                    }
                    latest = weights;
                }
                Event::Wait { milliseconds } => {
                    fleet.wait(Duration::from_millis(milliseconds));
                    fleet.tick();
                }
                Event::Request { retries, hash } => {
                    let mut others = vec![None; retries];
                    let hints = PickContext { now: fleet.now, hash, ..PickContext::default() };
                    let Some(ticket) = fleet.pool.pick(&hints, &mut others) else {
                        prop_assert!(latest.is_empty());
                        continue;
                    };
                    let first = port(&ticket);
                    let others = others.iter().flatten().map(|target| target.address().port());
                    let others: Vec<_> = others.collect();
                    let all: HashSet<_> = others.iter().copied().chain([first]).collect();
                    prop_assert_eq!(all.len(), others.len() + 1, "one of them twice");
                    prop_assert!(all.iter().all(|port| latest.contains_key(port)));
                    prop_assert_eq!(others.len(), retries.min(latest.len() - 1));
                    tickets.push((ticket, true));
                }
                Event::End { which, outcome } if !tickets.is_empty() => {
                    let (ticket, _) = tickets.swap_remove(which.index(tickets.len()));
                    if let Some(outcome) = outcome {
                        fleet.end(ticket, outcome);
                    }
                    continue;
                }
                Event::End { .. } => continue,
            }
            let is_there = |ticket: &Ticket| {
                fleet.pool.hosts().any(|target| Rc::ptr_eq(ticket.host(), target))
            };
            let live = tickets.iter().filter(|(ticket, _)| is_there(ticket)).count();
            prop_assert_eq!(fleet.pool.in_flight(), live as u64);
            prop_assert!(tickets.iter().all(|(ticket, stays)| !stays || is_there(ticket)));
            let weights: BTreeMap<_, _> =
                fleet.pool.hosts().map(|t| (t.address().port(), t.weight())).collect();
            prop_assert_eq!(&weights, &latest);
        }
        let removed: Vec<_> = fleet.pool.hosts().map(Rc::clone).collect();
        fleet.install(Vec::new());
        drop(tickets);
        prop_assert!(removed.iter().all(|target| target.active() == 0));
    }
}

#[test]
fn empty_pool_picks_nothing_and_a_single_host_is_always_picked() {
    for name in POLICIES {
        let mut fleet = Fleet::new(&policy(name));
        assert!(fleet.pool.is_empty() && !fleet.pool.is_resolved());
        assert!(fleet.pick().is_none());
        fleet.install(weighing(&[1]));
        assert!(fleet.pool.is_resolved());
        for _ in 0..10 {
            assert_eq!(fleet.attempts_for(&PickContext::default(), 2), [1]);
        }
        fleet.install(Vec::new());
        assert!(fleet.pick().is_none() && fleet.pool.is_resolved());
    }
}

#[test]
fn retries_go_to_different_endpoints_by_weight() {
    let mut fleet = Fleet::new(&policy("random")).of(weighing(&[1, 1, 1, 97]));
    let mut seen = [0; 5];
    for _ in 0..1_000 {
        let attempts = fleet.attempts_for(&PickContext::default(), 1);
        seen[usize::from(attempts[1])] += u32::from(attempts[0] != 4);
    }
    // Nearly all that do not begin at the heaviest go on to it.
    let begun_elsewhere: u32 = seen.iter().sum();
    assert!(seen[4] * 10 > begun_elsewhere * 9, "{seen:?}");
}

#[test]
fn as_many_choices_as_endpoints_always_find_the_idle_one() {
    for name in ["least_request", "peak_ewma"] {
        for count in 2..=4_u16 {
            let load_balancing =
                policy(name).replace(" }", &format!(r#", "choice_count": {count} }}"#));
            let mut fleet = Fleet::new(&load_balancing).of(weighing(&vec![1; count.into()]));
            let busy = |ticket: &mut Ticket| port(ticket) != 1;
            let mut all: Vec<_> = (0..100).map(|_| fleet.pick().unwrap()).collect();
            let _busy: Vec<_> = all.extract_if(.., busy).collect();
            drop(all);
            for n in 0..1_000 {
                assert_eq!(
                    fleet.port_for(&PickContext::default()),
                    Some(1),
                    "{name}, {count}: {n}"
                );
            }
        }
    }
}
