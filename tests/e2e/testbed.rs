//! A real Envoy with the module in it, under the project's own configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use stack::client::{Answer, Request};
use stack::fetch::EnvoyRelease;
use stack::pki::Identity;
use stack::{Backend, Bootstrap, Envoy, Pki, Registry, Service, Status, wait_until};

/// How long a change may take to be seen by every worker. Real Consul tells its own server of a
/// change only at its next sync, hence seconds; the filter's part in it is milliseconds.
pub const SOON: Duration = Duration::from_secs(10);

/// Enough new connections that both workers get some, and that every instance is picked.
const ROUND: usize = 40;

/// An Envoy before it runs; what is not set stays as the file in `envoy/` has it.
pub struct Setup {
    bootstrap: Bootstrap,
    release: Option<EnvoyRelease>,
    workers: u32,
    environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
    wasm_log_level: &'static str,
    admin: Option<SocketAddr>,
}

impl Setup {
    /// `envoy/headers.yaml`: hands over in headers, retries on another instance.
    pub fn headers(consul: SocketAddr) -> Self {
        Self::read("headers.yaml", consul)
    }

    /// `envoy/envoy.yaml`: feeds Envoy's clusters and routes, picks among their hosts.
    pub fn recommended(consul: SocketAddr) -> Self {
        Self::read("envoy.yaml", consul)
    }

    /// `envoy/native.yaml`: feeds Envoy's clusters and routes, and leaves the rest to Envoy.
    pub fn native(consul: SocketAddr) -> Self {
        Self::read("native.yaml", consul)
    }

    /// `envoy/tcp.yaml`: feeds one cluster, `db`, to which connections go.
    pub fn tcp(consul: SocketAddr) -> Self {
        Self::read("tcp.yaml", consul)
    }

    /// `envoy/minimal.yaml`: hands over in filter state.
    pub fn minimal(consul: SocketAddr) -> Self {
        Self::read("minimal.yaml", consul)
    }

    /// `envoy/dynamic-forward-proxy.yaml`: hands over names too.
    pub fn dynamic_forward_proxy(consul: SocketAddr) -> Self {
        Self::read("dynamic-forward-proxy.yaml", consul)
    }

