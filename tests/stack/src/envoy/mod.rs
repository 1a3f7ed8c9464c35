//! A running Envoy.

mod builder;

pub use builder::EnvoyBuilder;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, ClientError, Request};
use crate::fetch::FetchError;
use crate::process::Process;

/// Envoy did not start, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// There is no binary.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Files or the process could not be made or read.
    #[error("running envoy")]
    Io(#[from] io::Error),
    /// It ended while starting: it refuses its configuration, usually.
    #[error("envoy ended ({status}):\n{log}")]
    Exited {
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It is not `LIVE` in time.
    #[error("envoy is not ready after {within:?}:\n{log}")]
    NotReady {
        /// The time it was given.
        within: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// `--mode validate` refuses the configuration.
    #[error("envoy refuses the configuration:\n{output}")]
    Refused {
        /// All it says.
        output: String,
    },
    /// The admin endpoint gives no answer.
    #[error("envoy's admin endpoint gives no answer")]
    Admin(#[from] ClientError),
    /// No listener of that name is up.
    #[error("no listener {name:?}; there are {found:?}")]
    NoListener {
        /// The name asked for.
        name: String,
        /// The names there are.
        found: Vec<String>,
    },
}

/// A running Envoy, ended when dropped.
#[derive(Debug)]
pub struct Envoy {
    // Before the folder: it is dropped first, and then shows its log.
    process: Process,
    dir: TempDir,
    admin: SocketAddr,
}

impl Envoy {
    /// Begins with a configuration; see [`EnvoyBuilder::file`] for `{dir}` in it. Let listeners
    /// ask for port 0, and find them with [`listener`](Self::listener).
    pub fn builder(yaml: impl Into<String>) -> EnvoyBuilder {
        EnvoyBuilder::new(yaml.into())
    }

    /// Starts one worker with a configuration; as [`EnvoyBuilder::start`].
    ///
    /// # Errors
    /// As [`EnvoyBuilder::start`].
    pub fn start(yaml: impl Into<String>) -> Result<Self, EnvoyError> {
        Self::builder(yaml).start()
    }

    /// Its folder: `envoy.yaml`, `envoy.log`, and the files it was given.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces a file in the folder at once, by renaming, as file-based LDS needs; `{dir}` in the
    /// text stands for the folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace_file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir().join(name);
        let new = self.dir().join(format!("{name}.new"));
        std::fs::write(&new, text.replace("{dir}", &self.dir().display().to_string()))?;
        std::fs::rename(&new, &path)?;
        Ok(path)
    }

    /// The process: its pid, its log, signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The admin endpoint's address.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// `GET` at the admin endpoint.
    ///
    /// # Errors
    /// No answer.
    pub fn admin(&self, path: &str) -> Result<Answer, EnvoyError> {
        Ok(Request::new("GET", self.admin, path).send()?)
    }

    /// `POST` at the admin endpoint (`/logging?wasm=debug`, `/drain_listeners`, …).
    ///
    /// # Errors
    /// No answer.
    pub fn admin_post(&self, path: &str) -> Result<Answer, EnvoyError> {
        Ok(Request::new("POST", self.admin, path).send()?)
    }

    /// The address a listener is bound to.
    ///
    /// # Errors
    /// No answer, or no such listener.
    pub fn listener(&self, name: &str) -> Result<SocketAddr, EnvoyError> {
        let listeners = self.admin("/listeners?format=json")?.json();
        let all: Vec<(String, SocketAddr)> = listeners["listener_statuses"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(named_address)
            .collect();
        let found = || all.iter().map(|(name, _)| name.clone()).collect();
        let one = all.iter().find(|(other, _)| other == name).map(|(_, address)| *address);
        one.ok_or_else(|| EnvoyError::NoListener { name: name.to_owned(), found: found() })
    }

    /// Counters and gauges whose name begins with `prefix`.
    ///
    /// # Errors
    /// No answer.
    pub fn stats(&self, prefix: &str) -> Result<BTreeMap<String, u64>, EnvoyError> {
        let text =
            self.admin("/stats?type=Counters")?.text() + &self.admin("/stats?type=Gauges")?.text();
        let numbers = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(numbers.filter(|(name, _)| name.starts_with(prefix)).collect())
    }

    /// One counter or gauge; 0 while it is not there.
    ///
    /// # Errors
    /// No answer.
    pub fn stat(&self, name: &str) -> Result<u64, EnvoyError> {
        Ok(self.stats(name)?.get(name).copied().unwrap_or(0))
    }

    /// CPU time all its threads have used, ended ones included, to the nanosecond.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let pid = nix::unistd::Pid::from_raw(self.process.pid().cast_signed());
        let clock = nix::time::clock_getcpuclockid(pid)?;
        Ok(nix::time::clock_gettime(clock)?.into())
    }

    /// CPU time per thread, by name (`wrk:worker_0`, `envoy`, …); threads of one name are summed.
    ///
    /// # Errors
    /// The process is gone.
    pub fn thread_cpu_times(&self) -> io::Result<BTreeMap<String, Duration>> {
        let mut times = BTreeMap::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.pid()))? {
            let task = task?.path();
            // A thread may end between the listing and the reading.
            let (Ok(name), Ok(schedule)) = (
                std::fs::read_to_string(task.join("comm")),
                std::fs::read_to_string(task.join("schedstat")),
            ) else {
                continue;
            };
            let nanoseconds =
                schedule.split_whitespace().next().and_then(|first| first.parse().ok());
            *times.entry(name.trim().to_owned()).or_default() +=
                Duration::from_nanos(nanoseconds.unwrap_or(0));
        }
        Ok(times)
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// The process is gone.
    pub fn memory(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.unwrap_or(0) * 1024)
    }
}

fn named_address(status: &Value) -> Option<(String, SocketAddr)> {
    let socket = &status["local_address"]["socket_address"];
    let ip = socket["address"].as_str()?.parse().ok()?;
    let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
    Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
}
