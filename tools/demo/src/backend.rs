//! `demo backend`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use stack::client::{Request, encode};
use stack::{Check, Service};

use crate::Failure;
use crate::signal::End;

#[derive(Debug, clap::Args)]
pub struct Backend {
    /// Its name, in every answer.
    #[arg(long)]
    name: String,
    /// The port to listen on; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Register at this Consul agent, with an HTTP check, until Ctrl-C.
    #[arg(long, value_name = "URL")]
    register: Option<String>,
    /// The service to register as.
    #[arg(long, default_value = "web")]
    service: String,
}

impl Backend {
    pub fn run(self) -> Result<(), Failure> {
        let end = End::listen()?;
        let port = if self.port == 0 { stack::port::free() } else { self.port };
        let address = SocketAddr::new(self.address, port);
        let backend = stack::Backend::start_on(&self.name, address)
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        println!("{}", backend.address());
        let Some(agent) = &self.register else {
            end.wait();
            return Ok(());
        };
        let agent = agent.trim_end_matches('/');
        let service = web_instance(&self.service, &self.name, backend.address());
        call(agent, "register", &service.to_json().to_string())?;
        eprintln!(
            "{} is registered as {} at {agent}; Ctrl-C deregisters it",
            self.name, self.service
        );
        end.wait();
        call(agent, &format!("deregister/{}", encode(&self.name)), "")?;
        eprintln!("{} is deregistered", self.name);
        Ok(())
    }
}

/// An instance whose `/health` Consul asks every second.
pub fn web_instance(service: &str, id: &str, address: SocketAddr) -> Service {
    let check = Check::http(format!("http://{address}/health"), Duration::from_secs(1))
        .deregister_after(Duration::from_secs(60));
    Service::new(service, id).at(address).check(check)
}

fn call(agent: &str, what: &str, body: &str) -> Result<(), Failure> {
    let url = format!("{agent}/v1/agent/service/{what}");
    let answer = Request::to_url("PUT", &url).body(body).timeout(Duration::from_secs(5)).send()?;
    if answer.status == 200 {
        return Ok(());
    }
    Err(format!("{url}: {} {}", answer.status, answer.text()).into())
}
