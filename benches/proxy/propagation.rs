//! How long a change in Consul takes until requests show it.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use stack::{Backend, Consul, Envoy, Registry, Service};

use crate::Failure;
use crate::sample::Sample;
use crate::variant::{Places, Variant};
use crate::watch::BareWatch;
use crate::worker::Worker;

/// Times from the begin of a registration or deregistration, in milliseconds.
#[derive(Debug)]
pub struct Propagation {
    pub changes: u32,
    pub workers: u32,
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

impl Propagation {
    /// Changes the service that many times: an instance comes, and goes with the next
    /// change. Its weight is so large that the request after it came finds it, and the
    /// request after it went is the first that does not.
    pub fn measure(module: &std::path::Path, changes: u32) -> Result<Self, Failure> {
        const WORKERS: u32 = 2;
        let consul = Consul::start()?;
        let (stays, comes) = (Backend::start("stays")?, Backend::start("comes")?);
        let instance = |backend: &Backend, weight| {
            Service::new("web", backend.name()).at(backend.address()).weights(weight, 1)
        };
        consul.register(&instance(&stays, 1))?;
        let envoy = start(module, consul.address(), WORKERS)?;
        let mut workers = Worker::one_for_each(&envoy, WORKERS)?;
        let mut watch = BareWatch::start(consul.address())?;
        let coming = instance(&comes, 65_535);
        let mut seen = Vec::new();
        for change in 0..changes {
            let registers = change % 2 == 0;
            let apply = || {
                if registers { consul.register(&coming) } else { consul.deregister(comes.name()) }
            };
            let expected = if registers { comes.name() } else { stays.name() };
            let instances = if registers { 2 } else { 1 };
            seen.push(Change::observe(&mut watch, instances, &mut workers, expected, || {
                thread::sleep(pause_before(change));
                let begin = Instant::now();
                apply()?;
                Ok(begin)
            })?);
        }
        let ms = |seconds: f64| seconds * 1e3;
        let all = |change: &Change| change.workers.iter().map(|w| w.after).fold(0.0, f64::max);
        Ok(Self {
            changes,
            workers: WORKERS,
            bare: Sample::new(seen.iter().map(|change| ms(change.bare))),
            all_workers: Sample::new(seen.iter().map(|change| ms(all(change)))),
            difference: Sample::new(seen.iter().map(|change| ms(all(change) - change.bare))),
            resolution: Sample::new(
                seen.iter()
                    .flat_map(|change| &change.workers)
                    .map(|worker| ms(worker.between_requests)),
            ),
        })
    }
}

/// `envoy/headers.yaml`, but for the policy: by `random`, the weights alone say
/// where a request goes.
fn start(module: &std::path::Path, consul: SocketAddr, workers: u32) -> Result<Envoy, Failure> {
    let mut config = Variant::Headers.config(&Places {
        module,
        empty_filter: module,
        bare_handoff: module,
        consul,
        backends: &[],
    });
    config.filter()["services"][0]["load_balancing"]["policy"] = "random".into();
    Ok(Envoy::builder(config.to_yaml()).concurrency(workers).start()?)
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
