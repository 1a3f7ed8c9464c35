//! The load: a closed loop on a few connections.

use std::net::SocketAddr;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::Failure;
use crate::connection::Connection;

/// Connections to one Envoy, kept over all rounds. Each sends its next request when the
/// answer to the last one is there; all share one thread.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    connections: Vec<Connection>,
}

impl Load {
    /// Opens the connections.
    pub fn open(address: SocketAddr, connections: u32) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connections = runtime.block_on(async {
            let mut open = Vec::new();
            for _ in 0..connections {
                open.push(Connection::open(address).await?);
            }
            Ok::<_, Failure>(open)
        })?;
        Ok(Self { runtime, connections })
    }

    /// Whether a request is answered with 200.
    pub fn probe(&mut self) -> bool {
        let answered = self.connections.first_mut();
        answered.is_some_and(|connection| self.runtime.block_on(connection.get("/")).is_ok())
    }

    /// Sends about that many requests, the same number on each connection; gives how many
    /// they were. An answer other than 200 ends it with an error.
    pub fn run(&mut self, requests: u32) -> Result<u32, Failure> {
        let each = requests.div_ceil(u32::try_from(self.connections.len())?);
        let connections = std::mem::take(&mut self.connections);
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for mut connection in connections {
                tasks.spawn(async move {
                    for _ in 0..each {
                        connection.get("/").await?;
                    }
                    Ok::<_, Failure>(connection)
                });
            }
            while let Some(connection) = tasks.join_next().await {
                self.connections.push(connection??);
            }
            Ok(each * u32::try_from(self.connections.len())?)
        })
    }
}
