//! One Envoy, as Consul sees it.

use std::time::Duration;

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::config::Config;
use consul_resolver::consul::query::Request;
use consul_resolver::consul::response::{CallFailure, Response};
use consul_resolver::discovery::event::{CallId, Event, Expect};
use consul_resolver::discovery::manager::Manager;
use consul_resolver::discovery::source_event::SourceEvent;
use consul_resolver::discovery::source_spec::SourceSpec;
use consul_resolver::driver::{self, Host};
use consul_resolver::model::service::SourceId;
use consul_resolver::router::Router;
use consul_resolver::shared::key::{Cas, SharedKey};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::source_record::Rank;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

use crate::scenario::{Client, Scenario};

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
            Self::Filter(filter) => {
                filter.handle(Event::Tick(Filter::RANK), now, asks);
                filter.period
            }
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
            Self::Filter(filter) => {
                filter.on_reply(ask, reply, now, asks);
                filter.period
            }
            Self::EverySecond(client) => client.on_reply(ask, reply, now, asks),
        }
    }
}

/// The real discovery in one VM: the others of an Envoy ask Consul nothing.
#[derive(Debug)]
pub struct Filter {
    agent: Manager,
    router: Router,
    shared: SharedData,
    period: Duration,
}

impl Filter {
    const RANK: Rank = Rank { serving: false, born: 1 };

    fn new(config: &Config, rng: &mut Rng) -> Self {
        let mut own = rng.split();
        let subjects = config.sources().map(|source| SourceSpec::new(config, source)).collect();
        let agent = Manager::new(subjects, &config.consul, own.split());
        let period = agent.tick_period();
        let router = Router::new(config, &mut own);
        Self { agent, router, shared: SharedData::default(), period }
    }

    fn on_reply(&mut self, ask: Ask, reply: Reply<'_>, now: Duration, asks: &mut Vec<Ask>) {
        let response = |status, from_envoy, index, body| Response {
            status,
            from_envoy,
            index,
            filtered_by_acls: false,
            last_contact: None,
            age: None,
            body,
        };
        let text;
        let answer = match reply {
            Reply::Answer { index, body } => {
                text = index.to_string();
                Ok(response(200, false, Some(text.as_bytes()), body))
            }
            Reply::Refused => Ok(response(503, true, None, &[][..])),
            Reply::Broken => Err(CallFailure::NoAnswer),
        };
        self.handle(Event::Answered { call: ask.call, response: answer }, now, asks);
    }

    fn handle(&mut self, event: Event<'_>, now: Duration, asks: &mut Vec<Ask>) {
        let Self { agent, router, shared, period } = self;
        let now = Time::from_start(now);
        driver::run(agent, router, &mut SimHost { now, shared, period, asks }, event);
    }
}

/// Envoy's shared data, with one VM that uses it.
#[derive(Debug, Default)]
struct SharedData {
    values: Vec<(SharedKey, Vec<u8>, Cas)>,
    last: u32,
}

impl SharedData {
    fn load(&self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        let found = self.values.iter().find(|(other, ..)| other == key);
        found.map(|(_, value, cas)| (value.clone(), *cas))
    }

    /// Nobody else writes, so what is expected always holds.
    fn store(&mut self, key: &SharedKey, value: &[u8]) {
        self.last += 1;
        self.values.retain(|(other, ..)| other != key);
        if !value.is_empty() {
            self.values.push((*key, value.to_vec(), Cas(self.last)));
        }
    }
}

struct SimHost<'a> {
    now: Time,
    shared: &'a mut SharedData,
    period: &'a mut Duration,
    asks: &'a mut Vec<Ask>,
}

impl Host for SimHost<'_> {
    fn now(&mut self) -> Time {
        self.now
    }

    fn register_queue(&mut self, _: &str) -> QueueId {
        QueueId(1)
    }

    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        self.shared.load(key)
    }

    fn store(&mut self, key: &SharedKey, value: &[u8], _: Expect) -> bool {
        self.shared.store(key, value);
        true
    }

    fn wake(&mut self, _: QueueId, _: &[u8]) {}

    fn probe(&mut self, _: QueueId) -> bool {
        false
    }

    fn call(&mut self, call: CallId, request: &Request) -> Result<(), CallFailure> {
        let (path, parameters) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let index = parameters.split('&').find_map(|pair| pair.strip_prefix("index="));
        let index = index.map(|index| index.parse().expect("an index is a number"));
        let service = path.rsplit('-').next().and_then(|number| number.parse().ok());
        let service = service.expect("the services are numbered");
        self.asks.push(Ask { call, service, index });
        Ok(())
    }

    fn notice(&mut self, _: SourceId, _: &SourceEvent) {}

    fn breaker(&mut self, _: BreakerState, _: Option<BreakerState>, _: Option<&str>) {}

    fn set_tick_period(&mut self, period: Duration) {
        *self.period = period;
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
