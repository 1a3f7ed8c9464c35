//! The leader of a source: queries Consul, and publishes the endpoints to the other VMs.
//!
//! The leader publishes in steps, between any of which another VM may run:
//!
//! 1. Load the slot of the snapshot.
//! 2. Load the source record and check that the lease is still ours.
//! 3. Store the snapshot, on condition that the slot has not changed.
//! 4. Load the source record once more.
//! 5. Store a source record that points to the snapshot, on condition that it has not changed.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::caller::{CallId, QueryId};
use crate::calls::scheduler::{CallKind, Permit};
use crate::discovery::contact::Contact;
use crate::discovery::lease_claim::LeaseClaim;
use crate::discovery::publication::{Publication, PublicationStep};
use crate::discovery::response_outcome::ResponseOutcome;
use crate::discovery::source_view::SourceView;
use crate::discovery::watch::{GRACE, OutgoingQuery, Watch};
use crate::election::membership::{Outgoing, Recipient};
use crate::host::{
    Command, Context, Expect, Load, SnapshotLoad, SourceRecordLoad, SourceRecordStore, Store,
};
use crate::model::snapshot::Snapshot;
use crate::registry::error::RegistryError;
use crate::registry::http::{CallFailure, HttpRequest, HttpResponse};
use crate::registry::query::{Query, Style};
use crate::registry::rejected_instances::RejectedInstances;
use crate::shared::key::Cas;
use crate::shared::message::Message;
use crate::shared::snapshot_record::SnapshotVersion;
use crate::shared::source_record::{Rank, SourceRecord, Term};
use crate::telemetry::SourceEvent;
use crate::util::time::Time;

/// The leader of a source, in one term.
#[derive(Debug)]
pub(super) struct Leader {
    term: Term,
    watch: Watch,
    publication: Publication,
    contact: Contact,
    /// True if the source record points to a snapshot.
    is_published: bool,
    /// The contents of the snapshot slots when this source was removed.
    slots: Vec<(SnapshotVersion, Cas)>,
}

impl Leader {
    /// Begins the term of a claim. `last` is the last query that this VM has sent.
    pub(super) fn new(
        term: Term,
        claim: &LeaseClaim,
        last: QueryId,
        source: &SourceView,
        now: Time,
    ) -> Self {
        let (wait, resync, guard) = (source.wait, source.resync, source.spec.guard);
        let mut watch = Watch::new(wait, resync, guard, now).after(last);
        watch.restore_listed(claim.listed);
        Self {
            term,
            watch,
            publication: Publication::default(),
            contact: Contact::default(),
            is_published: claim.published.is_some(),
            slots: Vec::new(),
        }
    }

    /// Returns true if a source record is that of this leader.
    pub(super) fn is_of(&self, record: &SourceRecord, source: &SourceView) -> bool {
        record.term == self.term && record.owner == source.me
    }

    /// Returns true if the source record points to a snapshot.
    pub(super) const fn is_published(&self) -> bool {
        self.is_published
    }

    /// Ends the term. Returns the last query that was sent, and the contents of the snapshot slots
    /// if the source was removed.
    pub(super) fn end(self) -> (QueryId, Vec<(SnapshotVersion, Cas)>) {
        (self.watch.last(), self.slots)
    }

    /// Renews the lease.
    pub(super) fn renew(
        &self,
        rank: Rank,
        published: Option<SnapshotVersion>,
        expect: Expect,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        if let (Some(age), Some(snapshot)) = (source.age.at(context.now), source.current()) {
            let endpoints = snapshot.len();
            source.emit(SourceEvent::Age { age, endpoints }, context);
        }
        let holder = (self.term, rank);
        let record = source.record(holder, published, self.watch.listed(), context.now);
        source.store(&record, SourceRecordStore::Renewal, expect, context);
    }

    /// Stores a source record with a rank from which every VM takes the lease. The last one does
    /// not point to a snapshot.
    pub(super) fn release(
        &self,
        is_last: bool,
        published: Option<SnapshotVersion>,
        expect: Expect,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        let holder = (self.term, Rank::RELEASED);
        let published = published.filter(|_| !is_last);
        let record = source.record(holder, published, self.watch.listed(), context.now);
        source.store(&record, SourceRecordStore::Release { is_last }, expect, context);
        source.emit(SourceEvent::Left, context);
    }

    /// Takes the contents of a slot that is emptied when the lease is released.
    pub(super) fn on_slot(&mut self, version: SnapshotVersion, cas: Cas) {
        self.slots.push((version, cas));
    }

