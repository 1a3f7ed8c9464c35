//! The instances of services whose endpoints are probed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::probes::Manner;

/// How they may take a probe that do not answer as they should.
pub const ILLNESSES: [Manner; 4] =
    [Manner::Answers(503), Manner::Late, Manner::Unreachable, Manner::Silent];

/// How each instance takes a probe.
#[derive(Default)]
pub struct Backends {
    sick: BTreeMap<(usize, u16), Manner>,
}

impl Backends {
    /// An instance falls ill, or gets well again.
    pub fn set(&mut self, source: usize, port: u16, illness: Option<Manner>) {
        match illness {
            Some(manner) => self.sick.insert((source, port), manner),
            None => self.sick.remove(&(source, port)),
        };
    }

    /// Whether an instance answers as it should.
    pub fn is_well(&self, source: usize, port: u16) -> bool {
        !self.sick.contains_key(&(source, port))
    }

    /// How whoever is at an address takes a probe.
    pub fn manner(&self, address: SocketAddr) -> Manner {
        let sick = self.sick.get(&(place_at(address), address.port()));
        sick.copied().unwrap_or(Manner::Answers(200))
    }
}

/// The source whose instances are at an address.
pub fn place_at(address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [_, high, low, _] = ip.octets();
            u16::from_be_bytes([high, low]).into()
        }
        IpAddr::V6(ip) => panic!("nobody is at {ip}"),
    }
}
