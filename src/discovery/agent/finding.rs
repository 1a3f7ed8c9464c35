//! Sources that are found while running.

use super::Agent;
use crate::discovery::letter::{Letter, Recipient};
use crate::discovery::tracker::Tracker;
use crate::model::service::SourceId;
use crate::shared::message::Message;
use crate::time::Time;

impl Agent {
    /// Asks at once for a source that was found, or leaves it to the VM that was made first.
    pub(super) fn on_found(&mut self, source: SourceId, now: Time) {
        match self.rank.filter(|_| self.membership.is_first_born()) {
            Some(rank) => self.with_tracker(source, now, |tracker, scope| {
                tracker.on_tick(rank, scope);
            }),
            None => self.with_tracker(source, now, Tracker::peek),
        }
    }

    /// Looks for what a request waits for, and tells the VM that was made first.
    pub(super) fn on_wanted(&mut self, source: SourceId, host: &str, now: Time) {
        let is_first_born = self.membership.is_first_born();
        self.with_tracker(source, now, |tracker, scope| {
            tracker.peek(scope);
            // The first-born asks at its own next tick.
            if !is_first_born {
                let message = Message::Wanted(tracker.key(), host.into());
                scope.send(Letter { to: Recipient::FirstBorn, message });
            }
        });
    }
}
