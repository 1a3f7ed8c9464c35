//! A source: its lease, the role of this VM, and its published snapshot.
//!
//! Each action follows from the source record, which every VM loads at its ticks. A follower loads
//! the snapshot that the record points to. The [leader](Leader) queries Consul and publishes.

use crate::calls::caller::QueryId;
use crate::config::Consul;
use crate::discovery::leader::Leader;
use crate::discovery::lease_claim::LeaseClaim;
use crate::discovery::refresh_request::RefreshRequest;
use crate::discovery::source_view::SourceView;
use crate::election::lease::{ClaimReason, Lease, LeaseAction};
use crate::host::{
    Context, Expect, Load, SnapshotLoad, SourceRecordLoad, SourceRecordStore, Store,
};
use crate::model::service::{QueryKey, SourceId};
use crate::registry::http::{CallFailure, HttpResponse};
use crate::registry::source_spec::SourceSpec;
use crate::shared::key::{Cas, VmId};
use crate::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use crate::shared::source_record::{Rank, SourceRecord};
use crate::telemetry::SourceEvent;
use crate::util::time::Time;

/// A source, as one VM sees it.
#[derive(Debug)]
pub struct TrackedSource {
    view: SourceView,
    lease: Lease,
    role: Role,
    refresh_request: RefreshRequest,
    /// The last query of the terms in which this VM has led.
    last_query: QueryId,
}

/// The role of this VM.
#[derive(Debug)]
enum Role {
    /// Another VM leads, or none.
    Follower,
    /// A claim is being written.
    Claiming(LeaseClaim),
    /// This VM leads.
    Leader(Box<Leader>),
    /// This VM does not use the source any more. It empties these snapshot slots once the release
    /// of the lease is written.
    Retired(Vec<(SnapshotVersion, Cas)>),
}

impl TrackedSource {
    /// Starts without any knowledge.
    pub fn new(me: VmId, source: SourceId, spec: SourceSpec, consul: &Consul) -> Self {
        Self {
            view: SourceView::new(me, source, spec, consul),
            lease: Lease::new(me),
            role: Role::Follower,
            refresh_request: RefreshRequest::new(me),
            last_query: QueryId::default(),
        }
    }

    /// Leaves a free lease to other VMs for a while.
    pub fn as_standby(self) -> Self {
        Self { lease: Lease::as_standby(self.view.me), ..self }
    }

    /// Returns the key of the query.
    pub fn key(&self) -> QueryKey {
        self.view.key()
    }

    /// Returns true if the source has endpoints and a known leader.
    pub fn is_settled(&self) -> bool {
        self.view.installed.is_some() && self.lease.is_settled()
    }

    /// Returns true if this VM leads.
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Returns the installed snapshot and its version.
    pub const fn installed(&self) -> Option<&SnapshotRecord> {
        self.view.installed.as_ref()
    }

    /// Returns true if this VM leads and its renewal is due.
    pub fn must_renew(&self, rank: Rank, awake: Time) -> bool {
        self.lease.must_renew(rank, awake)
    }

    /// Sets whether only clients have named the source. A waiting call is queued again.
    pub fn set_unverified(&mut self, on_trial: bool, context: &mut Context<'_>) {
        let before = self.view.caller();
        self.view.spec.on_trial = on_trial;
        context.calls.rename(before, self.view.caller(), context.now);
    }

    /// Loads the source record to check the lease and the snapshot. A leader then queries Consul.
    pub fn on_tick(&mut self, rank: Rank, context: &mut Context<'_>) {
        self.load(SourceRecordLoad::Check { rank }, context);
    }

    /// Loads the source record to find a newer snapshot, and nothing else.
    pub fn check_for_update(&mut self, context: &mut Context<'_>) {
        self.load(SourceRecordLoad::Update, context);
    }

    /// Looks for a first snapshot, for a request that waits. If none was ever seen, tells the
    /// leader, which may have many sources to read.
    pub fn on_snapshot_needed(&mut self, context: &mut Context<'_>) {
        self.check_for_update(context);
        self.prioritize(context);
        if self.view.installed.is_none() && !self.is_leader() {
            self.request_refresh(context);
        }
    }

    /// Handles an endpoint that this VM cannot reach. A leader queries Consul at its next tick,
    /// since a request that ends would take the callout and its response with it.
    pub fn on_endpoint_unreachable(&mut self, context: &mut Context<'_>) {
        match &mut self.role {
            Role::Leader(leader) => leader.on_endpoint_unreachable(context),
            _ => self.request_refresh(context),
        }
    }

    /// Handles the same message from another VM. A VM that does not lead any more ignores it.
    pub fn on_refresh_request(&mut self, context: &mut Context<'_>) {
        if let Role::Leader(leader) = &mut self.role {
            leader.on_endpoint_unreachable(context);
        }
        self.prioritize(context);
        self.on_ready(context);
    }

