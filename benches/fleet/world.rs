//! A fleet and its Consul: events in the order of their time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use consul_resolver::config::Config;
use consul_resolver::util::rng::Rng;
use serde_json::json;

use crate::consul::{Cached, Servers, held, instances, server_of};
use crate::envoy::{Ask, Envoy, Reply};
use crate::meter::Meter;
use crate::scenario::{Client, Plan, Reading, Scenario};

/// The index of each service at the begin.
const FIRST_INDEX: u64 = 100;

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario) -> Meter {
    let mut world = World::new(*scenario);
    while let Some(Reverse((at, _, event))) = world.queue.pop() {
        if at > Plan::SETTLED + Plan::WATCHED {
            break;
        }
        world.now = at;
        world.handle(event);
    }
    world.meter
}

struct World {
    scenario: Scenario,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    scheduled: u64,
    rng: Rng,
    envoys: Vec<Lane>,
    servers: Servers,
    /// By agent, then by service.
    caches: Vec<Vec<Cached>>,
    /// Queries on their way or held, by number.
    calls: HashMap<u64, Call>,
    last_call: u64,
    /// The index of each service, and the instances that Consul tells of at an index.
    services: Vec<u64>,
    instances: HashMap<u64, Vec<u8>>,
    is_down: bool,
    /// The changes that are still to come.
    changes: u32,
    meter: Meter,
}

