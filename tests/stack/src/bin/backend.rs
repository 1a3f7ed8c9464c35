//! `backend NAME ADDRESS`: an HTTP server that names itself in every answer, until it is killed.

use std::io;
use std::net::SocketAddr;

use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    /// Its name, in every answer.
    name: String,
    /// The address to listen on; port 0 is any free one.
    address: SocketAddr,
}

fn main() -> io::Result<()> {
    let Arguments { name, address } = Arguments::parse();
    let backend = stack::Backend::start_on(&name, address)?;
    println!("{}", backend.address());
    loop {
        std::thread::park();
    }
}
