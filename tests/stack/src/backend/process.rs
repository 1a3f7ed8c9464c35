//! A backend as an operating system process, for tests that kill it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Ending, Process};
use crate::program::{self, NoProgram};
use crate::wait::eventually;

/// The process did not start.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no `backend` program.
    #[error(transparent)]
    Program(#[from] NoProgram),
    /// Files or the process could not be made.
    #[error("starting a backend")]
    Io(#[from] std::io::Error),
    /// It does not say its address.
    #[error("the backend does not say its address:\n{log}")]
    Silent {
        /// What it printed.
        log: String,
    },
}

/// `backend` as a process of its own; answers as [`Backend`](super::Backend) does.
#[derive(Debug)]
pub struct BackendProcess {
    address: SocketAddr,
    process: Process,
    _dir: TempDir,
}

impl BackendProcess {
    /// Starts one on a free port of 127.0.0.1 and waits until it listens.
    ///
    /// # Errors
    /// No program, or it does not come up within ten seconds.
    pub fn start(name: &str) -> Result<Self, BackendError> {
        Self::start_on(name, crate::port::free())
    }

    /// Starts one on a given port of 127.0.0.1, and waits until it listens.
    ///
    /// # Errors
    /// No program, or it does not come up within ten seconds.
    pub fn start_on(name: &str, port: u16) -> Result<Self, BackendError> {
        let dir = tempfile::Builder::new().prefix("stack-backend-").tempdir()?;
        let mut command = Command::new(program::find("stack", "backend")?);
        command.args([name, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()]);
        let process = Process::start(name, command, &dir.path().join("backend.log"), Ending::Kill)?;
        let said = eventually(Duration::from_secs(10), || match process.log().lines().next() {
            Some(line) if process.log().contains('\n') => Some(line.parse().ok()),
            _ => process.exit_status().map(|_| None),
        });
        let address = said.flatten().ok_or_else(|| BackendError::Silent { log: process.log() })?;
        Ok(Self { address, process, _dir: dir })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process: its pid, and signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process.kill();
    }
}
