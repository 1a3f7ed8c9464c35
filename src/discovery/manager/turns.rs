//! The turns of callers, and the reported state of the breaker.

use super::Manager;
use crate::calls::caller::Caller;
use crate::discovery::event::Command;
use crate::discovery::tracked_source::TrackedSource;
use crate::util::time::Time;

impl Manager {
    /// Starts the calls of all callers whose turn has come.
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

    /// Reports the state of the breaker if it has changed, or if this VM has just become a leader:
    /// the last leader may have reported another state.
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
