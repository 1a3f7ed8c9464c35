//! Measures the filter in a real Envoy, with a real Consul: `make bench`.
//!
//! ```text
//! contest       what clients see while backends are in trouble, beside Envoy's own balancing
//! cpu           CPU time per request of every `variant`, by rounds of `load`
//! propagation   a change in Consul → requests on every `worker`, beside a bare `watch`
//! scale         10,000 instances and 1,000 services that change once a second
//! start         until Envoy is ready, beside an empty filter
//! measurement   picks and installs without Envoy: the code of the bench `micro`
//! in_module     the same code in Envoy's own engine
//! budget        how long each of them may take
//! report        tables, and which `target`s are met
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, and ends where something is not as it should be"
)]

mod budget;
mod config;
mod connection;
mod contest;
mod cpu;
mod in_module;
mod load;
mod machine;
#[path = "../micro/measurement.rs"]
mod measurement;
mod propagation;
mod report;
mod sample;
mod scale;
mod start;
mod stats;
mod target;
mod variant;
mod watch;
mod worker;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use stack::{Backend, Consul, Registry, Service};

use budget::{Deadline, first_line};
use contest::Contest;
use cpu::{Amount, CpuTimes};
use in_module::InModule;
use machine::Machine;
use propagation::Propagation;
use report::Report;
use scale::Scale;
use start::Starts;
use variant::{Places, Variant};

/// Whatever ended a measurement.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures the filter in a real Envoy, with a real Consul.
#[derive(Debug, Parser)]
struct Arguments {
    /// The filter.
    #[arg(long, default_value = "target/wasm32-wasip1/release/consul_resolver.wasm")]
    module: PathBuf,
    /// The filter that does nothing.
    #[arg(long, default_value = "target/wasm32-wasip1/release/empty_filter.wasm")]
    empty_filter: PathBuf,

    /// The filter that makes two host calls and nothing else.
    #[arg(long, default_value = "target/wasm32-wasip1/release/bare_handoff.wasm")]
    bare_handoff: PathBuf,
    /// The module that measures picks.
    #[arg(long, default_value = "target/wasm32-wasip1/release/picks.wasm")]
    picks: PathBuf,
    /// Rounds of the CPU measurement: many and short, so that a noisy machine disturbs few.
    #[arg(long, default_value_t = 49, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Requests of a variant in a round.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Connections that the requests come on.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Rounds of the contest under load.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    load_rounds: u32,
    /// Requests a second of its open loop.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    load_rate: u32,
    /// Instances that come, and go, in Consul, for each way.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    changes: u32,
    /// Starts of each variant.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
    /// Rounds of each large catalog.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    scale_rounds: u32,
    /// All of it takes no longer: each part has its share, and makes fewer rounds where that is too
    /// short.
    #[arg(long, default_value_t = 22, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Measure only this part; may be given several times.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// What to compare, in that order.
    #[arg(long, value_delimiter = ',', default_values_t = Variant::ALL)]
    variants: Vec<Variant>,
    /// The file to write the report to, too.
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    write: Option<PathBuf>,
    /// The file to draw the contest under load to.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Cpu,
    Propagation,
    Load,
    Scale,
    Start,
    Micro,
}

/// As on the command line.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("none is skipped");
        f.write_str(value.get_name())
    }
}

impl Part {
    /// How long it takes with the usual rounds, on two cores that have nothing else to do. Its share
    /// of the time is in proportion.
    const fn expected(self) -> Duration {
        Duration::from_secs(match self {
            Self::Cpu => 200,
            Self::Propagation => 160,
            Self::Load => 230,
            Self::Scale => 370,
            Self::Start => 70,
            Self::Micro => 60,
        })
    }
}

impl Arguments {
    /// The parts that are measured, in their order.
    fn parts(&self) -> Vec<Part> {
        let all = Part::value_variants().iter().copied();
        all.filter(|part| self.only.is_empty() || self.only.contains(part)).collect()
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    // All that is downloaded comes before all that is measured.
    stack::fetch::envoy()?;
    stack::fetch::consul()?;
    let report = measure(&arguments)?;
    let text = report.to_markdown();
    println!("\n{text}");
    if let (Some(file), Some(contest)) = (&arguments.plot, &report.contest) {
        contest::plot(contest, file)?;
        eprintln!("drawn to {}", file.display());
    }
    if let Some(file) = &arguments.write {
        std::fs::write(file, &text)?;
        eprintln!("written to {}", file.display());
    }
    let failed: Vec<_> = report.parts.iter().filter(|(_, outcome)| outcome.is_err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("these parts failed: {failed:?}").into()) }
}

