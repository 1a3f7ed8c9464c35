//! The surroundings of an event: the time, the randomness and the outputs.

use std::collections::VecDeque;

use crate::calls::scheduler::CallScheduler;
use crate::election::membership::Outgoing;
use crate::host::command::{Command, Expect};
use crate::host::purpose::{Load, Store};
use crate::telemetry::TelemetryEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The time, the randomness and the outputs of an event.
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// The time by a [clock](crate::util::time::AwakeClock) that stands still while this VM does.
    pub awake: Time,
    /// The scheduler of calls to Consul.
    pub calls: &'a mut CallScheduler,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// The commands to execute.
    pub out: &'a mut VecDeque<Command>,
    /// The messages to other VMs, which wait for the list of members.
    pub outbox: &'a mut Vec<Outgoing>,
}

impl Context<'_> {
    /// Loads a value of shared data.
    pub fn load(&mut self, load: Load) {
        self.out.push_back(Command::Load(load));
    }

    /// Sends a message, once the list of members is loaded.
    pub fn send(&mut self, message: Outgoing) {
        self.outbox.push(message);
        self.load(Load::Members);
    }

    /// Tells operators of an event.
    pub fn emit(&mut self, event: TelemetryEvent) {
        self.out.push_back(Command::Emit(event));
    }

    /// Stores a value in shared data.
    pub fn store(&mut self, store: Store, value: Vec<u8>, expect: Expect) {
        self.out.push_back(Command::Store { store, value, expect });
    }
}
