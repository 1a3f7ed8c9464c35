//! Consul's servers, and its agents' caches.
//!
//! A server evaluates a blocking query when it comes, holds it while its index is not above the
//! one that was asked for, and evaluates it once more when that changes. What is asked without
//! `stale` goes to the leader. An agent's cache holds one such query for each service and keeps
//! asking it for ten minutes at a time, always with `stale` (hashicorp/consul:
//! `agent/cache-types/health_services.go` and `options.go`).

use std::time::Duration;

use consul_resolver::util::rng::Rng;
use serde_json::json;

use crate::meter::Meter;
use crate::scenario::Reading;

/// The servers.
#[derive(Debug)]
pub struct Servers {
    /// When each core of each server is free.
    free: Vec<[Duration; Self::CORES]>,
}

impl Servers {
    /// Servers of a cluster; the first one leads.
    pub const COUNT: usize = 3;
    /// What a server has, and what a read takes of it: assumed, and of little weight, since what
    /// is counted is reads.
    pub const CORES: usize = 4;
    pub const READ: Duration = Duration::from_micros(200);
    /// One way through the network, agents included.
    pub const WAY: Duration = Duration::from_micros(500);

    /// Idle ones.
    pub fn new() -> Self {
        Self { free: vec![[Duration::ZERO; Self::CORES]; Self::COUNT] }
    }

    /// Reads the state at a server; gives when that is done.
    pub fn read(&mut self, server: usize, now: Duration, meter: &mut Meter) -> Duration {
        let core = self.free[server].iter_mut().min().expect("a server has cores");
        let begin = now.max(*core);
        *core = begin + Self::READ;
        meter.on_read(server, begin);
        *core
    }
}

/// The server that an Envoy, or an agent, has its answers from.
pub fn server_of(reading: Reading, asker: u32) -> usize {
    match reading {
        Reading::Leader => 0,
        Reading::Stale | Reading::Cached { .. } => asker as usize % Servers::COUNT,
    }
}

/// How long a query is held where nothing changes.
pub fn held(wait: Duration, jitter: bool, rng: &mut Rng) -> Duration {
    if jitter { wait + (wait / 16).mul_f64(rng.unit()) } else { wait }
}

/// Ten instances, one of which is another with each index.
pub fn instances(index: u64) -> Vec<u8> {
    let instance = |port: u64| {
        json!({
            "Node": {"Node": "node", "Address": "10.0.0.1"},
            "Service": {"ID": format!("instance-{port}"), "Address": "", "Port": port},
            "Checks": [],
        })
    };
    let ports = (1..10).chain([1_000 + index % 10_000]);
    serde_json::to_vec(&ports.map(instance).collect::<Vec<_>>()).expect("it is JSON")
}

/// What an agent's cache has of one service.
#[derive(Debug, Clone, Default)]
pub struct Cached {
    /// The index of what is there; 0 while there is nothing.
    pub index: u64,
    /// Whether the agent asks the servers for it.
    pub is_watched: bool,
    /// The calls that wait for more than that.
    pub waiting: Vec<u64>,
}

impl Cached {
    /// How long the agent has the servers hold its query.
    pub const WAIT: Duration = Duration::from_secs(600);
}
