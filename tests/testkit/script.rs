//! One service of one VM, whose requests a test answers one by one.

use std::collections::VecDeque;
use std::time::Duration;

use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::host::Event;
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::http::{CallFailure, HttpRequest};
use consul_resolver::registry::source_spec::SourceSpec;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};
use consul_resolver::telemetry::{Doubt, Resolution, SourceEvent};
use consul_resolver::util::rng::Rng;

use super::host::Registry;
use super::reply::Reply;
use super::vm::Vm;

/// The source of the service.
pub const SOURCE: SourceId = SourceId::nth(0);

/// A request that was sent, and is not answered.
#[derive(Debug)]
pub struct Sent {
    call: CallId,
    pub path: String,
}

impl Sent {
    /// The index that it blocks on.
    pub fn index(&self) -> Option<u64> {
        let (_, rest) = self.path.split_once("index=")?;
        rest.split('&').next()?.parse().ok()
    }

    /// Tells whether it is a consistent read.
    pub fn is_consistent(&self) -> bool {
        self.path.contains("consistent")
    }

    /// Tells whether it goes to Consul's leader, which the configuration does not ask for.
    pub fn is_to_leader(&self) -> bool {
        self.path.contains("leader")
    }
}

/// A registry that answers nothing by itself.
#[derive(Debug, Default)]
pub struct ByHand {
    sent: VecDeque<Sent>,
    /// The requests for a service that takes the only watch slot.
    rival: VecDeque<Sent>,
    /// How often instances were said to be left out.
    pub rejections: usize,
    /// The doubts about responses, and how they ended.
    pub doubts: Vec<Doubt>,
    pub resolutions: Vec<Resolution>,
    /// How often Consul was said to fail.
    pub failures: usize,
}

impl Registry for ByHand {
    fn on_request(
        &mut self,
        call: CallId,
        request: &HttpRequest,
        _: Duration,
    ) -> Result<(), CallFailure> {
        let sent = Sent { call, path: request.path.clone() };
        match sent.path.contains("/rival") {
            true => self.rival.push_back(sent),
            false => self.sent.push_back(sent),
        }
        Ok(())
    }

    fn on_event(&mut self, _: SourceId, event: &SourceEvent) {
        match event {
            SourceEvent::Dropped(_) => self.rejections += 1,
            SourceEvent::Failing(_) => self.failures += 1,
            SourceEvent::Doubted(doubt) => self.doubts.push(*doubt),
            SourceEvent::Resolved(resolution) => self.resolutions.push(*resolution),
            _ => {}
        }
    }
}

/// Responses go in; requests and endpoints come out. Times are in milliseconds.
pub struct Script {
    pub vm: Vm<ByHand>,
}

impl Script {
    /// A VM that has just ticked for the first time.
    pub fn new() -> Self {
        Self::of("", "")
    }

    /// A VM with these further fields of `consul` and of the service, each after a comma.
    pub fn of(consul: &str, service: &str) -> Self {
        Self::started(&config(consul, service, ""), |_| {})
    }

    /// A VM whose shared data and members are set before its first tick.
    pub fn started(config: &Config, prepare: impl FnOnce(&mut Vm<ByHand>)) -> Self {
        let mut script = Self { vm: Vm::new(config, ByHand::default(), Rng::new(1)) };
        prepare(&mut script.vm);
        script.vm.tick();
        script
    }

    /// A VM that follows a service which only a client has named.
    pub fn named(service: &str) -> Self {
        let config = config("", service, "");
        let spec = SourceSpec::new(&config, config.sources().next().unwrap());
        let specs = vec![SourceSpec { on_trial: true, ..spec }];
        let vm = Vm::following(specs, &config, ByHand::default(), Rng::new(1));
        let mut script = Self { vm };
        script.vm.tick();
        script
    }

