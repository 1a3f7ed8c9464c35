//! A bare client that reads what changes, beside an Envoy that does not.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::Failure;
use crate::connection::Connection;

/// A client that watches a service as the filter does, and drops what it reads: what remains of the
/// costs of a change where no filter has any part in it. Dropping it ends it.
#[derive(Debug)]
pub struct Bystander {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bystander {
    /// Begins to read.
    pub fn start(consul: SocketAddr, service: String) -> Self {
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    failure = watch(consul, &service) => panic!("{failure:?}"),
                    _ = ended => {}
                }
            });
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "it watched to the end");
    }
}

/// Watches until that fails.
async fn watch(consul: SocketAddr, service: &str) -> Result<(), Failure> {
    let mut connection = Connection::open(consul).await?;
    let mut index = 0;
    loop {
        let path = format!("/v1/health/service/{service}?index={index}&wait=55s&stale");
        let answer = connection.get(&path).await?;
        let next = answer.header("x-consul-index");
        index = next.ok_or("an answer without X-Consul-Index")?.parse()?;
    }
}
