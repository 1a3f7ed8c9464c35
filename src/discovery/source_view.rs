//! A source as one VM sees it, whatever its role.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::caller::Caller;
use crate::config::Consul;
use crate::discovery::data_age::DataAge;
use crate::host::{Command, Context, Expect, SourceRecordStore, Store};
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registry::source_spec::SourceSpec;
use crate::shared::key::VmId;
use crate::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use crate::shared::source_record::{Rank, SourceRecord, Term};
use crate::telemetry::{SourceEvent, TelemetryEvent};
use crate::util::time::Time;

/// The specification of a source, and the snapshot that this VM has installed.
#[derive(Debug)]
pub(super) struct SourceView {
    pub(super) id: SourceId,
    pub(super) me: VmId,
    pub(super) spec: SourceSpec,
    /// The longest time for which Consul holds a query.
    pub(super) wait: Duration,
    /// The interval between full reads.
    pub(super) resync: Duration,
    pub(super) installed: Option<SnapshotRecord>,
    pub(super) age: DataAge,
}

impl SourceView {
    /// Starts without a snapshot.
    pub(super) fn new(me: VmId, id: SourceId, spec: SourceSpec, consul: &Consul) -> Self {
        let (wait, resync) = (consul.wait, consul.resync);
        Self { id, me, spec, wait, resync, installed: None, age: DataAge::default() }
    }

    /// Returns the key of the query.
    pub(super) fn key(&self) -> QueryKey {
        self.spec.query.key()
    }

    /// Returns the caller. Sources that only clients have named are scheduled apart.
    pub(super) const fn caller(&self) -> Caller {
        match self.spec.on_trial {
            true => Caller::Name(self.id),
            false => Caller::Source(self.id),
        }
    }

    /// Returns the installed snapshot.
    pub(super) fn current(&self) -> Option<&Snapshot> {
        self.installed.as_ref().map(|installed| &*installed.snapshot)
    }

    /// Returns the version of the installed snapshot.
    pub(super) fn version(&self) -> Option<SnapshotVersion> {
        self.installed.as_ref().map(|installed| installed.version)
    }

    /// Installs a snapshot.
    pub(super) fn install(&mut self, record: SnapshotRecord, context: &mut Context<'_>) {
        let snapshot = Rc::clone(&record.snapshot);
        self.installed = Some(record);
        context.out.push_back(Command::Install { source: self.id, snapshot });
    }

    /// Installs the current snapshot once more, if there is one.
    pub(super) fn reinstall(&self, context: &mut Context<'_>) {
        if let Some(record) = &self.installed {
            let snapshot = Rc::clone(&record.snapshot);
            context.out.push_back(Command::Install { source: self.id, snapshot });
            let age = self.age.at(context.now);
            context.out.extend(age.map(|age| Command::Confirm { source: self.id, age }));
        }
    }

    /// Notes that the installed snapshot has that age.
    pub(super) fn confirm(&self, age: Duration, context: &mut Context<'_>) {
        context.out.push_back(Command::Confirm { source: self.id, age });
    }

    /// Decodes the source record.
    pub(super) fn decode(
        &self,
        bytes: Option<&[u8]>,
        context: &mut Context<'_>,
    ) -> Option<SourceRecord> {
        match SourceRecord::decode(bytes?) {
            Ok(record) => Some(record),
            Err(error) => {
                self.emit(SourceEvent::Unreadable(error), context);
                None
            }
        }
    }

    /// Returns a source record of this VM, with the age of the installed snapshot.
    pub(super) fn record(
        &self,
        (term, rank): (Term, Rank),
        published: Option<SnapshotVersion>,
        listed: u32,
        now: Time,
    ) -> SourceRecord {
        let age = self.age.at(now).unwrap_or(SourceRecord::UNKNOWN_AGE);
        SourceRecord { owner: self.me, term, rank, published, age, listed }
    }

    /// Stores a source record.
    pub(super) fn store(
        &self,
        record: &SourceRecord,
        purpose: SourceRecordStore,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        context.store(Store::SourceRecord(self.key(), purpose), record.encode(), expect);
    }

    /// Reports an event to operators.
    pub(super) fn emit(&self, event: SourceEvent, context: &mut Context<'_>) {
        context.emit(TelemetryEvent::Source { source: self.id, event });
    }
}
