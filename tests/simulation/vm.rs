//! One VM: the real state machines on a simulated host.

use std::collections::VecDeque;
use std::time::Duration;

use consul_resolver::config::Config;
use consul_resolver::consul::query::{Query, Request};
use consul_resolver::consul::response::CallFailure;
use consul_resolver::discovery::agent::Agent;
use consul_resolver::discovery::event::{CallId, Expect};
use consul_resolver::discovery::notice::Notice;
use consul_resolver::driver::Host;
use consul_resolver::model::service::SourceId;
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::router::decision::Forward;
use consul_resolver::shared::head::{Head, Rank};
use consul_resolver::shared::key::{Cas, Key};
use consul_resolver::shared::members::QueueId;
use consul_resolver::time::Time;

use crate::consul::{Consul, Reply};
use crate::shared::Shared;

/// One VM.
pub struct Vm {
    /// Its number, and which life it is in.
    pub id: (usize, u32),
    /// Discovery.
    pub agent: Agent,
    /// Routing.
    pub router: Router,
    /// How suitable it is to fetch.
    pub rank: Rank,
    /// Whether its thread runs.
    pub alive: bool,
    /// Its timer's next moment.
    pub next_tick: u64,
    /// The timer's period.
    pub period: u64,
    /// What waits to be handled.
    pub inbox: VecDeque<Mail>,
    /// Its requests in flight.
    pub flying: Vec<Forward>,
    /// Its own clock is this far ahead.
    pub clock_offset: u64,
}

/// An event that the host has for a VM.
pub enum Mail {
    /// Its queue has messages.
    Queue(QueueId),
    /// A callout has ended.
    Answer(Reply),
}

impl Vm {
    /// A VM that has just been made.
    pub fn new(id: (usize, u32), config: &Config, born: u64, rng: &mut Rng) -> Self {
        let mut own = rng.split();
        let queries =
            config.sources().map(|s| Query::new(config, s.service, s.datacenter)).collect();
        let agent = Agent::new(queries, config.consul.wait, own.split());
        Self {
            id,
            period: u64::try_from(agent.tick_period().as_millis()).unwrap(),
            agent,
            router: Router::new(config, &mut own),
            rank: Rank { serving: false, born },
            alive: true,
            next_tick: born + u64::from(rng.below(30)),
            inbox: VecDeque::new(),
            flying: Vec::new(),
            clock_offset: rng.next_u64() % 1_000_000,
        }
    }
}

/// What a VM can do at this moment.
pub struct SimHost<'w> {
    /// The time in milliseconds.
    pub now: u64,
    /// How far ahead the VM's own clock is.
    pub clock_offset: u64,
    /// Which VM it is.
    pub vm: (usize, u32),
    /// The process.
    pub shared: &'w mut Shared,
    /// Consul.
    pub consul: &'w mut Consul,
    /// The VMs to be woken, with the queue.
    pub wakes: &'w mut Vec<(usize, QueueId)>,
    /// The heads that were written.
    pub heads: &'w mut Vec<(Key, Head)>,
    /// The VM's timer.
    pub period: &'w mut u64,
}

impl Host for SimHost<'_> {
    fn now(&mut self) -> Time {
        Time::from_start(Duration::from_millis(self.now + self.clock_offset))
    }

    fn register_queue(&mut self, name: &str) -> QueueId {
        self.shared.register(name, self.vm.0)
    }

    fn load(&mut self, key: &Key) -> Option<(Vec<u8>, Cas)> {
        self.shared.load(&key.to_string())
    }

    fn store(&mut self, key: &Key, value: &[u8], expect: Expect) -> bool {
        let written = self.shared.store(&key.to_string(), value, expect);
        if written && matches!(key, Key::Head(_)) {
            self.heads.push((*key, Head::decode(value).expect("a head that reads back")));
        }
        written
    }

    fn wake(&mut self, queue: QueueId, message: &[u8]) {
        if let Some(target) = self.shared.enqueue(queue, message) {
            self.wakes.push((target, queue));
        }
    }

    fn probe(&mut self, queue: QueueId) -> bool {
        self.shared.pending(queue) > 0
    }

    fn call(&mut self, call: CallId, request: &Request) -> Result<(), CallFailure> {
        self.consul.ask(self.vm, call, &request.path, self.now);
        Ok(())
    }

    fn notice(&mut self, _: SourceId, notice: &Notice) {
        // Whatever is noticed can be told.
        assert!(!notice.to_string().is_empty());
    }

    fn set_tick_period(&mut self, period: Duration) {
        *self.period = u64::try_from(period.as_millis()).unwrap();
    }
}
