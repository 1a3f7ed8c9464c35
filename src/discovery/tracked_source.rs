//! A source: its lease, its watch and its published snapshot.
//!
//! Each action follows from the source record, which every VM loads at its ticks. A follower loads
//! the snapshot that the record points to. The leader queries Consul and publishes in steps,
//! between any of which another VM may run:
//!
//! 1. Load the slot of the snapshot.
//! 2. Load the source record and check that the lease is still ours.
//! 3. Store the snapshot, on condition that the slot has not changed.
//! 4. Load the source record once more.
//! 5. Store a source record that points to the snapshot, on condition that it has not changed.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::circuit::Datacenter;
use crate::config::Consul;
use crate::discovery::contact::Contact;
use crate::discovery::publication::{Publication, PublicationStep};
use crate::discovery::refresh_request::RefreshRequest;
use crate::discovery::source_spec::SourceSpec;
use crate::discovery::watch::Watch;
use crate::election::lease::{ClaimReason, Lease, LeaseAction};
use crate::election::membership::{Outgoing, Recipient};
use crate::host::{Command, Context, Expect};
use crate::host::{Load, SnapshotLoad, SourceRecordLoad, SourceRecordStore, Store};
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registry::query::Query;
use crate::shared::key::{Cas, VmId};
use crate::shared::message::Message;
use crate::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use crate::shared::source_record::{Rank, SourceRecord, Term};
use crate::telemetry::{SourceEvent, TelemetryEvent};
use crate::util::time::Time;

mod queries;
mod release;

/// A source, as one VM sees it.
#[derive(Debug)]
pub struct TrackedSource {
    source: SourceId,
    me: VmId,
    query: Query,
    datacenter: Datacenter,
    on_trial: bool,
    lease: Lease,
    watch: Watch,
    installed: Option<SnapshotRecord>,
    publication: Publication,
    /// The contents of the snapshot slots when this source was removed.
    leftovers: Vec<(SnapshotVersion, Cas)>,
    contact: Contact,
    refresh_request: RefreshRequest,
    /// True if the source record of this leader points to a snapshot.
    is_published: bool,
    /// The version of the source record at the last load, and the time of the load.
    looked: Option<(Option<Cas>, Time)>,
}

impl TrackedSource {
    /// Starts without any knowledge.
    pub fn new(me: VmId, source: SourceId, spec: SourceSpec, consul: &Consul) -> Self {
        Self {
            source,
            me,
            query: spec.query,
            datacenter: spec.datacenter,
            on_trial: spec.on_trial,
            lease: Lease::new(me),
            watch: Watch::new(consul.wait, consul.resync, spec.guard),
            installed: None,
            publication: Publication::default(),
            leftovers: Vec::new(),
            contact: Contact::default(),
            refresh_request: RefreshRequest::new(me),
            is_published: false,
            looked: None,
        }
    }

    /// Leaves a free lease to other VMs for a while.
    pub fn as_standby(self) -> Self {
        Self { lease: Lease::as_standby(self.me), ..self }
    }

    /// Returns the key of the query.
    pub fn key(&self) -> QueryKey {
        self.query.key()
    }

    /// Returns true if the source has endpoints and a known leader.
    pub fn is_settled(&self) -> bool {
        self.installed.is_some() && self.lease.is_settled()
    }

    /// Returns true if this VM leads.
    pub const fn is_leader(&self) -> bool {
        self.lease.term().is_some()
    }

    /// Returns the installed snapshot and its version.
    pub const fn installed(&self) -> Option<&SnapshotRecord> {
        self.installed.as_ref()
    }

    /// Returns true if this VM leads and its renewal is due.
    pub fn must_renew(&self, rank: Rank, awake: Time) -> bool {
        self.lease.must_renew(rank, awake)
    }

    /// Loads the source record to check the lease and the published snapshot, and to query Consul
    /// if this VM leads.
    pub fn on_tick(&mut self, rank: Rank, context: &mut Context<'_>) {
        self.load_source_record(SourceRecordLoad::Check { rank }, context);
    }

    /// Loads the source record to find a newer snapshot, and nothing else.
    pub fn check_for_update(&mut self, context: &mut Context<'_>) {
        self.load_source_record(SourceRecordLoad::Peek, context);
    }

    /// Handles an endpoint that this VM cannot reach. A leader queries Consul at its next tick,
    /// since a request that ends would take the callout and its response with it.
    pub fn on_endpoint_unreachable(&mut self, context: &mut Context<'_>) {
        if self.is_leader() {
            self.watch.on_suspicion(context.awake);
        } else if let Some(message) = self.refresh_request.poll_message(self.key(), context.now) {
            context.send(message);
        }
    }

    /// Handles the same message from another VM. A VM that does not lead any more ignores it.
    pub fn on_refresh_request(&mut self, context: &mut Context<'_>) {
        self.watch.on_suspicion(context.awake);
        self.prioritize(context);
        self.ask_if_due(context);
    }

