//! Whose turn it is to ask, and what is told of the way to Consul.

use super::Manager;
use crate::calls::caller::Caller;
use crate::discovery::event::Command;
use crate::discovery::tracked_source::TrackedSource;
use crate::util::time::Time;

impl Manager {
    /// Lets those ask whose turn has come.
    pub(super) fn run_ready(&mut self, now: Time) {
        while let Some((caller, turn)) = self.calls.poll_ready(now) {
            match caller {
                Caller::Source(source) | Caller::Name(source) => {
                    self.with_source(source, now, TrackedSource::on_ready);
                }
                Caller::Registration(registration) => {
                    self.with_registry(now, |registry, context| {
                        registry.on_ready(registration, context);
                    });
                }
            }
            self.calls.remove(caller, turn);
        }
    }

    /// Tells where the breaker stands when that has changed, and when this VM begins to ask:
    /// whoever asked before may have told of another one.
    pub(super) fn tell_of_breaker(&mut self) {
        let (position, datacenter) = self.calls.position();
        if !self.is_fetcher() {
            self.told = None;
        } else if self.told != Some(position) {
            let before = self.told.replace(position);
            let datacenter = datacenter.map(Into::into);
            self.out.push_back(Command::Breaker { position, before, datacenter });
        }
    }
}
