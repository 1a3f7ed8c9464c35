//! Envoy under load for a while, with or without changes in Consul.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stack::Envoy;

use super::{Scale, listener};
use crate::Failure;
use crate::contest::{Outcome, Traffic};
use crate::stats;

/// What was seen of it, in one round or in several.
#[derive(Debug)]
pub struct Phase {
    pub outcome: Outcome,
    /// CPU time of the main thread.
    main: Duration,
    /// CPU time of all workers.
    workers: Duration,
    /// Calls to Consul.
    calls: u64,
    time: Duration,
}

impl Phase {
    /// Of no time.
    pub fn empty() -> Self {
        Self {
            outcome: Outcome::empty(),
            main: Duration::ZERO,
            workers: Duration::ZERO,
            calls: 0,
            time: Duration::ZERO,
        }
    }

    /// Sends requests for that long, and calls `change` once a second meanwhile.
    pub fn run(
        envoy: &Envoy,
        time: Duration,
        mut change: impl FnMut() -> Result<(), Failure> + Send,
    ) -> Result<Self, Failure> {
        let traffic = Traffic::Open { per_second: Scale::REQUESTS, time };
        let address = listener(envoy)?;
        let (calls, cpu, begin) = (calls(envoy)?, envoy.thread_cpu_times()?, Instant::now());
        let over = AtomicBool::new(false);
        let outcome = thread::scope(|scope| {
            let changes = scope.spawn(|| {
                let mut due = begin + Duration::from_millis(500);
                while due < begin + time && !over.load(Ordering::Relaxed) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    change().map_err(|error| error.to_string())?;
                    due += Duration::from_secs(1);
                }
                Ok::<_, String>(())
            });
            let outcome = traffic.run(address, || ());
            over.store(true, Ordering::Relaxed);
            changes.join().expect("it does not panic")?;
            outcome
        })?;
        let (used, time) = (since(&cpu, &envoy.thread_cpu_times()?), begin.elapsed());
        Ok(Self {
            outcome,
            main: of(&used, |thread| thread == "envoy"),
            workers: of(&used, |thread| thread.starts_with("wrk:worker_")),
            calls: self::calls(envoy)? - calls,
            time,
        })
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.outcome.add(&other.outcome);
        self.main += other.main;
        self.workers += other.workers;
        self.calls += other.calls;
        self.time += other.time;
    }

    /// The latency that a hundredth of the requests exceeds, in milliseconds: the median of the
    /// rounds, so that a moment in which the machine stands still is not taken for Envoy's.
    pub fn p99(&self) -> f64 {
        self.outcome.p99()
    }

    /// The main thread's share of a core, in percent.
    pub fn main_percent(&self) -> f64 {
        100.0 * self.main.as_secs_f64() / self.time.as_secs_f64()
    }

    /// A worker's share of a core, in percent.
    pub fn worker_percent(&self) -> f64 {
        100.0 * self.workers.as_secs_f64() / self.time.as_secs_f64() / f64::from(Scale::WORKERS)
    }

    /// Calls to Consul in a second.
    pub fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.time.as_secs_f64()
    }
}

/// For the terminal.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (main, worker) = (self.main_percent(), self.worker_percent());
        let calls = self.calls_per_second();
        write!(f, "{}; CPU {main:.1} % and {worker:.1} %, {calls:.1} calls/s", self.outcome)
    }
}

type CpuTimes = BTreeMap<String, Duration>;

fn since(before: &CpuTimes, after: &CpuTimes) -> CpuTimes {
    let used = |(thread, time): (&String, &Duration)| {
        let earlier = before.get(thread).copied().unwrap_or_default();
        (thread.clone(), time.saturating_sub(earlier))
    };
    after.iter().map(used).collect()
}

fn of(times: &CpuTimes, is_it: impl Fn(&str) -> bool) -> Duration {
    times.iter().filter(|(thread, _)| is_it(thread)).map(|(_, time)| *time).sum()
}

/// Calls to Consul so far.
fn calls(envoy: &Envoy) -> Result<u64, Failure> {
    const NAME: &str = "cluster.consul.upstream_rq_total";
    Ok(stats::find(envoy, NAME)?.get(NAME).copied().unwrap_or(0))
}