/// An Envoy and its timer.
struct Lane {
    envoy: Envoy,
    tick: Duration,
    /// Queries of its that Consul holds.
    held: u32,
    /// What it has to learn: the index of the last change, or anything after an outage.
    awaits: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick(u32),
    /// A call comes to Consul.
    Arrival(u64),
    /// A server has read its state for a call.
    Read(u64),
    /// A call has been held for as long as it may be.
    Expiry(u64),
    /// An answer comes to an Envoy, or to an agent.
    Delivery(u64),
    Change,
    Outage,
    Return,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    from: From,
    ask: Ask,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum From {
    Envoy(u32),
    /// An agent, for its cache.
    Agent(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    OnItsWay,
    Held,
    Answered(u64),
    Broken,
    Refused,
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let services: Vec<_> = (0..scenario.services)
            .map(|n| json!({"name": format!("service-{n}"), "hosts": [format!("{n}.test")]}))
            .collect();
        // There is one connection for each: the filter's own cap is not what is looked at.
        let config = json!({
            "consul": {"cluster": "consul", "max_watches": scenario.services.max(1)},
            "services": services,
        });
        let config = Config::parse(config.to_string().as_bytes()).expect("it is a configuration");
        let mut rng = Rng::new(scenario.seed);
        let envoys: Vec<_> = (0..scenario.envoys)
            .map(|_| {
                let envoy = Envoy::new(&scenario, &config, &mut rng);
                let tick = Scenario::START.mul_f64(rng.unit());
                Lane { envoy, tick, held: 0, awaits: None }
            })
            .collect();
        let agents = match scenario.reading {
            Reading::Cached { envoys_per_agent } => scenario.envoys.div_ceil(envoys_per_agent),
            Reading::Leader | Reading::Stale => 0,
        };
        let cache = vec![Cached::default(); scenario.services as usize];
        let mut world = Self {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            scheduled: 0,
            rng,
            envoys,
            servers: Servers::new(),
            caches: vec![cache; agents as usize],
            calls: HashMap::new(),
            last_call: 0,
            services: vec![FIRST_INDEX; scenario.services as usize],
            instances: HashMap::from([(FIRST_INDEX, instances(FIRST_INDEX))]),
            is_down: false,
            changes: 0,
            meter: Meter::new(Servers::COUNT),
            scenario,
        };
        for (n, at) in (0..).zip(world.envoys.iter().map(|lane| lane.tick).collect::<Vec<_>>()) {
            world.schedule(at, Event::Tick(n));
        }
        match scenario.plan {
            Plan::Quiet => {}
            Plan::Changes { count, .. } => {
                world.changes = count;
                world.schedule(Plan::SETTLED, Event::Change);
            }
            Plan::Outage(length) => {
                world.schedule(Plan::SETTLED, Event::Outage);
                world.schedule(Plan::SETTLED + length, Event::Return);
            }
        }
        world
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((at, self.scheduled, event)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(n) => self.tick(n),
            Event::Arrival(call) => self.arrive(call),
            Event::Read(call) => self.on_read(call),
            Event::Expiry(call) => self.expire(call),
            Event::Delivery(call) => self.deliver(call),
            Event::Change => self.change(),
            Event::Outage => self.go_down(),
            Event::Return => {
                self.is_down = false;
                self.envoys.iter_mut().for_each(|lane| lane.awaits = Some(0));
            }
        }
    }

    fn tick(&mut self, n: u32) {
        let lane = &mut self.envoys[n as usize];
        // One that was put forward since.
        if lane.tick != self.now {
            return;
        }
        let mut asks = Vec::new();
        let period = lane.envoy.on_tick(self.now, &mut asks);
        self.ask(n, asks);
        self.plan_tick(n, period);
    }

    /// While Consul holds all of an Envoy's queries, the filter has nothing to do but to renew its
    /// lease, which nobody else wants here; the simulation lets it sleep meanwhile.
    fn plan_tick(&mut self, n: u32, period: Duration) {
        const ASLEEP: Duration = Duration::from_secs(20);
        let lane = &mut self.envoys[n as usize];
        let sleeps = self.scenario.client == Client::Filter && lane.held == self.scenario.services;
        lane.tick = self.now + if sleeps { period.max(ASLEEP) } else { period };
        let at = lane.tick;
        self.schedule(at, Event::Tick(n));
    }

    fn ask(&mut self, n: u32, asks: Vec<Ask>) {
        for ask in asks {
            self.send(From::Envoy(n), ask);
        }
    }

    fn send(&mut self, from: From, ask: Ask) {
        self.last_call += 1;
        self.calls.insert(self.last_call, Call { from, ask, state: State::OnItsWay });
        self.schedule(self.now + Servers::WAY, Event::Arrival(self.last_call));
    }

    fn arrive(&mut self, number: u64) {
        let call = self.calls[&number];
        if let From::Envoy(_) = call.from {
            self.meter.on_call(self.now);
        }
        if self.is_down {
            return self.answer(number, State::Refused);
        }
        match (call.from, self.scenario.reading) {
            (From::Envoy(n), Reading::Cached { envoys_per_agent }) => {
                self.look_into_cache(n / envoys_per_agent, number, call.ask);
            }
            (From::Envoy(asker) | From::Agent(asker), reading) => {
                self.read(server_of(reading, asker), number);
            }
        }
    }

    fn look_into_cache(&mut self, agent: u32, number: u64, ask: Ask) {
        let cached = &mut self.caches[agent as usize][ask.service as usize];
        if cached.index > ask.index.unwrap_or(0) {
            let index = cached.index;
            return self.answer(number, State::Answered(index));
        }
        cached.waiting.push(number);
        let is_new = !core::mem::replace(&mut cached.is_watched, true);
        if is_new {
            self.send(From::Agent(agent), Ask { index: None, ..ask });
        }
        self.hold(number, Scenario::WAIT);
    }

    fn read(&mut self, server: usize, number: u64) {
        let done = self.servers.read(server, self.now, &mut self.meter);
        self.schedule(done, Event::Read(number));
    }

    fn on_read(&mut self, number: u64) {
        let Some(&call) = self.calls.get(&number).filter(|call| call.state == State::OnItsWay)
        else {
            return;
        };
        let index = self.services[call.ask.service as usize];
        if call.ask.index.is_none_or(|asked| asked < index) {
            return self.answer(number, State::Answered(index));
        }
        let wait = match call.from {
            From::Envoy(_) => Scenario::WAIT,
            From::Agent(_) => Cached::WAIT,
        };
        let wait = held(wait, self.scenario.jitter, &mut self.rng);
        self.hold(number, wait);
    }

    fn hold(&mut self, number: u64, wait: Duration) {
        let call = self.calls.get_mut(&number).expect("it is under way");
        call.state = State::Held;
        if let From::Envoy(n) = call.from {
            self.envoys[n as usize].held += 1;
        }
        self.schedule(self.now + wait, Event::Expiry(number));
    }

    fn release(&mut self, number: u64) {
        let call = self.calls.get_mut(&number).expect("it is under way");
        call.state = State::OnItsWay;
        if let From::Envoy(n) = call.from {
            self.envoys[n as usize].held -= 1;
        }
    }

    fn expire(&mut self, number: u64) {
        let Some(&call) = self.calls.get(&number).filter(|call| call.state == State::Held) else {
            return;
        };
        self.release(number);
        self.answer(number, State::Answered(call.ask.index.unwrap_or(0)));
    }

    fn answer(&mut self, number: u64, state: State) {
        self.calls.get_mut(&number).expect("it is under way").state = state;
        self.schedule(self.now + Servers::WAY, Event::Delivery(number));
    }

    fn deliver(&mut self, number: u64) {
        let call = self.calls.remove(&number).expect("it is under way");
        match call.from {
            From::Envoy(n) => self.deliver_to_envoy(n, call),
            From::Agent(agent) => self.deliver_to_agent(agent, call),
        }
    }

    fn deliver_to_envoy(&mut self, n: u32, call: Call) {
        let lane = &mut self.envoys[n as usize];
        let reply = match call.state {
            State::Answered(index) => {
                if lane.awaits.is_some_and(|awaited| index >= awaited) {
                    lane.awaits = None;
                    self.meter.on_informed(self.now);
                }
                Reply::Answer { index, body: &self.instances[&index] }
            }
            State::Refused => Reply::Refused,
            State::OnItsWay | State::Held | State::Broken => Reply::Broken,
        };
        let mut asks = Vec::new();
        let period = lane.envoy.on_reply(call.ask, reply, self.now, &mut asks);
        self.ask(n, asks);
        self.plan_tick(n, period);
    }

    fn deliver_to_agent(&mut self, agent: u32, call: Call) {
        let State::Answered(index) = call.state else {
            panic!("no scenario takes Consul away from a cache");
        };
        let cached = &mut self.caches[agent as usize][call.ask.service as usize];
        cached.index = index;
        for waiting in core::mem::take(&mut cached.waiting) {
            let waits = self.calls.get(&waiting).filter(|call| call.state == State::Held);
            match waits.map(|call| call.ask.index.unwrap_or(0)) {
                Some(asked) if asked < index => {
                    self.release(waiting);
                    self.answer(waiting, State::Answered(index));
                }
                Some(_) => {
                    self.caches[agent as usize][call.ask.service as usize].waiting.push(waiting);
                }
                None => {}
            }
        }
        self.send(From::Agent(agent), Ask { index: Some(index), ..call.ask });
    }

    fn change(&mut self) {
        let Plan::Changes { every, .. } = self.scenario.plan else { return };
        let index = &mut self.services[0];
        *index += 1;
        self.instances.insert(*index, instances(*index));
        self.changes -= 1;
        if self.changes > 0 {
            self.schedule(self.now + every, Event::Change);
        } else {
            let last = *index;
            self.envoys.iter_mut().for_each(|lane| lane.awaits = Some(last));
        }
        for (number, asker) in self.blocked(|call| call.ask.service == 0) {
            self.release(number);
            self.read(server_of(self.scenario.reading, asker), number);
        }
    }

    fn go_down(&mut self) {
        self.is_down = true;
        for (number, _) in self.blocked(|_| true) {
            self.release(number);
            self.answer(number, State::Broken);
        }
    }

    /// The queries that servers hold, in the order in which they came, and who has asked.
    fn blocked(&self, is_it: impl Fn(&Call) -> bool) -> Vec<(u64, u32)> {
        let at_servers = |from| match (from, self.scenario.reading) {
            (From::Envoy(_), Reading::Cached { .. }) => None,
            (From::Envoy(asker) | From::Agent(asker), _) => Some(asker),
        };
        let held = self.calls.iter().filter(|(_, call)| call.state == State::Held && is_it(call));
        let mut held: Vec<_> =
            held.filter_map(|(number, call)| Some((*number, at_servers(call.from)?))).collect();
        held.sort_unstable();
        held
    }
}
