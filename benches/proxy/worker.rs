//! A connection that one particular worker of Envoy serves.

use std::time::Duration;

use stack::Envoy;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::config::EnvoyConfig;
use crate::connection::Connection;
use crate::stats;

/// A kept connection to one worker, for one thread.
#[derive(Debug)]
pub struct Worker {
    runtime: Runtime,
    connection: Connection,
}

impl Worker {
    /// Opens a connection to each of Envoy's workers. The kernel spreads new connections
    /// over the workers' sockets by a hash, and each worker counts those it accepted
    /// (`listener.….worker_<n>.downstream_cx_total`): connections are opened until every
    /// worker has one, and the others closed.
    pub fn one_for_each(envoy: &Envoy, workers: u32) -> Result<Vec<Self>, Failure> {
        const MOST_TRIES: u32 = 200;
        let mut found: Vec<Option<Self>> = (0..workers).map(|_| None).collect();
        for _ in 0..MOST_TRIES {
            let before = accepted(envoy, workers)?;
            let mut worker = Self::open(envoy)?;
            worker.get()?;
            let after = accepted(envoy, workers)?;
            let by = before.iter().zip(&after).position(|(old, new)| new > old);
            if let Some(place) = by.and_then(|place| found.get_mut(place)) {
                place.get_or_insert(worker);
            }
            if found.iter().all(Option::is_some) {
                return Ok(found.into_iter().flatten().collect());
            }
        }
        Err("some worker accepts no connection".into())
    }

    fn open(envoy: &Envoy) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let address = envoy.listener(EnvoyConfig::LISTENER)?;
        let connection = runtime.block_on(Connection::open(address))?;
        Ok(Self { runtime, connection })
    }

    /// Sends a request; gives the name of the instance that answered it.
    pub fn get(&mut self) -> Result<String, Failure> {
        self.get_from(Connection::HOST)
    }

    /// Sends a request for a host; gives the name of the instance that answered it.
    pub fn get_from(&mut self, host: &str) -> Result<String, Failure> {
        let answer = self.runtime.block_on(self.connection.get_from(host, "/"))?;
        let name = answer.header("x-instance").ok_or("no backend answered")?;
        Ok(name.to_owned())
    }

    /// Sends requests, with a short pause between them, until that instance answers; gives
    /// how many it took.
    pub fn poll_until(&mut self, instance: &str) -> Result<u32, Failure> {
        const PAUSE: Duration = Duration::from_micros(250);
        const MOST_REQUESTS: u32 = 40_000;
        for count in 1..=MOST_REQUESTS {
            if self.get()? == instance {
                return Ok(count);
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("{instance} did not answer within {MOST_REQUESTS} requests").into())
    }
}

/// How many connections each worker has accepted.
fn accepted(envoy: &Envoy, workers: u32) -> Result<Vec<u64>, Failure> {
    let prefix = format!("listener.{}.worker_", EnvoyConfig::LISTENER);
    let stats = stats::find(envoy, &prefix)?;
    let of = |worker| {
        let name = format!("{prefix}{worker}.downstream_cx_total");
        stats.get(&name).copied().unwrap_or(0)
    };
    Ok((0..workers).map(of).collect())
}
