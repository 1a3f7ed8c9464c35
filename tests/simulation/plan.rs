//! What a seed decides of a world before it begins.

use consul_resolver::util::rng::Rng;

use crate::configs::{DRAINING_CONFIGS, FINDING_CONFIGS, PLAIN_CONFIGS};
use crate::envoy::Manner;
use crate::sources::{BESIDE_DRAINS, CHANGING, SERVICES, USUAL};

/// How long things go wrong at most, in seconds.
pub const LONGEST_CHAOS: usize = 40;

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
    /// The agent loses what is registered, or somebody changes it.
    Lost,
    /// What is registered loses its checks.
    InPart,
    /// The local service answers badly, or well again.
    Illness,
    /// Envoy begins to drain, or ends to.
    Drain,
    /// Envoy's administration interface does not answer, or does again.
    Silence,
    /// Something begins to be wrong with one source, or ends.
    Trouble,
    /// The agent answers a few calls for registrations with an error.
    Stumble,
    /// The agent refuses to register anything, or does not any more.
    Refusal,
    /// The whole process stands still.
    Stop,
    /// Envoy's connection for subscriptions breaks.
    Break,
    /// One of Envoy's clusters is warmed anew.
    Forget,
    /// Envoy begins to reject a service's endpoints, or takes them again.
    Reject,
}

/// All of them that mean something where nobody asks whether Envoy drains.
pub const FAULTS: [Fault; 25] = [
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
    Fault::Lost,
    Fault::InPart,
    Fault::Illness,
    Fault::Stumble,
    Fault::Refusal,
    Fault::Stop,
];

/// The others.
const DRAIN_FAULTS: [Fault; 3] = [Fault::Drain, Fault::Drain, Fault::Silence];

/// What a seed decides of a world before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many sources there are.
    pub sources: usize,
    /// How many threads there are; the first is the main one.
    pub threads: usize,
    /// The configuration of each listener, by its number.
    pub listeners: Vec<usize>,
    /// The configurations that listeners may be given later.
    pub configs: &'static [usize],
    /// The sources that may change: those that any configuration follows.
    pub changing: &'static [usize],
    /// What may go wrong. Of all that could, each seed has some: what goes wrong all the time
    /// hides what another fault would show ("swarm testing", Groce et al., ISSTA 2012).
    pub faults: Vec<Fault>,
    /// The mean time between two faults, in microseconds.
    pub fault_interval: u32,
    /// The mean time between two changes in Consul.
    pub change_interval: u32,
    /// The mean time between two requests of a worker.
    pub request_interval: u32,
    /// One request of so many is for a host that no service is configured for; 0 is none.
    pub named: u32,
    /// For how long requests come for such a host, and then do not for as long; 0 is always.
    pub burst: u32,
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
    /// How Envoy subscribes, if it does.
    pub envoy: Option<Manner>,
}

const MILLISECOND: u32 = 1_000;
const SECOND: u32 = 1_000_000;

impl Plan {
    /// Whether services may be found while running.
    pub const fn finds(&self) -> bool {
        self.named > 0
    }

    /// A process of so many threads, to which nothing happens by itself.
    pub fn calm(threads: usize) -> Self {
        Self {
            sources: USUAL,
            threads,
            listeners: vec![0],
            configs: &PLAIN_CONFIGS,
            changing: &CHANGING,
            faults: Vec::new(),
            fault_interval: SECOND,
            change_interval: SECOND / 2,
            request_interval: 100 * MILLISECOND,
            named: 0,
            burst: 0,
            interrupted: 2,
            interruption: 3 * MILLISECOND,
            in_step: false,
            own_clocks: false,
            chaos: 0,
            envoy: None,
        }
    }

    /// What this generator decides.
    pub fn draw(rng: &mut Rng) -> Self {
        let one_of =
            |rng: &mut Rng, choices: &[u32]| choices[rng.below(choices.len() as u32) as usize];
        let finds = rng.below(5) < 2;
        let listeners = u32::from(finds) + 1 + one_of(rng, &[0, 0, 0, 1, 2]);
        let share = 1 + rng.below(3);
        let configs: &[usize] = if finds { &FINDING_CONFIGS } else { &PLAIN_CONFIGS };
        let faults = FAULTS.into_iter().filter(|_| rng.below(4) < share).collect();
        Self {
            sources: USUAL,
            threads: 1 + one_of(rng, &[0, 1, 1, 2, 2, 3, 4, 8]) as usize,
            listeners: (0..listeners)
                .map(|_| configs[rng.below(configs.len() as u32) as usize])
                .collect(),
            configs,
            changing: if finds { &SERVICES } else { &CHANGING },
            faults,
            fault_interval: one_of(rng, &[200, 500, 1_000, 3_000]) * MILLISECOND,
            change_interval: one_of(rng, &[50, 400, 1_000, 5_000]) * MILLISECOND,
            request_interval: one_of(rng, &[50, 300, 1_000]) * MILLISECOND,
            named: if finds { one_of(rng, &[2, 10]) } else { 0 },
            burst: if finds { one_of(rng, &[0, 1_000, 4_000]) * MILLISECOND } else { 0 },
            interrupted: one_of(rng, &[0, 1, 4]),
            interruption: one_of(rng, &[MILLISECOND, 20 * MILLISECOND, 300 * MILLISECOND]),
            in_step: rng.below(3) == 0,
            own_clocks: rng.below(2) == 0,
            chaos: u64::from(one_of(rng, &[3, 8, 15, LONGEST_CHAOS as u32]) * 1_000),
            envoy: None,
        }
    }

    /// The same for a process that asks whether Envoy drains.
    pub fn draw_draining(rng: &mut Rng) -> Self {
        let plan = Self::draw(rng);
        let configs = &DRAINING_CONFIGS;
        let mut one = || configs[rng.below(configs.len() as u32) as usize];
        let listeners = plan.listeners.iter().map(|_| one()).collect();
        let mut faults = plan.faults;
        faults.extend(DRAIN_FAULTS.into_iter().filter(|_| rng.below(4) < 3));
        Self { listeners, configs, changing: &BESIDE_DRAINS, faults, named: 0, burst: 0, ..plan }
    }
}
