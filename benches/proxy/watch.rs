//! A bare blocking query: what Consul itself takes to tell of a change.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;
use crate::connection::Connection;

/// A client that watches a service as the filter does, with nothing behind it.
#[derive(Debug)]
pub struct BareWatch {
    service: String,
    runtime: Runtime,
    connection: Connection,
    index: u64,
}

impl BareWatch {
    /// Asks for the current state.
    pub fn start(consul: SocketAddr, service: &str) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(Connection::open(consul))?;
        let service = service.to_owned();
        let mut watch = Self { service, runtime, connection, index: 0 };
        watch.next()?;
        Ok(watch)
    }

    /// Waits until there are that many instances. The index moves on with every answer.
    pub fn until_there_are(&mut self, instances: usize) -> Result<(), Failure> {
        while self.next()? != instances {}
        Ok(())
    }

    /// Gives the number of instances in the next answer.
    fn next(&mut self) -> Result<usize, Failure> {
        let (service, index) = (&self.service, self.index);
        let path = format!("/v1/health/service/{service}?index={index}&wait=55s&stale");
        let answer = self.runtime.block_on(self.connection.get(&path))?;
        let index = answer.header("x-consul-index");
        self.index = index.ok_or("an answer without X-Consul-Index")?.parse()?;
        let body: Value = serde_json::from_slice(&answer.body)?;
        Ok(body.as_array().map_or(0, Vec::len))
    }
}
