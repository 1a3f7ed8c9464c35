//! What a tracker works with while it handles an event.

use std::collections::VecDeque;

use crate::discovery::event::{Command, Expect};
use crate::discovery::gate::Gate;
use crate::discovery::letter::Letter;
use crate::rng::Rng;
use crate::shared::key::Key;
use crate::time::Time;

/// The moment, randomness, and where what follows from the event goes.
pub struct Scope<'a> {
    /// The moment.
    pub now: Time,
    /// The moment by a [clock](crate::awake::AwakeClock) that stands still while this VM does.
    pub awake: Time,
    /// The way of all calls to Consul.
    pub gate: &'a mut Gate,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// What is to be done.
    pub out: &'a mut VecDeque<Command>,
    /// What other VMs are to be told.
    pub post: &'a mut Vec<Letter>,
}

impl Scope<'_> {
    /// Asks for a value of shared data.
    pub(super) fn load(&mut self, key: Key) {
        self.out.push_back(Command::Load(key));
    }

    /// Sends a letter, by way of the list of members.
    pub(super) fn send(&mut self, letter: Letter) {
        self.post.push(letter);
        self.load(Key::Members);
    }

    /// Wants a value written to shared data.
    pub(super) fn store(&mut self, key: Key, value: Vec<u8>, expect: Expect) {
        self.out.push_back(Command::Store { key, value, expect });
    }
}
