//! One source: its lease, its watch, and the snapshot that is published.
//!
//! What a tracker does follows from what stands in the source's head, which it loads at
//! every tick. A follower loads the record that the head points to. The fetcher asks
//! Consul, and publishes in steps that another VM may interrupt anywhere: look at the place
//! of the record; load the head to see that the lease is still ours; store the record, on
//! condition that its place has not changed since; load the head once more; and store the head
//! that points to the record, on condition that it has not changed either.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::circuit::Datacenter;
use crate::config::Consul;
use crate::consul::query::Query;
use crate::discovery::contact::Contact;
use crate::discovery::context::Context;
use crate::discovery::event::{Command, Expect};
use crate::discovery::publication::{Publication, PublicationStep};
use crate::discovery::refresh_request::RefreshRequest;
use crate::discovery::source_event::SourceEvent;
use crate::discovery::source_spec::SourceSpec;
use crate::discovery::tracked_source::step::{HeadLoad, HeadStore};
use crate::discovery::watch::Watch;
use crate::election::lease::{ClaimReason, Lease, LeaseAction};
use crate::election::outgoing::{Outgoing, Recipient};
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::shared::key::{Cas, SharedKey, VmId};
use crate::shared::message::Message;
use crate::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use crate::shared::source_record::{Rank, SourceRecord, Term};
use crate::util::time::Time;

mod asking;
mod retirement;
mod step;

/// One source, as one VM sees it.
#[derive(Debug)]
pub struct TrackedSource {
    source: SourceId,
    me: VmId,
    query: Query,
    datacenter: Datacenter,
    on_trial: bool,
    lease: Lease,
    watch: Watch,
    /// Why the head was asked for.
    look: HeadLoad,
    /// Why the head was written.
    write: HeadStore,
    installed: Option<SnapshotRecord>,
    publication: Publication,
    /// What stood in the places of the records when this source was given up.
    leftovers: Vec<(SnapshotVersion, Cas)>,
    contact: Contact,
    suspicion: RefreshRequest,
    /// Whether the head that this VM fetches under points to a record.
    is_published: bool,
    /// What stood in the place of the head at the last look, and when that was.
    looked: Option<(Option<Cas>, Time)>,
}

impl TrackedSource {
    /// Starts with nothing known.
    pub fn new(me: VmId, source: SourceId, spec: SourceSpec, consul: &Consul) -> Self {
        Self {
            source,
            me,
            query: spec.query,
            datacenter: spec.datacenter,
            on_trial: spec.on_trial,
            lease: Lease::new(me),
            watch: Watch::new(consul.wait, consul.resync, spec.guard),
            look: HeadLoad::Peek,
            write: HeadStore::Renewal,
            installed: None,
            publication: Publication::default(),
            leftovers: Vec::new(),
            contact: Contact::default(),
            suspicion: RefreshRequest::new(me),
            is_published: false,
            looked: None,
        }
    }

    /// The same, leaving a lease that nobody has to others for a while.
    pub fn as_standby(self) -> Self {
        Self { lease: Lease::as_standby(self.me), ..self }
    }

    /// The key of what it asks Consul.
    pub fn key(&self) -> QueryKey {
        self.query.key()
    }

    /// Whether it has endpoints, and knows who fetches them.
    pub fn is_settled(&self) -> bool {
        self.installed.is_some() && self.lease.is_settled()
    }

    /// Whether this VM fetches.
    pub const fn is_fetcher(&self) -> bool {
        self.lease.term().is_some()
    }

    /// The version and the snapshot that are installed here.
    pub const fn installed(&self) -> Option<&SnapshotRecord> {
        self.installed.as_ref()
    }

    /// Whether this VM fetches, and is to say so again.
    pub fn must_renew(&self, rank: Rank, awake: Time) -> bool {
        self.lease.must_renew(rank, awake)
    }

    /// Looks after the lease, the watch and the published snapshot.
    pub fn on_tick(&mut self, rank: Rank, context: &mut Context<'_>) {
        self.load_head(HeadLoad::Check { rank }, context);
    }

