//! What was measured on, and with.

use std::thread;

use stack::{Envoy, Registry};

use crate::Failure;

/// The machine and the versions.
#[derive(Debug)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub envoy: String,
    pub consul: String,
}

impl Machine {
    /// Looks around; asks a Consul agent for its version.
    pub fn find(consul: &dyn Registry) -> Result<Self, Failure> {
        let agent = stack::client::get(consul.address(), "/v1/agent/self")?.json();
        let version = agent["Config"]["Version"].as_str().unwrap_or("unknown");
        Ok(Self {
            cores: thread::available_parallelism()?.get(),
            cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            envoy: envoy_version()?,
            consul: version.to_owned(),
        })
    }
}

fn cpu_model() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn envoy_version() -> Result<String, Failure> {
    let envoy = Envoy::start("{}")?;
    let info = envoy.admin("/server_info")?.json();
    // <commit>/<version>/<state of the tree>/<kind of build>/<TLS library>
    let version = info["version"].as_str().and_then(|v| v.split('/').nth(1));
    Ok(version.unwrap_or("unknown").to_owned())
}
