//! The release of a source, and the state that the next leader finds.

use std::rc::Rc;

use crate::discovery::tracked_source::TrackedSource;
use crate::host::{
    Command, Context, Expect, Load, SnapshotLoad, SourceRecordLoad, SourceRecordStore, Store,
};
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::{Rank, SourceRecord, Term};
use crate::telemetry::SourceEvent;

impl TrackedSource {
    /// Releases the lease, if this VM leads, because its configuration is being replaced.
    pub fn leave(&mut self, context: &mut Context<'_>) {
        if self.is_leader() {
            self.load_source_record(SourceRecordLoad::Leave, context);
        }
    }

    /// Releases the lease, if this VM leads, and empties the snapshot slots, because no service
    /// here uses the source. The source record stays, so that no term is given twice.
    pub fn release(&mut self, context: &mut Context<'_>) {
        if self.is_leader() {
            // Before the source record: the slots cannot contain a successor's snapshot while the
            // lease is ours.
            for version in SnapshotVersion::default().slots() {
                context.load(Load::Snapshot(self.key(), version, SnapshotLoad::Retire));
            }
            self.load_source_record(SourceRecordLoad::Retire, context);
        }
    }

    /// Installs the current snapshot once more, for a service that was added after its arrival.
    pub fn republish_locally(&mut self, context: &mut Context<'_>) {
        if let Some(record) = &self.installed {
            let (source, snapshot) = (self.source, Rc::clone(&record.snapshot));
            context.out.push_back(Command::Install { source, snapshot });
            let age = self.contact.age(context.now);
            context.out.extend(age.map(|age| Command::Confirm { source, age }));
        }
    }

    /// Stores a source record with a rank from which every VM takes the lease.
    pub(super) fn release_lease(
        &mut self,
        purpose: SourceRecordStore,
        head: Option<&SourceRecord>,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        let term = self.lease.term();
        if let Some(head) = head.filter(|head| term == Some(head.term) && head.owner == self.me) {
            let published = head.published.filter(|_| purpose != SourceRecordStore::Retire);
            let holder = (head.term, Rank::RELEASED);
            self.store_source_record(purpose, holder, published, expect, context);
            self.emit(SourceEvent::Left, context);
        }
        self.stop_fetching(context);
    }

    /// Empties the snapshot slots, unless a successor has written there.
    pub(super) fn clear_records(&mut self, context: &mut Context<'_>) {
        for (version, cas) in core::mem::take(&mut self.leftovers) {
            let store = Store::Snapshot(self.key(), version);
            context.store(store, Vec::new(), Expect::Unchanged(cas));
        }
    }

    /// Publishes the installed snapshot again if an earlier leader has emptied the slots.
    pub(super) fn republish(&mut self, term: Term, context: &mut Context<'_>) {
        if !self.is_published
            && let Some(record) = &self.installed
        {
            self.publish(term, Rc::clone(&record.snapshot), context);
        }
    }
}