    /// Reads Consul once more, because an endpoint cannot be reached.
    pub(super) fn on_endpoint_unreachable(&mut self, context: &Context<'_>) {
        self.watch.on_suspicion(context.awake);
    }

    /// Takes a response of Consul.
    pub(super) fn on_response(
        &mut self,
        id: QueryId,
        response: Result<HttpResponse<'_>, CallFailure>,
        source: &mut SourceView,
        context: &mut Context<'_>,
    ) {
        let expected = self.watch.expected(id);
        let (query, current) = (&source.spec.query, source.current());
        let response = match expected {
            Some(OutgoingQuery { instances: true, .. }) => query.read_instances(response),
            _ => query.read(response).map(|response| query.limit(response, current)),
        };
        let response = match response {
            Err(error) if source.spec.on_trial => Query::unknown_is_empty(error),
            response => response,
        };
        let blocked = self.watch.blocking_since(id).map(|since| context.awake.since(since));
        let response = response.map_err(|error| match blocked {
            Some(after) => error.while_blocking(after),
            None => error,
        });
        let is_whole = !expected.is_some_and(|ask| ask.instances);
        let dropped = response.as_ref().ok().filter(|_| is_whole).map(|it| it.decoded.dropped);
        let failures = self.watch.failures();
        let response =
            response.and_then(|response| match self.watch.adds_nothing(&response, current) {
                true => query.reject_partial(response),
                false => Ok(response),
            });
        // A call that was out has ended, whatever the watch makes of it.
        let called = response.as_ref().map(|_| ()).map_err(RegistryError::kind);
        let outcome = self.watch.on_response(id, response, current, context.awake, context.rng);
        if expected.is_some() {
            let call = CallId::Query { source: source.id, query: id };
            let Context { calls, now, rng, .. } = context;
            calls.on_outcome(source.caller(), call, &source.spec.datacenter, called, *now, rng);
            source.emit(SourceEvent::Called(called), context);
        }
        self.follow(outcome, dropped, failures, source, context);
        self.ask_if_due(source, context);
    }

    fn follow(
        &mut self,
        outcome: ResponseOutcome,
        dropped: Option<RejectedInstances>,
        failures: u32,
        source: &mut SourceView,
        context: &mut Context<'_>,
    ) {
        if let Some(resolution) = self.watch.poll_resolution() {
            source.emit(SourceEvent::Resolved(resolution), context);
        }
        match outcome {
            ResponseOutcome::Late
            | ResponseOutcome::Older
            | ResponseOutcome::Reread
            | ResponseOutcome::Held(None)
            | ResponseOutcome::Wasted(_) => {}
            ResponseOutcome::Held(Some(snapshot)) => {
                self.publish_in_part(snapshot, source, context)
            }
            ResponseOutcome::Failed(error) => {
                context.calls.release_slot(source.caller());
                match self.contact.on_error(error) {
                    Some(SourceEvent::Failing(error)) if source.spec.on_trial => {
                        source.emit(SourceEvent::Unresolved(error), context);
                    }
                    Some(event) => source.emit(event, context),
                    None => {}
                }
            }
            ResponseOutcome::Doubted(doubt, snapshot) => {
                source.emit(SourceEvent::Doubted(doubt), context);
                if let Some(snapshot) = snapshot {
                    self.publish_in_part(snapshot, source, context);
                }
            }
            ResponseOutcome::Unchanged => {
                self.on_good_response(dropped, failures, source, context);
                self.republish(source, context);
            }
            ResponseOutcome::Changed(snapshot) => {
                self.on_good_response(dropped, failures, source, context);
                self.publish(snapshot.into(), source, context);
            }
        }
    }

    fn on_good_response(
        &mut self,
        dropped: Option<RejectedInstances>,
        failures: u32,
        source: &mut SourceView,
        context: &mut Context<'_>,
    ) {
        source.age.confirm(context.now);
        let reported = self.contact.on_response(dropped.unwrap_or_default(), failures);
        reported.for_each(|event| source.emit(event, context));
        source.confirm(Duration::ZERO, context);
    }