    /// Takes the source record as it stands.
    pub fn on_source_record(
        &mut self,
        purpose: SourceRecordLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        let cas = value.map(|(_, cas)| cas);
        let head = match value.map(|(bytes, _)| SourceRecord::decode(bytes)) {
            Some(Ok(head)) => Some(head),
            Some(Err(error)) => {
                self.emit(SourceEvent::Unreadable(error), context);
                None
            }
            None => None,
        };
        self.refresh_request.on_source_record(head.as_ref());
        let written = self.on_looked(cas, context.now);
        let expect = expecting(cas);
        match purpose {
            SourceRecordLoad::Peek => {}
            SourceRecordLoad::Check { rank } => {
                self.check(head.as_ref(), cas, expect, rank, context)
            }
            SourceRecordLoad::Commit => return self.commit(head.as_ref(), expect, context),
            SourceRecordLoad::Leave => {
                let store = SourceRecordStore::Leave;
                return self.release_lease(store, head.as_ref(), expect, context);
            }
            SourceRecordLoad::Retire => {
                let store = SourceRecordStore::Retire;
                return self.release_lease(store, head.as_ref(), expect, context);
            }
        }
        // Ignore the snapshot of a leader that has released its lease: no VM refreshes its age.
        let current = head.filter(|head| head.rank != Rank::RELEASED);
        let published = current.and_then(|head| head.published.map(|version| (version, head.age)));
        let Some((version, age)) = published else { return };
        if let Some(before) = written.filter(|_| age != SourceRecord::UNKNOWN_AGE) {
            let age = age.saturating_add(before);
            if !self.is_leader() {
                self.contact.begin(Some(age), context.now);
            }
            context.out.push_back(Command::Confirm { source: self.source, age });
        }
        if self.installed.as_ref().is_none_or(|installed| installed.version < version) {
            context.load(Load::Snapshot(self.key(), version, SnapshotLoad::Install));
        }
    }

    /// Notes the version of the source record. Returns the greatest possible time since it was
    /// written, if that was after the last load. A record that was found at the first load may be
    /// of any age, because its leader may have died long ago.
    fn on_looked(&mut self, cas: Option<Cas>, now: Time) -> Option<Duration> {
        let (before, when) = self.looked.replace((cas, now))?;
        (before != cas).then(|| now.since(when))
    }

    /// Takes the contents of a snapshot slot. If another version stands there, the next load of the
    /// source record leads to it.
    pub fn on_snapshot(
        &mut self,
        version: SnapshotVersion,
        purpose: SnapshotLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        if purpose == SnapshotLoad::Publish {
            self.publication.on_looked(expecting(value.map(|(_, cas)| cas)));
            return self.load_source_record(SourceRecordLoad::Commit, context);
        }
        let Some((bytes, cas)) = value.filter(|(bytes, _)| !bytes.is_empty()) else { return };
        if purpose == SnapshotLoad::Retire {
            return self.leftovers.push((version, cas));
        }
        let record = match SnapshotRecord::decode(bytes) {
            Ok(record) => record,
            Err(error) => return self.emit(SourceEvent::Unreadable(error), context),
        };
        let newer = self.installed.as_ref().is_none_or(|old| old.version < record.version);
        if record.version == version && newer {
            self.install(record, context);
        }
    }

    /// Takes the result of a store of the source record.
    pub fn on_source_record_stored(
        &mut self,
        purpose: SourceRecordStore,
        written: bool,
        context: &mut Context<'_>,
    ) {
        match purpose {
            SourceRecordStore::Claim { reason } => {
                self.lease.on_claimed(written, context.awake);
                if let (true, Some(term)) = (written, self.lease.term()) {
                    if reason == ClaimReason::Expired {
                        self.emit(SourceEvent::FetcherLost, context);
                    }
                    self.emit(SourceEvent::Elected(term), context);
                    self.watch.start(context.awake);
                    self.ask_if_due(context);
                }
            }
            SourceRecordStore::Renewal if written => self.ask_if_due(context),
            // Another VM has taken the lease between the load and the store.
            SourceRecordStore::Renewal => self.depose(context),
            SourceRecordStore::Commit => self.on_committed(written, context),
            SourceRecordStore::Retire if written => self.clear_records(context),
            // Otherwise another VM has the lease, and the slots are its own.
            SourceRecordStore::Leave | SourceRecordStore::Retire => {}
        }
    }

    /// Takes the result of a store of a snapshot.
    pub fn on_snapshot_stored(
        &mut self,
        version: SnapshotVersion,
        written: bool,
        context: &mut Context<'_>,
    ) {
        if self.publication.is_of(version) {
            self.publication.on_stored(written);
            self.load_source_record(SourceRecordLoad::Commit, context);
        }
    }