fn measure(arguments: &Arguments) -> Result<Report, Failure> {
    let consul = Consul::start()?;
    let backends = register_web(&consul)?;
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    let places = Places {
        module: &arguments.module,
        empty_filter: &arguments.empty_filter,
        bare_handoff: &arguments.bare_handoff,
        consul: consul.address(),
        backends: &addresses,
    };
    let mut report = Report {
        machine: Machine::find(&consul)?,
        contest: None,
        cpu: None,
        propagation: None,
        scale: None,
        starts: None,
        micro: None,
        sizes: [size(&arguments.module)?, size(&arguments.empty_filter)?],
        parts: Vec::new(),
    };
    let mut parts = arguments.parts();
    let all = Deadline::after(Duration::from_secs(60 * u64::from(arguments.minutes)));
    let plan: Vec<_> =
        parts.iter().map(|part| format!("{part} {} s", part.expected().as_secs())).collect();
    eprintln!("The plan: {}; at most {} min.", plan.join(", "), arguments.minutes);
    while !parts.is_empty() {
        let rest: Duration = parts.iter().map(|part| part.expected()).sum();
        let part = parts.remove(0);
        let deadline = all.share(part.expected().as_secs_f64() / rest.as_secs_f64());
        eprintln!("{part}, at most {} s …", deadline.left().as_secs());
        let begin = Instant::now();
        let outcome = measure_part(part, arguments, &places, deadline, &mut report);
        let outcome = outcome.map(|()| begin.elapsed()).map_err(|error| {
            eprintln!("{part} failed: {error}");
            first_line(error.as_ref())
        });
        eprintln!("{part} took {:.0?}.", begin.elapsed());
        report.parts.push((part, outcome));
    }
    Ok(report)
}

/// Measures one part, into its place in the report.
fn measure_part(
    part: Part,
    arguments: &Arguments,
    places: &Places<'_>,
    deadline: Deadline,
    report: &mut Report,
) -> Result<(), Failure> {
    let module = &arguments.module;
    match part {
        Part::Cpu => {
            let Arguments { rounds, requests, connections, .. } = *arguments;
            let amount = Amount { rounds, requests, connections };
            let variants = &arguments.variants;
            report.cpu = Some(CpuTimes::measure(variants, places, amount, deadline)?);
        }
        Part::Propagation => {
            let changes = arguments.changes;
            report.propagation = Some(Propagation::measure(module, changes, deadline)?);
        }
        Part::Load => {
            let (rounds, rate) = (arguments.load_rounds, arguments.load_rate);
            report.contest = Some(Contest::run(module, rounds, rate, deadline)?);
        }
        Part::Scale => {
            report.scale = Some(Scale::measure(module, arguments.scale_rounds, deadline)?);
        }
        Part::Start => {
            report.starts = Some(Starts::measure(places, arguments.starts, deadline)?);
        }
        Part::Micro => {
            let mut native = Vec::new();
            measurement::all(|measured| native.push(measured))?;
            eprintln!("  the same in the module …");
            report.micro = Some((native, InModule::measure(&arguments.picks)?));
        }
    }
    Ok(())
}

/// Starts the instances of `web`, and registers them.
fn register_web(consul: &Consul) -> Result<Vec<Backend>, Failure> {
    let backends = ["web-1", "web-2", "web-3"].map(Backend::start);
    let backends = backends.into_iter().collect::<Result<Vec<_>, _>>()?;
    for backend in &backends {
        consul.register(&Service::new("web", backend.name()).at(backend.address()))?;
    }
    Ok(backends)
}

fn size(module: &Path) -> Result<u64, Failure> {
    let file = std::fs::metadata(module);
    Ok(file.map_err(|error| format!("{}: {error}", module.display()))?.len())
}
