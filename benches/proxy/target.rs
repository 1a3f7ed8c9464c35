//! What was aimed at, and whether it was met.

use crate::contest::{Contender, Outcome, Race};
use crate::cpu::CpuTimes;
use crate::measurement::Measurement;
use crate::propagation::{Propagation, Way};
use crate::sample::Sample;
use crate::scale::{Case, Measured};
use crate::start::Starts;
use crate::variant::Variant;

/// A number beside what it should be.
#[derive(Debug)]
pub struct Target {
    pub aim: String,
    pub measured: String,
    pub verdict: Verdict,
}

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// Why, where that is known.
    NotMet(Option<&'static str>),
    /// Nothing was aimed at.
    Measured,
}

impl Verdict {
    /// For a reason that holds whenever it is not met.
    const fn of(is_met: bool, reason: Option<&'static str>) -> Self {
        if is_met { Self::Met } else { Self::NotMet(reason) }
    }

    /// As in the table.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet(_) => "**not met**",
            Self::Measured => "measured",
        }
    }

    /// The reason, as in the table.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotMet(Some(reason)) => reason,
            _ => "",
        }
    }
}

impl Target {
    /// The slow end of the latencies while backends are in trouble, round by round.
    ///
    /// None where not both were measured.
    pub fn tail(race: &Race) -> Option<Self> {
        const MOST: f64 = 0.5;
        let ours = race.of(Contender::CHAMPION)?;
        let best = race.best_native(Outcome::p99)?;
        let ratios = ours.p99_ratios(best);
        Some(Self {
            aim: format!("p99 in trouble, {}: at most {MOST} × Envoy's best", race.traffic.name()),
            measured: format!("{}: {:.1} ms, {:.1} ms", spread(&ratios), ours.p99(), best.p99()),
            verdict: Verdict::of(ratios.median() <= MOST, None),
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
            verdict: Verdict::of(failed == 0, None),
        })
    }

    /// CPU per request of one variant, as so many times that of another.
    ///
    /// None where not both were measured.
    fn cpu(
        times: &CpuTimes,
        variant: Variant,
        to: Variant,
        most: Option<(f64, Option<&'static str>)>,
    ) -> Option<Self> {
        let ratios = times.ratio(variant, to)?;
        let ratio = ratios.median();
        let aim = most.map_or_else(String::new, |(most, _)| format!("at most {most:.2} × "));
        let (one, other) = (variant.letter(), to.letter());
        Some(Self {
            aim: format!(
                "CPU per request: ({one}) {aim}{}({other})",
                if most.is_some() { "" } else { "beside " }
            ),
            measured: spread(&ratios),
            verdict: most.map_or(Verdict::Measured, |(most, why)| Verdict::of(ratio <= most, why)),
        })
    }

    /// CPU per request of each way to a backend.
    pub fn all_of_cpu(times: &CpuTimes) -> impl Iterator<Item = Self> {
        const FED: Option<&str> = None;
        const FILTER_STATE: Option<&str> = Some(
            "reading the host and finding the service, two host calls, and Envoy's `ORIGINAL_DST`: \
             see (h), (f), (s)",
        );
        let targets = [
            Self::cpu(times, Variant::Fed, Variant::Native, Some((1.02, FED))),
            Self::cpu(times, Variant::Picks, Variant::Empty, None),
            Self::cpu(times, Variant::Unmatched, Variant::Empty, None),
            Self::cpu(times, Variant::FilterState, Variant::Empty, Some((1.0, FILTER_STATE))),
            Self::cpu(times, Variant::Headers, Variant::Empty, None),
            Self::cpu(times, Variant::Recommended, Variant::Empty, None),
        ];
        targets.into_iter().flatten()
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
            verdict: Verdict::of(worst <= MOST, None),
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
            verdict: Verdict::of(slowest <= MOST_NS, None),
        }
    }

    /// What is added to the way of a change, for an instance that comes and one that goes.
    pub fn all_of_propagation(propagation: &Propagation) -> impl Iterator<Item = Self> {
        let rows = propagation.rows.iter().flat_map(|(way, came, went)| {
            let most = match way {
                Way::Native => [15.0, 15.0],
                Way::Picks => [15.0, 5.0],
                Way::Headers => [5.0, 5.0],
            };
            let kinds = ["first request on a new instance", "last one on a removed instance"];
            let kinds = kinds.into_iter().zip([came, went]).zip(most);
            kinds.map(|((kind, changes), most)| (*way, kind, changes, most))
        });
        rows.map(|(way, kind, changes, most)| {
            let added = &changes.difference;
            Self {
                aim: format!("{}: {kind}, at most {most} ms after a bare query", way.name()),
                measured: format!("{:.1} ms, p90 {:.1} ms", added.median(), added.quantile(0.9)),
                verdict: Verdict::of(added.median() <= most, None),
            }
        })
    }

    /// Requests do not notice that a large catalog changes.
    pub fn scale(measured: &Measured) -> Self {
        const MOST: f64 = 1.1;
        let ratios = measured.p99_ratios();
        let reason = matches!(measured.case, Case::OneLarge).then_some(
            "Consul, Envoy's main thread, which reads all 10,000 at each change, and the load \
             share the cores; see the row of the bare client",
        );
        Self {
            aim: format!(
                "p99 with {}, a change a second: at most {MOST} × that without",
                measured.case.name()
            ),
            measured: spread(&ratios),
            verdict: Verdict::of(ratios.median() <= MOST, reason),
        }
    }

    /// All clusters have all instances so long after the start.
    pub fn resolved(measured: &Measured) -> Self {
        Self {
            aim: format!(
                "{}: from Envoy's start until its clusters have all; RSS",
                measured.case.name()
            ),
            measured: format!(
                "{:.1} s; {:.0} MiB",
                measured.resolved.as_secs_f64(),
                kib(measured.memory) / 1024.0
            ),
            verdict: Verdict::Measured,
        }
    }

    /// How much later Envoy is ready than with an empty filter.
    ///
    /// None where not both were measured.
    pub fn start(starts: &Starts) -> Option<Self> {
        let (ours, empty) = (starts.ready(Variant::Recommended)?, starts.ready(Variant::Empty)?);
        Some(Self {
            aim: "from the start to `/ready`: (r) beside (b)".to_owned(),
            measured: format!("{ours:.0} ms, {empty:.0} ms"),
            verdict: Verdict::Measured,
        })
    }

    /// What Envoy has to compile when it starts: small, and smaller than before the filter fed
    /// Envoy's clusters.
    pub fn all_of_size(bytes: u64) -> impl Iterator<Item = Self> {
        const MOST_KIB: f64 = 400.0;
        const BEFORE: u64 = 1_082_902;
        let kib = kib(bytes);
        let small = Self {
            aim: format!("module: at most {MOST_KIB} KiB"),
            measured: format!("{kib:.0} KiB"),
            verdict: Verdict::of(
                kib <= MOST_KIB,
                Some("it holds more than one way to find, balance, feed and register"),
            ),
        };
        let smaller = Self {
            aim: format!("module: smaller than before xDS, {BEFORE} bytes"),
            measured: format!("{bytes} bytes"),
            verdict: Verdict::of(bytes < BEFORE, None),
        };
        [smaller, small].into_iter()
    }
}

/// A ratio of rounds: the median, and the quartiles.
fn spread(ratios: &Sample) -> String {
    let [low, high] = [0.25, 0.75].map(|part| ratios.quantile(part));
    format!("{:.2} × ({low:.2}–{high:.2})", ratios.median())
}

/// Kibibytes.
pub fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
