//! A small in-memory Consul agent that can misbehave on command.
//!
//! It speaks the part of Consul 1.8's HTTP API that this project uses; the contract test holds it
//! to the answers of the real one. `health` describes blocking queries, `fault` how it misbehaves,
//! `journal` what it remembers of its requests. Filters, caches, prepared queries and the mesh are
//! the real Consul's.

mod catalog;
mod check;
mod entries;
mod fault;
mod fields;
mod handle;
mod health;
mod journal;
mod meta;
mod node;
mod probe;
mod process;
mod registration;
mod reply;
mod rounds;
mod routes;
mod server;
mod shape;

pub use fault::{Fault, Scope, Times};
pub use journal::Record;
pub use process::{AgentError, AgentProcess};

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use catalog::Catalog;
use fault::Faults;
use journal::Journal;
use node::Node;
use stack::{Status, port, runtime, wait_until};

/// What blocked queries are told of.
#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    /// Moves with every change and every new fault.
    version: u64,
    /// Moves when a test wants all blocked queries answered.
    wake_ups: u64,
}

/// What the connections share.
#[derive(Debug)]
struct Core {
    catalog: Mutex<Catalog>,
    faults: Mutex<Faults>,
    journal: Journal,
    changes: watch::Sender<Changes>,
    running: AtomicBool,
    connections: AtomicUsize,
    most_connections: AtomicUsize,
}

impl Core {
    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Changes the catalog and tells blocked queries.
    fn change<T>(&self, change: impl FnOnce(&mut Catalog, Instant) -> T) -> T {
        let mut catalog = self.catalog();
        let before = catalog.index();
        let result = change(&mut catalog, Instant::now());
        if catalog.index() != before {
            self.changes.send_modify(|changes| changes.version += 1);
        }
        result
    }

    /// Takes a service's report on its TTL check; `false` where there is no such check.
    fn report(&self, check_id: &str, status: Status, output: &str) -> bool {
        let output = check::kept_output(output);
        self.change(|catalog, now| catalog.report(check_id, status, &output, now))
    }

    fn is_active(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }
}

/// A running agent with one node, in this process. Dropping it closes all its connections.
///
/// What is said through this handle (or through [`stack::Registry`]) takes effect at once, whatever the
/// HTTP side is doing: stopped or misbehaving.
#[derive(Debug)]
pub struct Agent {
    core: Arc<Core>,
    address: SocketAddr,
    running: watch::Sender<bool>,
}

impl Agent {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free())))
    }

    /// Starts one on a given address.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub fn start_on(address: SocketAddr) -> io::Result<Self> {
        let core = Arc::new(Core {
            catalog: Mutex::new(Catalog::new(Node::own(), Instant::now())),
            faults: Mutex::default(),
            journal: Journal::default(),
            changes: watch::Sender::new(Changes::default()),
            running: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            most_connections: AtomicUsize::new(200),
        });
        let (running, stopped) = watch::channel(true);
        let address = server::start(address, &core, stopped)?;
        runtime::handle().spawn(rounds::run(Arc::downgrade(&core)));
        Ok(Self { core, address, running })
    }

    /// Closes the listener and all connections; connecting is refused from now on.
    pub fn stop(&self) {
        self.core.running.store(false, Ordering::SeqCst);
        self.running.send_replace(false);
        wait_until(Duration::from_secs(5), || {
            self.running.receiver_count() == 0 && self.core.connections.load(Ordering::SeqCst) == 0
        });
    }

    /// Stops if it is running, and starts on the same port. `fresh` forgets all registrations and
    /// so begins with a low index; else all is as before (see [`renumber`](Self::renumber)).
    ///
    /// # Errors
    /// The port has been taken meanwhile.
    pub fn restart(&self, fresh: bool) -> io::Result<()> {
        self.stop();
        if fresh {
            let mut catalog = self.core.catalog();
            *catalog = Catalog::new(catalog.node().clone(), Instant::now());
        }
        self.running.send_replace(true);
        server::start(self.address, &self.core, self.running.subscribe())?;
        self.core.running.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Sets all indexes, as after a restart that lost the raft log (a low one) or years of service
    /// (a high one). Blocked queries stay blocked, as they do in Consul.
    pub fn renumber(&self, index: u64) {
        self.core.catalog().renumber(index);
    }

    /// The index of the last change.
    pub fn index(&self) -> u64 {
        self.core.catalog().index()
    }

    /// Misbehaves. Queries blocked already are befallen when they are answered; those of a fault
    /// that answers without blocking are answered now.
    pub fn misbehave(&self, scope: Scope, fault: Fault, times: Times) {
        self.core.faults().add(scope, fault, times);
        self.core.changes.send_modify(|changes| changes.version += 1);
    }

    /// Ends all misbehaviour but [`stop`](Self::stop).
    pub fn behave(&self) {
        self.core.faults().clear();
    }

    /// Answers all blocked queries now, with what there is.
    pub fn wake(&self) {
        self.core.changes.send_modify(|changes| changes.wake_ups += 1);
    }

    /// Sets the number of connections beyond which new ones are closed; 200, as in Consul.
    pub fn limit_connections(&self, most: usize) {
        self.core.most_connections.store(most, Ordering::SeqCst);
    }

    /// The number of connections open now.
    pub fn connections(&self) -> usize {
        self.core.connections.load(Ordering::SeqCst)
    }

    /// The number of requests so far.
    pub fn request_count(&self) -> u64 {
        self.core.journal.total()
    }

    /// The last ten thousand requests, oldest first.
    pub fn requests(&self) -> Vec<Record> {
        self.core.journal.records()
    }

    /// Those of the last ten thousand requests that have this method and whose path begins so.
    pub fn requests_to(&self, method: &str, path: &str) -> Vec<Record> {
        let is_one = |record: &Record| record.method == method && record.path.starts_with(path);
        self.requests().into_iter().filter(is_one).collect()
    }

    /// The number of blocking queries for a service that are outstanding now.
    pub fn outstanding(&self, service: &str) -> usize {
        self.core.journal.outstanding(service).0
    }

    /// The most blocking queries for a service that were outstanding at a time.
    pub fn most_outstanding(&self, service: &str) -> usize {
        self.core.journal.outstanding(service).1
    }

    /// Forgets all requests and maxima so far.
    pub fn forget_requests(&self) {
        self.core.journal.forget();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.send_replace(false);
    }
}