    /// A VM that polls the service, because another one has taken the only watch slot.
    pub fn polled(service: &str) -> Self {
        let config = config(r#", "max_watches": 1"#, service, r#", {"name": "rival"}"#);
        let mut script = Self::started(&config, |_| {});
        script.serve_rival();
        script.run_to(100);
        script
    }

    /// A VM whose query blocks on that index since second 1, with these ports published.
    pub fn blocking(mut self, index: u64, ports: &[u16]) -> (Self, Sent) {
        let first = self.request().expect("the first query");
        assert_eq!(first.index(), None);
        self.respond(&first, index, ports);
        self.run_to(1_000);
        let blocking = self.request().expect("the query that blocks");
        assert_eq!((blocking.index(), self.vm.ports()), (Some(index), ports.to_vec()));
        (self, blocking)
    }

    /// Lets time pass until then, and ticks.
    pub fn run_to(&mut self, milliseconds: u64) {
        while self.vm.now() < milliseconds {
            // The rival keeps its watch slot as long as its query blocks.
            self.vm.run((milliseconds - self.vm.now()).min(30_000));
            self.serve_rival();
        }
        self.vm.tick();
    }

    fn serve_rival(&mut self) {
        while let Some(sent) = self.vm.host.registry.rival.pop_front() {
            self.respond(&sent, 1, &[99]);
            if sent.index().is_some() {
                break;
            }
        }
    }

    /// Takes the first request that was sent and not taken yet.
    pub fn request(&mut self) -> Option<Sent> {
        self.vm.host.registry.sent.pop_front()
    }

    /// Answers a request with these endpoints.
    pub fn respond(&mut self, sent: &Sent, index: u64, ports: &[u16]) {
        self.respond_with(sent, Ok(&Reply::ok(index, instances(ports))));
    }

    /// Lets a request come back without a response.
    pub fn fail(&mut self, sent: &Sent) {
        self.respond_with(sent, Err(CallFailure::NoAnswer));
    }

    /// Takes what came of a request.
    pub fn respond_with(&mut self, sent: &Sent, reply: Result<&Reply, CallFailure>) {
        self.vm.respond(sent.call, reply);
    }

    /// A request of the proxy could not reach an endpoint.
    pub fn fail_endpoint(&mut self) {
        self.vm.handle(Event::EndpointUnreachable(SOURCE));
        self.vm.tick();
    }

    /// Another VM takes the lease, with nothing published, and gives no further sign of life.
    pub fn lose_lease(&mut self) {
        self.write_record(VmId(2), Term(9), Rank { serving: false, born: 0 });
        self.vm.tick();
        assert!(!self.vm.manager.is_leader());
    }

    /// Another VM writes a source record that points to no snapshot.
    pub fn write_record(&mut self, owner: VmId, term: Term, rank: Rank) {
        write_record(&mut self.vm, &record(owner, term, rank));
    }
}

/// A source record that points to no snapshot.
pub const fn record(owner: VmId, term: Term, rank: Rank) -> SourceRecord {
    SourceRecord { owner, term, rank, published: None, age: Duration::ZERO, listed: 0 }
}

/// Writes the source record as another VM does.
pub fn write_record(vm: &mut Vm<ByHand>, record: &SourceRecord) {
    let key = vm.manager.sources()[0].key();
    vm.host.write(SharedKey::SourceRecord(key), record.encode());
}

/// A configuration with further fields of `consul` and of the service, and further services.
pub fn config(consul: &str, service: &str, services: &str) -> Config {
    let json = format!(
        r#"{{"consul": {{"cluster": "consul"{consul}}}, "route_metadata": true,
        "services": [{{"name": "web"{service}}}{services}]}}"#
    );
    Config::parse(json.as_bytes()).unwrap()
}

/// A body that lists instances at these ports; port 0 is none.
pub fn instances(ports: &[u16]) -> String {
    let instance =
        |port| format!(r#"{{"Node": {{"Address": "10.0.0.1"}}, "Service": {{"Port": {port}}}}}"#);
    format!("[{}]", ports.iter().map(instance).collect::<Vec<_>>().join(","))
}