    /// Queries Consul if this VM leads and a query is due: the lease was checked, the scheduler has
    /// called this source, or its record is not loaded in this tick.
    pub fn on_ready(&mut self, context: &mut Context<'_>) {
        if let Role::Leader(leader) = &mut self.role {
            leader.ask_if_due(&mut self.view, context);
        }
    }

    /// Takes a response of Consul.
    pub fn on_response(
        &mut self,
        id: QueryId,
        response: Result<HttpResponse<'_>, CallFailure>,
        context: &mut Context<'_>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let was_unconfirmed = leader.is_published() && self.view.age.at(context.now).is_none();
        leader.on_response(id, response, &mut self.view, context);
        if was_unconfirmed && self.view.age.at(context.now).is_some() {
            // Followers do not know yet how old the snapshot is.
            self.lease.renew_soon();
        }
    }

    /// Releases the lease, if this VM leads, because its configuration is being replaced.
    pub fn leave(&mut self, context: &mut Context<'_>) {
        if self.is_leader() {
            self.load(SourceRecordLoad::Release { is_last: false }, context);
        }
    }

    /// Releases the lease, if this VM leads, and empties the snapshot slots, because no service
    /// here uses the source. The source record stays, so that no term is given twice.
    pub fn release(&mut self, context: &mut Context<'_>) {
        if self.is_leader() {
            // Before the source record: the slots cannot contain a successor's snapshot while the
            // lease is ours.
            for version in SnapshotVersion::default().slots() {
                context.load(Load::Snapshot(self.key(), version, SnapshotLoad::Empty));
            }
            self.load(SourceRecordLoad::Release { is_last: true }, context);
        }
    }

    /// Installs the current snapshot once more, for a service that was added after its arrival.
    pub fn republish_locally(&mut self, context: &mut Context<'_>) {
        self.view.reinstall(context);
    }

    /// Takes the source record as it stands.
    pub fn on_source_record(
        &mut self,
        purpose: SourceRecordLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        let cas = value.map(|(_, cas)| cas);
        let head = self.view.decode(value.map(|(bytes, _)| bytes), context);
        self.refresh_request.on_source_record(head.as_ref());
        let written = self.view.age.on_record_loaded(cas, context.now);
        let expect = cas.into();
        match purpose {
            SourceRecordLoad::Update => {}
            SourceRecordLoad::Check { rank } => self.check(head.as_ref(), cas, rank, context),
            SourceRecordLoad::Commit => {
                return match (&mut self.role, &head) {
                    (Role::Leader(leader), Some(head)) if leader.is_of(head, &self.view) => {
                        leader.continue_publication(head, expect, &self.view, context);
                    }
                    _ => self.depose(context),
                };
            }
            SourceRecordLoad::Release { is_last } => {
                return self.release_lease(is_last, head.as_ref(), expect, context);
            }
        }
        // Ignore the snapshot of a leader that has released its lease: no VM refreshes its age.
        let current = head.filter(|head| head.rank != Rank::RELEASED);
        let published = current.and_then(|head| head.published.map(|version| (version, head.age)));
        let Some((version, age)) = published else { return };
        if let Some(before) = written.filter(|_| age != SourceRecord::UNKNOWN_AGE) {
            let age = age.saturating_add(before);
            if !self.is_leader() {
                self.view.age.adopt(age, context.now);
            }
            self.view.confirm(age, context);
        }
        if self.view.version() < Some(version) {
            context.load(Load::Snapshot(self.key(), version, SnapshotLoad::Install));
        }
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
        let filled = value.filter(|(bytes, _)| !bytes.is_empty());
        match (purpose, &mut self.role, filled) {
            (SnapshotLoad::Publish, Role::Leader(leader), _) => {
                let expect = value.map(|(_, cas)| cas).into();
                leader.on_slot_loaded(version, expect, &self.view, context);
            }
            (SnapshotLoad::Empty, Role::Leader(it), Some((_, cas))) => it.on_slot(version, cas),
            (SnapshotLoad::Install, _, Some((bytes, _))) => match SnapshotRecord::decode(bytes) {
                Ok(record) if record.version == version && self.view.version() < Some(version) => {
                    self.view.install(record, context);
                }
                Ok(_) => {}
                Err(error) => self.view.emit(SourceEvent::Unreadable(error), context),
            },
            _ => {}
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
            SourceRecordStore::Claim => self.on_claimed(written, context),
            SourceRecordStore::Renewal if written => self.on_ready(context),
            // Another VM has taken the lease between the load and the store.
            SourceRecordStore::Renewal => self.depose(context),
            SourceRecordStore::Commit => match &mut self.role {
                Role::Leader(leader) if written => leader.on_published(&mut self.view, context),
                _ => self.depose(context),
            },
            SourceRecordStore::Release { is_last: true } if written => self.empty_slots(context),
            // Otherwise another VM has the lease, and the slots are its own.
            SourceRecordStore::Release { .. } => {}
        }
    }

