//! Measures picks, decisions and installs natively, for 10, 1,000 and 10,000 endpoints.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::balancer::pool::Pool;
use consul_resolver::balancer::ticket::RequestOutcome;
use consul_resolver::config::{Config, ConfigError, Handoff, Service};
use consul_resolver::handoff::HandoffMethod;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::service::SourceId;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::router::Router;
use consul_resolver::router::disposition::Disposition;
use consul_resolver::router::forward::Forward;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

const SIZES: [u32; 3] = [10, 1_000, 10_000];
/// Requests in flight while picks are measured, so that the loads of endpoints differ.
const IN_FLIGHT: usize = 64;
/// How often each of them is replaced by another one in a round.
const REPLACEMENTS: u32 = 800;
const PICKS_PER_ROUND: u32 = IN_FLIGHT as u32 * REPLACEMENTS;

/// What is measured of picks: a name, and the `load_balancing` of the service.
const POLICIES: [(&str, &str); 8] = [
    ("round_robin", r#"{ "policy": "round_robin" }"#),
    ("random", r#"{ "policy": "random" }"#),
    ("least_request", r#"{ "policy": "least_request" }"#),
    ("peak_ewma", r#"{ "policy": "peak_ewma" }"#),
    ("ring_hash", r#"{ "policy": "ring_hash", "hash_on": { "path": true } }"#),
    (
        "ring_hash, bounded",
        r#"{ "policy": "ring_hash", "hash_on": { "path": true }, "hash_balance_factor": 150 }"#,
    ),
    ("maglev", r#"{ "policy": "maglev", "hash_on": { "path": true } }"#),
    (
        "maglev, bounded",
        r#"{ "policy": "maglev", "hash_on": { "path": true }, "hash_balance_factor": 150 }"#,
    ),
];

/// The median of rounds of one thing that the filter does.
#[derive(Debug, Clone, Copy)]
pub struct Measurement {
    /// `pick`, `install`, `update` or `decide`.
    pub what: &'static str,
    /// The policy, or the handoff.
    pub how: &'static str,
    pub weights: Weights,
    pub endpoints: u32,
    pub median_ns: f64,
}

impl Measurement {
    /// How many rounds it is the median of.
    pub const ROUNDS: usize = if cfg!(target_os = "wasi") { Self::ROUNDS_IN_MODULE } else { 21 };
    /// The same in the module, where all takes longer.
    pub const ROUNDS_IN_MODULE: usize = 7;

    /// What of, but for the number of endpoints.
    pub const fn name(&self) -> (&'static str, &'static str, &'static str) {
        (self.what, self.how, self.weights.label())
    }
}

/// Measures everything; takes half a minute.
pub fn all(mut on_measured: impl FnMut(Measurement)) -> Result<(), ConfigError> {
    for (how, load_balancing) in POLICIES {
        let config = config(load_balancing, r#"{ "via": "headers", "attempts": 2 }"#)?;
        for service in &config.services {
            for weights in [Weights::Equal, Weights::Mixed] {
                for endpoints in SIZES {
                    let mut measured = |what, median_ns| {
                        on_measured(Measurement { what, how, weights, endpoints, median_ns });
                    };
                    measured("pick", pick(service, weights, endpoints));
                    measured("install", install(service, weights, endpoints));
                    measured("update", update(service, weights, endpoints));
                }
            }
        }
    }
    for (handoff, how) in [
        (r#"{ "via": "filter_state" }"#, "filter_state"),
        (r#"{ "via": "headers", "attempts": 2 }"#, "headers of 2"),
    ] {
        let config = config("{}", handoff)?;
        for endpoints in SIZES {
            on_measured(Measurement {
                what: "decide",
                how,
                weights: Weights::Mixed,
                endpoints,
                median_ns: decide(&config, endpoints),
            });
        }
    }
    Ok(())
}

fn config(load_balancing: &str, handoff: &str) -> Result<Config, ConfigError> {
    let json = format!(
        r#"{{ "consul": {{ "cluster": "consul" }}, "handoff": {handoff},
              "services": [{{ "name": "web", "hosts": ["web.test"],
                              "load_balancing": {load_balancing} }}] }}"#
    );
    Config::parse(json.as_bytes())
}

/// How the weights of a measured service are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// All 1.
    Equal,
    /// From 1 to 100.
    Mixed,
}

impl Weights {
    /// `equal` or `mixed`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Mixed => "mixed",
        }
    }

    fn snapshot(self, size: u32) -> Snapshot {
        let mut rng = Rng::new(size.into());
        let endpoints = (0..size).map(|n| {
            let ip = Ipv4Addr::from_bits(0x0a00_0000 + n);
            let extra = match self {
                Self::Equal => 0,
                Self::Mixed => rng.below(100) as u16,
            };
            Endpoint::new(SocketAddr::from((ip, 8_080)))
                .weighing(NonZeroU16::MIN.saturating_add(extra))
        });
        Snapshot::new(endpoints.collect())
    }
}

/// A pick and the end of an older request. All endpoints have answered once, after different
/// times, and every request has a hash of its own.
fn pick(service: &Service, weights: Weights, size: u32) -> f64 {
    let mut pool = Pool::new(service, None, Rng::new(1));
    put(&mut pool, &weights.snapshot(size));
    let mut rng = Rng::new(2);
    for target in pool.hosts().cloned().collect::<Vec<_>>() {
        let latency = Duration::from_micros(u64::from(1_000 + rng.below(1_000)));
        pool.on_outcome(&target, RequestOutcome::Success(Some(latency)), Time::ZERO);
    }
    let mut flying = [const { None }; IN_FLIGHT];
    median(PICKS_PER_ROUND, || {
        for _ in 0..REPLACEMENTS {
            for place in &mut flying {
                let hints = PickContext { hash: Some(rng.next_u64()), ..PickContext::default() };
                *place = black_box(pool.pick(black_box(&hints), &mut []));
            }
        }
    })
}

/// The first snapshot of a service, and its first request.
fn install(service: &Service, weights: Weights, size: u32) -> f64 {
    let snapshot = weights.snapshot(size);
    median(1, || {
        let mut pool = Pool::new(service, None, Rng::new(1));
        put(&mut pool, black_box(&snapshot));
        black_box(pool)
    })
}

/// A snapshot in which one endpoint has gone or come back, and the first request after it.
fn update(service: &Service, weights: Weights, size: u32) -> f64 {
    let all = weights.snapshot(size);
    let without_first = Snapshot::new(all.endpoints().iter().skip(1).cloned().collect());
    let mut pool = Pool::new(service, None, Rng::new(1));
    put(&mut pool, &all);
    median(2, || {
        put(&mut pool, black_box(&without_first));
        put(&mut pool, black_box(&all));
    })
}

/// A request's whole way through the router: by its host, with the handoff of every attempt.
fn decide(config: &Config, size: u32) -> f64 {
    let mut router = Router::new(config, &mut Rng::new(1));
    router.install(SourceId::nth(0), &Weights::Mixed.snapshot(size).into(), Time::ZERO);
    let mut flying = [const { None }; IN_FLIGHT];
    median(PICKS_PER_ROUND, || {
        for _ in 0..REPLACEMENTS {
            for place in &mut flying {
                *place = forward(&mut router);
            }
        }
    })
}

fn forward(router: &mut Router) -> Option<Forward> {
    let service = router.service_by_host(black_box(Some(b"Web.test:10000")));
    let Disposition::Forward(forward) = router.decide(service, &PickContext::default()) else {
        return None;
    };
    for handoff in forward.handoffs() {
        black_box(handoff);
    }
    Some(forward)
}

/// Installs as the filter does that ships, with headers; and lets the first request come, which
/// builds the table of a policy that hashes.
fn put(pool: &mut Pool, snapshot: &Snapshot) {
    let handoff = HandoffMethod::new(&Handoff::Headers { attempts: 2 });
    let mut prepare = |endpoint: &Endpoint| handoff.encode(&endpoint.address);
    pool.install(0, snapshot, Time::ZERO, &mut prepare);
    black_box(pool.pick(&PickContext { hash: Some(7), ..PickContext::default() }, &mut []));
}

/// The median time of one of the `count` steps that a round does, after a round that is not
/// counted.
#[expect(clippy::disallowed_methods, reason = "a benchmark is what reads the clock")]
fn median<T>(count: u32, mut round: impl FnMut() -> T) -> f64 {
    drop(round());
    let mut times: Vec<_> = (0..Measurement::ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let result = black_box(round());
            let time = start.elapsed();
            drop(result);
            time
        })
        .collect();
    times.sort_unstable();
    let middle = times.get(Measurement::ROUNDS / 2).copied().unwrap_or_default();
    middle.as_secs_f64() * 1e9 / f64::from(count)
}
