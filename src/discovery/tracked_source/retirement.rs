//! How a VM parts with a source, and what its successor finds.

use std::rc::Rc;

use crate::discovery::context::Context;
use crate::discovery::event::{Command, Expect};
use crate::discovery::source_event::SourceEvent;
use crate::discovery::tracked_source::TrackedSource;
use crate::discovery::tracked_source::step::{HeadLoad, HeadStore};
use crate::shared::key::SharedKey;
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::{Rank, SourceRecord, Term};

impl TrackedSource {
    /// Gives the lease away, if it is ours: this VM's configuration is in use no longer.
    pub fn leave(&mut self, context: &mut Context<'_>) {
        if self.is_fetcher() {
            self.load_head(HeadLoad::Leave, context);
        }
    }

    /// Gives the lease away, if it is ours, and empties the places of the records: nobody here
    /// wants the source any more. The head stays, so that no term is ever given twice.
    pub fn release(&mut self, context: &mut Context<'_>) {
        if self.is_fetcher() {
            // Before the head: what stands there while the lease is ours is not a successor's.
            for version in SnapshotVersion::default().places() {
                context.load(SharedKey::Snapshot(self.key(), version));
            }
            self.load_head(HeadLoad::Retire, context);
        }
    }

    /// Tells once more what is known, for a service that was not here when it came.
    pub fn republish_locally(&mut self, context: &mut Context<'_>) {
        if let Some(record) = &self.installed {
            let (source, snapshot) = (self.source, Rc::clone(&record.snapshot));
            context.out.push_back(Command::Install { source, snapshot });
            let age = self.contact.age(context.now);
            context.out.extend(age.map(|age| Command::Confirm { source, age }));
        }
    }

    /// Writes the head again with a rank that everyone takes the lease from.
    pub(super) fn release_lease(
        &mut self,
        head: Option<&SourceRecord>,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        let term = self.lease.term();
        if let Some(head) = head.filter(|head| term == Some(head.term) && head.owner == self.me) {
            let is_last = matches!(self.look, HeadLoad::Retire);
            self.write = if is_last { HeadStore::Retire } else { HeadStore::Leave };
            let published = head.published.filter(|_| !is_last);
            self.store_head(head.term, Rank::RELEASED, published, expect, context);
            self.emit(SourceEvent::Left, context);
        }
        self.stop_fetching(context);
    }

    /// Empties the places of the records, unless a successor has written there.
    pub(super) fn clear_records(&mut self, context: &mut Context<'_>) {
        for (version, cas) in core::mem::take(&mut self.leftovers) {
            context.store(
                SharedKey::Snapshot(self.key(), version),
                Vec::new(),
                Expect::Unchanged(cas),
            );
        }
    }

    /// Publishes what is installed, where the one who had published it took it away: it had no
    /// more use for it, and others have.
    pub(super) fn republish(&mut self, term: Term, context: &mut Context<'_>) {
        if !self.is_published
            && let Some(record) = &self.installed
        {
            self.publish(term, Rc::clone(&record.snapshot), context);
        }
    }
}
