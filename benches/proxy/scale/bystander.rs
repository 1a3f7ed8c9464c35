//! A bare client that reads what changes, beside an Envoy that does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;

use crate::Failure;
use crate::connection::Connection;

/// A client that watches a service as the filter does, and drops what it reads: what remains of the
/// costs of a change where no filter has any part in it. Dropping it ends it.
#[derive(Debug)]
pub struct Bystander {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Begins to read.
    pub fn start(consul: SocketAddr, service: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            watch(consul, &service, &is_over).expect("Consul answers a bare client");
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "it watched to the end");
    }
}

fn watch(consul: SocketAddr, service: &str, is_over: &AtomicBool) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut connection = runtime.block_on(Connection::open(consul))?;
    let mut index = 0;
    while !is_over.load(Ordering::Relaxed) {
        let path = format!("/v1/health/service/{service}?index={index}&wait=1s&stale");
        let answer = runtime.block_on(connection.get(&path))?;
        let next = answer.header("x-consul-index");
        index = next.ok_or("an answer without X-Consul-Index")?.parse()?;
    }
    Ok(())
}
