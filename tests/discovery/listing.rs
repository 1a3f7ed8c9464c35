//! One VM that follows one service, and a Consul whose list of instances a test sets.

use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::model::service::{QueryKey, ServiceId};
use consul_resolver::registry::http::{CallFailure, HttpRequest};
use consul_resolver::registry::source_spec::SourceSpec;
use consul_resolver::router::disposition::Disposition;
use consul_resolver::util::rng::Rng;

use crate::testkit::host::Registry;
use crate::testkit::reply::Reply;
use crate::testkit::vm::{Vm, millis};

/// An instance of Consul's answers.
pub fn instance(address: &str, port: u16, status: &str) -> String {
    let service = format!(r#"{{"Address": "{address}", "Port": {port}}}"#);
    format!(r#"{{"Service": {service}, "Checks": [{{"Status": "{status}"}}]}}"#)
}

/// A healthy instance at a port.
pub fn passing(port: u16) -> String {
    instance("10.0.0.1", port, "passing")
}

/// A call that is out: it is answered then, or when something changes.
pub struct Call {
    id: CallId,
    path: String,
    due: Option<u64>,
    gives_up: u64,
}

/// A Consul.
pub struct World {
    pub out: Vec<Call>,
    /// What was asked, and when.
    pub asked: Vec<(u64, String)>,
    pub index: u64,
    pub instances: Vec<String>,
    /// What the agent's cache has, where it stands still.
    pub cached: Option<(u64, Vec<String>)>,
    /// What a read says that is not consistent, where that is a lie.
    pub lie: Option<Vec<String>>,
    /// How long an answer takes.
    pub takes: u64,
    pub fails: bool,
    /// Whether a client has named the service, and no configuration.
    pub is_named: bool,
    /// Whether there is no prepared query.
    pub is_unknown: bool,
}

impl World {
    pub fn new() -> Self {
        Self {
            out: Vec::new(),
            asked: Vec::new(),
            index: 10,
            instances: Vec::new(),
            cached: None,
            lie: None,
            takes: 2,
            fails: false,
            is_named: false,
            is_unknown: false,
        }
    }

    /// What is listed from now on, at a higher index.
    fn list(&mut self, now: u64, instances: &[String]) {
        self.index += 1;
        self.instances = instances.to_vec();
        let (index, takes) = (self.index, self.takes);
        for call in self.out.iter_mut().filter(|call| call.due.is_none()) {
            if waited_on(&call.path).is_some_and(|waited_on| waited_on < index) {
                call.due = Some(now + takes);
            }
        }
    }

    /// The index and the body of an answer.
    fn content(&self, path: &str) -> (u64, String) {
        let is_cached = path.contains("cached");
        let (mut index, mut listed) = match &self.cached {
            Some(cached) if is_cached => cached.clone(),
            _ => (self.index, self.instances.clone()),
        };
        if let Some(lie) = self.lie.as_ref().filter(|_| !path.contains("consistent")) {
            listed.clone_from(lie);
        }
        if path.starts_with("/v1/query") {
            index = 1;
            listed.retain(|instance| !instance.contains("critical"));
            let listed = listed.join(",");
            let body = format!(r#"{{"Service": "web", "Datacenter": "dc1", "Nodes": [{listed}]}}"#);
            return (index, body);
        }
        (index, format!("[{}]", listed.join(",")))
    }
}

fn waited_on(path: &str) -> Option<u64> {
    let (_, rest) = path.split_once("index=")?;
    rest.split('&').next()?.parse().ok()
}

impl Registry for World {
    fn on_request(
        &mut self,
        id: CallId,
        request: &HttpRequest,
        now: Duration,
    ) -> Result<(), CallFailure> {
        let now = millis(now);
        self.asked.push((now, request.path.clone()));
        let index = match &self.cached {
            Some((index, _)) if request.path.contains("cached") => *index,
            _ => self.index,
        };
        let waits = waited_on(&request.path).is_some_and(|waited_on| waited_on >= index);
        let due = (!waits || self.fails).then_some(now + self.takes);
        let gives_up = now + millis(request.timeout);
        self.out.push(Call { id, path: request.path.clone(), due, gives_up });
        Ok(())
    }

    fn poll_response(&mut self, now: Duration) -> Option<(CallId, Result<Reply, CallFailure>)> {
        let now = millis(now);
        let is_due = |call: &Call| now >= call.gives_up || call.due.is_some_and(|due| due <= now);
        let call = self.out.remove(self.out.iter().position(is_due)?);
        let is_late = call.due.is_none_or(|due| due > call.gives_up);
        let is_kept = waited_on(&call.path).is_some() && call.due.is_none();
        let (index, body) = self.content(&call.path);
        let reply = match () {
            () if is_late && !is_kept => Reply::new(504, body).sent_by_envoy(),
            () if self.fails => Reply::new(500, body),
            () if self.is_unknown && call.path.starts_with("/v1/query") => {
                Reply::new(404, "Query not found")
            }
            () => Reply::ok(index, body),
        };
        Some((call.id, Ok(reply.at(index))))
    }

    fn next_response(&self) -> Option<Duration> {
        let ends = self.out.iter().map(|call| call.due.unwrap_or(u64::MAX).min(call.gives_up));
        ends.min().map(Duration::from_millis)
    }
}

/// One VM that follows one service.
pub struct Bench {
    pub vm: Vm<World>,
    pub key: QueryKey,
}

impl Bench {
    /// The service has these fields, Consul and its settings those.
    pub fn new(consul: &str, fields: &str, world: World) -> Self {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"{consul}}}, "services": [{{"name": "web"{fields}}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let spec = SourceSpec::new(&config, config.sources().next().unwrap());
        let spec = SourceSpec { on_trial: world.is_named, ..spec };
        let key = spec.query.key();
        Self { vm: Vm::following(vec![spec], &config, world, Rng::new(1)), key }
    }

    /// One of which these instances are listed, and used.
    pub fn listing(consul: &str, fields: &str, instances: &[String]) -> Self {
        let world = World { instances: instances.to_vec(), ..World::new() };
        let mut bench = Self::new(consul, fields, world);
        bench.vm.run(1_000);
        bench
    }

    pub fn world(&mut self) -> &mut World {
        &mut self.vm.host.registry
    }

    /// What is listed from now on, at a higher index.
    pub fn list(&mut self, instances: &[String]) {
        let now = self.vm.now();
        self.world().list(now, instances);
    }

    /// How many milliseconds it takes until exactly these are used, at most so many.
    pub fn await_ports(&mut self, ports: &[u16], most: u64) -> u64 {
        let begin = self.vm.now();
        while self.vm.ports() != ports {
            let waited = self.vm.now() - begin;
            assert!(
                waited < most,
                "{:?} after {waited} ms: {:?}",
                self.vm.ports(),
                self.vm.host.registry.asked
            );
            self.vm.run(10);
        }
        self.vm.now() - begin
    }

    pub fn decide(&mut self) -> Disposition {
        self.vm.router.decide(Some(ServiceId::nth(0)), &PickContext::default())
    }
}
