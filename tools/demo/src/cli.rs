//! The commands.

mod agent;
mod backend;
mod demo;
mod fetch;
mod signal;
pub mod style;

use std::error::Error;

/// Gets and runs the real parts around the filter: Envoy, Consul, backends.
#[derive(Debug, clap::Parser)]
#[command(name = "stack", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Download all releases of Envoy that are tested, and Consul, where they are not here already.
    Fetch(fetch::Fetch),
    /// Run Consul, three instances of a service, and Envoy with the filter.
    Demo(demo::Demo),
    /// Run an HTTP server that names itself in every answer.
    Backend(backend::Backend),
    /// Run the embedded Consul agent.
    Agent(agent::Agent),
}

/// What a command ends with when it fails.
pub type Failure = Box<dyn Error + Send + Sync>;

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Fetch(fetch) => fetch.run(),
            Command::Demo(demo) => demo.run(),
            Command::Backend(backend) => backend.run(),
            Command::Agent(agent) => agent.run(),
        }
    }
}

/// An error with its causes: `starting consul: permission denied`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