    /// Looks for a newer snapshot, and does nothing else.
    pub fn check_for_update(&mut self, context: &mut Context<'_>) {
        self.load_head(HeadLoad::Peek, context);
    }

    /// Takes a suspicion of this VM's own. A fetcher asks at its next tick: the request that
    /// raised it may be gone before an answer comes, and the answer with it.
    pub fn on_endpoint_unreachable(&mut self, context: &mut Context<'_>) {
        if self.is_fetcher() {
            self.watch.on_suspicion(context.awake);
        } else if let Some(message) = self.suspicion.poll_message(self.key(), context.now) {
            context.send(message);
        }
    }

    /// Takes another VM's suspicion; one that fetches no longer is the wrong one to tell.
    pub fn on_refresh_request(&mut self, context: &mut Context<'_>) {
        self.watch.on_suspicion(context.awake);
        self.prioritize(context);
        self.ask_if_due(context);
    }

    /// Takes the head as it stands.
    pub fn on_head(&mut self, value: Option<(&[u8], Cas)>, context: &mut Context<'_>) {
        let cas = value.map(|(_, cas)| cas);
        let head = match value.map(|(bytes, _)| SourceRecord::decode(bytes)) {
            Some(Ok(head)) => Some(head),
            Some(Err(error)) => {
                self.emit(SourceEvent::Unreadable(error), context);
                None
            }
            None => None,
        };
        self.suspicion.on_head(head.as_ref());
        let written = self.on_looked(cas, context.now);
        let expect = expecting(cas);
        match self.look {
            HeadLoad::Peek => {}
            HeadLoad::Check { rank } => self.check(head.as_ref(), cas, expect, rank, context),
            HeadLoad::Commit => return self.commit(head.as_ref(), expect, context),
            HeadLoad::Leave | HeadLoad::Retire => {
                return self.release_lease(head.as_ref(), expect, context);
            }
        }
        // What an owner that has left published is nobody's to vouch for, and may be of any age.
        let current = head.filter(|head| head.rank != Rank::RELEASED);
        let published = current.and_then(|head| head.published.map(|version| (version, head.age)));
        let Some((version, age)) = published else { return };
        if let Some(before) = written.filter(|_| age != SourceRecord::UNKNOWN_AGE) {
            let age = age.saturating_add(before);
            if !self.is_fetcher() {
                self.contact.begin(Some(age), context.now);
            }
            context.out.push_back(Command::Confirm { source: self.source, age });
        }
        if self.installed.as_ref().is_none_or(|installed| installed.version < version) {
            context.load(SharedKey::Snapshot(self.key(), version));
        }
    }

    /// Takes note of what stands in the place of the head; tells how long ago it was written at the
    /// most, where it was since the last look. One that stood there at the first look may be of any
    /// age: its owner may have died long ago.
    fn on_looked(&mut self, cas: Option<Cas>, now: Time) -> Option<Duration> {
        let (before, when) = self.looked.replace((cas, now))?;
        (before != cas).then(|| now.since(when))
    }

