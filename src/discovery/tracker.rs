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

use crate::config::Consul;
use crate::consul::query::Query;
use crate::discovery::circuit::Datacenter;
use crate::discovery::contact::Contact;
use crate::discovery::event::{Command, Expect};
use crate::discovery::lease::{Lease, Vacancy, Verdict};
use crate::discovery::letter::{Letter, Recipient};
use crate::discovery::notice::Notice;
use crate::discovery::publication::{Next, Publication};
use crate::discovery::scope::Scope;
use crate::discovery::subject::Subject;
use crate::discovery::suspicion::Suspicion;
use crate::discovery::tracker::step::{Look, Write};
use crate::discovery::watch::Watch;
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::shared::head::{Head, Rank, Term};
use crate::shared::key::{Cas, Key, VmId};
use crate::shared::message::Message;
use crate::shared::record::{Record, Version};
use crate::time::Time;

mod asking;
mod retirement;
mod step;

/// One source, as one VM sees it.
#[derive(Debug)]
pub struct Tracker {
    source: SourceId,
    me: VmId,
    query: Query,
    datacenter: Datacenter,
    on_trial: bool,
    lease: Lease,
    watch: Watch,
    /// Why the head was asked for.
    look: Look,
    /// Why the head was written.
    write: Write,
    installed: Option<Record>,
    publication: Publication,
    /// What stood in the places of the records when this source was given up.
    leftovers: Vec<(Version, Cas)>,
    contact: Contact,
    suspicion: Suspicion,
    /// Whether the head that this VM fetches under points to a record.
    is_published: bool,
    /// What stood in the place of the head at the last look, and when that was.
    looked: Option<(Option<Cas>, Time)>,
}

impl Tracker {
    /// Starts with nothing known.
    pub fn new(me: VmId, source: SourceId, subject: Subject, consul: &Consul) -> Self {
        Self {
            source,
            me,
            query: subject.query,
            datacenter: subject.datacenter,
            on_trial: subject.on_trial,
            lease: Lease::new(me),
            watch: Watch::new(consul.wait, consul.resync, subject.guard),
            look: Look::Peek,
            write: Write::Renewal,
            installed: None,
            publication: Publication::default(),
            leftovers: Vec::new(),
            contact: Contact::default(),
            suspicion: Suspicion::new(me),
            is_published: false,
            looked: None,
        }
    }