    /// `envoy/register.yaml`: registers `edge`, served by that backend, as the node of that name,
    /// on that port.
    pub fn registering(consul: SocketAddr, app: SocketAddr, node: &str, port: u16) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, stack::port::free()));
        let mut setup = Self::read("register.yaml", consul).edit(|bootstrap| {
            bootstrap.set_port(port).expect("a listener");
            bootstrap.config()["node"]["id"] = node.into();
            bootstrap.config()["node"]["metadata"]["consul"]["port"] = port.into();
            for (cluster, address) in [("local_app", app), ("envoy_admin", admin)] {
                bootstrap.set_address(cluster, address).expect("a cluster");
            }
        });
        setup.admin = Some(admin);
        setup
    }

    /// `envoy/consul-tls.yaml`: asks Consul over TLS, at one of these two addresses.
    pub fn consul_tls(addresses: [SocketAddr; 2], pki: &Pki, client: &Identity) -> Self {
        let [first, second] = addresses;
        let mut setup = Self::read("consul-tls.yaml", first);
        setup.files.extend(certificates(pki, client));
        setup.edit(|bootstrap| {
            let consul = bootstrap.cluster("consul").expect("a cluster");
            let endpoints = &mut consul["load_assignment"]["endpoints"][0]["lb_endpoints"];
            let address = &mut endpoints[1]["endpoint"]["address"]["socket_address"];
            *address = yaml(json!({"address": second.ip(), "port_value": second.port()}));
        })
    }

    fn read(name: &str, consul: SocketAddr) -> Self {
        let path = root().join("envoy").join(name);
        let yaml = std::fs::read_to_string(&path).expect("the project's configuration");
        let mut bootstrap = Bootstrap::parse(&yaml.replace(CERTIFICATES, "{dir}")).expect(name);
        bootstrap.set_module(&module()).expect(name);
        bootstrap.set_consul(consul).expect(name);
        bootstrap.set_port(0).expect(name);
        bootstrap.set_ip(Ipv4Addr::LOCALHOST.into()).expect(name);
        bootstrap.set_own_socket().expect(name);
        Self {
            bootstrap,
            release: None,
            workers: 2,
            environment: Vec::new(),
            files: Vec::new(),
            wasm_log_level: "info",
            admin: None,
        }
    }

    /// Sets one field of the filter's configuration, such as `services` or `unmatched`.
    pub fn set(self, field: &str, value: Value) -> Self {
        self.edit(|bootstrap| {
            bootstrap.plugin().expect("a plugin")[field] = yaml(value);
        })
    }

    /// Sets a field of the template of the clusters that the filter makes; `null` takes it out.
    pub fn of_clusters(self, field: &str, value: Value) -> Self {
        self.edit(|bootstrap| {
            let plugin = bootstrap.plugin().expect("a plugin");
            plugin["xds"]["clusters"]["template"][field] = yaml(value);
        })
    }

    /// Sets the release of Envoy.
    pub fn release(mut self, release: EnvoyRelease) -> Self {
        self.release = Some(release);
        self
    }

    /// Sets the number of workers; 2 when not set.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Sets an environment variable of Envoy.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Loads the module that traps where a request says so.
    pub fn trapping(self) -> Self {
        let module = file("target/trap/wasm32-wasip1/release/consul_resolver.wasm", "make setup");
        self.edit(|bootstrap| bootstrap.set_module(&module).expect("a module"))
    }

    /// Sets the level of what Envoy logs of the filter; `info` when not set.
    pub fn wasm_log_level(mut self, level: &'static str) -> Self {
        self.wasm_log_level = level;
        self
    }

    /// Changes anything else.
    pub fn edit(mut self, edit: impl FnOnce(&mut Bootstrap)) -> Self {
        edit(&mut self.bootstrap);
        self
    }

    /// Sends the paths below `prefix` to a static backend; the cluster is called `static`.
    pub fn static_route(self, prefix: &str, backend: SocketAddr) -> Self {
        let route = json!({"match": {"prefix": prefix}, "route": {"cluster": "static"}});
        self.edit(|bootstrap| {
            bootstrap.add_static_cluster("static", backend);
            let manager = bootstrap.connection_manager().expect("a manager");
            let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
            let routes = routes.as_sequence_mut().expect("routes");
            routes.insert(0, yaml(route));
        })
    }

    /// Logs each request in this format; see [`Testbed::await_logged`].
    pub fn access_log(self, format: &str) -> Self {
        let log = json!([{
            "name": "file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": "{dir}/access.log",
                "log_format": {"text_format_source": {"inline_string": format!("{format}\n")}},
            },
        }]);
        self.edit(|bootstrap| {
            bootstrap.connection_manager().expect("a manager")["access_log"] = yaml(log);
        })
    }

    /// The builder of [`stack::Envoy`], for a test that expects a refusal.
    pub fn builder(&self) -> stack::envoy::EnvoyBuilder {
        let mut builder = Envoy::builder(self.bootstrap.to_yaml().expect("YAML"))
            .concurrency(self.workers)
            .log_level("warning")
            .arg("--component-log-level")
            .arg(format!("wasm:{}", self.wasm_log_level))
            .arg("--file-flush-interval-msec")
            .arg("20");
        if let Some(release) = self.release {
            builder = builder.release(release);
        }
        if let Some(admin) = self.admin {
            builder = builder.admin_on(admin);
        }
        for (name, value) in &self.environment {
            builder = builder.env(name, value);
        }
        for (name, text) in &self.files {
            builder = builder.file(name, text);
        }
        builder
    }

    /// Starts it.
    pub fn start(self) -> Testbed {
        let envoy = self.builder().start().unwrap_or_else(|e| panic!("{e}"));
        let ingress = envoy.listener("ingress").expect("the listener ingress");
        Testbed { envoy, ingress }
    }
}

/// A running Envoy with the module in it.
pub struct Testbed {
    pub envoy: Envoy,
    pub ingress: SocketAddr,
}

impl Testbed {
    /// `GET path`, over a new connection: either worker may get it.
    pub fn get(&self, path: &str, host: &str) -> Answer {
        self.request("GET", path, host).send().unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A request to be sent over a new connection.
    pub fn request(&self, method: &str, path: &str, host: &str) -> Request {
        Request::new(method, self.ingress, path).header("host", host)
    }

    /// The instances that answer a round of requests, and how often each; an answer other than
    /// 200 stands as its status and body, and a connection that breaks as its error.
    pub fn seen(&self, host: &str, requests: usize) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        for _ in 0..requests {
            let answer = self.request("GET", "/", host).send();
            let by = answer.map_or_else(|error| format!("{error:?}"), |answer| who(&answer));
            *seen.entry(by).or_default() += 1;
        }
        seen
    }

    /// Waits until a whole round of requests, over both workers, is answered by exactly these
    /// instances.
    ///
    /// # Panics
    /// When that does not come [`SOON`].
    pub fn await_routed(&self, host: &str, instances: &[&str]) {
        let expected: BTreeSet<String> = instances.iter().map(|&name| name.to_owned()).collect();
        let mut last = BTreeMap::new();
        let routed = wait_until(SOON, || {
            last = self.seen(host, ROUND);
            last.keys().eq(&expected)
        });
        assert!(routed, "routed to {last:?}, expected {expected:?}");
    }

