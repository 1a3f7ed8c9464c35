//! What goes wrong, and how it ends.

use consul_resolver::model::service::SourceId;

use crate::admin::SILENCES;
use crate::calendar::Happening;
use crate::clock::Clock;
use crate::neighbours::TROUBLED;
use crate::plan::Fault;
use crate::sources::{ILL, ill};
use crate::troubles::TROUBLES;
use crate::vm::{Doom, Mail};
use crate::weather::{Failure, Lie, Weather};
use crate::world::World;

const SECOND: u64 = 1_000_000;
const FAILURES: [Failure; 10] = [
    Failure::Status(500),
    Failure::Status(500),
    Failure::Status(503),
    Failure::Status(429),
    Failure::Status(403),
    Failure::Status(404),
    Failure::Breaks,
    Failure::NoIndex,
    Failure::Truncated,
    Failure::Filtered,
];

impl World {
    /// Things begin to go wrong by themselves, and Consul changes.
    pub fn begin_chaos(&mut self) {
        self.changes = true;
        // Interrupted so long before every command a VM takes seconds for a tick.
        let is_slow = self.plan.interrupted > 0 && self.plan.interruption > 100_000;
        self.has_time = !is_slow && !self.plan.faults.contains(&Fault::Clock);
        let at = self.now + self.about(self.plan.fault_interval);
        self.calendar.plan(at, Happening::Fault);
    }

    /// Ends all faults: Consul answers in time, says the truth, and forgets nothing; clocks run;
    /// nothing changes any more. What is dead stays dead until a request comes for it, and Envoy
    /// drains if it did.
    pub fn heal(&mut self) {
        self.plan.faults.clear();
        self.plan.interruption = 1_000;
        self.changes = false;
        self.bad_wakes = 0;
        self.consul.weather = Weather::default();
        self.consul.registry.drops_checks = false;
        self.consul.registry.stumbles = 0;
        self.consul.registry.refuses = None;
        self.consul.registry.set_well(true, self.now);
        self.admin.silence = None;
        for thread in 0..self.vms.len() {
            self.vms[thread].doom = None;
            self.thaw(thread);
            self.vms[thread].clock.set_rate(1_000, self.now);
        }
        if self.listeners.is_empty() {
            self.come_back();
        }
    }

    /// A VM goes on, were it frozen.
    pub fn thaw(&mut self, thread: usize) {
        self.vms[thread].frozen_until = self.now;
        self.plan_step(thread, self.now);
    }

