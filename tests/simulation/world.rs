//! A whole Envoy process and its Consul, with one seed for everything that happens.

mod mail;
mod requests;
mod subscriptions;

use std::rc::Rc;

use consul_resolver::config::Config;
use consul_resolver::driver;
use consul_resolver::util::rng::Rng;

use self::subscriptions::LAST_BYTE;
use crate::admin::Admin;
use crate::calendar::{Calendar, Happening};
use crate::checks::Checks;
use crate::clock::Clock;
use crate::configs::configs;
use crate::consul::{Consul, Outcome};
use crate::envoy::Envoy;
use crate::plan::Plan;
use crate::registry::IDS;
use crate::shared::Shared;
use crate::trace::Trace;
use crate::vm::{Context, ContextId, Effects, Mail, SimHost, Vm};

/// Ports of instances.
pub const PORTS: u32 = 12;

/// Everything.
pub struct World {
    /// What the seed has decided.
    pub plan: Plan,
    /// The moment, in microseconds.
    pub now: u64,
    /// Consul.
    pub consul: Consul,
    /// Envoy's administration interface.
    pub admin: Admin,
    /// Envoy, where it subscribes.
    pub envoy: Option<Envoy>,
    /// Whether all clocks have always run, and no VM takes seconds for what it does.
    pub has_time: bool,
    /// The VMs, by their threads.
    pub vms: Vec<Vm>,
    /// What Envoy keeps for all VMs.
    pub shared: Shared,
    /// What must hold.
    pub checks: Checks,
    /// What has happened.
    pub trace: Trace,
    /// The configurations that listeners use now; empty while there is no listener.
    pub listeners: Vec<usize>,
    /// Whether instances come and go.
    pub changes: bool,
    /// Whether requests come for hosts that no service is configured for.
    pub names: bool,
    /// Whether they come for all of them, to all workers, without a pause: no name goes.
    pub is_steady: bool,
    /// Of a hundred wake-ups, so many are lost, doubled, or late.
    pub bad_wakes: u32,
    /// When something has happened to a VM last: it died, stood still until then, or was given another
    /// configuration.
    pub disturbed: u64,
    /// Whether instances come and go one at a time, and the last one stays.
    pub is_gentle: bool,
    /// Whether shared data stays when the last context has gone.
    pub keeps_shared_data: bool,
    /// Randomness.
    pub rng: Rng,
    /// What is going to happen.
    pub calendar: Calendar,
    /// The configurations that there are.
    pub configs: Rc<Vec<Config>>,
    contexts: u32,
}

thread_local! {
    static CONFIGS: Rc<Vec<Config>> = Rc::new(configs());
}

impl World {
    /// A process that starts.
    pub fn new(plan: Plan, mut rng: Rng) -> Self {
        let rates = u32::try_from(Clock::RATES.1 - Clock::RATES.0).expect("a small number");
        let clock = |rng: &mut Rng| {
            let own = Clock::RATES.0 + u64::from(rng.below(rates));
            let rate = if plan.own_clocks { own } else { 1_000 };
            Clock::new(u64::from(rng.below(u32::MAX)), 0, rate)
        };
        let vms = (0..plan.threads).map(|n| Vm::new(n as u64, clock(&mut rng))).collect();
        let sources = plan.sources;
        let mut world = Self {
            listeners: plan.listeners.clone(),
            names: plan.finds(),
            is_steady: false,
            plan,
            now: 0,
            consul: Consul::new(sources),
            admin: Admin::default(),
            envoy: None,
            has_time: true,
            vms,
            shared: Shared::new(sources, IDS.len()),
            checks: Checks::default(),
            trace: Trace::default(),
            changes: false,
            bad_wakes: 0,
            disturbed: 0,
            is_gentle: false,
            keeps_shared_data: false,
            rng,
            calendar: Calendar::default(),
            configs: CONFIGS.with(Rc::clone),
            contexts: 0,
        };
        for thread in 0..world.vms.len() {
            world.plan_request(thread);
            for config in world.wanted() {
                world.configure(thread, config);
            }
        }
        world.plan_change();
        world.start_envoy();
        world
    }

    /// Lets the world go on for so many milliseconds.
    pub fn run(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds * 1_000;
        while let Some((at, what)) = self.calendar.next(end) {
            self.now = at;
            self.happen(what);
        }
        self.now = end;
    }

    /// A number from half to one and a half of `mean`.
    pub fn about(&mut self, mean: u32) -> u64 {
        u64::from(mean / 2 + self.rng.below(mean))
    }

