//! A whole Envoy process and its Consul, with one seed for everything that happens.

use std::collections::HashMap;

use consul_resolver::balance::hints::Hints;
use consul_resolver::config::Config;
use consul_resolver::consul::response::{CallFailure, Response};
use consul_resolver::discovery::event::Event;
use consul_resolver::driver;
use consul_resolver::model::service::{ServiceId, SourceId};
use consul_resolver::rng::Rng;
use consul_resolver::router::decision::Decision;
use consul_resolver::shared::head::{Head, Term};
use consul_resolver::shared::key::{Key, VmId};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::record::Version;

use crate::consul::{Consul, Reply};
use crate::shared::Shared;
use crate::vm::{Mail, SimHost, Vm};

/// The services of the simulation.
const SERVICES: [&str; 2] = ["web", "api"];
/// Its sources, in their order: one service is looked for in two datacenters.
pub const SOURCES: [&str; 3] = ["web@dc1", "web@dc2", "api"];

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// Nothing.
    None,
    /// Consul fails and restarts, VMs die and are reborn, wake-ups are lost.
    All,
}

/// Everything.
pub struct World {
    config: Config,
    rng: Rng,
    now: u64,
    shared: Shared,
    /// The agent.
    pub consul: Consul,
    vms: Vec<Vm>,
    /// The owner of each term, and the newest version that each VM has installed.
    owners: HashMap<(Key, Term), VmId>,
    installed: HashMap<((usize, u32), usize), Version>,
}

