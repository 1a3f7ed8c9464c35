//! A Consul before it runs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::acl::MANAGEMENT;
use super::{Consul, ConsulError, NODE, PATIENCE, acl};
use crate::client::Request;
use crate::pki::Pki;
use crate::process::{Ending, Process};
use crate::registry::Registry;
use crate::wait::wait_until;
use crate::{fetch, port};

/// Where the catalog is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Storage {
    /// Raft in memory: up in 0.2 s. A restart keeps registrations (the agent's own files), but
    /// the index begins anew.
    #[default]
    Memory,
    /// Raft on disk: up in 2 s. A restart keeps registrations and index.
    Disk,
}

/// The ports of one Consul.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) http: u16,
    serf: u16,
    server: u16,
    /// The port on which servers of other datacenters gossip with it, where they may.
    wan: Option<u16>,
    /// The port of the HTTP API over TLS, where it has one.
    pub(super) https: Option<u16>,
}

/// A Consul to be started.
#[derive(Debug, Clone)]
pub struct ConsulBuilder {
    storage: Storage,
    http: Option<u16>,
    datacenter: String,
    node_meta: BTreeMap<String, String>,
    federated: bool,
    tls: Option<Pki>,
    acls: bool,
}

impl Default for ConsulBuilder {
    fn default() -> Self {
        Self {
            storage: Storage::default(),
            http: None,
            datacenter: "dc1".to_owned(),
            node_meta: BTreeMap::new(),
            federated: false,
            tls: None,
            acls: false,
        }
    }
}

impl ConsulBuilder {
    /// Keeps the catalog on disk, so that its indexes go on after a restart.
    pub fn durable(mut self) -> Self {
        self.storage = Storage::Disk;
        self
    }

    /// Sets the port of the HTTP API; a free one when not set.
    pub fn http_port(mut self, port: u16) -> Self {
        self.http = Some(port);
        self
    }

    /// Sets the datacenter's name; `dc1` when not set.
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = name.into();
        self
    }

    /// Adds metadata of the node, and so of all instances registered at it.
    pub fn node_meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.node_meta.insert(key.into(), value.into());
        self
    }

    /// Lets servers of other datacenters be joined: see [`Consul::federation_or_skip`].
    pub fn federated(mut self) -> Self {
        self.federated = true;
        self
    }

    /// Serves its API over HTTPS too, to clients with a certificate only (`verify_incoming`), and
    /// asks other servers for theirs (`verify_outgoing`): see [`Consul::https`].
    pub fn tls(mut self, pki: Pki) -> Self {
        self.tls = Some(pki);
        self
    }

    /// Lets nobody do anything without a token: see [`Consul::grant`].
    pub fn acls(mut self) -> Self {
        self.acls = true;
        self
    }

    /// Starts it and waits for its leader.
    ///
    /// # Errors
    /// No binary, or it does not come up; a port that was asked for may be taken.
    pub fn start(self) -> Result<Consul, ConsulError> {
        let binary = fetch::consul()?;
        let mut tries_left = 4;
        loop {
            let dir = tempfile::Builder::new().prefix("stack-consul-").tempdir()?;
            let ports = Ports {
                http: self.http.unwrap_or_else(port::free),
                serf: port::free(),
                server: port::free(),
                wan: self.federated.then(port::free),
                https: self.tls.is_some().then(port::free),
            };
            match self.run(&binary, dir.path(), ports) {
                Err(ConsulError::Exited { log, .. })
                    if tries_left > 0 && log.contains("address already in use") =>
                {
                    tries_left -= 1;
                }
                started => {
                    return Ok(Consul {
                        process: Mutex::new(started?),
                        dir,
                        builder: self,
                        ports,
                        reported: Mutex::default(),
                    });
                }
            }
        }
    }

    /// Starts it, or skips, as [`Consul::start_or_skip`].
    ///
    /// # Panics
    /// As [`Consul::start_or_skip`].
    pub fn start_or_skip(self, test: &str) -> Option<Consul> {
        Consul::or_skip(test, self.start())
    }

    pub(super) fn datacenter_name(&self) -> &str {
        &self.datacenter
    }

    /// Runs it in a folder, with what the folder has from an earlier run.
    pub(super) fn run(
        &self,
        binary: &Path,
        dir: &Path,
        ports: Ports,
    ) -> Result<Process, ConsulError> {
        let data = dir.join("data");
        std::fs::create_dir_all(&data)?;
        let config = dir.join("consul.json");
        let mut settings = self.settings(&data, ports);
        if let (Some(pki), Some(settings)) = (&self.tls, settings.as_object_mut()) {
            settings.extend(tls_settings(pki, dir)?);
        }
        if self.acls {
            settings["acl"] = acl::settings();
        }
        std::fs::write(&config, settings.to_string())?;
        let mut command = Command::new(binary);
        command.arg("agent").arg("-config-file").arg(&config);
        if self.storage == Storage::Memory {
            command.arg("-dev");
        }
        let process = Process::start("consul", command, &dir.join("consul.log"), Ending::Kill)?;
        let ready =
            wait_until(PATIENCE, || process.exit_status().is_some() || is_ready(ports.http));
        match process.exit_status() {
            Some(status) => Err(ConsulError::Exited { status, log: process.log_tail(20) }),
            None if ready => Ok(process),
            None => Err(ConsulError::NotReady { log: process.log_tail(20) }),
        }
    }

    fn settings(&self, data: &Path, ports: Ports) -> Value {
        json!({
            "node_name": NODE,
            "node_meta": self.node_meta,
            "datacenter": self.datacenter,
            "server": true,
            "bootstrap": true,
            "data_dir": data,
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": ports.http, "https": ports.https.map_or(-1, i32::from),
                "dns": -1, "grpc": -1,
                "serf_lan": ports.serf, "server": ports.server,
                "serf_wan": ports.wan.map_or(-1, i32::from),
            },
            "performance": {"raft_multiplier": 1},
            "connect": {"enabled": false},
            "disable_update_check": true,
            "disable_host_node_id": true,
        })
    }
}

