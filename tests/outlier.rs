//! Outlier detection under arbitrary requests, ticks, clocks and snapshots.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::rc::Rc;
use std::time::Duration;

use consul_resolver::balance::outlier::detector::Detector;
use consul_resolver::balance::outlier::monitor::{Admission, Monitor};
use consul_resolver::balance::outlier::outcome::Outcome;
use consul_resolver::balance::outlier::transition::{Cause, Transition};
use consul_resolver::config::OutlierDetection;
use consul_resolver::rng::Rng;
use consul_resolver::time::Time;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What happens in a worker.
#[derive(Debug, Clone)]
enum Event {
    /// A request begins, at any endpoint (as in a panic) or at one that admits it.
    Begin { endpoint: Index, in_panic: bool },
    /// A request ends, with or without an outcome.
    End { request: Index, outcome: Option<Outcome> },
    /// A tick, so many milliseconds after the start.
    Tick { at: u32 },
    /// An endpoint leaves the snapshots, and another one comes.
    Replace { endpoint: Index },
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = select(vec![
        Outcome::Success,
        Outcome::ServerError,
        Outcome::GatewayFailure,
        Outcome::LocalOrigin,
    ]);
    prop_oneof![
        8 => (any::<Index>(), prop::bool::weighted(0.2))
            .prop_map(|(endpoint, in_panic)| Event::Begin { endpoint, in_panic }),
        8 => (any::<Index>(), prop::option::weighted(0.9, outcome))
            .prop_map(|(request, outcome)| Event::End { request, outcome }),
        3 => (0..200_000_u32).prop_map(|at| Event::Tick { at }),
        1 => any::<Index>().prop_map(|endpoint| Event::Replace { endpoint }),
    ]
}

fn config() -> impl Strategy<Value = OutlierDetection> {
    (0..4_u32, 0..=100_u8, any::<bool>(), any::<bool>(), 0..=100_u8, 0..60_u64, 0..60_u64).prop_map(
        |(row, percent, always_one, split, chance, base, jitter)| OutlierDetection {
            consecutive_5xx: row,
            consecutive_gateway_failure: 2,
            enforcing_consecutive_gateway_failure: chance,
            consecutive_local_origin_failure: row,
            split_external_local_origin_errors: split,
            success_rate_minimum_hosts: 2,
            success_rate_request_volume: 2,
            success_rate_stdev_factor: 500,
            enforcing_success_rate: chance,
            failure_percentage_minimum_hosts: 1,
            failure_percentage_request_volume: 1,
            enforcing_failure_percentage: chance,
            max_ejection_percent: percent,
            always_eject_one_host: always_one,
            base_ejection_time: Duration::from_secs(base),
            max_ejection_time_jitter: Duration::from_secs(jitter),
            ..OutlierDetection::default()
        },
    )
}

proptest! {
    #[test]
    fn what_is_out_of_use_is_counted_limited_and_probed_by_one_at_a_time(
        config in config(),
        hosts in 1..8_usize,
        events in vec(event(), 0..400),
        seed: u64,
    ) {
        let mut rng = Rng::new(seed);
        let mut detector = Detector::new(config);
        let mut now = Time::ZERO;
        let mut monitors: Vec<Rc<Monitor>> =
            (0..hosts).map(|_| Rc::default()).collect();
        let mut requests: Vec<(Rc<Monitor>, Admission)> = Vec::new();
        for event in events {
            match event {
                Event::Begin { endpoint, in_panic } => {
                    let monitor = &monitors[endpoint.index(hosts)];
                    if monitor.admits() || in_panic {
                        let probes = monitor.is_ejected() && monitor.admits();
                        requests.push((monitor.clone(), monitor.begin_request()));
                        prop_assert!(!(probes && monitor.admits()), "a second probe");
                    }
                }
                Event::End { request, outcome } if !requests.is_empty() => {
                    let (monitor, admission) = requests.swap_remove(request.index(requests.len()));
                    if let Some(outcome) = outcome {
                        let was_ejected = monitor.is_ejected();
                        let before = detector.ejected();
                        let told = detector
                            .on_outcome(&monitor, admission, outcome, hosts, now, &mut rng);
                        match told {
                            Some(Transition::Ejected(_)) => prop_assert!(monitor.is_ejected()),
                            Some(Transition::Returned) => prop_assert!(monitor.admits()),
                            None => prop_assert_eq!(monitor.is_ejected(), was_ejected),
                        }
                        if detector.ejected() > before {
                            let most = usize::from(config.max_ejection_percent) * hosts / 100;
                            let is_only = config.always_eject_one_host && before == 0;
                            prop_assert!(detector.ejected() <= most || is_only);
                        }
                    }
                    monitor.end_request(admission);
                }
                Event::End { .. } => {}
                Event::Tick { at } => {
                    now = Time::from_start(Duration::from_millis(u64::from(at)));
                    let mut told = 0;
                    let before = detector.ejected();
                    let all = monitors.iter().map(AsRef::as_ref);
                    detector.on_tick::<Monitor>(all, now, &mut rng, |monitor, transition| {
                        assert!(monitor.is_ejected());
                        let Transition::Ejected(cause) = transition else {
                            panic!("only a request brings it back");
                        };
                        // One whose probe was not answered in time was out of use already.
                        told += usize::from(cause != Cause::Probe);
                    });
                    prop_assert_eq!(detector.ejected(), before + told);
                }
                Event::Replace { endpoint } => {
                    let index = endpoint.index(hosts);
                    monitors[index].forget();
                    monitors[index] = Rc::default();
                    detector.on_endpoints(monitors.iter().filter(|m| m.is_ejected()).count());
                }
            }
            let out_of_use = monitors.iter().filter(|monitor| monitor.is_ejected()).count();
            prop_assert_eq!(detector.ejected(), out_of_use);
        }
        // Whatever has happened, every endpoint comes back: the second tick may end an interval
        // and eject, the third ends that.
        for (monitor, admission) in requests {
            monitor.end_request(admission);
        }
        let mut later = now;
        for _ in 0..3 {
            later = later + Duration::from_secs(3_600);
            let all = monitors.iter().map(AsRef::as_ref);
            detector.on_tick::<Monitor>(all, later, &mut rng, |_, _| {});
        }
        for monitor in &monitors {
            let admission = monitor.begin_request();
            let outcome = Outcome::Success;
            detector.on_outcome(monitor, admission, outcome, hosts, later, &mut rng);
            monitor.end_request(admission);
            prop_assert!(monitor.admits() && !monitor.is_ejected());
        }
        prop_assert_eq!(detector.ejected(), 0);
    }
}
