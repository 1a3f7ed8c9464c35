//! What a tracker works with while it handles an event.

use std::collections::VecDeque;

use crate::calls::scheduler::CallScheduler;
use crate::discovery::event::{Command, Expect};
use crate::election::outgoing::Outgoing;
use crate::shared::key::SharedKey;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The moment, randomness, and where what follows from the event goes.
pub struct Context<'a> {
    /// The moment.
    pub now: Time,
    /// The moment by a [clock](crate::util::time::AwakeClock) that stands still while this VM does.
    pub awake: Time,
    /// The way of all calls to Consul.
    pub gate: &'a mut CallScheduler,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// What is to be done.
    pub out: &'a mut VecDeque<Command>,
    /// What other VMs are to be told.
    pub post: &'a mut Vec<Outgoing>,
}

impl Context<'_> {
    /// Asks for a value of shared data.
    pub(super) fn load(&mut self, key: SharedKey) {
        self.out.push_back(Command::Load(key));
    }

    /// Sends a letter, by way of the list of members.
    pub(super) fn send(&mut self, letter: Outgoing) {
        self.post.push(letter);
        self.load(SharedKey::Members);
    }

    /// Wants a value written to shared data.
    pub(super) fn store(&mut self, key: SharedKey, value: Vec<u8>, expect: Expect) {
        self.out.push_back(Command::Store { key, value, expect });
    }
}
