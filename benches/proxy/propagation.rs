//! How long a change in Consul takes until requests show it.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stack::{Backend, Consul, Envoy, Registry, Service, wait_until};

use crate::Failure;
use crate::budget::{Deadline, Rounds};
use crate::config::EnvoyConfig;
use crate::connection::Connection;
use crate::load::Load;
use crate::sample::Sample;
use crate::watch::BareWatch;
use crate::worker::Worker;

/// Who sends a request to its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `envoy/native.yaml`: Envoy's own `ROUND_ROBIN`.
    Native,
    /// `envoy/envoy.yaml`: this filter picks, Envoy's cluster has the hosts.
    Picks,
    /// `envoy/headers.yaml`: this filter picks, and nobody else knows of hosts.
    Headers,
}

/// All ways, one change of each in turn.
#[derive(Debug)]
pub struct Propagation {
    pub changes: Rounds,
    pub workers: u32,
    /// For each way an instance that comes, and one that goes.
    pub rows: Vec<(Way, Changes, Changes)>,
}

/// Times from the begin of a registration or deregistration, in milliseconds.
#[derive(Debug)]
pub struct Changes {
    /// To the answer of a bare blocking query.
    pub bare: Sample,
    /// To the first request that shows it, on the last of the workers to do so.
    pub all_workers: Sample,
    /// What the second takes more than the first, change by change.
    pub difference: Sample,
    /// Between two requests to one worker: how finely is measured.
    pub resolution: Sample,
}

/// What was seen of one change, in seconds from its begin.
struct Change {
    bare: f64,
    workers: Vec<Seen>,
}

struct Seen {
    after: f64,
    between_requests: f64,
}

/// One Envoy, with a service of its own, so that others do not hear of its changes.
struct Lane {
    way: Way,
    stays: Backend,
    comes: Backend,
    workers: Vec<Worker>,
    watch: BareWatch,
    came: Vec<Change>,
    went: Vec<Change>,
    // After its connections.
    _envoy: Envoy,
}

impl Way {
    /// All, in the order of a round.
    pub const ALL: [Self; 3] = [Self::Native, Self::Picks, Self::Headers];

    /// As in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "`envoy/native.yaml`",
            Self::Picks => "picks, `envoy/envoy.yaml`",
            Self::Headers => "`envoy/headers.yaml`",
        }
    }

    /// The service that its Envoy asks for.
    const fn service(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Picks => "picks",
            Self::Headers => "headers",
        }
    }

    /// The shipped file, but for the policy: the weights alone say where a request goes.
    fn config(self, module: &Path, consul: SocketAddr) -> EnvoyConfig {
        let (mut config, policy) = match self {
            Self::Native => (EnvoyConfig::native(), "round_robin"),
            Self::Picks => (EnvoyConfig::recommended(), "random"),
            Self::Headers => (EnvoyConfig::headers(), "random"),
        };
        config.load(module);
        config.ask(consul);
        let service = config.service();
        service["name"] = self.service().into();
        service["hosts"] = vec![Connection::HOST].into();
        service["load_balancing"]["policy"] = policy.into();
        config
    }
}

impl Propagation {
    /// Lets an instance come and go that many times for each way. Its weight is so large that the
    /// request after it came finds it, and the request after it went is the first that does not.
    pub fn measure(module: &Path, changes: u32, deadline: Deadline) -> Result<Self, Failure> {
        const WORKERS: u32 = 2;
        let consul = Consul::start()?;
        let lanes = Way::ALL.map(|way| Lane::start(way, module, &consul, WORKERS));
        let mut lanes = lanes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let changes = deadline.rounds(changes, |change| {
            for lane in &mut lanes {
                lane.arrival(&consul, change)?;
                lane.departure(&consul, change)?;
            }
            Ok(())
        })?;
        let rows = lanes
            .iter()
            .map(|lane| (lane.way, Changes::summed_up(&lane.came), Changes::summed_up(&lane.went)));
        Ok(Self { changes, workers: WORKERS, rows: rows.collect() })
    }

    /// Between two requests to one worker, over all ways.
    pub fn resolution_ms(&self) -> f64 {
        let all = self.rows.iter().flat_map(|(_, came, went)| [came, went]);
        Sample::new(all.map(|changes| changes.resolution.median())).median()
    }
}