    /// Something goes wrong, or ends.
    pub fn go_wrong(&mut self) {
        if self.plan.faults.is_empty() {
            return;
        }
        let at = self.now + self.about(self.plan.fault_interval);
        self.calendar.plan(at, Happening::Fault);
        let chosen = self.below(self.plan.faults.len());
        let fault = self.plan.faults[chosen];
        self.trace.note(fault as u64);
        let thread = self.below(self.vms.len());
        match fault {
            Fault::Failing => self.toggle_failing(),
            Fault::Restart => {
                let outcomes = self.consul.go_back(true, self.now, &mut self.rng);
                self.expect(outcomes);
                if self.below(2) == 0 {
                    self.consul.registry.lose(self.now);
                }
            }
            Fault::Restore => {
                let outcomes = self.consul.go_back(false, self.now, &mut self.rng);
                self.expect(outcomes);
            }
            Fault::MassExit => {
                let source = self.plan.changing[self.below(self.plan.changing.len())];
                // Some are registered anew so that nobody can reach them, or are critical.
                let ports = self.consul.ports(source).clone();
                let left: Vec<u16> = match self.below(3) {
                    0 => Vec::new(),
                    1 => vec![12],
                    _ => ports.into_iter().map(|port| ill(port % ILL)).collect(),
                };
                self.replace(source, &left);
            }
            Fault::Stall => {
                let time = u64::from(self.rng.below(120)) * SECOND / 4;
                self.consul.weather.stalled_until = self.now + time;
            }
            Fault::Slow => self.consul.weather.slow ^= true,
            Fault::Lies => {
                let lies = [None, Some(Lie::Empty), Some(Lie::Half)];
                self.consul.weather.lying = lies[self.below(lies.len())];
            }
            Fault::Deaf => {
                self.consul.weather.deaf ^= true;
                let outcomes = self.consul.wake(self.now, &mut self.rng);
                self.expect(outcomes);
            }
            Fault::Lag => self.consul.weather.lagging = self.share(),
            Fault::Refused => self.consul.weather.refused = self.share(),
            Fault::Vanish => self.consul.weather.vanished = self.share() / 4,
            Fault::Late => self.consul.weather.late = self.share() / 2,
            Fault::Death => self.doom(thread, None),
            Fault::Freeze => {
                let most = [200_000, 5 * SECOND as u32, 30 * SECOND as u32][self.below(3)];
                let frozen = u64::from(self.rng.below(most));
                self.doom(thread, Some(frozen));
            }
            Fault::Clock => {
                let rates = [0, Clock::RATES.0, 1_000, Clock::RATES.1];
                let rate = rates[self.below(rates.len())];
                self.vms[thread].clock.set_rate(rate, self.now);
            }
            Fault::Wakes => self.bad_wakes = self.share(),
            Fault::Update => self.update(),
            Fault::Gone if self.listeners.is_empty() => self.come_back(),
            Fault::Gone => {
                let gone = self.wanted();
                self.listeners.clear();
                self.drain_all(&gone);
            }
            Fault::Lost => match self.below(2) {
                0 => self.consul.registry.lose(self.now),
                _ => self.consul.registry.tamper(),
            },
            Fault::InPart => self.consul.registry.drops_checks ^= true,
            Fault::Illness => {
                let is_well = !self.consul.registry.is_well;
                self.consul.registry.set_well(is_well, self.now);
            }
            Fault::Drain => self.admin.drains ^= true,
            Fault::Silence => {
                let silence = SILENCES.get(self.below(2 * SILENCES.len())).copied();
                self.admin.silence = silence;
            }
            Fault::Trouble => {
                let source = TROUBLED.start + self.below(TROUBLED.len());
                let trouble = TROUBLES.get(self.below(2 * TROUBLES.len())).copied();
                let outcomes = self.consul.trouble(source, trouble, self.now);
                self.expect(outcomes);
            }
            Fault::Stumble => self.consul.registry.stumbles = self.below(4),
            Fault::Refusal => {
                self.consul.registry.refuses = [None, Some(403), Some(400)][self.below(3)];
            }
            Fault::Stop => {
                let most = [2 * SECOND as u32, 20 * SECOND as u32, 120 * SECOND as u32];
                let most = most[self.below(3)];
                let time = u64::from(self.rng.below(most));
                self.stop(time);
            }
            Fault::Break | Fault::Forget | Fault::Reject => self.trouble_envoy(fault),
            Fault::Suspicion => {
                let ids: Vec<_> = self.vms[thread].contexts.iter().map(|c| c.id).collect();
                for id in ids {
                    let source = SourceId::nth(self.rng.below(2) as u16);
                    self.post(id, Mail::Suspicion(source));
                }
            }
        }
    }

    /// The whole process stands still for so many microseconds, and its clocks go on.
    pub fn stop(&mut self, time: u64) {
        for vm in &mut self.vms {
            vm.frozen_until = vm.frozen_until.max(self.now + time);
        }
        self.disturb(self.now + time);
        self.consul.registry.shake(self.now + time);
    }

    /// A VM dies or stands still, at once or in the middle of what it does soon.
    fn doom(&mut self, thread: usize, frozen: Option<u64>) {
        let steps = [0, 1 + self.rng.below(8), 1 + self.rng.below(60)][self.below(3)];
        self.vms[thread].doom = Some(Doom { steps, frozen });
        self.meet_doom(thread);
    }

