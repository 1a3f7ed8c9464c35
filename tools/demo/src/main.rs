//! `demo`: the filter with the real parts around it, in a terminal.

mod backend;
mod fetch;
mod run;
mod signal;
mod style;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// Runs the filter with the real parts around it: Envoy, Consul, backends.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Download all releases of Envoy that are tested, and Consul, where they are not here already.
    Fetch(fetch::Fetch),
    /// Run Consul, three instances of a service, and Envoy with the filter.
    Run(run::Run),
    /// Run an HTTP server that names itself in every answer.
    Backend(backend::Backend),
}

/// The error that a command ends with.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Fetch(fetch) => fetch.run(),
        Command::Run(run) => run.run(),
        Command::Backend(backend) => backend.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}error:{} {}", style::BAD, style::RESET, chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Writes an error with its causes: `starting consul: permission denied`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
