//! One service of one VM, whose requests a test answers one by one.

use std::collections::VecDeque;
use std::time::Duration;

use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::host::Event;
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::request::HttpRequest;
use consul_resolver::registry::response::CallFailure;
use consul_resolver::shared::key::{SharedKey, VmId};
use consul_resolver::shared::source_record::{Rank, SourceRecord, Term};
use consul_resolver::telemetry::SourceEvent;
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
}

/// A registry that answers nothing by itself.
#[derive(Debug, Default)]
pub struct ByHand {
    sent: VecDeque<Sent>,
    /// How often instances were said to be left out.
    pub rejections: usize,
}

impl Registry for ByHand {
    fn on_request(
        &mut self,
        call: CallId,
        request: &HttpRequest,
        _: Duration,
    ) -> Result<(), CallFailure> {
        self.sent.push_back(Sent { call, path: request.path.clone() });
        Ok(())
    }

    fn on_event(&mut self, _: SourceId, event: &SourceEvent) {
        self.rejections += usize::from(matches!(event, SourceEvent::Dropped(_)));
    }
}

/// Responses go in; requests and endpoints come out. Times are in milliseconds.
pub struct Script {
    pub vm: Vm<ByHand>,
}

impl Script {
    /// A VM that has just ticked for the first time.
    pub fn new() -> Self {
        let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
        let config = Config::parse(json).unwrap();
        let mut script = Self { vm: Vm::new(&config, ByHand::default(), Rng::new(1)) };
        script.vm.tick();
        script
    }

    /// Lets time pass until then, and ticks.
    pub fn run_to(&mut self, milliseconds: u64) {
        self.vm.run(milliseconds - self.vm.now());
        self.vm.tick();
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
        let head = SourceRecord {
            owner: VmId(2),
            term: Term(9),
            rank: Rank { serving: false, born: 0 },
            published: None,
            age: Duration::ZERO,
            listed: 0,
        };
        let key = self.vm.manager.sources()[0].key();
        self.vm.host.write(SharedKey::SourceRecord(key), head.encode());
        self.vm.tick();
        assert!(!self.vm.manager.is_leader());
    }
}

/// A body that lists instances at these ports; port 0 is none.
pub fn instances(ports: &[u16]) -> String {
    let instance =
        |port| format!(r#"{{"Node": {{"Address": "10.0.0.1"}}, "Service": {{"Port": {port}}}}}"#);
    format!("[{}]", ports.iter().map(instance).collect::<Vec<_>>().join(","))
}
