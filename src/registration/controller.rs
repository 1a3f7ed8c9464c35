//! The registration of one service, as one VM sees it, under a [lease](crate::election::lease) of its own.
//!
//! The [`RegistrationLease`] contains a digest of the definition, too. While a listener is updated
//! two configurations are active, and if both register one id, the newer one wins.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::caller::{AgentCallId, CallId};
use crate::calls::circuit::{Datacenter, OF_THE_AGENT};
use crate::calls::scheduler::{CallKind, Permit};
use crate::calls::wait_queue::CallClass;
use crate::config;
use crate::election::lease::{Lease, LeaseAction};
use crate::election::observed_since::ObservedSince;
use crate::host::{Command, Context, Expect, LeaseLoad, LeaseStore, Load, ProbeId, Store};
use crate::model::registration::RegistrationId;
use crate::model::service::QueryKey;
use crate::registration::desired_state::{ABANDONED, DesiredState, OrphanRelation};
use crate::registration::probe::ProbeResult;
use crate::registration::reconciler::Reconciler;
use crate::registry::consul::registration::{Definition, Id};
use crate::registry::http::{CallFailure, HttpResponse};
use crate::shared::key::{Cas, VmId};
use crate::shared::registration_lease::RegistrationLease;
use crate::shared::source_record::{Holder, Rank, Term};
use crate::telemetry::{RegistrationEvent, TelemetryEvent};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The minimum number of reads without a change before a lease counts as abandoned.
const LOOKS: u32 = 20;
/// The time after its timeout at which a call that probes the breaker counts as lost.
const GRACE: Duration = Duration::from_secs(3);

/// The registration of one service, as one VM sees it.
#[derive(Debug)]
pub(super) struct Controller {
    registration: RegistrationId,
    me: VmId,
    datacenter: Datacenter,
    key: QueryKey,
    digest: QueryKey,
    lease: Lease,
    desired: DesiredState,
    /// Drives the agent while this VM leads.
    reconciler: Option<Reconciler>,
    /// True if this configuration has been the one that registers.
    has_been_current: bool,
    observed: ObservedSince,
    /// True if the index contains the registration.
    is_indexed: bool,
    /// True if another VM had registered exactly this, by the lease that was claimed.
    is_handed_over: bool,
    relation: OrphanRelation,
}

impl Controller {
    /// Creates the controller of a configured registration.
    pub(super) fn keeping(
        registration: RegistrationId,
        me: VmId,
        consul: &config::Consul,
        service: &config::Registration,
    ) -> Self {
        let definition = Definition::new(consul, service);
        let (key, digest) = (definition.id.key(), definition.digest());
        let desired = DesiredState::present(definition);
        Self::new(registration, me, (key, digest), desired)
    }

    /// Creates the controller of an orphan, a registration of an earlier configuration.
    pub(super) fn removing(
        registration: RegistrationId,
        me: VmId,
        consul: &config::Consul,
        id: Id,
    ) -> Self {
        /// The digest of no definition, for all practical purposes.
        const NOTHING: QueryKey = QueryKey(0);
        let key = id.key();
        let desired = DesiredState::absent(id, consul);
        Self::new(registration, me, (key, NOTHING), desired)
    }

    fn new(
        registration: RegistrationId,
        me: VmId,
        (key, digest): (QueryKey, QueryKey),
        desired: DesiredState,
    ) -> Self {
        Self {
            registration,
            me,
            datacenter: Some(OF_THE_AGENT.into()),
            key,
            digest,
            lease: Lease::new(me),
            desired,
            reconciler: None,
            has_been_current: false,
            observed: ObservedSince::default(),
            is_indexed: false,
            is_handed_over: false,
            relation: OrphanRelation::SameCluster,
        }
    }

    pub(super) const fn key(&self) -> QueryKey {
        self.key
    }

    pub(super) fn id(&self) -> &Id {
        self.desired.id()
    }

    pub(super) const fn is_removal(&self) -> bool {
        self.desired.is_absent()
    }

    pub(super) const fn is_leading(&self) -> bool {
        self.lease.term().is_some()
    }

    /// Takes the relation of an orphan to this configuration.
    pub(super) fn on_relation(&mut self, relation: OrphanRelation) {
        self.relation = relation;
        self.desired.on_wanted(relation == OrphanRelation::IdConfigured);
    }

    /// Returns true if the leader is known, and the registration is in sync if this VM leads.
    pub(super) fn is_settled(&self) -> bool {
        let is_done = self.reconciler.as_ref().is_none_or(Reconciler::is_in_sync);
        self.is_removal() || self.lease.is_settled() && is_done
    }

    /// Returns true if the index needs an entry for the registration.
    pub(super) const fn needs_index_entry(&self) -> bool {
        self.is_leading() && !self.is_removal() && !self.is_indexed
    }

