//! `demo run`: all parts at once, in the terminal.

mod panel;
mod registry;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stack::bootstrap::BootstrapError;
use stack::{BackendProcess, Bootstrap, Envoy, port};

use crate::Failure;
use crate::backend::web_instance;
use crate::signal::End;
use crate::style::{DIM, RESET};
use registry::DemoRegistry;

/// The service whose instances the demo runs.
const SERVICE: &str = "web";

/// Envoy's usual admin port.
const ADMIN_PORT: u16 = 9901;

#[derive(Debug, clap::Args)]
pub struct Run {
    /// The filter, built by `make build`.
    #[arg(long, value_name = "PATH.wasm")]
    module: PathBuf,
    /// The configuration to run. Of it, only the module's path, the address of the cluster
    /// `consul` and the ports of the listener `ingress` and of the admin endpoint are replaced.
    #[arg(long, value_name = "envoy.yaml")]
    config: PathBuf,
    /// The port Envoy listens on.
    #[arg(long, default_value_t = 10_000)]
    port: u16,
}

/// Everything that runs; dropping it ends it, Envoy first.
struct Parts {
    envoy: Envoy,
    admin: SocketAddr,
    backends: Vec<BackendProcess>,
    registry: DemoRegistry,
}

impl Run {
    pub fn run(self) -> Result<(), Failure> {
        let end = End::listen()?;
        let module = self.module.canonicalize().map_err(|_| {
            format!(
                "{} is not there: build the filter first, with `make build`",
                self.module.display()
            )
        })?;
        let yaml = std::fs::read_to_string(&self.config)
            .map_err(|error| format!("reading {}: {error}", self.config.display()))?;
        if !port::is_free(self.port) {
            let other = self.port.saturating_add(1);
            return Err(format!(
                "localhost:{} is taken: end what listens there, or choose another port with --port {other}",
                self.port
            )
            .into());
        }
        stack::fetch::envoy()?;
        let registry = DemoRegistry::start()?;
        anstream::eprintln!("{DIM}starting three instances of {SERVICE} …{RESET}");
        let backends = backends(&registry)?;
        let ready = registry.as_dyn().await_passing(SERVICE, &["web-1", "web-2", "web-3"]);
        ready.map_err(|error| format!("the instances do not come up: {error}"))?;
        let consul = registry.as_dyn().address();
        let yaml = self
            .substitute(&yaml, &module, consul)
            .map_err(|error| format!("{}: {error}", self.config.display()))?;
        let admin_port = if port::is_free(ADMIN_PORT) { ADMIN_PORT } else { port::free() };
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port));
        anstream::eprintln!("{DIM}starting Envoy …{RESET}");
        let envoy = Envoy::builder(yaml).admin_on(admin).concurrency(2).start()?;
        let parts = Parts { envoy, admin, backends, registry };
        panel::show(&parts, self.port)?;
        let outcome = watch::until(&end, &parts);
        drop(parts);
        outcome?;
        anstream::println!("stopped");
        Ok(())
    }

    fn substitute(
        &self,
        yaml: &str,
        module: &Path,
        consul: SocketAddr,
    ) -> Result<String, BootstrapError> {
        let mut bootstrap = Bootstrap::parse(yaml)?;
        bootstrap.set_module(module)?;
        bootstrap.set_consul(consul)?;
        bootstrap.set_port(self.port)?;
        bootstrap.set_own_socket()?;
        bootstrap.to_yaml()
    }
}

fn backends(registry: &DemoRegistry) -> Result<Vec<BackendProcess>, Failure> {
    let mut backends = Vec::new();
    for number in 1..=3 {
        let name = format!("web-{number}");
        let backend = BackendProcess::start(&name)?;
        registry.as_dyn().register(&web_instance(SERVICE, &name, backend.address()))?;
        backends.push(backend);
    }
    Ok(backends)
}

/// How often the demo looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
