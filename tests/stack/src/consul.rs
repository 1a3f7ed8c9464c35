//! A running Consul: one server with one node, on loopback.

use std::collections::HashSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::client::{Request, encode};
use crate::fetch::{self, FetchError};
use crate::port;
use crate::process::{Ending, Process};
use crate::registry::{Registry, RegistryError};
use crate::service::Service;
use crate::wait::wait_until;

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
}

/// Where the catalog is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    /// Raft in memory: up in 0.2 s. A restart keeps registrations (the agent's own files), but
    /// the index begins anew.
    Memory,
    /// Raft on disk: up in 2 s. A restart keeps registrations and index.
    Disk,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    serf: u16,
    server: u16,
}

/// A running Consul, ended when dropped.
#[derive(Debug)]
pub struct Consul {
    // Before the folder: it is dropped first, and then shows its log.
    process: Mutex<Process>,
    dir: TempDir,
    storage: Storage,
    ports: Ports,
    /// The TTL checks whose state Consul has been told, and so has written to its files.
    reported: Mutex<HashSet<String>>,
}

impl Consul {
    /// Starts one whose catalog is in memory: up in a fraction of a second. After a
    /// [`restart`](Self::restart) that is not fresh its registrations are back, with lower indexes.
    ///
    /// # Errors
    /// No binary, or it does not come up.
    pub fn start() -> Result<Self, ConsulError> {
        Self::start_with(Storage::Memory, None)
    }

    /// Starts one whose catalog is on disk: up in about two seconds. A
    /// [`restart`](Self::restart) that is not fresh keeps its indexes.
    ///
    /// # Errors
    /// No binary, or it does not come up.
    pub fn start_durable() -> Result<Self, ConsulError> {
        Self::start_with(Storage::Disk, None)
    }

    /// Starts one with its HTTP API on a given port.
    ///
    /// # Errors
    /// No binary, or it does not come up; the port may be taken.
    pub fn start_on(http: u16) -> Result<Self, ConsulError> {
        Self::start_with(Storage::Memory, Some(http))
    }

    /// Starts one for the test `test`; `None` where no Consul can be had. That is said on stderr,
    /// past the test runner's capture.
    ///
    /// # Panics
    /// Where Consul is there and does not start; and with `REQUIRE_CONSUL=1` where it is not.
    pub fn start_or_skip(test: &str) -> Option<Self> {
        match Self::start() {
            Ok(consul) => Some(consul),
            Err(ConsulError::Fetch(error)) => {
                let required = std::env::var("REQUIRE_CONSUL").is_ok_and(|value| value == "1");
                assert!(!required, "REQUIRE_CONSUL=1, but: {error}");
                let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {test}: no Consul: {error}\n");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn start_with(storage: Storage, http: Option<u16>) -> Result<Self, ConsulError> {
        let binary = fetch::consul()?;
        let mut tries_left = 4;
        loop {
            let dir = tempfile::Builder::new().prefix("stack-consul-").tempdir()?;
            let ports = Ports {
                http: http.unwrap_or_else(port::free),
                serf: port::free(),
                server: port::free(),
            };
            let started = run(&binary, dir.path(), storage, ports);
            match started {
                Err(ConsulError::Exited { log, .. })
                    if tries_left > 0 && log.contains("address already in use") =>
                {
                    tries_left -= 1;
                }
                started => {
                    return Ok(Self {
                        dir,
                        storage,
                        ports,
                        process: Mutex::new(started?),
                        reported: Mutex::default(),
                    });
                }
            }
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
        *process = run(&binary, self.dir.path(), self.storage, self.ports)?;
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
        http_address(self.ports)
    }

    /// Registers, and reports the first state of each new TTL check: only what was reported
    /// survives a restart, all other checks come back critical.
    fn register(&self, service: &Service) -> Result<(), RegistryError> {
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

fn http_address(ports: Ports) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports.http))
}

fn run(binary: &Path, dir: &Path, storage: Storage, ports: Ports) -> Result<Process, ConsulError> {
    let data = dir.join("data");
    std::fs::create_dir_all(&data)?;
    let config = dir.join("consul.json");
    std::fs::write(&config, settings(&data, ports).to_string())?;
    let mut command = Command::new(binary);
    command.arg("agent").arg("-config-file").arg(&config);
    if storage == Storage::Memory {
        command.arg("-dev");
    }
    let process = Process::start("consul", command, &dir.join("consul.log"), Ending::Kill)?;
    let ready =
        wait_until(PATIENCE, || process.exit_status().is_some() || is_ready(http_address(ports)));
    match process.exit_status() {
        Some(status) => Err(ConsulError::Exited { status, log: process.log_tail(20) }),
        None if ready => Ok(process),
        None => Err(ConsulError::NotReady { log: process.log_tail(20) }),
    }
}

fn settings(data: &Path, ports: Ports) -> serde_json::Value {
    json!({
        "node_name": NODE,
        "server": true,
        "bootstrap": true,
        "data_dir": data,
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "ports": {
            "http": ports.http, "https": -1, "dns": -1, "grpc": -1,
            "serf_lan": ports.serf, "serf_wan": -1, "server": ports.server,
        },
        "performance": {"raft_multiplier": 1},
        "connect": {"enabled": false},
        "disable_update_check": true,
        "disable_host_node_id": true,
    })
}

/// Whether a leader is elected and the node itself is in the catalog.
fn is_ready(address: SocketAddr) -> bool {
    let get = |path| Request::new("GET", address, path).timeout(Duration::from_secs(2)).send();
    let leader = get("/v1/status/leader")
        .is_ok_and(|answer| answer.json().as_str().is_some_and(|s| !s.is_empty()));
    leader
        && get("/v1/health/service/consul").is_ok_and(|answer| answer.text().contains("serfHealth"))
}