impl Lane {
    fn start(way: Way, module: &Path, consul: &Consul, workers: u32) -> Result<Self, Failure> {
        let (stays, comes) = (Backend::start("stays")?, Backend::start("comes")?);
        let id = format!("{}-stays", way.service());
        consul.register(&Service::new(way.service(), id).at(stays.address()).weights(1, 1))?;
        let yaml = way.config(module, consul.address()).to_yaml();
        let envoy = Envoy::builder(yaml).concurrency(workers).start()?;
        await_answer(&envoy)?;
        Ok(Self {
            workers: Worker::one_for_each(&envoy, workers)?,
            watch: BareWatch::start(consul.address(), way.service())?,
            way,
            stays,
            comes,
            came: Vec::new(),
            went: Vec::new(),
            _envoy: envoy,
        })
    }

    fn arrival(&mut self, consul: &Consul, change: u32) -> Result<(), Failure> {
        const MOST: u32 = 65_535;
        let coming = Service::new(self.way.service(), self.id_of_guest());
        let coming = coming.at(self.comes.address()).weights(MOST, 1);
        let expected = self.comes.name();
        let seen = Change::observe(&mut self.watch, 2, &mut self.workers, expected, || {
            thread::sleep(pause_before(2 * change));
            let begin = Instant::now();
            consul.register(&coming)?;
            Ok(begin)
        });
        self.came.push(seen?);
        Ok(())
    }

    fn departure(&mut self, consul: &Consul, change: u32) -> Result<(), Failure> {
        let (going, expected) = (self.id_of_guest(), self.stays.name());
        let seen = Change::observe(&mut self.watch, 1, &mut self.workers, expected, || {
            thread::sleep(pause_before(2 * change + 1));
            let begin = Instant::now();
            consul.deregister(&going)?;
            Ok(begin)
        });
        self.went.push(seen?);
        Ok(())
    }

    fn id_of_guest(&self) -> String {
        format!("{}-comes", self.way.service())
    }
}

/// Waits until a request is answered with 200: routes and hosts come after the start.
fn await_answer(envoy: &Envoy) -> Result<(), Failure> {
    const WITHIN: Duration = Duration::from_secs(30);
    let mut load = Load::open(envoy.listener(EnvoyConfig::LISTENER)?, 1)?;
    if wait_until(WITHIN, || load.probe()) {
        return Ok(());
    }
    Err(format!("no request is answered:\n{}", envoy.process().log_tail(30)).into())
}

impl Changes {
    fn summed_up(seen: &[Change]) -> Self {
        let ms = |seconds: f64| seconds * 1e3;
        let all = |change: &Change| change.workers.iter().map(|w| w.after).fold(0.0, f64::max);
        let workers = seen.iter().flat_map(|change| &change.workers);
        Self {
            bare: Sample::new(seen.iter().map(|change| ms(change.bare))),
            all_workers: Sample::new(seen.iter().map(|change| ms(all(change)))),
            difference: Sample::new(seen.iter().map(|change| ms(all(change) - change.bare))),
            resolution: Sample::new(workers.map(|worker| ms(worker.between_requests))),
        }
    }
}

/// Long enough for both queries to wait at Consul again, with the same index, and for the
/// filter's limit of queries; and never at the same phase of the filter's timer.
fn pause_before(change: u32) -> Duration {
    Duration::from_millis(500 + u64::from(change) * 37 % 250)
}

impl Change {
    /// Has everything watch, then applies the change, which gives when it began.
    fn observe(
        watch: &mut BareWatch,
        instances: usize,
        workers: &mut [Worker],
        expected: &str,
        apply: impl FnOnce() -> Result<Instant, Failure>,
    ) -> Result<Self, Failure> {
        thread::scope(|scope| {
            let bare = scope.spawn(|| {
                let result = watch.until_there_are(instances).map_err(|e| e.to_string());
                result.map(|()| Instant::now())
            });
            let polls: Vec<_> = workers
                .iter_mut()
                .map(|worker| {
                    scope.spawn(move || {
                        let start = Instant::now();
                        let requests = worker.poll_until(expected).map_err(|e| e.to_string())?;
                        let end = Instant::now();
                        let between = (end - start).as_secs_f64() / f64::from(requests);
                        Ok::<_, String>((end, between))
                    })
                })
                .collect();
            let begin = apply()?;
            let after = |end: Instant| (end - begin).as_secs_f64();
            let bare = after(bare.join().expect("it does not panic")?);
            let workers = polls.into_iter().map(|poll| {
                let (end, between_requests) = poll.join().expect("it does not panic")?;
                Ok(Seen { after: after(end), between_requests })
            });
            Ok(Self { bare, workers: workers.collect::<Result<_, Failure>>()? })
        })
    }
}
