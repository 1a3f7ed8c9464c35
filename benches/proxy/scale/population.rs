//! Ten thousand instances, and a Consul that knows them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use fake_consul::AgentProcess;
use stack::client;
use stack::{Backend, Registry, Service, open_files};

use super::case::Case;
use crate::Failure;
use crate::sample::Sample;

/// The backends of all cases, and the fake Consul in a process of its own.
#[derive(Debug)]
pub struct Population {
    consul: AgentProcess,
    /// The instances' addresses are those of listeners that answer: each has a loopback address
    /// of its own.
    backends: Vec<Backend>,
    /// The instance that comes and goes.
    guest: Backend,
}

impl Population {
    /// The name by which the instance that comes and goes answers.
    pub const GUEST: &str = "guest";
    /// So heavy that the first request after it came finds it; as much as Consul allows.
    const WEIGHT: u32 = 65_535;

    /// Starts all, and registers them.
    pub fn start() -> Result<Self, Failure> {
        // Listeners, Envoy's connections to them, and as many watches as there are services.
        const OPEN_FILES: u64 = 20_000;
        open_files::allow(OPEN_FILES)?;
        let consul = AgentProcess::start(Case::CONNECTIONS as usize)?;
        let backends = (0..Case::INSTANCES).map(|number| {
            let [high, low] = u16::try_from(number)?.to_be_bytes();
            let address = SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0));
            Ok(Backend::start_on(format!("backend-{number}"), address)?)
        });
        let backends = backends.collect::<Result<Vec<_>, Failure>>()?;
        let population = Self { consul, backends, guest: Backend::start(Self::GUEST)? };
        // Both cases of many services are of the same ones.
        for case in [Case::Small, Case::OneLarge, Case::ManyWatched] {
            population.register(case)?;
        }
        Ok(population)
    }

    /// Where Consul is.
    pub fn consul(&self) -> SocketAddr {
        self.consul.address()
    }

    /// Reads the answer for one service a few times: its bytes, and the milliseconds it takes.
    pub fn read(&self, case: Case) -> Result<(usize, Sample), Failure> {
        const TIMES: usize = 5;
        let path = format!("/v1/health/service/{}", case.changed(0));
        let mut bytes = 0;
        let times = (0..TIMES).map(|_| {
            let begin = Instant::now();
            bytes = client::get(self.consul(), &path)?.body.len();
            Ok(begin.elapsed().as_secs_f64() * 1e3)
        });
        let times = times.collect::<Result<Vec<_>, Failure>>()?;
        Ok((bytes, Sample::new(times)))
    }

    /// An instance comes to one service; that of the change before it goes.
    pub fn change(&self, case: Case, change: u32) -> Result<(), Failure> {
        if change.is_multiple_of(2) {
            self.dismiss(&case.changed(change - 1))
        } else {
            self.invite(&case.changed(change), 1)
        }
    }

    /// Registers the guest with all its weight.
    pub fn announce(&self, service: &str) -> Result<(), Failure> {
        self.invite(service, Self::WEIGHT)
    }

    /// Deregisters the guest.
    pub fn dismiss(&self, service: &str) -> Result<(), Failure> {
        Ok(self.consul.deregister(&guest_of(service))?)
    }

    /// Deregisters the guest wherever it is.
    pub fn dismiss_all(&self, case: Case) {
        for service in case.changing().services() {
            // It is in few of them.
            let _ = self.dismiss(&service);
        }
    }

    fn invite(&self, service: &str, weight: u32) -> Result<(), Failure> {
        let guest = Service::new(service, guest_of(service)).at(self.guest.address());
        Ok(self.consul.register(&guest.weights(weight, 1))?)
    }

    fn register(&self, case: Case) -> Result<(), Failure> {
        let mut backends = self.backends.iter();
        for service in case.services() {
            for backend in backends.by_ref().take(case.instances()) {
                let id = format!("{service}-{}", backend.name());
                let instance = Service::new(&service, id).at(backend.address());
                self.consul.register(&instance.meta("version", "1.4.2").tag("primary"))?;
            }
        }
        Ok(())
    }
}

fn guest_of(service: &str) -> String {
    format!("{service}-{}", Population::GUEST)
}
