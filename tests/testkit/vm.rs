//! Discovery and routing of one VM, and its time.

use std::time::Duration;

use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Config;
use consul_resolver::host::Event;
use consul_resolver::registry::http::CallFailure;
use consul_resolver::registry::source_spec::SourceSpec;
use consul_resolver::router::Router;
use consul_resolver::shared::source_record::Rank;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;
use consul_resolver::{driver, vm};

use super::host::{Host, Registry};
use super::reply::Reply;

/// The rank of a VM that serves nothing.
pub const RANK: Rank = Rank { serving: false, born: 1 };

/// The milliseconds between two ticks.
pub const TICK: u64 = 250;

/// One VM. Times are in milliseconds since its start.
#[derive(Debug)]
pub struct Vm<R> {
    pub manager: vm::Vm,
    pub router: Router,
    pub host: Host<R>,
    next_tick: u64,
}

impl<R: Registry> Vm<R> {
    /// A VM that follows the sources of a configuration.
    pub fn new(config: &Config, registry: R, rng: Rng) -> Self {
        let sources = config.sources().map(|source| SourceSpec::new(config, source)).collect();
        Self::following(sources, config, registry, rng)
    }

    /// A VM that follows these sources.
    pub fn following(sources: Vec<SourceSpec>, config: &Config, registry: R, mut rng: Rng) -> Self {
        let manager = vm::Vm::new(sources, &config.consul, rng.split()).with_registrations(config);
        let host = Host::new(registry, manager.tick_period());
        Self { manager, router: Router::new(config, &mut rng), host, next_tick: 0 }
    }

    /// The time by its clock.
    pub fn now(&self) -> u64 {
        millis(self.host.now)
    }

    /// The same as the core takes it.
    pub fn time(&self) -> Time {
        Time::from_start(self.host.now)
    }

    /// Takes an event, and carries out all that follows.
    pub fn handle(&mut self, event: Event<'_>) {
        driver::run(&mut self.manager, &mut self.router, &mut self.host, event);
    }

    /// Carries out the commands of a change that was made without an event.
    pub fn settle(&mut self) {
        driver::settle(&mut self.manager, &mut self.router, &mut self.host);
    }

    /// Takes what came of a call.
    pub fn respond(&mut self, call: CallId, reply: Result<&Reply, CallFailure>) {
        self.handle(Event::Answered { call, response: reply.map(Reply::as_response) });
    }

    /// Ticks now, and next in 250 ms.
    pub fn tick(&mut self) {
        self.next_tick = self.now() + TICK;
        self.handle(Event::Tick(RANK));
        let now = self.time();
        self.router.on_tick(now, |_, _| {});
    }

    /// Lets so many milliseconds pass.
    pub fn run(&mut self, milliseconds: u64) {
        let end = self.now() + milliseconds;
        while self.now() < end {
            if self.now() >= self.next_tick {
                self.tick();
            }
            while let Some((call, reply)) = self.host.registry.poll_response(self.host.now) {
                self.respond(call, reply.as_ref().map_err(|failure| *failure));
            }
            let next = self.host.registry.next_response().map_or(u64::MAX, millis);
            let next = next.max(self.now() + 1).min(self.next_tick).min(end);
            self.host.now = Duration::from_millis(next);
        }
    }

    /// Lets the whole process stand still for so long, and then tick.
    pub fn stop(&mut self, milliseconds: u64) {
        self.host.now += Duration::from_millis(milliseconds);
        self.tick();
    }

    /// The ports of the endpoints of the first source.
    pub fn ports(&self) -> Vec<u16> {
        let sources = self.manager.sources();
        let record = sources.first().and_then(|source| source.installed());
        let endpoints = record.map(|record| record.snapshot.endpoints()).unwrap_or_default();
        endpoints.iter().map(|endpoint| endpoint.address.port()).collect()
    }
}

/// A time in milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
