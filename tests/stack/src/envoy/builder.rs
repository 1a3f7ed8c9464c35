//! An Envoy before it runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{Envoy, EnvoyError};
use crate::client::Request;
use crate::fetch::{self, EnvoyRelease};
use crate::process::{Ending, Process};
use crate::wait::{eventually, wait_until};

/// An Envoy to be started or validated.
#[derive(Debug, Clone)]
pub struct EnvoyBuilder {
    release: Option<EnvoyRelease>,
    yaml: String,
    files: Vec<(String, String)>,
    concurrency: u32,
    env: Vec<(String, String)>,
    log_level: String,
    arguments: Vec<String>,
    ready_within: Duration,
    admin: SocketAddr,
    restart: Option<(u32, u32)>,
}

impl EnvoyBuilder {
    pub(super) fn new(yaml: String) -> Self {
        Self {
            release: None,
            yaml,
            files: Vec::new(),
            concurrency: 1,
            env: Vec::new(),
            log_level: "info".to_owned(),
            arguments: Vec::new(),
            ready_within: Duration::from_secs(60),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            restart: None,
        }
    }

    /// Lets the next one take over from this one, or this one from the one before: all of them have
    /// the same id, and each an epoch that is one higher. Without it there is no hot restart.
    pub fn hot_restart(mut self, base_id: u32, epoch: u32) -> Self {
        self.restart = Some((base_id, epoch));
        self
    }

    /// Adds a file to Envoy's folder, for instance a listener for file-based LDS. In it and in the
    /// configuration, `{dir}` stands for the folder's path.
    pub fn file(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Sets the release; [`EnvoyRelease::DEFAULT`] or `ENVOY_BIN` when not set.
    pub fn release(mut self, release: EnvoyRelease) -> Self {
        self.release = Some(release);
        self
    }

    /// Sets the number of workers; 1 when not set.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the log level (`trace` … `off`); `info` when not set.
    pub fn log_level(mut self, level: impl Into<String>) -> Self {
        self.log_level = level.into();
        self
    }

    /// Adds a command-line argument, such as `--component-log-level`.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets the admin endpoint's address; a free port of 127.0.0.1 when not set. What the
    /// configuration says about it does not count.
    pub fn admin_on(mut self, address: SocketAddr) -> Self {
        self.admin = address;
        self
    }

    /// Sets how long it may take to be ready; 60 s when not set.
    pub fn ready_within(mut self, within: Duration) -> Self {
        self.ready_within = within;
        self
    }

    /// Starts Envoy and waits until it is ready. Several run side by side.
    ///
    /// # Errors
    /// No binary, a refused configuration (with the log), or not ready in time.
    pub fn start(&self) -> Result<Envoy, EnvoyError> {
        let dir = self.folder()?;
        let mut command = self.command(dir.path())?;
        let admin_file = dir.path().join("admin-address");
        command.arg("--admin-address-path").arg(&admin_file);
        let (ip, port) = (self.admin.ip(), self.admin.port());
        let socket = format!("{{address: {ip}, port_value: {port}}}");
        command
            .arg("--config-yaml")
            .arg(format!("admin: {{address: {{socket_address: {socket}}}}}"));
        let process =
            Process::start("envoy", command, &dir.path().join("envoy.log"), Ending::Graceful)?;
        let exited = |process: &Process| process.exit_status();
        let admin = eventually(self.ready_within, || {
            let written =
                std::fs::read_to_string(&admin_file).ok().and_then(|text| text.trim().parse().ok());
            if exited(&process).is_some() { Some(None) } else { written.map(Some) }
        });
        let ready = admin.flatten().filter(|&admin| {
            wait_until(self.ready_within, || exited(&process).is_some() || is_live(admin))
        });
        match (exited(&process), ready) {
            (Some(status), _) => Err(EnvoyError::Exited { status, log: process.log_tail(60) }),
            // It was live; its main thread may be busy again.
            (None, Some(admin)) => Ok(Envoy { dir, admin, process }),
            (None, _) => {
                Err(EnvoyError::NotReady { within: self.ready_within, log: process.log_tail(60) })
            }
        }
    }

    /// Runs `envoy --mode validate`; gives what it printed.
    ///
    /// # Errors
    /// [`EnvoyError::Refused`] with what it printed; no binary.
    pub fn validate(&self) -> Result<String, EnvoyError> {
        let dir = self.folder()?;
        let output = self.command(dir.path())?.args(["--mode", "validate"]).output()?;
        let text = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.concat();
        if output.status.success() { Ok(text) } else { Err(EnvoyError::Refused { output: text }) }
    }

    fn folder(&self) -> io::Result<TempDir> {
        let dir = tempfile::Builder::new().prefix("stack-envoy-").tempdir()?;
        let config = ("envoy.yaml".to_owned(), self.yaml.clone());
        for (name, text) in self.files.iter().chain([&config]) {
            let path = dir.path().display().to_string();
            std::fs::write(dir.path().join(name), text.replace("{dir}", &path))?;
        }
        Ok(dir)
    }

    fn command(&self, dir: &Path) -> Result<Command, EnvoyError> {
        let binary = self.release.as_ref().map_or_else(fetch::envoy, fetch::envoy_release)?;
        let mut command = Command::new(binary);
        command.arg("--config-path").arg(dir.join("envoy.yaml"));
        command.args(["--concurrency", &self.concurrency.to_string()]);
        command.args(["--log-level", &self.log_level]);
        match self.restart {
            Some((base_id, epoch)) => {
                command.args(["--base-id", &base_id.to_string()]);
                command.args(["--restart-epoch", &epoch.to_string()]);
            }
            None => {
                command.arg("--disable-hot-restart");
            }
        }
        command.args(&self.arguments);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

fn is_live(admin: SocketAddr) -> bool {
    let request = Request::new("GET", admin, "/ready").timeout(Duration::from_secs(2));
    request.send().is_ok_and(|answer| answer.text().trim() == "LIVE")
}
