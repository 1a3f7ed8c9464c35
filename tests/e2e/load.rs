//! Requests all the time, over kept connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use stack::wait_until;

use crate::wire::Connection;

/// The instances that answered, and how often each; what was no 200 stands as its status and
/// body, and what was no answer as the error.
pub type Tally = BTreeMap<String, usize>;

/// A constant load; dropping it ends it.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts with this many connections, each of which sends one request after the other with
    /// this pause between.
    pub fn start(ingress: SocketAddr, host: &str, connections: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let threads = (0..connections).map(|_| {
            let (stop, done, host) = (Arc::clone(&stop), Arc::clone(&done), host.to_owned());
            std::thread::spawn(move || run(ingress, &host, pause, &stop, &done))
        });
        let threads = threads.collect();
        Self { stop, done, threads }
    }

    /// Starts a light load, spread over the workers: about 120 requests a second.
    pub fn light(ingress: SocketAddr, host: &str) -> Self {
        Self::start(ingress, host, 8, Duration::from_millis(60))
    }

    /// Waits until this many more requests have been answered.
    pub fn go_on(&self, requests: usize) {
        let goal = self.done.load(Ordering::Relaxed) + requests;
        let reached =
            wait_until(Duration::from_secs(20), || self.done.load(Ordering::Relaxed) >= goal);
        assert!(reached, "the load does not go on");
    }

    /// Ends it.
    pub fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Tally::new();
        for thread in self.threads.drain(..) {
            for (who, count) in thread.join().expect("a client") {
                *total.entry(who).or_default() += count;
            }
        }
        total
    }

    /// Ends it, and fails where any request was not answered 200 by one of these.
    pub fn end_without_failure(self, instances: &[&str]) {
        let total = self.end();
        let failed: Vec<_> =
            total.iter().filter(|(who, _)| !instances.contains(&who.as_str())).collect();
        assert!(failed.is_empty(), "{failed:?} of {total:?}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(
    ingress: SocketAddr,
    host: &str,
    pause: Duration,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> Tally {
    let mut tally = Tally::new();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let answer = match kept.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(ingress),
        };
        let answer = answer.and_then(|mut connection: Connection| {
            let answer = connection.get("/", host)?;
            if answer.header("connection") != Some("close") {
                kept = Some(connection);
            }
            Ok(answer)
        });
        let who = answer.map_or_else(|error| error.to_string(), |answer| answer.who());
        *tally.entry(who).or_default() += 1;
        done.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(pause);
    }
    tally
}
