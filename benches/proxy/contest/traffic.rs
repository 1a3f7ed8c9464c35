//! Requests from many clients, in a closed and in an open loop.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hyper::StatusCode;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::scene::Scene;
use crate::Failure;
use crate::connection::Connection;
use crate::sample::Sample;

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// So many connections, each of which sends its next request when it has the answer to the
    /// last one. It slows down with the proxy: the slower that is, the less it is asked.
    Closed { connections: usize, time: Duration },
    /// So many requests a second whatever becomes of them, as from many clients that know nothing
    /// of each other. A latency counts from when the request should have been sent, so that
    /// waiting in front of a proxy that has stalled is part of it (Tene, *How NOT to Measure
    /// Latency*).
    Open { per_second: u32, time: Duration },
}

/// What became of the requests of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of the answers with 200, in microseconds.
    pub latencies: Histogram<u64>,
    /// Those that were answered with another status, not at all, or not within five seconds.
    pub failed: u64,
    /// Those that the slow backend answered.
    pub slow: u64,
    /// How long all of it took.
    pub time: Duration,
    /// Of each run, the latency that a hundredth of its answers exceeded, in milliseconds.
    pub p99s: Vec<f64>,
}

impl Traffic {
    /// Connections of an open loop. More requests than these at a time wait for one, and the wait
    /// counts.
    const MOST_CONNECTIONS: usize = 256;

    /// `closed loop` or `open loop`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed loop",
            Self::Open { .. } => "open loop",
        }
    }

    /// How long it goes on.
    pub const fn time(self) -> Duration {
        match self {
            Self::Closed { time, .. } | Self::Open { time, .. } => time,
        }
    }

    /// Sends the requests, and calls `at_half` in the middle, on a thread of its own.
    pub fn run(self, proxy: SocketAddr, at_half: impl FnOnce() + Send) -> Result<Outcome, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let clients = Rc::new(Clients::new(proxy));
        let begin = Instant::now();
        let half = self.time() / 2;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(half);
                at_half();
            });
            let tasks = LocalSet::new();
            match self {
                Self::Closed { connections, time } => {
                    for _ in 0..connections {
                        let clients = Rc::clone(&clients);
                        tasks.spawn_local(async move {
                            while begin.elapsed() < time {
                                clients.request(Instant::now()).await;
                            }
                        });
                    }
                }
                Self::Open { per_second, time } => {
                    // The runtime's timer is too coarse: it counts whole milliseconds.
                    let (tick, mut ticks) = mpsc::unbounded_channel();
                    scope.spawn(move || keep_time(begin, per_second, time, &tick));
                    let clients = Rc::clone(&clients);
                    tasks.spawn_local(async move {
                        while let Some(due) = ticks.recv().await {
                            let clients = Rc::clone(&clients);
                            tokio::task::spawn_local(async move { clients.request(due).await });
                        }
                    });
                }
            }
            // Until all requests have ended.
            runtime.block_on(tasks);
        });
        let outcome = clients.outcome.borrow().clone();
        let p99s = vec![outcome.quantile(0.99)];
        Ok(Outcome { time: begin.elapsed(), p99s, ..outcome })
    }
}

/// Says when each request is due, at its time.
fn keep_time(
    begin: Instant,
    per_second: u32,
    time: Duration,
    tick: &mpsc::UnboundedSender<Instant>,
) {
    let pause = Duration::from_secs(1) / per_second;
    let mut due = begin;
    while due < begin + time {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if tick.send(due).is_err() {
            return;
        }
        due += pause;
    }
}

/// The connections, and what came over them; all on one thread.
struct Clients {
    proxy: SocketAddr,
    idle: RefCell<Vec<Connection>>,
    free: Semaphore,
    outcome: RefCell<Outcome>,
}

impl Clients {
    fn new(proxy: SocketAddr) -> Self {
        Self {
            proxy,
            idle: RefCell::default(),
            free: Semaphore::new(Traffic::MOST_CONNECTIONS),
            outcome: RefCell::new(Outcome::empty()),
        }
    }

    /// Sends one request, on a connection that is idle or on a new one.
    async fn request(&self, due: Instant) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let _free = self.free.acquire().await;
        let answer = timeout(PATIENCE, async {
            let idle = self.idle.borrow_mut().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(self.proxy).await?,
            };
            let answer = connection.ask("/").await?;
            self.idle.borrow_mut().push(connection);
            Ok::<_, Failure>(answer)
        });
        let answer = answer.await;
        let mut outcome = self.outcome.borrow_mut();
        match answer {
            Ok(Ok(answer)) if answer.status == StatusCode::OK => {
                let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                outcome.latencies.saturating_record(micros);
                outcome.slow += u64::from(answer.header("x-instance") == Some(Scene::SLOW));
            }
            _ => outcome.failed += 1,
        }
    }
}

/// For the terminal.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p99] = [0.5, 0.99].map(|part| self.quantile(part));
        let (rate, failed) = (self.throughput(), self.failed);
        write!(f, "p50 {median:.1} ms, p99 {p99:.1} ms, {rate:.0}/s, {failed} failed")
    }
}

impl Outcome {
    /// Of no requests; latencies up to a minute, to a thousandth.
    pub fn empty() -> Self {
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3);
        Self {
            latencies: latencies.expect("the bounds are in order"),
            failed: 0,
            slow: 0,
            time: Duration::ZERO,
            p99s: Vec::new(),
        }
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.latencies += &other.latencies;
        self.failed += other.failed;
        self.slow += other.slow;
        self.time += other.time;
        self.p99s.extend(&other.p99s);
    }

    /// The latency that this part (0 to 1) of the answers did not exceed, in milliseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        self.latencies.value_at_quantile(part) as f64 / 1e3
    }

    /// The median of the runs' p99, in milliseconds.
    pub fn p99(&self) -> f64 {
        Sample::new(self.p99s.iter().copied()).median()
    }

    /// In each run, how many times as long the slowest hundredth took as in that of another one.
    pub fn p99_ratios(&self, to: &Self) -> Sample {
        Sample::new(self.p99s.iter().zip(&to.p99s).map(|(one, other)| one / other))
    }

    /// Answers with 200 in a second.
    pub fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// The percentage of answers that came from the slow backend.
    pub fn slow_percent(&self) -> f64 {
        100.0 * self.slow as f64 / self.latencies.len().max(1) as f64
    }
}
