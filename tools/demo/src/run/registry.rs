//! The demo's Consul: the real one, or the fake one where none can be had.

use std::net::{Ipv4Addr, SocketAddr};

use fake_consul::Agent;
use stack::{Consul, Registry, port};

use crate::style::{DIM, DOUBTFUL, RESET};
use crate::{Failure, chain};

/// Consul's usual HTTP port.
const HTTP_PORT: u16 = 8500;

pub enum DemoRegistry {
    Real(Box<Consul>),
    Fake(Agent),
}

impl DemoRegistry {
    /// Starts it on port 8500 where that is free.
    pub fn start() -> Result<Self, Failure> {
        let port = if port::is_free(HTTP_PORT) { HTTP_PORT } else { port::free() };
        if let Err(error) = stack::fetch::consul() {
            let reason = chain(&error);
            anstream::eprintln!(
                "{DOUBTFUL}no Consul can be had: the demo uses a fake one instead{RESET}\n\
                 {DIM}({reason}){RESET}"
            );
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            return Ok(Self::Fake(Agent::start_on(address)?));
        }
        anstream::eprintln!("{DIM}starting Consul …{RESET}");
        Ok(Self::Real(Box::new(Consul::start_on(port)?)))
    }

    pub fn as_dyn(&self) -> &dyn Registry {
        match self {
            Self::Real(consul) => consul.as_ref(),
            Self::Fake(agent) => agent,
        }
    }

    /// Its name, and its pid where it is a process of its own.
    pub fn description(&self) -> (&'static str, Option<u32>) {
        match self {
            Self::Real(consul) => ("Consul", Some(consul.pid())),
            Self::Fake(_) => ("fake", None),
        }
    }

    /// The last lines of its log, once it has ended.
    pub fn ended(&self) -> Option<String> {
        match self {
            Self::Real(consul) => consul.ended(),
            Self::Fake(_) => None,
        }
    }
}
