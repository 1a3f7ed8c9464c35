//! Sources that are added at run time.

use super::Manager;
use crate::discovery::tracked_source::TrackedSource;
use crate::election::membership::{Outgoing, Recipient};
use crate::model::service::SourceId;
use crate::shared::message::Message;
use crate::util::time::Time;

impl Manager {
    /// Reads a source at once that was added. Any VM but the oldest only checks for a published
    /// snapshot.
    pub(super) fn on_found(&mut self, source: SourceId, now: Time) {
        match self.rank.filter(|_| self.membership.is_oldest()) {
            Some(rank) => self.with_source(source, now, |source, context| {
                source.on_tick(rank, context);
            }),
            None => self.with_source(source, now, TrackedSource::check_for_update),
        }
    }

    /// Checks for the snapshot that a request waits for, and tells the oldest VM.
    pub(super) fn on_requested(&mut self, source: SourceId, host: &str, now: Time) {
        let is_oldest = self.membership.is_oldest();
        self.with_source(source, now, |source, context| {
            source.check_for_update(context);
            // The oldest VM reads the source at its own next tick.
            if !is_oldest {
                let message = Message::Wanted(source.key(), host.into());
                context.send(Outgoing { to: Recipient::Oldest, message });
            }
        });
    }
}
