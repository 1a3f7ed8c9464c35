//! What many Envoys do to a Consul cluster: `make fleet`.
//!
//! ```text
//! scenario   who asks how, and what happens to Consul meanwhile
//! world      runs a scenario: events in the order of their time, one seed for all chance
//! envoy      one Envoy: the real discovery on a simulated host; or a client that retries plainly
//! consul     servers, and agents with a cache
//! meter      what Consul was asked, over time
//! document   tables in docs/fleet.md; `plot`: its pictures
//! ```
//!
//! No clock is read, so the same seed gives the same figures on every machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark ends where something is not as it should be"
)]

mod consul;
mod document;
mod envoy;
mod meter;
mod plot;
mod scenario;
#[allow(dead_code, reason = "a fleet steps its own time")]
#[path = "../../tests/testkit/mod.rs"]
mod testkit;
mod world;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;

/// Whatever ended it.
type Failure = Box<dyn Error + Send + Sync>;

/// Simulates fleets of Envoys.
#[derive(Debug, Parser)]
struct Arguments {
    /// The seed of all chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fleets of that many Envoys.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000])]
    envoys: Vec<u32>,
    /// The document whose tables to write anew; else they are printed.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The folder to draw the pictures to.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let tables = document::tables(&arguments.envoys, arguments.seed);
    match &arguments.write {
        Some(file) => {
            let text = document::replace(&std::fs::read_to_string(file)?, &tables)?;
            std::fs::write(file, text)?;
            eprintln!("written to {}", file.display());
        }
        None => tables.iter().for_each(|(name, table)| println!("{name}\n\n{table}\n")),
    }
    if let Some(folder) = &arguments.plots {
        plot::changes(&folder.join("fleet-change.svg"), arguments.seed)?;
        plot::outages(&folder.join("fleet-outage.svg"), arguments.seed)?;
        eprintln!("drawn to {}", folder.display());
    }
    Ok(())
}