    /// Takes what stands in a record's place. A record that is not the one that was asked for has
    /// been replaced since; the next look at the head leads to its successor.
    pub fn on_record(
        &mut self,
        version: SnapshotVersion,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        if self.publication.is_of(version) {
            self.publication.on_looked(expecting(value.map(|(_, cas)| cas)));
            return self.load_head(HeadLoad::Commit, context);
        }
        let Some((bytes, cas)) = value.filter(|(bytes, _)| !bytes.is_empty()) else { return };
        if matches!(self.look, HeadLoad::Retire) {
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

    /// Learns whether the head was written.
    pub fn on_head_stored(&mut self, written: bool, context: &mut Context<'_>) {
        match self.write {
            HeadStore::Claim { vacancy } => {
                self.lease.on_claimed(written, context.awake);
                if let (true, Some(term)) = (written, self.lease.term()) {
                    if vacancy == ClaimReason::Expired {
                        self.emit(SourceEvent::FetcherLost, context);
                    }
                    self.emit(SourceEvent::Elected(term), context);
                    self.watch.start(context.awake);
                    self.ask_if_due(context);
                }
            }
            HeadStore::Renewal if written => self.ask_if_due(context),
            // Somebody has taken the lease between the load and the store.
            HeadStore::Renewal => self.depose(context),
            HeadStore::Commit => self.on_committed(written, context),
            HeadStore::Retire if written => self.clear_records(context),
            // Else somebody has the lease already, and what is there is theirs.
            HeadStore::Leave | HeadStore::Retire => {}
        }
    }

    /// Learns whether the record was written, which the head is to point to then.
    pub fn on_record_stored(
        &mut self,
        version: SnapshotVersion,
        written: bool,
        context: &mut Context<'_>,
    ) {
        if self.publication.is_of(version) {
            self.publication.on_stored(written);
            self.load_head(HeadLoad::Commit, context);
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
        match self.lease.on_head(head.map(SourceRecord::holder).zip(cas), rank, context.awake) {
            LeaseAction::Follow => {}
            LeaseAction::Lead => self.ask_if_due(context),
            LeaseAction::Renew(term) => {
                self.write = HeadStore::Renewal;
                if let (Some(age), Some(record)) = (self.contact.age(context.now), &self.installed)
                {
                    let endpoints = record.snapshot.len();
                    self.emit(SourceEvent::Age { age, endpoints }, context);
                }
                self.store_head(term, rank, published, expect, context);
            }
            LeaseAction::Claim(term, vacancy) => {
                // The term is new, so whatever is published next is newer all the same.
                // What an owner that has left published, and is not here, may be of any age.
                let is_here = self.installed.as_ref().map(|it| it.version) == published;
                let is_stale = !is_here && head.is_some_and(|head| head.rank == Rank::RELEASED);
                let published = published.filter(|_| !is_stale);
                self.write = HeadStore::Claim { vacancy };
                self.is_published = published.is_some();
                if published.is_none() {
                    self.contact.begin(None, context.now);
                }
                let listed = head.filter(|_| published.is_some()).map_or(0, |head| head.listed);
                self.watch.restore_listed(listed);
                self.store_head(term, rank, published, expect, context);
            }
            LeaseAction::Deposed => self.depose(context),
        }
    }

    fn publish(&mut self, term: Term, snapshot: Rc<Snapshot>, context: &mut Context<'_>) {
        let last = self.installed.as_ref().map(|installed| installed.version);
        let version = self.publication.begin(term, last, snapshot);
        context.load(SharedKey::Snapshot(self.key(), version));
    }

    /// Goes on with the publication, if the lease is still ours.
    fn commit(&mut self, head: Option<&SourceRecord>, expect: Expect, context: &mut Context<'_>) {
        let term = self.lease.term();
        let ours = head.filter(|head| term == Some(head.term) && head.owner == self.me);
        let Some(head) = ours else { return self.depose(context) };
        match self.publication.next(head.published) {
            Some(PublicationStep::Look(version)) => {
                context.load(SharedKey::Snapshot(self.query.key(), version))
            }
            Some(PublicationStep::Store(record, expect)) => {
                let key = SharedKey::Snapshot(self.query.key(), record.version);
                context.store(key, record.encode(), expect);
            }
            Some(PublicationStep::Point(version)) => {
                self.write = HeadStore::Commit;
                self.store_head(head.term, head.rank, Some(version), expect, context);
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

    fn load_head(&mut self, look: HeadLoad, context: &mut Context<'_>) {
        self.look = look;
        context.load(SharedKey::SourceRecord(self.key()));
    }

    fn store_head(
        &self,
        term: Term,
        rank: Rank,
        published: Option<SnapshotVersion>,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        let age = self.contact.age(context.now).unwrap_or(SourceRecord::UNKNOWN_AGE);
        let listed = self.watch.listed();
        let head = SourceRecord { owner: self.me, term, rank, published, age, listed };
        context.store(SharedKey::SourceRecord(self.key()), head.encode(), expect);
    }

    fn emit(&self, event: SourceEvent, context: &mut Context<'_>) {
        context.out.push_back(Command::Notice { source: self.source, event });
    }
}

/// What a store has to expect where this was loaded.
fn expecting(cas: Option<Cas>) -> Expect {
    cas.map_or(Expect::Absent, Expect::Unchanged)
}
