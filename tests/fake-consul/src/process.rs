//! An agent as an operating system process, so that its CPU time is nobody else's.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use stack::client::{Request, Session};
use stack::eventually;
use stack::process::{Ending, Process};
use stack::program::{self, NoProgram};
use stack::registry::{Registry, RegistryError, accepted};

/// The process did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is no `fake-consul` program.
    #[error(transparent)]
    Program(#[from] NoProgram),
    /// Files or the process could not be made.
    #[error("starting an agent")]
    Io(#[from] std::io::Error),
    /// It does not say its address.
    #[error("the agent does not say its address:\n{log}")]
    Silent {
        /// What it printed.
        log: String,
    },
}

/// `fake-consul` as a process of its own; answers as [`Agent`](crate::Agent) does.
#[derive(Debug)]
pub struct AgentProcess {
    address: SocketAddr,
    /// Thousands of registrations come one after the other.
    session: Session,
    process: Process,
    _dir: TempDir,
}

impl AgentProcess {
    /// Starts one on a free port of 127.0.0.1 that takes so many connections at a time, and waits
    /// until it listens.
    ///
    /// # Errors
    /// No program, or it does not come up within ten seconds.
    pub fn start(most_connections: usize) -> Result<Self, AgentError> {
        let dir = tempfile::Builder::new().prefix("stack-agent-").tempdir()?;
        let mut command = Command::new(program::find("fake-consul", "fake-consul")?);
        let (port, most) = (stack::port::free().to_string(), most_connections.to_string());
        command.args(["--port", &port, "--most-connections", &most]);
        let log = dir.path().join("agent.log");
        let process = Process::start("agent", command, &log, Ending::Kill)?;
        let said = eventually(Duration::from_secs(10), || match process.log().lines().next() {
            Some(line) if process.log().contains('\n') => Some(line.parse().ok()),
            _ => process.exit_status().map(|_| None),
        });
        let address = said.flatten().ok_or_else(|| AgentError::Silent { log: process.log() })?;
        Ok(Self { address, session: Session::default(), process, _dir: dir })
    }

    /// The process: its pid, and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Registry for AgentProcess {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn put(&self, path: &str, body: &str) -> Result<(), RegistryError> {
        let request = Request::new("PUT", self.address, path).body(body);
        accepted(path, self.session.send(&request)?).map(|_| ())
    }
}
