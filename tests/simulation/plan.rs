//! What a seed decides of a world before it begins.

use consul_resolver::config::Config;
use consul_resolver::rng::Rng;

/// Services, and how long Consul may hold a query: each a configuration that a listener may have.
const CONFIGS: [(&[&str], &str); 6] = [
    (&["web", "api"], "55s"),
    (&["web", "api"], "2s"),
    (&["web"], "5s"),
    (&["api", "db"], "1s"),
    (&["web", "api"], "10s"),
    (&["db"], "55s"),
];

/// The longest wait of those.
pub const LONGEST_WAIT: u64 = 55_000;

/// How long things go wrong at most, in seconds.
pub const LONGEST_CHAOS: usize = 40;

/// The configurations, by their number.
pub fn configs() -> Vec<Config> {
    CONFIGS.iter().map(|(services, wait)| config(services, wait)).collect()
}

fn config(services: &[&str], wait: &str) -> Config {
    let service = |name: &&str| {
        let datacenters = if *name == "web" { r#","datacenters":["dc1","dc2"]"# } else { "" };
        format!(r#"{{"name":"{name}","hosts":["{name}.test"]{datacenters}}}"#)
    };
    let services: Vec<String> = services.iter().map(service).collect();
    let services = services.join(",");
    let json = format!(r#"{{"consul":{{"cluster":"c","wait":"{wait}"}},"services":[{services}]}}"#);
    Config::parse(json.as_bytes()).expect("a configuration")
}

/// Something that may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers of Consul fail, all or some of them.
    Failing,
    /// Consul starts again with a lower index.
    Restart,
    /// Its state is restored, with a lower index, and connections live on.
    Restore,
    /// All instances of a service go at once.
    MassExit,
    /// No answers for up to two minutes.
    Stall,
    /// Answers take seconds.
    Slow,
    /// Good answers say less than the truth.
    Lies,
    /// Queries that block are not told of changes.
    Deaf,
    /// Plain queries are answered by a server that lags behind.
    Lag,
    /// Callouts are not sent.
    Refused,
    /// Callouts never return.
    Vanish,
    /// Callouts return long after their time.
    Late,
    /// A VM dies, wherever it stands.
    Death,
    /// A VM stands still, wherever it stands.
    Freeze,
    /// A VM's clock stands still.
    Clock,
    /// Wake-ups are lost, doubled, or come late.
    Wakes,
    /// A listener is updated.
    Update,
    /// The last listener goes, and comes back.
    Gone,
    /// Requests cannot reach their endpoints.
    Suspicion,
}

/// All of them.
pub const FAULTS: [Fault; 19] = [
    Fault::Failing,
    Fault::Restart,
    Fault::Restore,
    Fault::MassExit,
    Fault::Stall,
    Fault::Slow,
    Fault::Lies,
    Fault::Deaf,
    Fault::Lag,
    Fault::Refused,
    Fault::Vanish,
    Fault::Late,
    Fault::Death,
    Fault::Freeze,
    Fault::Clock,
    Fault::Wakes,
    Fault::Update,
    Fault::Gone,
    Fault::Suspicion,
];

/// What a seed decides of a world before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many threads there are; the first is the main one.
    pub threads: usize,
    /// The configuration of each listener, by its number.
    pub listeners: Vec<usize>,
    /// What may go wrong. Of all that could, each seed has some: what goes wrong all the time
    /// hides what another fault would show ("swarm testing", Groce et al., ISSTA 2012).
    pub faults: Vec<Fault>,
    /// The mean time between two faults, in microseconds.
    pub fault_interval: u32,
    /// The mean time between two changes in Consul.
    pub change_interval: u32,
    /// The mean time between two requests of a worker.
    pub request_interval: u32,
    /// A VM is interrupted before one in so many of its commands; 0 is never.
    pub interrupted: u32,
    /// For how long at most.
    pub interruption: u32,
    /// Whether all timers began at the same moment.
    pub in_step: bool,
    /// Whether each VM's clock runs at a rate of its own.
    pub own_clocks: bool,
    /// How long things go wrong, in milliseconds.
    pub chaos: u64,
}

const MILLISECOND: u32 = 1_000;
const SECOND: u32 = 1_000_000;

impl Plan {
    /// A process of so many threads, to which nothing happens by itself.
    pub fn calm(threads: usize) -> Self {
        Self {
            threads,
            listeners: vec![0],
            faults: Vec::new(),
            fault_interval: SECOND,
            change_interval: SECOND / 2,
            request_interval: 100 * MILLISECOND,
            interrupted: 2,
            interruption: 3 * MILLISECOND,
            in_step: false,
            own_clocks: false,
            chaos: 0,
        }
    }

    /// What this generator decides.
    pub fn draw(rng: &mut Rng) -> Self {
        let one_of =
            |rng: &mut Rng, choices: &[u32]| choices[rng.below(choices.len() as u32) as usize];
        let listeners = 1 + one_of(rng, &[0, 0, 0, 1, 2]);
        let share = 1 + rng.below(3);
        let faults = FAULTS.into_iter().filter(|_| rng.below(4) < share).collect();
        Self {
            threads: 1 + one_of(rng, &[0, 1, 1, 2, 2, 3, 4, 8]) as usize,
            listeners: (0..listeners)
                .map(|_| one_of(rng, &[1, 1, 1, 2, 2, 3, 4, 5]) as usize)
                .collect(),
            faults,
            fault_interval: one_of(rng, &[200, 500, 1_000, 3_000]) * MILLISECOND,
            change_interval: one_of(rng, &[50, 400, 1_000, 5_000]) * MILLISECOND,
            request_interval: one_of(rng, &[50, 300, 1_000]) * MILLISECOND,
            interrupted: one_of(rng, &[0, 1, 4]),
            interruption: one_of(rng, &[MILLISECOND, 20 * MILLISECOND, 300 * MILLISECOND]),
            in_step: rng.below(3) == 0,
            own_clocks: rng.below(2) == 0,
            chaos: u64::from(one_of(rng, &[3, 8, 15, LONGEST_CHAOS as u32]) * 1_000),
        }
    }
}
