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
}

impl Agent {
    pub fn run(self) -> Result<(), Failure> {
        let end = End::listen()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let agent = stack::Agent::start_on(address).map_err(|error| {
            format!("cannot listen on {address}: {error}; choose another with --port")
        })?;
        println!("{}", agent.address());
        end.wait();
        Ok(())
    }
}