    /// Returns true if the entry in the index must be removed.
    pub(super) fn needs_no_index_entry(&self) -> bool {
        self.reconciler.as_ref().is_some_and(Reconciler::is_removed)
    }

    /// Notes that the index has no entry for the registration.
    pub(super) const fn on_index_removed(&mut self) {
        self.is_indexed = false;
    }

    /// Notes that the index has an entry for the registration.
    pub(super) fn on_indexed(&mut self, context: &mut Context<'_>) {
        self.is_indexed = true;
        self.drive(context);
    }

    /// Updates the services that are down, of those that the registration depends on.
    pub(super) fn review_dependencies<F>(&mut self, down: F, now: Time, rng: &mut Rng)
    where
        F: Fn(&[String]) -> Vec<String>,
    {
        let down = self.desired.review_dependencies(down, now, rng);
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.on_dependencies_down(down);
        }
    }

    /// Loads the lease, and reconciles the registration if this VM leads.
    pub(super) fn on_tick(&mut self, rank: Rank, is_oldest: bool, context: &mut Context<'_>) {
        let purpose = LeaseLoad::Check { rank, is_oldest };
        context.load(Load::RegistrationLease(self.key, purpose));
    }

    /// Releases the lease, because this configuration is being replaced.
    pub(super) fn leave(&mut self, context: &mut Context<'_>) {
        context.load(Load::RegistrationLease(self.key, LeaseLoad::Leave));
    }

    /// Takes the lease as it stands. An unreadable lease counts as absent.
    pub(super) fn on_lease(
        &mut self,
        purpose: LeaseLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        let (bytes, cas) = value.unzip();
        let record = bytes.and_then(|bytes| RegistrationLease::decode(bytes).ok());
        let expect = cas.into();
        match purpose {
            LeaseLoad::Leave => self.release_lease(record, expect, context),
            LeaseLoad::Check { rank, is_oldest } => {
                self.observed.on_look(cas, context.awake);
                if !self.is_leading() {
                    let is_same = |it: RegistrationLease| it.digest == self.digest && it.is_kept;
                    self.is_handed_over = record.is_some_and(is_same);
                }
                match self.decide_lease(record, cas, rank, is_oldest, context.awake) {
                    LeaseAction::Follow => {}
                    LeaseAction::Lead => self.drive(context),
                    LeaseAction::Renew(term) => {
                        self.store(LeaseStore::Renewal, term, rank, expect, context)
                    }
                    LeaseAction::Claim(term, _) => {
                        self.store(LeaseStore::Claim, term, rank, expect, context)
                    }
                    LeaseAction::Deposed => self.depose(record, context),
                }
            }
        }
    }

    /// Takes the result of a store of the lease.
    pub(super) fn on_lease_stored(
        &mut self,
        purpose: LeaseStore,
        written: bool,
        context: &mut Context<'_>,
    ) {
        match purpose {
            LeaseStore::Claim => {
                self.lease.on_claimed(written, context.awake);
                if self.is_leading() {
                    self.is_indexed = false;
                    self.has_been_current = true;
                    let term = self.lease.term().unwrap_or_default();
                    let is_handed_over = self.is_handed_over;
                    let began = Reconciler::new(&self.desired, term, is_handed_over, context.now);
                    self.reconciler = Some(began);
                    if !self.is_removal() {
                        self.emit(RegistrationEvent::Keeping, context);
                    }
                }
            }
            LeaseStore::Renewal if written => self.drive(context),
            LeaseStore::Renewal => self.depose(None, context),
            LeaseStore::Leave => {}
        }
    }

    /// Takes the response to a call.
    pub(super) fn on_response(
        &mut self,
        call: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
        context: &mut Context<'_>,
    ) {
        self.on_call_ended(call, response, context);
        self.drive(context);
    }

    /// Takes the result of a probe.
    pub(super) fn on_probed(&mut self, probed: &ProbeResult<'_>, context: &mut Context<'_>) {
        let Some(reconciler) = &mut self.reconciler else { return };
        let mut events = Vec::new();
        reconciler.on_probed(probed, context.now, context.rng, &mut events);
        events.into_iter().for_each(|event| self.emit(event, context));
        self.drive(context);
    }

    /// Starts the probes and the call that are due, as far as the scheduler admits them.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        let may_drive = self.is_indexed || self.is_removal();
        let Some(reconciler) = self.reconciler.as_mut().filter(|_| may_drive) else { return };
        if let Some(lost) = reconciler.poll_lost(context.now) {
            self.on_call_ended(lost, Err(CallFailure::Lost), context);
        }
        let Some(reconciler) = &mut self.reconciler else { return };
        while let Some(probing) = reconciler.poll_probe(context.now, context.rng) {
            let (target, number) = (probing.target, probing.number);
            let id = ProbeId { registration: self.registration, target, number };
            context.out.push_back(Command::Probe { id, probe: Rc::new(probing.probe) });
        }
        let Some(call) = reconciler.next_call(context.now) else { return };
        let class = if reconciler.is_failing_at(call) { CallClass::Retry } else { CallClass::Read };
        let caller = self.registration;
        let permit =
            context.calls.admit(caller, &self.datacenter, CallKind::Read(class), context.now);
        let Some(permit) = permit else { return };
        let (call, request) = reconciler.start(call, context.now);
        let call = CallId::Agent { registration: self.registration, call };
        if permit == Permit::Probe {
            let lost = context.now + request.timeout + GRACE;
            context.calls.on_probe(caller, call, &self.datacenter, lost, context.now);
        }
        context.out.push_back(Command::Call { call, request });
    }

    fn on_call_ended(
        &mut self,
        call: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
        context: &mut Context<'_>,
    ) {
        let Some(reconciler) = &mut self.reconciler else { return };
        let mut events = Vec::new();
        let called = reconciler.on_response(call, response, context.now, context.rng, &mut events);
        if let Some(called) = called {
            let id = CallId::Agent { registration: self.registration, call };
            let Context { calls, now, rng, .. } = context;
            calls.on_outcome(self.registration, id, &self.datacenter, called, *now, rng);
            self.emit(RegistrationEvent::Called(called), context);
        }
        events.into_iter().for_each(|event| self.emit(event, context));
    }

    fn decide_lease(
        &mut self,
        record: Option<RegistrationLease>,
        cas: Option<Cas>,
        rank: Rank,
        is_oldest: bool,
        now: Time,
    ) -> LeaseAction {
        let has_lasted = |least| self.observed.has_lasted(least, LOOKS, now);
        let is_abandoned = has_lasted(ABANDONED);
        let is_foreign = record.is_some_and(|record| record.digest != self.digest);
        let is_left = record.is_none_or(|record| record.is_left());
        let is_newer = !self.has_been_current && is_oldest && !self.is_removal();
        let may_claim = match (self.is_removal(), is_left) {
            _ if self.is_leading() => true,
            (true, true) => has_lasted(self.relation.claim_delay(is_oldest)),
            (true, false) => !is_foreign || is_abandoned,
            (false, true) => true,
            (false, false) => !is_foreign || is_newer || is_abandoned,
        };
        match record {
            _ if !may_claim => LeaseAction::Follow,
            Some(record) if is_foreign && !self.is_leading() => {
                self.lease.supersede(record.holder, rank)
            }
            _ => {
                self.has_been_current |= record.is_some() && !is_foreign;
                self.lease.on_holder(record.map(|record| record.holder).zip(cas), rank, now)
            }
        }
    }

    /// Stops leading, because another VM has the lease.
    fn depose(&mut self, record: Option<RegistrationLease>, context: &mut Context<'_>) {
        self.stop(context);
        if !self.is_removal() {
            let is_foreign = record.is_some_and(|record| record.digest != self.digest);
            self.emit(RegistrationEvent::deposed(is_foreign), context);
        }
    }

    fn release_lease(
        &mut self,
        record: Option<RegistrationLease>,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        if let Some(term) = self.lease.term()
            && record.is_some_and(|record| self.lease.is_mine(record.holder, term))
        {
            self.store(LeaseStore::Leave, term, Rank::RELEASED, expect, context);
            if !self.is_removal() {
                self.emit(RegistrationEvent::GivenUp, context);
            }
        }
        self.stop(context);
    }

    fn stop(&mut self, context: &mut Context<'_>) {
        context.calls.forget(self.registration, context.now);
        self.lease = Lease::new(self.me);
        self.reconciler = None;
    }

    fn store(
        &mut self,
        purpose: LeaseStore,
        term: Term,
        rank: Rank,
        expect: Expect,
        context: &mut Context<'_>,
    ) {
        let holder = Holder { owner: self.me, term, rank };
        let is_kept = match purpose {
            LeaseStore::Claim => self.is_handed_over,
            LeaseStore::Renewal | LeaseStore::Leave => {
                self.reconciler.as_ref().is_some_and(Reconciler::is_registered_since_start)
            }
        };
        let record = RegistrationLease { holder, digest: self.digest, is_kept };
        let store = Store::RegistrationLease(self.key, purpose);
        context.store(store, record.encode(), expect);
    }

    fn emit(&self, event: RegistrationEvent, context: &mut Context<'_>) {
        let registration = self.registration;
        context.emit(TelemetryEvent::Registration { registration, event });
    }
}
