//! Whose turn it is to ask, and what is told of the way to Consul.

use super::Agent;
use crate::discovery::caller::Caller;
use crate::discovery::event::Command;
use crate::discovery::tracker::Tracker;
use crate::time::Time;

impl Agent {
    /// Lets those ask whose turn has come.
    pub(super) fn let_through(&mut self, now: Time) {
        while let Some((caller, turn)) = self.gate.poll_turn(now) {
            match caller {
                Caller::Source(source) | Caller::Name(source) => {
                    self.with_tracker(source, now, Tracker::on_turn);
                }
                Caller::Registration(registration) => {
                    self.with_registry(now, |registry, scope| {
                        registry.on_turn(registration, scope);
                    });
                }
            }
            self.gate.dismiss(caller, turn);
        }
    }

    /// Tells where the breaker stands when that has changed, and when this VM begins to ask:
    /// whoever asked before may have told of another one.
    pub(super) fn tell_of_breaker(&mut self) {
        let (position, datacenter) = self.gate.position();
        if !self.is_fetcher() {
            self.told = None;
        } else if self.told != Some(position) {
            let before = self.told.replace(position);
            let datacenter = datacenter.map(Into::into);
            self.out.push_back(Command::Breaker { position, before, datacenter });
        }
    }
}
