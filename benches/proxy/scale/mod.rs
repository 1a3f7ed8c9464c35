//! Large catalogs that change: what they take of Envoy, and what requests notice.

mod arrivals;
mod bystander;
mod case;
mod phase;
mod population;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stack::Envoy;

use crate::Failure;
use crate::budget::{Deadline, Rounds, first_line};
use crate::config::EnvoyConfig;
use crate::sample::Sample;
use crate::stats;
use crate::worker::Worker;

use bystander::Bystander;
pub use case::Case;
pub use phase::Phase;
use population::Population;

/// What was measured, case by case; the first is the one that the others are compared with.
#[derive(Debug)]
pub struct Scale {
    pub results: Vec<Measured>,
    /// Those that could not be measured, and why.
    pub failed: Vec<(Case, String)>,
}

/// One case.
#[derive(Debug)]
pub struct Measured {
    pub case: Case,
    /// Of the load.
    pub rounds: Rounds,
    /// From the start of Envoy until its clusters have all instances.
    pub resolved: Duration,
    /// Consul's answer for one service, read by a bare client: its bytes, and milliseconds.
    pub answer: (usize, Sample),
    /// Envoy's resident memory in bytes, after the arrivals.
    pub memory: u64,
    /// From the begin of a registration to the first request that shows it on the last of the
    /// workers to do so, in milliseconds.
    pub arrivals: Sample,
    /// Under load, while nothing changes and while something does, all rounds together.
    pub quiet: Phase,
    pub changing: Phase,
}

impl Scale {
    /// The workers of each Envoy. One VM more is on the main thread.
    pub const WORKERS: u32 = 2;
    /// Requests a second, in an open loop.
    pub const REQUESTS: u32 = 300;
    /// Registrations whose way to the workers is timed.
    pub const ARRIVALS: u32 = 12;
    /// As many changes as seconds: an even number, so that whoever came has gone at the end.
    pub const PHASE: Duration = Duration::from_secs(4);

    /// Runs all cases, one after the other, each with an Envoy of its own and its share of the time.
    pub fn measure(module: &Path, rounds: u32, deadline: Deadline) -> Result<Self, Failure> {
        let begin = Instant::now();
        let population = Population::start()?;
        eprintln!("  all instances are registered after {:.0?}", begin.elapsed());
        let (mut results, mut failed) = (Vec::new(), Vec::new());
        for (place, case) in Case::ALL.into_iter().enumerate() {
            let begin = Instant::now();
            let share = deadline.share(1.0 / (Case::ALL.len() - place) as f64);
            match measure(case, module, &population, rounds, share) {
                Ok(measured) => {
                    let changing = &measured.changing;
                    eprintln!("  {}, in {:.0?}: {changing}", case.name(), begin.elapsed());
                    results.push(measured);
                }
                Err(error) => {
                    eprintln!("  {} failed: {error}", case.name());
                    failed.push((case, first_line(error.as_ref())));
                    // As it was before.
                    population.dismiss_all(case);
                }
            }
        }
        Ok(Self { results, failed })
    }
}

impl Measured {
    /// How many times as long the slowest hundredth of requests takes while something changes as
    /// while nothing does, round by round.
    pub fn p99_ratios(&self) -> Sample {
        self.changing.outcome.p99_ratios(&self.quiet.outcome)
    }
}

fn measure(
    case: Case,
    module: &Path,
    population: &Population,
    rounds: u32,
    deadline: Deadline,
) -> Result<Measured, Failure> {
    const CALM: Duration = Duration::from_secs(2);
    let config = case.config(module, population.consul());
    let begin = Instant::now();
    let envoy = Envoy::builder(config.to_yaml()).concurrency(Scale::WORKERS).start()?;
    await_all(&envoy, case)?;
    let resolved = begin.elapsed();
    // What the start has set off is over then.
    thread::sleep(CALM);
    let mut workers = Worker::one_for_each(&envoy, Scale::WORKERS)?;
    let answer = population.read(case)?;
    let arrivals = arrivals::measure(case, population, &mut workers, deadline.share(0.5))?;
    drop(workers);
    let memory = envoy.memory()?;
    let bystander = matches!(case, Case::Bystander)
        .then(|| Bystander::start(population.consul(), case.changing().changed(0)));
    let (mut quiet, mut changing) = (Phase::empty(), Phase::empty());
    let mut change = 0;
    let rounds = deadline.rounds(rounds, |round| {
        quiet.add(&Phase::run(&envoy, Scale::PHASE, || Ok(()))?);
        changing.add(&Phase::run(&envoy, Scale::PHASE, || {
            change += 1;
            population.change(case.changing(), change)
        })?);
        if change != (round + 1) * Scale::PHASE.as_secs() as u32 {
            return Err(format!("{change} changes were made").into());
        }
        Ok(())
    })?;
    drop(bystander);
    Ok(Measured { case, rounds, resolved, answer, memory, arrivals, quiet, changing })
}

/// Waits until Envoy's clusters have every instance of every service.
fn await_all(envoy: &Envoy, case: Case) -> Result<(), Failure> {
    const OF_CLUSTERS: &str = "cluster.consul/.*.membership_healthy$";
    const WITHIN: Duration = Duration::from_secs(120);
    // With 1,000 clusters Envoy has some work to tell.
    const PAUSE: Duration = Duration::from_millis(200);
    let expected = (case.services().count() * case.instances()) as u64;
    let begin = Instant::now();
    loop {
        let hosts: u64 = stats::find(envoy, OF_CLUSTERS)?.values().sum();
        if hosts == expected {
            return Ok(());
        }
        if begin.elapsed() > WITHIN {
            let log = envoy.process().log_tail(30);
            return Err(format!("{hosts} of {expected} hosts are known:\n{log}").into());
        }
        thread::sleep(PAUSE);
    }
}

/// The listener that requests come to.
fn listener(envoy: &Envoy) -> Result<std::net::SocketAddr, Failure> {
    Ok(envoy.listener(EnvoyConfig::LISTENER)?)
}