    /// Waits until every worker answers 503 `no_healthy_endpoints` or another reason.
    pub fn await_reply(&self, host: &str, error: &str) {
        let mut last = String::new();
        let is_reply = |answer: Answer| {
            last = format!("{} {}", answer.status, answer.text());
            answer.json()["error"] == error
        };
        let mut is_reply = is_reply;
        let replied = wait_until(SOON, || (0..ROUND).all(|_| is_reply(self.get("/", host))));
        assert!(replied, "answered {last:?}, expected {error}");
    }

    /// One counter or gauge; those of the filter by the name behind `consul_resolver.`.
    pub fn stat(&self, name: &str) -> u64 {
        let name = format!("wasmcustom.consul_resolver.{name}");
        self.envoy.stat(&name).expect("stats")
    }

    /// Counts the questions of Envoy that are held, in all VMs.
    pub fn held(&self) -> u64 {
        self.envoy.stat("http.xds.downstream_rq_active").expect("stats")
    }

    /// Waits until the access log has this line.
    ///
    /// # Panics
    /// When it does not come [`SOON`].
    pub fn await_logged(&self, line: &str) {
        let path = self.envoy.dir().join("access.log");
        let mut text = String::new();
        let logged = wait_until(SOON, || {
            text = std::fs::read_to_string(&path).unwrap_or_default();
            text.lines().any(|found| found == line)
        });
        assert!(logged, "{line:?} is not in the access log:\n{text}");
    }

    /// How often Envoy has made a VM anew.
    pub fn reloads(&self) -> u64 {
        let stats = self.envoy.stats("wasm.").expect("stats");
        let reloads = stats.iter().filter(|(name, _)| name.ends_with(".vm_reload_success"));
        reloads.map(|(_, count)| count).sum()
    }

    /// Fails where a VM has died, been started anew, or a call into one has failed.
    pub fn assert_no_crash(&self) {
        let reloads: BTreeMap<String, u64> = self.envoy.stats("").expect("stats");
        let reloads: Vec<_> = reloads
            .into_iter()
            .filter(|(name, value)| {
                *value > 0 && (name.contains(".vm_reload") || name.ends_with(".envoy_bug_failures"))
            })
            .collect();
        assert!(reloads.is_empty(), "{reloads:?}");
        let log = self.envoy.log();
        let is_crash = |line: &&str| {
            line.contains("Wasm VM failed")
                || line.contains("panicked")
                || line.contains("Function: ") && line.contains(" failed")
                || line.contains("[critical]")
        };
        let crashes: Vec<&str> = log.lines().filter(is_crash).collect();
        assert!(crashes.is_empty(), "{}", crashes.join("\n"));
    }
}

/// Starts a backend and registers it as a passing instance of `service` under its name, with
/// what is told of it beside.
pub fn instance(
    consul: &dyn Registry,
    service: &str,
    name: &str,
    tell: impl FnOnce(Service) -> Service,
) -> Backend {
    let backend = Backend::start(name).expect("a backend");
    let instance = Service::new(service, name).at(backend.address());
    let instance = tell(instance.with_status(Status::Passing));
    consul.register(&instance).expect("registered");
    backend
}

/// Starts a backend for each name, registers it as a passing instance of `service` under its
/// name, and waits until Consul shows them.
pub fn instances(consul: &dyn Registry, service: &str, names: &[&str]) -> Vec<Backend> {
    let start = |name: &&str| instance(consul, service, name, |service| service);
    let backends = names.iter().map(start).collect();
    let passing = wait_until(SOON, || {
        let health = consul.health(service, "passing").expect("health");
        let ids = health.ids();
        names.iter().all(|&name| ids.contains(name))
    });
    assert!(passing, "Consul does not show {names:?}");
    backends
}

/// Where the configurations look for certificates.
pub const CERTIFICATES: &str = "/etc/envoy/consul";

/// What belongs there for a client.
pub fn certificates(pki: &Pki, client: &Identity) -> [(String, String); 3] {
    [("ca.pem", &pki.ca), ("client.pem", &client.certificate), ("client-key.pem", &client.key)]
        .map(|(name, text)| (name.to_owned(), text.clone()))
}

/// The instance that gave an answer; else the status and the body.
pub fn who(answer: &Answer) -> String {
    match answer.header("x-instance") {
        Some(name) if answer.status == 200 => name.to_owned(),
        _ => format!("{} {}", answer.status, answer.text()),
    }
}

/// A part of Envoy's configuration from JSON.
pub fn yaml(value: Value) -> serde_yaml_ng::Value {
    serde_yaml_ng::to_value(value).expect("YAML")
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn module() -> PathBuf {
    file("target/wasm32-wasip1/release/consul_resolver.wasm", "make build")
}

/// A file that this command makes.
fn file(path: &str, command: &str) -> PathBuf {
    let file = root().join(path);
    assert!(file.is_file(), "{} is not there: run `{command}`", file.display());
    file
}