    /// The configurations that listeners use, none twice: equal ones share a context.
    pub fn wanted(&self) -> Vec<usize> {
        let mut wanted = self.listeners.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Makes a context in a VM, unless the VM has one of that configuration.
    pub fn configure(&mut self, thread: usize, config: usize) {
        let vm = &self.vms[thread];
        let has_one = vm.contexts.iter().any(|context| context.config == config && !context.leaves);
        if !vm.alive || has_one || !self.listeners.contains(&config) {
            return;
        }
        self.contexts += 1;
        self.disturb(self.now);
        let id = ContextId { thread, number: self.contexts };
        let context = Context::new(id, config, &self.configs[config], self.now, &mut self.rng);
        self.vms[thread].contexts.push(context);
        let first = if self.plan.in_step { 10_000 } else { u64::from(self.rng.below(30_000)) };
        self.calendar.plan(self.now + first, Happening::Mail(id, Mail::Tick));
    }

    /// A context's configuration ends.
    pub fn drain(&mut self, thread: usize, config: usize) {
        if self.listeners.contains(&config) {
            return;
        }
        let is_it = |context: &&mut Context| context.config == config && !context.leaves;
        if let Some(context) = self.vms[thread].contexts.iter_mut().find(is_it) {
            context.leaves = true;
            let id = context.id;
            self.disturb(self.now);
            self.post(id, Mail::Leave);
        }
    }

    /// A VM traps, wherever it stands.
    pub fn kill(&mut self, thread: usize) {
        let vm = &mut self.vms[thread];
        vm.alive = false;
        vm.contexts.clear();
        vm.inbox.clear();
        vm.busy = None;
        self.disturb(self.now);
        self.consul.forget(|from| from.thread == thread);
        self.reset_streams(LAST_BYTE, |to| to.thread == thread);
    }

    /// Envoy makes the VM of a thread anew.
    pub fn rebirth(&mut self, thread: usize) {
        let clock = self.vms[thread].clock.clone();
        self.vms[thread] = Vm::new(self.now, clock);
        for config in self.wanted() {
            self.configure(thread, config);
        }
    }

    /// An instance is registered, or deregistered if it is there.
    pub fn toggle(&mut self, source: usize, port: u16) {
        let woken = self.consul.toggle(source, port, self.now, &mut self.rng);
        self.expect(woken);
    }

    /// All instances of a source go at once.
    pub fn empty(&mut self, source: usize) {
        self.replace(source, &[]);
    }

    /// All instances of a source go at once, and these come.
    pub fn replace(&mut self, source: usize, ports: &[u16]) {
        let ports = ports.iter().copied().collect();
        let woken = self.consul.replace(source, ports, self.now, &mut self.rng);
        self.expect(woken);
    }

    /// The output of a check is rewritten: the index of its source moves on, and nothing changes.
    pub fn touch(&mut self, source: usize) {
        let woken = self.consul.touch(source, self.now, &mut self.rng);
        self.expect(woken);
    }

    /// Plans what comes of queries.
    pub fn expect(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Reply(at, reply) => self.calendar.plan(at, Happening::Reply(reply)),
                Outcome::Probed(at, from, probe, echo) => {
                    let mail = Mail::Probed(probe, echo);
                    self.calendar.plan(at, Happening::Mail(from, mail));
                }
                Outcome::Held(at, id) => self.calendar.plan(at, Happening::HeldLongEnough(id)),
            }
        }
    }

    /// Gives a context something to handle.
    pub fn post(&mut self, to: ContextId, mail: Mail) {
        let vm = &mut self.vms[to.thread];
        if vm.alive && vm.context(to).is_some() {
            vm.inbox.push_back((to, mail));
            if !vm.planned {
                self.go_on(to.thread);
            }
        }
    }

    /// Every VM finishes what it is in the middle of.
    pub fn finish(&mut self) {
        for thread in 0..self.vms.len() {
            while self.vms[thread].alive && self.step(thread) {}
        }
    }

    fn happen(&mut self, what: Happening) {
        self.trace.note(self.now);
        match what {
            Happening::Step(thread) => {
                self.vms[thread].planned = false;
                self.go_on(thread);
            }
            Happening::Mail(to, mail) => self.post(to, mail),
            Happening::Reply(reply) => self.post(reply.from, Mail::Answer(reply)),
            Happening::HeldLongEnough(id) => {
                let outcome = self.consul.end(id, self.now, &mut self.rng);
                self.expect(outcome.into_iter().collect());
            }
            Happening::Request(thread) => self.request(thread),
            Happening::Change => {
                if self.changes {
                    let changing = self.plan.changing;
                    let source = changing[self.rng.below(changing.len() as u32) as usize];
                    let port = 1 + self.rng.below(PORTS) as u16;
                    let is_last = self.consul.is_last(source, port);
                    if !(is_last && self.is_gentle) {
                        self.toggle(source, port);
                    }
                }
                self.plan_change();
            }
            Happening::Fault => self.go_wrong(),
            Happening::Configure(thread, config) => self.configure(thread, config),
            Happening::Drain(thread, config) => self.drain(thread, config),
            Happening::Envoy(event) => self.on_envoy(event),
        }
    }

    fn plan_change(&mut self) {
        let at = self.now + self.about(self.plan.change_interval);
        self.calendar.plan(at, Happening::Change);
    }

    /// Lets a VM go on until there is nothing to do, or something comes between.
    fn go_on(&mut self, thread: usize) {
        loop {
            let vm = &self.vms[thread];
            if !vm.alive || vm.planned {
                return;
            }
            if vm.frozen_until > self.now {
                return self.plan_step(thread, vm.frozen_until);
            }
            if !self.step(thread) {
                return;
            }
            self.meet_doom(thread);
            let plan = &self.plan;
            if plan.interrupted > 0 && self.rng.below(plan.interrupted) == 0 {
                let pause = u64::from(self.rng.below(self.plan.interruption));
                return self.plan_step(thread, self.now + pause);
            }
        }
    }

    /// Plans when a VM goes on.
    pub fn plan_step(&mut self, thread: usize, at: u64) {
        self.vms[thread].planned = true;
        self.calendar.plan(at, Happening::Step(thread));
    }

    /// Does one thing: a command, or the beginning of what waits. False when there is nothing.
    fn step(&mut self, thread: usize) -> bool {
        match self.vms[thread].busy {
            Some(id) => {
                if !self.carry_out(id) {
                    self.vms[thread].busy = None;
                    self.end_task(id);
                }
                true
            }
            None => match self.vms[thread].inbox.pop_front() {
                Some((id, mail)) => {
                    self.handle(id, mail);
                    true
                }
                None => false,
            },
        }
    }

    /// Carries out one command of a context; false when it has none.
    fn carry_out(&mut self, id: ContextId) -> bool {
        let mut effects = Effects::default();
        let vm = &mut self.vms[id.thread];
        let clock = vm.clock.now(self.now);
        let Some(context) = vm.contexts.iter_mut().find(|context| context.id == id) else {
            return false;
        };
        let mut host = SimHost {
            at: self.now,
            clock,
            id,
            shared: &mut self.shared,
            consul: &mut self.consul,
            admin: &self.admin,
            rng: &mut self.rng,
            trace: &mut self.trace,
            period: &mut context.period,
            found: &mut context.found,
            effects: &mut effects,
        };
        let did = driver::step(&mut context.agent, &mut context.router, &mut host);
        if let Some(query) = effects.installed {
            self.checks.on_step(context, query, &self.consul, self.now);
        }
        for (key, head) in &effects.heads {
            self.checks.on_head(*key, head, &self.shared);
        }
        self.checks.on_probes(context, &effects, clock);
        self.checks.opened.append(&mut effects.opened);
        for (queue, pending) in &effects.looks {
            self.checks.looks.on_look(id, *queue, *pending, self.now);
        }
        if let Some([before, after]) = &effects.members {
            let own = self.shared.queues_of(id);
            self.checks.looks.on_members(id, &own, [before, after], self.now);
        }
        if effects.charged {
            self.consul.registry.on_news(self.now);
        }
        for query in &effects.records {
            Checks::on_record(*query, &self.shared);
        }
        for source in &effects.calls {
            self.checks.on_call(*source, self.consul.turns(*source), self.now);
        }
        for (target, queue) in effects.wakes {
            self.wake(target, Mail::Queue(queue));
        }
        self.expect(effects.outcomes);
        did
    }

    fn wake(&mut self, target: ContextId, mail: Mail) {
        let Mail::Queue(queue) = mail else { return };
        if self.rng.below(100) >= self.bad_wakes {
            return self.calendar.plan(self.now, Happening::Mail(target, mail));
        }
        // Lost, or doubled and late: so wake-ups overtake each other.
        if self.rng.below(2) == 0 {
            for _ in 0..2 {
                let at = self.now + u64::from(self.rng.below(3_000_000));
                self.calendar.plan(at, Happening::Mail(target, Mail::Queue(queue)));
            }
        }
    }
}
