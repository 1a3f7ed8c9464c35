//! What was aimed at, and whether it was met.

use crate::contest::{Contender, Outcome, Race};
use crate::cpu::CpuTimes;
use crate::measurement::Measurement;
use crate::propagation::Propagation;
use crate::scale::Measured;
use crate::variant::Variant;

/// A number that must not be larger than another.
#[derive(Debug)]
pub struct Target {
    pub aim: String,
    pub measured: String,
    pub is_met: bool,
}

impl Target {
    /// The slow end of the latencies while backends are in trouble.
    ///
    /// None where not both were measured.
    pub fn tail(race: &Race) -> Option<Self> {
        const MOST: f64 = 0.5;
        let p99 = |outcome: &Outcome| outcome.quantile(0.99);
        let ours = p99(race.of(Contender::CHAMPION)?);
        let best = race.best_native(p99)?;
        Some(Self {
            aim: format!("p99 in trouble, {}: at most {MOST} × Envoy's best", race.traffic.name()),
            measured: format!("{ours:.1} ms, {best:.1} ms"),
            is_met: ours <= MOST * best,
        })
    }

    /// Nobody is failed whom some instance could have served.
    ///
    /// None where it was not measured.
    pub fn no_failure(race: &Race) -> Option<Self> {
        let failed = race.of(Contender::CHAMPION)?.failed;
        Some(Self {
            aim: format!("failed requests in trouble, {}: none", race.traffic.name()),
            measured: failed.to_string(),
            is_met: failed == 0,
        })
    }

    /// CPU per request: no more than an empty filter takes.
    ///
    /// None where not both were measured.
    pub fn cpu(times: &CpuTimes) -> Option<Self> {
        const MOST: f64 = 1.0;
        let ratio = times.ratio(Variant::FilterState, Variant::Empty)?.median();
        Some(Self {
            aim: format!("CPU per request: (c) at most {MOST:.2} × (b)"),
            measured: format!("{ratio:.2} ×"),
            is_met: ratio <= MOST,
        })
    }

    /// Picks take the same time for any number of endpoints: nothing but the processor's
    /// caches may tell 10 from 10,000.
    pub fn picks(measurements: &[Measurement]) -> Self {
        const MOST: f64 = 3.0;
        let of = |how, weights, endpoints| {
            let mut found = measurements.iter().filter(|m| {
                (m.what, m.how, m.weights, m.endpoints) == ("pick", how, weights, endpoints)
            });
            found.next().map(|m| m.median_ns)
        };
        let ratios = measurements.iter().filter_map(|m| {
            let few = of(m.how, m.weights, 10)?;
            Some(of(m.how, m.weights, 10_000)? / few)
        });
        let worst = ratios.fold(0.0, f64::max);
        Self {
            aim: format!("pick among 10,000 endpoints: at most {MOST} × as long as among 10"),
            measured: format!("{worst:.2} × (the worst policy)"),
            is_met: worst <= MOST,
        }
    }

    /// No pick of any policy takes long.
    pub fn slowest_pick(measurements: &[Measurement]) -> Self {
        const MOST_NS: f64 = 200.0;
        let picks = measurements.iter().filter(|m| m.what == "pick");
        let slowest = picks.map(|m| m.median_ns).fold(0.0, f64::max);
        Self {
            aim: format!("pick natively: at most {MOST_NS} ns"),
            measured: format!("{slowest:.0} ns (the worst policy and size)"),
            is_met: slowest <= MOST_NS,
        }
    }

    /// What the filter adds to the way of a change.
    pub fn propagation(propagation: &Propagation) -> Self {
        const MOST_MS: f64 = 5.0;
        let added = propagation.difference.median();
        Self {
            aim: format!("a change on all workers: at most {MOST_MS} ms after a bare query"),
            measured: format!("{added:.1} ms (median)"),
            is_met: added <= MOST_MS,
        }
    }

    /// Requests do not notice that a large catalog changes.
    pub fn scale(measured: &Measured) -> Self {
        const MOST: f64 = 1.1;
        let ratio = measured.p99_ratio();
        Self {
            aim: format!(
                "p99 with {}, a change a second: at most {MOST} × that without",
                measured.case.name()
            ),
            measured: format!("{ratio:.2} ×"),
            is_met: ratio <= MOST,
        }
    }

    /// What Envoy has to compile when it starts.
    pub fn size(bytes: u64) -> Self {
        const MOST_KIB: f64 = 400.0;
        let kib = kib(bytes);
        Self {
            aim: format!("module: at most {MOST_KIB} KiB"),
            measured: format!("{kib:.0} KiB"),
            is_met: kib <= MOST_KIB,
        }
    }
}

/// Kibibytes.
pub fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
