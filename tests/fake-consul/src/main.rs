//! `fake-consul`: the agent as a program, until it is killed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;
use stack::Registry;

/// Consul's HTTP API in memory.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port of the HTTP API.
    #[arg(long, default_value_t = 8500)]
    port: u16,
    /// How many connections it takes at a time; Consul's `http_max_conns_per_client`.
    #[arg(long, default_value_t = 200)]
    most_connections: usize,
}

fn main() -> io::Result<()> {
    let Arguments { port, most_connections } = Arguments::parse();
    let agent = fake_consul::Agent::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    agent.limit_connections(most_connections);
    println!("{}", agent.address());
    loop {
        std::thread::park();
    }
}