    /// The same, leaving a lease that nobody has to others for a while.
    pub fn deferring(self) -> Self {
        Self { lease: Lease::deferring(self.me), ..self }
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
    pub const fn installed(&self) -> Option<&Record> {
        self.installed.as_ref()
    }

    /// Whether this VM fetches, and is to say so again.
    pub fn must_renew(&self, rank: Rank, awake: Time) -> bool {
        self.lease.must_renew(rank, awake)
    }

    /// Looks after the lease, the watch and the published snapshot.
    pub fn on_tick(&mut self, rank: Rank, scope: &mut Scope<'_>) {
        self.load_head(Look::Check { rank }, scope);
    }

    /// Looks for a newer snapshot, and does nothing else.
    pub fn peek(&mut self, scope: &mut Scope<'_>) {
        self.load_head(Look::Peek, scope);
    }

    /// Takes a suspicion of this VM's own. A fetcher asks at its next tick: the request that
    /// raised it may be gone before an answer comes, and the answer with it.
    pub fn on_suspected(&mut self, scope: &mut Scope<'_>) {
        if self.is_fetcher() {
            self.watch.on_suspicion(scope.awake);
        } else if let Some(letter) = self.suspicion.poll_letter(self.key(), scope.now) {
            scope.send(letter);
        }
    }

    /// Takes another VM's suspicion; one that fetches no longer is the wrong one to tell.
    pub fn on_told_of_suspicion(&mut self, scope: &mut Scope<'_>) {
        self.watch.on_suspicion(scope.awake);
        self.hurry(scope);
        self.ask_if_due(scope);
    }

    /// Takes the head as it stands.
    pub fn on_head(&mut self, value: Option<(&[u8], Cas)>, scope: &mut Scope<'_>) {
        let cas = value.map(|(_, cas)| cas);
        let head = match value.map(|(bytes, _)| Head::decode(bytes)) {
            Some(Ok(head)) => Some(head),
            Some(Err(error)) => {
                self.notice(Notice::Unreadable(error), scope);
                None
            }
            None => None,
        };
        self.suspicion.on_head(head.as_ref());
        let written = self.on_looked(cas, scope.now);
        let expect = expecting(cas);
        match self.look {
            Look::Peek => {}
            Look::Check { rank } => self.check(head.as_ref(), cas, expect, rank, scope),
            Look::Commit => return self.commit(head.as_ref(), expect, scope),
            Look::Leave | Look::Retire => return self.give_away(head.as_ref(), expect, scope),
        }
        // What an owner that has left published is nobody's to vouch for, and may be of any age.
        let current = head.filter(|head| head.rank != Rank::LEAVING);
        let published = current.and_then(|head| head.published.map(|version| (version, head.age)));
        let Some((version, age)) = published else { return };
        if let Some(before) = written.filter(|_| age != Head::UNKNOWN_AGE) {
            let age = age.saturating_add(before);
            if !self.is_fetcher() {
                self.contact.begin(Some(age), scope.now);
            }
            scope.out.push_back(Command::Confirm { source: self.source, age });
        }
        if self.installed.as_ref().is_none_or(|installed| installed.version < version) {
            scope.load(Key::Record(self.key(), version));
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
        version: Version,
        value: Option<(&[u8], Cas)>,
        scope: &mut Scope<'_>,
    ) {
        if self.publication.is_of(version) {
            self.publication.on_looked(expecting(value.map(|(_, cas)| cas)));
            return self.load_head(Look::Commit, scope);
        }
        let Some((bytes, cas)) = value.filter(|(bytes, _)| !bytes.is_empty()) else { return };
        if matches!(self.look, Look::Retire) {
            return self.leftovers.push((version, cas));
        }
        let record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => return self.notice(Notice::Unreadable(error), scope),
        };
        let newer = self.installed.as_ref().is_none_or(|old| old.version < record.version);
        if record.version == version && newer {
            self.install(record, scope);
        }
    }

    /// Learns whether the head was written.
    pub fn on_head_stored(&mut self, written: bool, scope: &mut Scope<'_>) {
        match self.write {
            Write::Claim { vacancy } => {
                self.lease.on_claimed(written, scope.awake);
                if let (true, Some(term)) = (written, self.lease.term()) {
                    if vacancy == Vacancy::Expired {
                        self.notice(Notice::FetcherLost, scope);
                    }
                    self.notice(Notice::Elected(term), scope);
                    self.watch.start(scope.awake);
                    self.ask_if_due(scope);
                }
            }
            Write::Renewal if written => self.ask_if_due(scope),
            // Somebody has taken the lease between the load and the store.
            Write::Renewal => self.depose(scope),
            Write::Commit => self.on_committed(written, scope),
            Write::Retire if written => self.free_records(scope),
            // Else somebody has the lease already, and what is there is theirs.
            Write::Leave | Write::Retire => {}
        }
    }

    /// Learns whether the record was written, which the head is to point to then.
    pub fn on_record_stored(&mut self, version: Version, written: bool, scope: &mut Scope<'_>) {
        if self.publication.is_of(version) {
            self.publication.on_stored(written);
            self.load_head(Look::Commit, scope);
        }
    }

    fn check(
        &mut self,
        head: Option<&Head>,
        cas: Option<Cas>,
        expect: Expect,
        rank: Rank,
        scope: &mut Scope<'_>,
    ) {
        let published = head.and_then(|head| head.published);
        match self.lease.on_head(head.map(Head::tenure).zip(cas), rank, scope.awake) {
            Verdict::Follow => {}
            Verdict::Lead => self.ask_if_due(scope),
            Verdict::Renew(term) => {
                self.write = Write::Renewal;
                if let (Some(age), Some(record)) = (self.contact.age(scope.now), &self.installed) {
                    let endpoints = record.snapshot.len();
                    self.notice(Notice::Age { age, endpoints }, scope);
                }
                self.store_head(term, rank, published, expect, scope);
            }
            Verdict::Claim(term, vacancy) => {
                // The term is new, so whatever is published next is newer all the same.
                // What an owner that has left published, and is not here, may be of any age.
                let is_here = self.installed.as_ref().map(|it| it.version) == published;
                let is_stale = !is_here && head.is_some_and(|head| head.rank == Rank::LEAVING);
                let published = published.filter(|_| !is_stale);
                self.write = Write::Claim { vacancy };
                self.is_published = published.is_some();
                if published.is_none() {
                    self.contact.begin(None, scope.now);
                }
                let listed = head.filter(|_| published.is_some()).map_or(0, |head| head.listed);
                self.watch.recall(listed);
                self.store_head(term, rank, published, expect, scope);
            }
            Verdict::Deposed => self.depose(scope),
        }
    }

    fn publish(&mut self, term: Term, snapshot: Rc<Snapshot>, scope: &mut Scope<'_>) {
        let last = self.installed.as_ref().map(|installed| installed.version);
        let version = self.publication.begin(term, last, snapshot);
        scope.load(Key::Record(self.key(), version));
    }

    /// Goes on with the publication, if the lease is still ours.
    fn commit(&mut self, head: Option<&Head>, expect: Expect, scope: &mut Scope<'_>) {
        let term = self.lease.term();
        let ours = head.filter(|head| term == Some(head.term) && head.owner == self.me);
        let Some(head) = ours else { return self.depose(scope) };
        match self.publication.next(head.published) {
            Some(Next::Look(version)) => scope.load(Key::Record(self.query.key(), version)),
            Some(Next::Store(record, expect)) => {
                let key = Key::Record(self.query.key(), record.version);
                scope.store(key, record.encode(), expect);
            }
            Some(Next::Point(version)) => {
                self.write = Write::Commit;
                self.store_head(head.term, head.rank, Some(version), expect, scope);
            }
            None => {}
        }
    }

    fn on_committed(&mut self, written: bool, scope: &mut Scope<'_>) {
        let (true, Some(record)) = (written, self.publication.take()) else {
            return self.depose(scope);
        };
        self.is_published = true;
        let old = self.installed.as_ref().map(|old| &*old.snapshot);
        let notice = Notice::published(&record.snapshot, old);
        self.install(record, scope);
        self.watch.on_applied(scope.awake);
        self.notice(notice, scope);
        let message = Message::News(self.key());
        scope.send(Letter { to: Recipient::Everyone, message });
        self.ask_if_due(scope);
    }

    fn install(&mut self, record: Record, scope: &mut Scope<'_>) {
        let snapshot = Rc::clone(&record.snapshot);
        scope.out.push_back(Command::Install { source: self.source, snapshot });
        self.installed = Some(record);
    }

    fn depose(&mut self, scope: &mut Scope<'_>) {
        self.stop_fetching(scope);
        self.notice(Notice::Deposed, scope);
    }

    fn stop_fetching(&mut self, scope: &mut Scope<'_>) {
        scope.gate.forget(self.caller(), scope.now);
        self.lease = Lease::new(self.me);
        self.watch.stop();
        self.publication = Publication::default();
        self.contact.end();
    }

    fn load_head(&mut self, look: Look, scope: &mut Scope<'_>) {
        self.look = look;
        scope.load(Key::Head(self.key()));
    }

    fn store_head(
        &self,
        term: Term,
        rank: Rank,
        published: Option<Version>,
        expect: Expect,
        scope: &mut Scope<'_>,
    ) {
        let age = self.contact.age(scope.now).unwrap_or(Head::UNKNOWN_AGE);
        let listed = self.watch.listed();
        let head = Head { owner: self.me, term, rank, published, age, listed };
        scope.store(Key::Head(self.key()), head.encode(), expect);
    }

    fn notice(&self, notice: Notice, scope: &mut Scope<'_>) {
        scope.out.push_back(Command::Notice { source: self.source, notice });
    }
}

/// What a store has to expect where this was loaded.
fn expecting(cas: Option<Cas>) -> Expect {
    cas.map_or(Expect::Absent, Expect::Unchanged)
}
