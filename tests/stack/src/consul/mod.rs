//! A running Consul: one server with one node, on loopback.

mod acl;
mod builder;

pub use acl::Grant;
pub use builder::ConsulBuilder;

use std::collections::HashSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::encode;
use crate::fetch::{self, FetchError};
use crate::process::Process;
use crate::registry::{Registry, RegistryError};
use crate::service::Service;

/// How long a start may take, election included.
const PATIENCE: Duration = Duration::from_secs(30);

/// The node's name.
pub const NODE: &str = "stack-node";

/// Consul did not start.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// There is no binary.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Files or the process could not be made.
    #[error("starting consul")]
    Io(#[from] std::io::Error),
    /// It ended at once.
    #[error("consul ended ({status}):\n{log}")]
    Exited {
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It has no leader after half a minute.
    #[error("consul has no leader after {PATIENCE:?}:\n{log}")]
    NotReady {
        /// The last lines of its log.
        log: String,
    },
    /// The datacenters do not find each other.
    #[error("consul's {datacenter} does not reach {other} after {PATIENCE:?}")]
    NotJoined {
        /// The one that asked.
        datacenter: String,
        /// The one it asked for.
        other: String,
    },
    /// It refused to be joined.
    #[error("joining consul's datacenters")]
    Join(#[from] RegistryError),
}

/// A running Consul, ended when dropped.
#[derive(Debug)]
pub struct Consul {
    // Before the folder: it is dropped first, and then shows its log.
    process: Mutex<Process>,
    dir: TempDir,
    builder: ConsulBuilder,
    ports: builder::Ports,
    /// The TTL checks whose state Consul has been told, and so has written to its files.
    reported: Mutex<HashSet<String>>,
}

impl Consul {
    /// Begins with one whose catalog is in memory, in the datacenter `dc1`.
    pub fn builder() -> ConsulBuilder {
        ConsulBuilder::default()
    }

    /// Starts one whose catalog is in memory: up in a fraction of a second. After a
    /// [`restart`](Self::restart) that is not fresh its registrations are back, with lower indexes.
    ///
    /// # Errors
    /// No binary, or it does not come up.
    pub fn start() -> Result<Self, ConsulError> {
        Self::builder().start()
    }

    /// Starts one whose catalog is on disk: up in about two seconds. A
    /// [`restart`](Self::restart) that is not fresh keeps its indexes.
    ///
    /// # Errors
    /// No binary, or it does not come up.
    pub fn start_durable() -> Result<Self, ConsulError> {
        Self::builder().durable().start()
    }

    /// Starts one with its HTTP API on a given port.
    ///
    /// # Errors
    /// No binary, or it does not come up; the port may be taken.
    pub fn start_on(http: u16) -> Result<Self, ConsulError> {
        Self::builder().http_port(http).start()
    }

    /// Starts one for the test `test`; `None` where no Consul can be had. That is said on stderr,
    /// past the test runner's capture.
    ///
    /// # Panics
    /// Where Consul is there and does not start; and with `REQUIRE_CONSUL=1` where it is not.
    pub fn start_or_skip(test: &str) -> Option<Self> {
        Self::or_skip(test, Self::start())
    }

    /// Starts one in each of these datacenters, each able to ask the others (`?dc=`); skips as
    /// [`start_or_skip`](Self::start_or_skip).
    ///
    /// # Panics
    /// As [`start_or_skip`](Self::start_or_skip).
    pub fn federation_or_skip<const N: usize>(
        test: &str,
        datacenters: [&str; N],
    ) -> Option<[Self; N]> {
        let started: Result<Vec<Self>, _> = datacenters
            .iter()
            .map(|dc| Self::builder().datacenter(*dc).federated().start())
            .collect();
        let joined = started.and_then(|consuls| {
            builder::federate(&consuls)?;
            Ok(consuls)
        });
        let consuls = Self::or_skip(test, joined)?;
        Some(consuls.try_into().expect("one for each datacenter"))
    }

    fn or_skip<T>(test: &str, started: Result<T, ConsulError>) -> Option<T> {
        match started {
            Ok(started) => Some(started),
            Err(ConsulError::Fetch(error)) => {
                let required = std::env::var("REQUIRE_CONSUL").is_ok_and(|value| value == "1");
                assert!(!required, "REQUIRE_CONSUL=1, but: {error}");
                let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {test}: no Consul: {error}\n");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Kills it and starts it again on the same ports; `fresh` forgets all registrations.
    ///
    /// # Errors
    /// It does not come up.
    pub fn restart(&self, fresh: bool) -> Result<(), ConsulError> {
        let binary = fetch::consul()?;
        let mut process = self.process();
        process.kill();
        if fresh {
            self.reported().clear();
            std::fs::remove_dir_all(self.dir.path().join("data"))?;
        }
        *process = self.builder.run(&binary, self.dir.path(), self.ports)?;
        Ok(())
    }

    /// SIGSTOP: connections are accepted by the kernel, and nothing is answered.
    pub fn stop(&self) {
        self.process().stop();
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.process().cont();
    }

    /// SIGKILL: connections are refused until [`restart`](Self::restart).
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Where its HTTPS API listens, if it has one.
    pub fn https(&self) -> Option<SocketAddr> {
        self.ports.https.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The datacenter it serves.
    pub fn datacenter(&self) -> &str {
        self.builder.datacenter_name()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Everything it has printed, over all restarts.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// The last lines of its log, once it has ended by itself or was killed.
    pub fn ended(&self) -> Option<String> {
        let process = self.process();
        process.exit_status().map(|_| process.log_tail(20))
    }

    fn reported(&self) -> MutexGuard<'_, HashSet<String>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry for Consul {
    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.http))
    }

    /// Registers, and reports the first state of each new TTL check: only what was reported
    /// survives a restart, all other checks come back critical.
    fn register(&self, service: &Service) -> Result<(), RegistryError> {
        if let Some(node) = &service.node {
            let body = service.to_catalog_json(node).to_string();
            return self.put("/v1/catalog/register", &body);
        }
        self.put("/v1/agent/service/register", &service.to_json().to_string())?;
        for (check, status) in service.ttl_reports() {
            if self.reported().insert(check.clone()) {
                self.set_check(&check, status)?;
            }
        }
        Ok(())
    }

    fn deregister(&self, id: &str) -> Result<(), RegistryError> {
        let own = Service::check_id(id);
        self.reported().retain(|check| *check != own && !check.starts_with(&format!("{own}:")));
        self.put(&format!("/v1/agent/service/deregister/{}", encode(id)), "")
    }
}
