//! One Envoy, as Consul sees it.

use std::time::Duration;

use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::host::Event;
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::http::{CallFailure, HttpRequest};
use consul_resolver::util::rng::Rng;

use crate::scenario::{Client, Scenario};
use crate::testkit::host::Registry;
use crate::testkit::reply::Reply as Response;
use crate::testkit::vm::{RANK, Vm};

/// What is asked of Consul.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// By what the answer finds its way.
    pub call: CallId,
    pub service: u32,
    /// The index that the query blocks on.
    pub index: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    Answer {
        index: u64,
        body: &'a [u8],
    },
    /// The connection broke.
    Broken,
    /// Nobody listens: Envoy replies itself.
    Refused,
}

/// One Envoy.
#[derive(Debug)]
pub enum Envoy {
    Filter(Box<Filter>),
    EverySecond(EverySecond),
}

impl Envoy {
    /// One that has not started.
    pub fn new(scenario: &Scenario, config: &Config, rng: &mut Rng) -> Self {
        match scenario.client {
            Client::Filter => Self::Filter(Box::new(Filter::new(config, rng))),
            Client::EverySecond => Self::EverySecond(EverySecond::new(scenario.services)),
        }
    }

    /// Its timer; gives how soon it is to run again.
    pub fn on_tick(&mut self, now: Duration, asks: &mut Vec<Ask>) -> Duration {
        match self {
            Self::Filter(filter) => filter.on_tick(now, asks),
            Self::EverySecond(client) => client.on_tick(now, asks),
        }
    }

    /// An answer to what it asked; gives how soon its timer is to run again.
    pub fn on_reply(
        &mut self,
        ask: Ask,
        reply: Reply<'_>,
        now: Duration,
        asks: &mut Vec<Ask>,
    ) -> Duration {
        match self {
            Self::Filter(filter) => filter.on_reply(ask, reply, now, asks),
            Self::EverySecond(client) => client.on_reply(ask, reply, now, asks),
        }
    }
}

/// The real discovery in one VM: the others of an Envoy ask Consul nothing.
#[derive(Debug)]
pub struct Filter {
    vm: Vm<Outbox>,
}

impl Filter {
    fn new(config: &Config, rng: &mut Rng) -> Self {
        Self { vm: Vm::new(config, Outbox::default(), rng.split()) }
    }

    fn on_tick(&mut self, now: Duration, asks: &mut Vec<Ask>) -> Duration {
        self.vm.host.now = now;
        self.vm.handle(Event::Tick(RANK));
        self.sent(asks)
    }

    fn on_reply(
        &mut self,
        ask: Ask,
        reply: Reply<'_>,
        now: Duration,
        asks: &mut Vec<Ask>,
    ) -> Duration {
        let response = match reply {
            Reply::Answer { index, body } => Ok(Response::ok(index, body)),
            Reply::Refused => Ok(Response::new(503, "").sent_by_envoy()),
            Reply::Broken => Err(CallFailure::NoAnswer),
        };
        self.vm.host.now = now;
        self.vm.respond(ask.call, response.as_ref().map_err(|failure| *failure));
        self.sent(asks)
    }

    /// Gives what was asked, and how soon the timer is to run again.
    fn sent(&mut self, asks: &mut Vec<Ask>) -> Duration {
        asks.append(&mut self.vm.host.registry.0);
        self.vm.host.period
    }
}

/// What the filter has asked, until the fleet's Consul takes it.
#[derive(Debug, Default)]
struct Outbox(Vec<Ask>);

impl Registry for Outbox {
    fn on_request(
        &mut self,
        call: CallId,
        request: &HttpRequest,
        _: Duration,
    ) -> Result<(), CallFailure> {
        let (path, parameters) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let index = parameters.split('&').find_map(|pair| pair.strip_prefix("index="));
        let index = index.map(|index| index.parse().expect("an index is a number"));
        let service = path.rsplit('-').next().and_then(|number| number.parse().ok());
        let service = service.expect("the services are numbered");
        self.0.push(Ask { call, service, index });
        Ok(())
    }
}

/// What a client is without backoff, jitter and pacing: it asks again at once after an answer,
/// and a second after an error.
#[derive(Debug)]
pub struct EverySecond {
    due: Vec<Option<Duration>>,
}

impl EverySecond {
    const RETRY: Duration = Duration::from_secs(1);
    /// Its timer is exact, and needed after errors only.
    const NEVER: Duration = Duration::from_secs(3_600);

    fn new(services: u32) -> Self {
        Self { due: vec![Some(Duration::ZERO); services as usize] }
    }

    fn on_tick(&mut self, now: Duration, asks: &mut Vec<Ask>) -> Duration {
        for (service, due) in (0..).zip(&mut self.due) {
            if due.take_if(|due| *due <= now).is_some() {
                asks.push(Self::ask(service, None));
            }
        }
        self.next(now)
    }

    fn on_reply(
        &mut self,
        ask: Ask,
        reply: Reply<'_>,
        now: Duration,
        asks: &mut Vec<Ask>,
    ) -> Duration {
        if let Reply::Answer { index, .. } = reply {
            asks.push(Self::ask(ask.service, Some(index)));
        } else {
            self.due[ask.service as usize] = Some(now + Self::RETRY);
        }
        self.next(now)
    }

    fn next(&self, now: Duration) -> Duration {
        let next = self.due.iter().flatten().min();
        next.map_or(Self::NEVER, |due| due.saturating_sub(now))
    }

    fn ask(service: u32, index: Option<u64>) -> Ask {
        let source = SourceId::nth(u16::try_from(service).expect("few services"));
        Ask { call: CallId::Query { source, query: Default::default() }, service, index }
    }
}