impl World {
    /// A process that starts: the first VM is the main thread's, and serves no requests.
    pub fn new(seed: u64, vms: usize) -> Self {
        let services: Vec<_> = SERVICES
            .iter()
            .map(|name| format!(r#"{{"name":"{name}","hosts":["{name}.test"]}}"#))
            .collect();
        let json = format!(r#"{{"consul":{{"cluster":"c"}},"services":[{}]}}"#, services.join(","));
        let mut config = Config::parse(json.as_bytes()).expect("a configuration");
        config.services[0].datacenters = vec!["dc1".into(), "dc2".into()];
        let mut rng = Rng::new(seed);
        let vms = (0..vms).map(|n| Vm::new((n, 0), &config, n as u64, &mut rng)).collect();
        Self {
            config,
            rng,
            now: 0,
            shared: Shared::default(),
            consul: Consul::new(&SOURCES),
            vms,
            owners: HashMap::new(),
            installed: HashMap::new(),
        }
    }

    /// Lets the world go on for so many milliseconds.
    pub fn run(&mut self, milliseconds: u64, faults: Faults, changes: bool) {
        let end = self.now + milliseconds;
        while self.now < end {
            if changes && self.rng.below(400) == 0 {
                self.change_consul();
            }
            if faults == Faults::All && self.rng.below(1_000) == 0 {
                self.go_wrong();
            }
            for reply in self.consul.poll_replies(self.now) {
                self.deliver(reply);
            }
            self.run_vms(faults);
            self.now += 1;
        }
    }

    /// Ends all faults: Consul answers, and every VM runs.
    pub fn heal(&mut self) {
        self.consul.failing = false;
        for n in 0..self.vms.len() {
            if !self.vms[n].alive {
                self.rebirth(n);
            }
        }
    }

    /// All requests end.
    pub fn end_requests(&mut self) {
        for vm in &mut self.vms {
            vm.flying.clear();
        }
    }

    /// A request of a VM could not reach an endpoint of a source.
    pub fn suspect(&mut self, n: usize, of: usize) {
        self.finish(n);
        let clock = self.now + self.vms[n].clock_offset;
        self.vms[n].agent.handle_event(Event::Suspected(source(of)), time(clock));
    }

    /// The longest queue of any VM.
    pub fn longest_queue(&self) -> usize {
        self.shared.longest_queue()
    }

    /// Every VM's configuration ends.
    pub fn everyone_leaves(&mut self) {
        for n in 0..self.vms.len() {
            self.leave(n);
        }
    }

    /// Every VM is made anew, in the same process.
    pub fn everyone_comes_back(&mut self) {
        for n in 0..self.vms.len() {
            self.rebirth(n);
        }
    }

    /// Checks that no VM has endpoints.
    pub fn check_nothing_is_installed(&self) {
        for vm in &self.vms {
            assert!(vm.agent.trackers().iter().all(|t| t.installed().is_none()), "{:?}", vm.id);
        }
    }

    /// Checks what must hold whenever nothing has gone wrong for a while.
    pub fn check_settled(&self) {
        for (n, source) in SOURCES.iter().enumerate() {
            let blocking = self.consul.blocking(source);
            assert_eq!(blocking, 1, "{blocking} queries block on {source}");
            let fetchers = self.vms.iter().filter(|vm| vm.agent.trackers()[n].is_fetcher());
            assert_eq!(fetchers.count(), 1, "fetchers of {source}");
            assert!(self.vms[0].agent.trackers()[n].is_fetcher(), "the main thread's VM fetches");
        }
        let longest = self.shared.longest_queue();
        assert!(longest < 300, "{longest} messages pile up for one who is dead");
    }

    /// Checks that every VM has what Consul has.
    pub fn check_converged(&self) {
        for vm in &self.vms {
            for (n, source) in SOURCES.iter().enumerate() {
                let record = vm.agent.trackers()[n].installed().expect("a snapshot");
                let endpoints = record.snapshot.endpoints();
                let ports: Vec<u16> = endpoints.iter().map(|e| e.address.port()).collect();
                let expected: Vec<u16> = self.consul.ports(source).iter().copied().collect();
                assert_eq!(ports, expected, "VM {:?}, {source}", vm.id);
            }
        }
    }

    /// Checks that no endpoint counts a request.
    pub fn check_nothing_in_flight(&self) {
        for vm in &self.vms {
            for n in 0..SERVICES.len() {
                assert_eq!(vm.router.in_flight(service(n)), 0, "VM {:?}", vm.id);
            }
        }
    }

    fn change_consul(&mut self) {
        let source = SOURCES[self.rng.below(3) as usize];
        let port = 1 + self.rng.below(12) as u16;
        self.consul.toggle(source, port);
    }

    fn go_wrong(&mut self) {
        match self.rng.below(4) {
            0 => self.consul.failing = !self.consul.failing,
            1 => {
                for broken in self.consul.restart() {
                    self.deliver(broken);
                }
            }
            _ => {
                let n = self.rng.below(self.vms.len() as u32) as usize;
                if self.vms[n].alive && self.rng.below(2) == 0 {
                    self.leave(n);
                    self.rebirth(n);
                } else if self.vms[n].alive {
                    // Wherever it stands: between a load and its store, too.
                    self.vms[n].alive = false;
                    self.consul.forget(self.vms[n].id);
                } else {
                    self.rebirth(n);
                }
            }
        }
    }

    /// A VM's configuration ends: it does what it still has to do, and gives its leases away.
    fn leave(&mut self, n: usize) {
        self.finish(n);
        let clock = self.now + self.vms[n].clock_offset;
        self.vms[n].agent.handle_event(Event::Leaving, time(clock));
        self.finish(n);
        self.consul.forget(self.vms[n].id);
    }

    fn rebirth(&mut self, n: usize) {
        let (_, life) = self.vms[n].id;
        // The main thread's VM keeps its rank, as if it had never died: Envoy would not start
        // it anew, but then there would be none that never serves.
        let born = if n == 0 { 0 } else { self.now };
        self.vms[n] = Vm::new((n, life + 1), &self.config, born, &mut self.rng);
        self.vms[n].next_tick = self.now + 1;
    }

    fn deliver(&mut self, reply: Reply) {
        let vm = &mut self.vms[reply.to.vm.0];
        if vm.alive && vm.id == reply.to.vm {
            vm.inbox.push_back(Mail::Answer(reply));
        }
    }

    /// Lets each VM do a few steps, in an order and a number that chance decides; a VM that is
    /// in the middle of something is left there.
    fn run_vms(&mut self, faults: Faults) {
        for _ in 0..self.vms.len() * 3 {
            let n = self.rng.below(self.vms.len() as u32) as usize;
            if self.vms[n].alive {
                self.step_vm(n, faults);
                self.check_vm(n);
            }
        }
    }

    fn step_vm(&mut self, n: usize, faults: Faults) {
        if self.carry_out(n, faults) {
            return;
        }
        let Self { shared, vms, now, .. } = self;
        let vm = &mut vms[n];
        if let Some(mail) = vm.inbox.pop_front() {
            handle(vm, mail, *now, shared);
        } else if vm.next_tick <= *now {
            vm.next_tick = *now + vm.period;
            let clock = *now + vm.clock_offset;
            vm.agent.handle_event(Event::Tick(vm.rank), time(clock));
        } else if n > 0 {
            self.serve(n, faults);
        }
    }

    fn finish(&mut self, n: usize) {
        while self.carry_out(n, Faults::None) {}
    }

    /// Carries out one command of a VM; false when it has none.
    fn carry_out(&mut self, n: usize, faults: Faults) -> bool {
        let (mut wakes, mut heads) = (Vec::new(), Vec::new());
        let Self { shared, consul, vms, now, .. } = self;
        let vm = &mut vms[n];
        let mut host = SimHost {
            now: *now,
            clock_offset: vm.clock_offset,
            vm: vm.id,
            shared,
            consul,
            wakes: &mut wakes,
            heads: &mut heads,
            period: &mut vm.period,
        };
        let did = driver::step(&mut vm.agent, &mut vm.router, &mut host);
        for (target, queue) in wakes {
            self.wake(target, queue, faults);
        }
        for (key, head) in heads {
            self.check_head(key, &head);
        }
        did
    }

    fn wake(&mut self, target: usize, queue: QueueId, faults: Faults) {
        let lost = faults == Faults::All && self.rng.below(4) == 0;
        if !lost && self.vms[target].alive {
            self.vms[target].inbox.push_back(Mail::Queue(queue));
        }
    }

    /// A request comes, or one ends.
    fn serve(&mut self, n: usize, faults: Faults) {
        let vm = &mut self.vms[n];
        if self.rng.below(50) > 0 {
            return;
        }
        vm.rank.serving = true;
        if vm.flying.len() > 8 {
            drop(vm.flying.swap_remove(self.rng.below(8) as usize));
        }
        let id = self.rng.below(2) as usize;
        match vm.router.decide(Some(service(id)), &Hints::default()) {
            Decision::Forward(forward) => {
                let port = forward.ticket().target().address().port();
                assert!(self.consul.ever_had(SERVICES[id], port), "nobody listed {port}");
                vm.flying.push(forward);
                if faults == Faults::All && self.rng.below(5) == 0 {
                    let of = self.rng.below(3) as usize;
                    self.suspect(n, of);
                }
            }
            Decision::Wait(_) => {
                let clock = self.now + vm.clock_offset;
                let of_service = |name: &&str| name.split('@').next() == Some(SERVICES[id]);
                for n in (0..SOURCES.len()).filter(|n| of_service(&SOURCES[*n])) {
                    vm.agent.handle_event(Event::Missed(source(n)), time(clock));
                }
            }
            Decision::Reply(_) => {}
            Decision::Pass => panic!("a request for a service does not pass"),
        }
    }

    fn check_head(&mut self, key: Key, head: &Head) {
        let owner = *self.owners.entry((key, head.term)).or_insert(head.owner);
        assert_eq!(owner, head.owner, "term {:?} of {key} has two owners", head.term);
    }

    fn check_vm(&mut self, n: usize) {
        let vm = &self.vms[n];
        for (id, tracker) in vm.agent.trackers().iter().enumerate() {
            if let Some(record) = tracker.installed() {
                let last = self.installed.insert((vm.id, id), record.version);
                assert!(last <= Some(record.version), "VM {:?} went back from {last:?}", vm.id);
            }
        }
    }
}

fn handle(vm: &mut Vm, mail: Mail, now: u64, shared: &mut Shared) {
    let now = time(now + vm.clock_offset);
    match mail {
        // A VM is woken for the queue of its predecessor, too, and leaves that alone.
        Mail::Queue(queue) if vm.agent.queue() != Some(queue) => {}
        Mail::Queue(queue) => {
            while let Some(message) = shared.dequeue(queue) {
                vm.agent.handle_event(Event::Woken(&message), now);
            }
        }
        Mail::Answer(reply) => {
            let index = reply.index.map(|index| index.to_string());
            let answer = if reply.status == 0 {
                Err(CallFailure::NoAnswer)
            } else {
                Ok(Response {
                    status: reply.status,
                    from_envoy: false,
                    index: index.as_deref().map(str::as_bytes),
                    filtered_by_acls: false,
                    body: &reply.body,
                })
            };
            vm.agent.handle_event(Event::Answered { call: reply.to.call, answer }, now);
        }
    }
}

fn service(n: usize) -> ServiceId {
    ServiceId(u16::try_from(n).expect("few services"))
}

fn source(n: usize) -> SourceId {
    SourceId(u16::try_from(n).expect("few sources"))
}

fn time(milliseconds: u64) -> consul_resolver::time::Time {
    consul_resolver::time::Time::from_start(std::time::Duration::from_millis(milliseconds))
}