    fn check(
        &mut self,
        head: Option<&SourceRecord>,
        cas: Option<Cas>,
        expect: Expect,
        rank: Rank,
        context: &mut Context<'_>,
    ) {
        let published = head.and_then(|head| head.published);
        match self.lease.on_holder(head.map(SourceRecord::holder).zip(cas), rank, context.awake) {
            LeaseAction::Follow => {}
            LeaseAction::Lead => self.ask_if_due(context),
            LeaseAction::Renew(term) => {
                if let (Some(age), Some(record)) = (self.contact.age(context.now), &self.installed)
                {
                    let endpoints = record.snapshot.len();
                    self.emit(SourceEvent::Age { age, endpoints }, context);
                }
                let purpose = SourceRecordStore::Renewal;
                self.store_source_record(purpose, (term, rank), published, expect, context);
            }
            LeaseAction::Claim(term, reason) => {
                // The term is new, so the next snapshot is newer in any case. The snapshot of a
                // released lease that is not installed here may be of any age.
                let is_here = self.installed.as_ref().map(|it| it.version) == published;
                let is_stale = !is_here && head.is_some_and(|head| head.rank == Rank::RELEASED);
                let published = published.filter(|_| !is_stale);
                self.is_published = published.is_some();
                if published.is_none() {
                    self.contact.begin(None, context.now);
                }
                let listed = head.filter(|_| published.is_some()).map_or(0, |head| head.listed);
                self.watch.restore_listed(listed);
                let purpose = SourceRecordStore::Claim { reason };
                self.store_source_record(purpose, (term, rank), published, expect, context);
            }
            LeaseAction::Deposed => self.depose(context),
        }
    }

    fn publish(&mut self, term: Term, snapshot: Rc<Snapshot>, context: &mut Context<'_>) {
        let last = self.installed.as_ref().map(|installed| installed.version);
        let version = self.publication.begin(term, last, snapshot);
        context.load(Load::Snapshot(self.key(), version, SnapshotLoad::Publish));
    }

    /// Continues the publication if the lease is still ours.
    fn commit(&mut self, head: Option<&SourceRecord>, expect: Expect, context: &mut Context<'_>) {
        let term = self.lease.term();
        let ours = head.filter(|head| term == Some(head.term) && head.owner == self.me);
        let Some(head) = ours else { return self.depose(context) };
        match self.publication.next(head.published) {
            Some(PublicationStep::Look(version)) => {
                context.load(Load::Snapshot(self.query.key(), version, SnapshotLoad::Publish))
            }
            Some(PublicationStep::Store(record, expect)) => {
                let store = Store::Snapshot(self.query.key(), record.version);
                context.store(store, record.encode(), expect);
            }
            Some(PublicationStep::Point(version)) => {
                let purpose = SourceRecordStore::Commit;
                let holder = (head.term, head.rank);
                self.store_source_record(purpose, holder, Some(version), expect, context);
            }
            None => {}
        }
    }

    fn on_committed(&mut self, written: bool, context: &mut Context<'_>) {
        let (true, Some(record)) = (written, self.publication.take()) else {
            return self.depose(context);
        };
        self.is_published = true;
        let old = self.installed.as_ref().map(|old| &*old.snapshot);
        let event = SourceEvent::published(&record.snapshot, old);
        self.install(record, context);
        self.watch.on_applied(context.awake);
        self.emit(event, context);
        let message = Message::News(self.key());
        context.send(Outgoing { to: Recipient::Everyone, message });
        self.ask_if_due(context);
    }

    fn install(&mut self, record: SnapshotRecord, context: &mut Context<'_>) {
        let snapshot = Rc::clone(&record.snapshot);
        context.out.push_back(Command::Install { source: self.source, snapshot });
        self.installed = Some(record);
    }

    fn depose(&mut self, context: &mut Context<'_>) {
        self.stop_fetching(context);
        self.emit(SourceEvent::Deposed, context);
    }

    fn stop_fetching(&mut self, context: &mut Context<'_>) {
        context.calls.forget(self.caller(), context.now);
        self.lease = Lease::new(self.me);
        self.watch.stop();
        self.publication = Publication::default();
        self.contact.end();
    }

    fn load_source_record(&mut self, purpose: SourceRecordLoad, context: &mut Context<'_>) {
        context.load(Load::SourceRecord(self.key(), purpose));
    }

    fn store_source_record(
        &self,
        purpose: SourceRecordStore,
        (term, rank): (Term, Rank),
        published: Option<SnapshotVersion>,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        let age = self.contact.age(context.now).unwrap_or(SourceRecord::UNKNOWN_AGE);
        let listed = self.watch.listed();
        let head = SourceRecord { owner: self.me, term, rank, published, age, listed };
        context.store(Store::SourceRecord(self.key(), purpose), head.encode(), expect);
    }

    fn emit(&self, event: SourceEvent, context: &mut Context<'_>) {
        context.emit(TelemetryEvent::Source { source: self.source, event });
    }
}

/// Returns the condition of a store after a load of this version.
fn expecting(cas: Option<Cas>) -> Expect {
    cas.map_or(Expect::Absent, Expect::Unchanged)
}
