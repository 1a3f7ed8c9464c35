//! `stack agent`.

use std::net::{Ipv4Addr, SocketAddr};

use stack::Registry;

use super::Failure;
use super::signal::End;

#[derive(Debug, clap::Args)]
pub struct Agent {
    /// The port of its HTTP API.
    #[arg(long, default_value_t = 8500)]
    port: u16,
    /// How many connections it takes at a time; Consul's `http_max_conns_per_client`.
    #[arg(long, default_value_t = 200)]
    most_connections: usize,
}

impl Agent {
    pub fn run(self) -> Result<(), Failure> {
        let end = End::listen()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let agent = stack::Agent::start_on(address).map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another with --port")
        })?;
        agent.limit_connections(self.most_connections);
        println!("{}", agent.address());
        end.wait();
        Ok(())
    }
}