    /// Lets happen to a VM what is to happen, once it has made its last step.
    pub fn meet_doom(&mut self, thread: usize) {
        let Some(doom) = &mut self.vms[thread].doom else { return };
        let Doom { steps, frozen } = *doom;
        doom.steps = steps.saturating_sub(1);
        if steps > 0 {
            return;
        }
        self.vms[thread].doom = None;
        match frozen {
            Some(time) => {
                self.vms[thread].frozen_until = self.now + time;
                self.disturb(self.now + time);
            }
            None => self.kill(thread),
        }
    }

    /// The listeners come back, with the configurations that they had at the start.
    pub fn come_back(&mut self) {
        self.listeners = self.plan.listeners.clone();
        self.configure_all();
    }

    /// All listeners go, with their configurations.
    pub fn go(&mut self) {
        let gone = self.wanted();
        self.listeners.clear();
        for thread in 0..self.vms.len() {
            gone.iter().for_each(|config| self.drain(thread, *config));
        }
    }

    /// All listeners are given another configuration.
    pub fn change_to(&mut self, config: usize) {
        let before = self.wanted();
        self.listeners.fill(config);
        self.configure_all();
        self.drain_all(&before);
    }

    /// The first listener is given another configuration.
    pub fn update_to(&mut self, config: usize) {
        let before = self.wanted();
        self.listeners[0] = config;
        let after = self.wanted();
        let gone: Vec<usize> = before.into_iter().filter(|old| !after.contains(old)).collect();
        self.configure_all();
        self.drain_all(&gone);
    }

    /// A listener is given another configuration; old and new contexts are side by side for a
    /// while.
    fn update(&mut self) {
        if self.listeners.is_empty() {
            return;
        }
        let before = self.wanted();
        let (listener, chosen) =
            (self.below(self.listeners.len()), self.below(self.plan.configs.len()));
        let config = self.plan.configs[chosen];
        self.listeners[listener] = config;
        let after = self.wanted();
        let gone: Vec<usize> = before.into_iter().filter(|old| !after.contains(old)).collect();
        self.configure_all();
        self.drain_all(&gone);
    }

    /// Each VM makes the contexts that listeners want, at a time of its own.
    pub fn configure_all(&mut self) {
        for (thread, config) in self.everywhere(&self.wanted()) {
            let at = self.now + u64::from(self.rng.below(300_000));
            self.calendar.plan(at, Happening::Configure(thread, config));
        }
    }

    /// Each VM ends those contexts, at a time of its own, unless they are wanted again by then.
    pub fn drain_all(&mut self, gone: &[usize]) {
        for (thread, config) in self.everywhere(gone) {
            let at = self.now + u64::from(self.rng.below(10 * SECOND as u32));
            self.calendar.plan(at, Happening::Drain(thread, config));
        }
    }

    fn everywhere(&self, configs: &[usize]) -> Vec<(usize, usize)> {
        let threads = 0..self.vms.len();
        threads.flat_map(|thread| configs.iter().map(move |config| (thread, *config))).collect()
    }

    fn toggle_failing(&mut self) {
        let weather = &mut self.consul.weather;
        if weather.failing.take().is_some() {
            return;
        }
        let failure = FAILURES[self.below(FAILURES.len())];
        let share = [100, 100, 50, 20][self.below(4)];
        self.consul.weather.failing = Some(failure);
        self.consul.weather.failing_share = share;
        self.consul.weather.failing_blocking = self.below(4) == 0;
        if self.below(2) == 0 {
            let outcomes = self.consul.hang_up(self.now);
            self.expect(outcomes);
        }
    }

    fn share(&mut self) -> u32 {
        [0, 0, 30, 100][self.below(4)]
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(u32::try_from(bound).expect("a small number")) as usize
    }
}
