//! Who asks how, and what happens to Consul meanwhile.

use std::time::Duration;

/// A fleet, its Consul, and what happens.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Envoys, which start one after the other within [`Self::START`].
    pub envoys: u32,
    /// Services that each of them watches.
    pub services: u32,
    pub reading: Reading,
    pub client: Client,
    /// Whether Consul holds a query for up to a sixteenth longer than it was asked to, by chance.
    pub jitter: bool,
    pub plan: Plan,
    pub seed: u64,
}

/// Where reads end up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// `consistency: default`: at the leader.
    Leader,
    /// `consistency: stale`: at any server.
    Stale,
    /// `consistency: cached`: in the cache of an agent, which so many Envoys share.
    Cached { envoys_per_agent: u32 },
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// This filter.
    Filter,
    /// A client that asks again at once after an answer, and a second after an error.
    EverySecond,
}

/// What happens to Consul, once the fleet has been there for [`Plan::SETTLED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Quiet,
    /// So many changes of the first service, a period apart.
    Changes { count: u32, every: Duration },
    /// It cannot be reached for a while.
    Outage(Duration),
}

impl Scenario {
    /// How long the start of the fleet takes.
    pub const START: Duration = Duration::from_secs(60);
    /// How long Consul may hold a query: the filter's default.
    pub const WAIT: Duration = consul_resolver::config::Consul::DEFAULT_WAIT;

    /// This filter in its defaults, one service, and nothing that happens.
    pub const fn of(envoys: u32, reading: Reading, seed: u64) -> Self {
        Self {
            envoys,
            services: 1,
            reading,
            client: Client::Filter,
            jitter: true,
            plan: Plan::Quiet,
            seed,
        }
    }

    /// The same with something that happens.
    pub const fn with(self, plan: Plan) -> Self {
        Self { plan, ..self }
    }
}

impl Reading {
    /// All that the tables compare.
    pub const ALL: [Self; 4] = [
        Self::Leader,
        Self::Stale,
        Self::Cached { envoys_per_agent: 1 },
        Self::Cached { envoys_per_agent: 10 },
    ];

    /// As in the tables.
    pub fn name(self) -> String {
        match self {
            Self::Leader => "`default`".to_owned(),
            Self::Stale => "`stale`".to_owned(),
            Self::Cached { envoys_per_agent: 1 } => "`cached`, an agent each".to_owned(),
            Self::Cached { envoys_per_agent } => {
                format!("`cached`, {envoys_per_agent} at an agent")
            }
        }
    }
}

impl Plan {
    /// When it begins: the start is over, and no two Envoys are in step.
    pub const SETTLED: Duration = Duration::from_secs(300);
    /// One change.
    pub const ONE_CHANGE: Self = Self::Changes { count: 1, every: Duration::ZERO };
    /// A service whose instances come and go, or whose checks flap: 20 changes a second for half
    /// a minute.
    pub const STORM: Self = Self::Changes { count: 600, every: Duration::from_millis(50) };
    /// How long is looked at from then on.
    pub const WATCHED: Duration = Duration::from_secs(600);
}