/// Writes the certificates to the folder; gives the settings that name them.
fn tls_settings(pki: &Pki, dir: &Path) -> std::io::Result<Map<String, Value>> {
    let files = [
        ("ca_file", "ca.pem", &pki.ca),
        ("cert_file", "server.pem", &pki.server.certificate),
        ("key_file", "server-key.pem", &pki.server.key),
    ];
    let mut settings = Map::new();
    for (setting, name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text)?;
        settings.insert(setting.to_owned(), json!(path));
    }
    for setting in ["verify_incoming", "verify_outgoing"] {
        settings.insert(setting.to_owned(), json!(true));
    }
    Ok(settings)
}

/// Lets the servers find each other, and waits until each can ask for every datacenter.
pub(super) fn federate(consuls: &[Consul]) -> Result<(), ConsulError> {
    let Some((first, others)) = consuls.split_first() else { return Ok(()) };
    for wan in others.iter().filter_map(|other| other.ports.wan) {
        first.put(&format!("/v1/agent/join/127.0.0.1:{wan}?wan=1"), "")?;
    }
    for asking in consuls {
        for asked in consuls {
            let dc = asked.datacenter();
            let reached = wait_until(PATIENCE, || {
                let health = asking.health("consul", &format!("dc={dc}"));
                health.is_ok_and(|health| !health.entries.is_empty())
            });
            if !reached {
                let datacenter = asking.datacenter().to_owned();
                return Err(ConsulError::NotJoined { datacenter, other: dc.to_owned() });
            }
        }
    }
    Ok(())
}

/// Whether a leader is elected and the node itself is in the catalog.
fn is_ready(http: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
    // A Consul without ACLs minds no token.
    let get = |path| {
        let request = Request::new("GET", address, path).header("x-consul-token", MANAGEMENT);
        request.timeout(Duration::from_secs(2)).send()
    };
    let leader = get("/v1/status/leader")
        .is_ok_and(|answer| answer.json().as_str().is_some_and(|s| !s.is_empty()));
    leader
        && get("/v1/health/service/consul").is_ok_and(|answer| answer.text().contains("serfHealth"))
}