    /// Takes the result of a store of a snapshot.
    pub fn on_snapshot_stored(
        &mut self,
        version: SnapshotVersion,
        written: bool,
        context: &mut Context<'_>,
    ) {
        if let Role::Leader(leader) = &mut self.role {
            leader.on_snapshot_stored(version, written, &self.view, context);
        }
    }

    fn check(
        &mut self,
        head: Option<&SourceRecord>,
        cas: Option<Cas>,
        rank: Rank,
        context: &mut Context<'_>,
    ) {
        let holder = head.map(SourceRecord::holder).zip(cas);
        match self.lease.on_holder(holder, rank, context.awake) {
            LeaseAction::Follow => {}
            LeaseAction::Lead => self.on_ready(context),
            LeaseAction::Renew(_) => {
                if let Role::Leader(leader) = &self.role {
                    let published = head.and_then(|head| head.published);
                    leader.renew(rank, published, cas.into(), &self.view, context);
                }
            }
            LeaseAction::Claim(term, reason) => {
                let (holder, expect) = ((term, rank), cas.into());
                let claim =
                    LeaseClaim::store(head, holder, reason, expect, &mut self.view, context);
                let former = core::mem::replace(&mut self.role, Role::Claiming(claim));
                // A leader whose record is lost claims the lease anew.
                if let Role::Leader(leader) = former {
                    (self.last_query, _) = leader.end();
                }
            }
            LeaseAction::Deposed => self.depose(context),
        }
    }

    fn on_claimed(&mut self, written: bool, context: &mut Context<'_>) {
        self.lease.on_claimed(written, context.awake);
        let Role::Claiming(claim) = self.role else { return };
        self.role = Role::Follower;
        if let Some(term) = self.lease.term() {
            if claim.reason == ClaimReason::Expired {
                self.view.emit(SourceEvent::FetcherLost, context);
            }
            self.view.emit(SourceEvent::Elected(term), context);
            let leader = Leader::new(term, &claim, self.last_query, &self.view, context.awake);
            self.role = Role::Leader(Box::new(leader));
            self.on_ready(context);
        }
    }

    fn depose(&mut self, context: &mut Context<'_>) {
        self.end_term(context);
        self.view.emit(SourceEvent::Deposed, context);
    }

    /// Releases the lease if it is still ours.
    fn release_lease(
        &mut self,
        is_last: bool,
        head: Option<&SourceRecord>,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        if let (Role::Leader(leader), Some(head)) = (&self.role, head)
            && leader.is_of(head, &self.view)
        {
            leader.release(is_last, head.published, expect, &self.view, context);
        }
        let slots = self.end_term(context);
        if is_last {
            self.role = Role::Retired(slots);
        }
    }

    /// Follows from now on. Returns the contents of the snapshot slots if the source was removed.
    fn end_term(&mut self, context: &mut Context<'_>) -> Vec<(SnapshotVersion, Cas)> {
        context.calls.forget(self.view.caller(), context.now);
        self.lease = Lease::new(self.view.me);
        match core::mem::replace(&mut self.role, Role::Follower) {
            Role::Leader(leader) => {
                let (last_query, slots) = leader.end();
                self.last_query = last_query;
                slots
            }
            Role::Follower | Role::Claiming(_) | Role::Retired(_) => Vec::new(),
        }
    }

    /// Empties the snapshot slots, unless a successor has written there.
    fn empty_slots(&self, context: &mut Context<'_>) {
        if let Role::Retired(slots) = &self.role {
            for &(version, cas) in slots {
                let store = Store::Snapshot(self.key(), version);
                context.store(store, Vec::new(), Expect::Unchanged(cas));
            }
        }
    }

    /// Moves the first read of this source to the front, because a request waits for it.
    fn prioritize(&self, context: &mut Context<'_>) {
        if self.is_leader() && self.view.installed.is_none() {
            context.calls.prioritize(self.view.caller());
        }
    }

    /// Tells the leader that Consul must be read, but not too often.
    fn request_refresh(&mut self, context: &mut Context<'_>) {
        let message = self.refresh_request.poll_message(self.key(), context.now);
        message.into_iter().for_each(|message| context.send(message));
    }

    fn load(&self, purpose: SourceRecordLoad, context: &mut Context<'_>) {
        context.load(Load::SourceRecord(self.key(), purpose));
    }
}
