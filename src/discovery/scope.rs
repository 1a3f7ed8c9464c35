//! What a tracker works with while it handles an event.

use std::collections::VecDeque;

use crate::discovery::event::{Command, Expect};
use crate::model::service::QueryKey;
use crate::rng::Rng;
use crate::shared::key::Key;
use crate::time::Time;

/// The moment, randomness, and where what follows from the event goes.
pub struct Scope<'a> {
    /// The moment.
    pub now: Time,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// What is to be done.
    pub out: &'a mut VecDeque<Command>,
    /// The queries whose new snapshot the other VMs are to be told of.
    pub news: &'a mut Vec<QueryKey>,
}

impl Scope<'_> {
    /// Asks for a value of shared data.
    pub(super) fn load(&mut self, key: Key) {
        self.out.push_back(Command::Load(key));
    }

    /// Wants a value written to shared data.
    pub(super) fn store(&mut self, key: Key, value: Vec<u8>, expect: Expect) {
        self.out.push_back(Command::Store { key, value, expect });
    }
}