    /// Queries Consul if a query is due and the scheduler admits it. Overdue queries count as lost.
    pub(super) fn ask_if_due(&mut self, source: &mut SourceView, context: &mut Context<'_>) {
        if let Some(lost) = self.watch.poll_lost(context.awake) {
            return self.on_response(lost, Err(CallFailure::Lost), source, context);
        }
        if self.watch.abandon_publish(context.awake) {
            self.publication = Publication::default();
        }
        // A name that a client has invented takes no watch slot from an existing service.
        let has_resolved = !source.spec.on_trial || self.watch.listed() > 0;
        let caller = source.caller();
        let blocks = source.spec.query.style() == Style::Blocks;
        let may_watch = blocks && has_resolved && context.calls.has_slot(caller);
        // A second query may be out beside the blocking one.
        while let Some(want) = self.watch.wants(may_watch, context.awake) {
            let datacenter = &source.spec.datacenter;
            let Some(permit) = context.calls.admit(caller, datacenter, want, context.now) else {
                return;
            };
            self.ask(want, permit, source, context);
        }
    }

    fn ask(
        &mut self,
        want: CallKind,
        permit: Permit,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        let (query, origin) = (&source.spec.query, self.watch.origin().cloned());
        let request = |ask: &OutgoingQuery| {
            let request = match origin.as_ref().filter(|_| ask.instances) {
                Some(origin) => query.instances(origin),
                None => query.request(ask.resume, ask.freshness),
            };
            HttpRequest { timeout: request.timeout.saturating_add(ask.extra), ..request }
        };
        let ask = self.watch.ask(want, permit, context.awake, |ask| request(ask).timeout);
        let call = CallId::Query { source: source.id, query: ask.id };
        let request = request(&ask);
        if permit == Permit::Probe {
            let (caller, lost) = (source.caller(), context.now + request.timeout + GRACE);
            context.calls.on_probe(caller, call, &source.spec.datacenter, lost, context.now);
        }
        context.out.push_back(Command::Call { call, request });
    }

    /// Publishes the endpoints of a doubted response combined with those that are kept.
    fn publish_in_part(
        &mut self,
        snapshot: Snapshot,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        let snapshot = source.spec.query.within_limit(snapshot, source.current());
        self.publish(snapshot.into(), source, context);
    }

    /// Publishes the installed snapshot again if an earlier leader has emptied the slots.
    fn republish(&mut self, source: &SourceView, context: &mut Context<'_>) {
        if !self.is_published
            && let Some(record) = &source.installed
        {
            self.publish(Rc::clone(&record.snapshot), source, context);
        }
    }

    fn publish(&mut self, snapshot: Rc<Snapshot>, source: &SourceView, context: &mut Context<'_>) {
        let version = self.publication.begin(self.term, source.version(), snapshot);
        context.load(Load::Snapshot(source.key(), version, SnapshotLoad::Publish));
    }

    /// Takes the condition for a store to the slot of the publication.
    pub(super) fn on_slot_loaded(
        &mut self,
        version: SnapshotVersion,
        expect: Expect,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        if self.publication.is_of(version) {
            self.publication.on_slot_loaded(expect);
            context.load(Load::SourceRecord(source.key(), SourceRecordLoad::Commit));
        }
    }

    /// Takes the result of the store of the snapshot.
    pub(super) fn on_snapshot_stored(
        &mut self,
        version: SnapshotVersion,
        written: bool,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        if self.publication.is_of(version) {
            self.publication.on_stored(written);
            context.load(Load::SourceRecord(source.key(), SourceRecordLoad::Commit));
        }
    }

    /// Continues the publication. `head` is the source record of this leader.
    pub(super) fn continue_publication(
        &mut self,
        head: &SourceRecord,
        expect: Expect,
        source: &SourceView,
        context: &mut Context<'_>,
    ) {
        match self.publication.next(head.published) {
            Some(PublicationStep::LoadSlot(version)) => {
                context.load(Load::Snapshot(source.key(), version, SnapshotLoad::Publish))
            }
            Some(PublicationStep::StoreRecord(record, expect)) => {
                context.store(
                    Store::Snapshot(source.key(), record.version),
                    record.encode(),
                    expect,
                );
            }
            Some(PublicationStep::StoreHead(version)) => {
                let (holder, listed) = ((head.term, head.rank), self.watch.listed());
                let record = source.record(holder, Some(version), listed, context.now);
                source.store(&record, SourceRecordStore::Commit, expect, context);
            }
            None => {}
        }
    }

    /// Installs the snapshot that is published now, and tells the other VMs.
    pub(super) fn on_published(&mut self, source: &mut SourceView, context: &mut Context<'_>) {
        let Some(record) = self.publication.take() else { return };
        self.is_published = true;
        let event = SourceEvent::published(&record.snapshot, source.current());
        source.install(record, context);
        self.watch.on_applied(context.awake);
        source.emit(event, context);
        let message = Message::News(source.key());
        context.send(Outgoing { to: Recipient::Everyone, message });
        self.ask_if_due(source, context);
    }
}
