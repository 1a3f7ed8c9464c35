//! One registration, as one VM sees it, under a [lease](crate::election::lease) of its own.
//!
//! The [`RegistrationLease`] says what is registered, too: while a listener is updated, two
//! configurations are at work, and of those that register one id the newer one does.

use std::rc::Rc;

use self::duty::Duty;
use self::kinship::{ABANDONED, Kinship};
use crate::calls::caller::{AgentCallId, CallId};
use crate::calls::circuit::{Datacenter, OF_THE_AGENT};
use crate::calls::scheduler::{CallKind, Permit};
use crate::calls::wait_queue::CallClass;
use crate::config;
use crate::consul::registration::{Definition, Id};
use crate::consul::response::{CallFailure, Response};
use crate::discovery::context::Context;
use crate::discovery::event::{Command, Expect, ProbeId};
use crate::election::lease::{Lease, LeaseAction};
use crate::election::observed_since::ObservedSince;
use crate::model::registration::RegistrationId;
use crate::model::service::QueryKey;
use crate::registration::probe::ProbeResult;
use crate::registration::registration_event::RegistrationEvent;
use crate::shared::key::{Cas, SharedKey, VmId};
use crate::shared::registration_lease::RegistrationLease;
use crate::shared::source_record::{Holder, Rank, Term};
use crate::util::rng::Rng;
use crate::util::time::Time;

mod duty;
pub(super) mod kinship;

/// So often it must have been looked at in that time.
const LOOKS: u32 = 20;

/// One registration, as one VM sees it.
#[derive(Debug)]
pub(super) struct Controller {
    registration: RegistrationId,
    me: VmId,
    datacenter: Datacenter,
    key: QueryKey,
    digest: QueryKey,
    lease: Lease,
    duty: Duty,
    /// This configuration has been the one that registers.
    has_been_current: bool,
    silence: ObservedSince,
    look: Load,
    write: Store,
    /// Whether the book has an entry of it.
    is_entered: bool,
    /// Another VM had registered exactly this, as the claimed lease says.
    is_handed_over: bool,
    kinship: Kinship,
}

/// Why the charge was asked for.
#[derive(Debug, Clone, Copy)]
enum Load {
    Check { rank: Rank, is_first_born: bool },
    Leave,
}

/// Why the charge was written.
#[derive(Debug, Clone, Copy)]
enum Store {
    Claim,
    Renewal,
    Leave,
}

impl Controller {
    /// Is to keep a registration.
    pub(super) fn keeping(
        registration: RegistrationId,
        me: VmId,
        consul: &config::Consul,
        service: &config::Registration,
    ) -> Self {
        let definition = Definition::new(consul, service);
        let (key, digest) = (definition.id.key(), definition.digest());
        let duty = Duty::keep(definition);
        Self::new(registration, me, (key, digest), duty)
    }

    /// Is to remove what an earlier configuration has registered.
    pub(super) fn removing(
        registration: RegistrationId,
        me: VmId,
        consul: &config::Consul,
        id: Id,
    ) -> Self {
        /// The digest of no definition, for all practical purposes.
        const NOTHING: QueryKey = QueryKey(0);
        let key = id.key();
        let duty = Duty::remove(id, consul);
        Self::new(registration, me, (key, NOTHING), duty)
    }

    fn new(
        registration: RegistrationId,
        me: VmId,
        (key, digest): (QueryKey, QueryKey),
        duty: Duty,
    ) -> Self {
        Self {
            registration,
            me,
            datacenter: Some(OF_THE_AGENT.into()),
            key,
            digest,
            lease: Lease::new(me),
            duty,
            has_been_current: false,
            silence: ObservedSince::default(),
            look: Load::Leave,
            write: Store::Leave,
            is_entered: false,
            is_handed_over: false,
            kinship: Kinship::Own,
        }
    }

    /// The key of its charge.
    pub(super) const fn key(&self) -> QueryKey {
        self.key
    }

    /// What identifies it at the agent.
    pub(super) fn id(&self) -> &Id {
        self.duty.id()
    }

    /// Whether it is to be removed.
    pub(super) const fn is_removal(&self) -> bool {
        self.duty.is_removal()
    }

    /// Whether this VM keeps it, or removes it.
    pub(super) const fn is_leading(&self) -> bool {
        self.lease.term().is_some()
    }

    /// Learns of an orphan how it is related to what this configuration registers.
    pub(super) fn on_kinship(&mut self, kinship: Kinship) {
        self.kinship = kinship;
        self.duty.on_wanted(kinship == Kinship::Wanted);
    }

    /// Whether it is known who keeps it, and that it stands where this VM does.
    pub(super) fn is_settled(&self) -> bool {
        let is_done = !self.is_leading() || self.duty.is_in_sync();
        self.is_removal() || self.lease.is_settled() && is_done
    }

    /// Whether the book is to get an entry of it.
    pub(super) const fn needs_index_entry(&self) -> bool {
        self.is_leading() && !self.is_removal() && !self.is_entered
    }

    /// Whether its entry in the book is to go.
    pub(super) fn needs_no_index_entry(&self) -> bool {
        self.is_leading() && self.duty.is_removed()
    }

    /// Learns that the book has no entry of it any more: it is to get one again.
    pub(super) const fn on_index_removed(&mut self) {
        self.is_entered = false;
    }

    /// Learns that the book has an entry of it.
    pub(super) fn on_indexed(&mut self, scope: &mut Context<'_>) {
        self.is_entered = true;
        self.drive(scope);
    }

    /// Learns which services are down, of those that it depends on.
    pub(super) fn review_dependencies<F>(&mut self, down: F, now: Time, rng: &mut Rng)
    where
        F: Fn(&[String]) -> Vec<String>,
    {
        self.duty.review_dependencies(down, now, rng);
    }

    /// Looks after the lease, and what is to be done under it.
    pub(super) fn on_tick(&mut self, rank: Rank, is_first_born: bool, scope: &mut Context<'_>) {
        self.look = Load::Check { rank, is_first_born };
        scope.load(SharedKey::Charge(self.key));
    }

    /// Gives the charge away: this configuration is in use no longer.
    pub(super) fn leave(&mut self, scope: &mut Context<'_>) {
        self.look = Load::Leave;
        scope.load(SharedKey::Charge(self.key));
    }

    /// Takes the charge as it stands. One that cannot be read is as good as none.
    pub(super) fn on_lease(&mut self, value: Option<(&[u8], Cas)>, scope: &mut Context<'_>) {
        let (bytes, cas) = value.unzip();
        let charge = bytes.and_then(|bytes| RegistrationLease::decode(bytes).ok());
        let expect = cas.map_or(Expect::Absent, Expect::Unchanged);
        match self.look {
            Load::Leave => self.release_lease(charge, expect, scope),
            Load::Check { rank, is_first_born } => {
                self.silence.on_look(cas, scope.awake);
                if !self.is_leading() {
                    let is_same = |it: RegistrationLease| it.digest == self.digest && it.is_kept;
                    self.is_handed_over = charge.is_some_and(is_same);
                }
                match self.decide_lease(charge, cas, rank, is_first_born, scope.awake) {
                    LeaseAction::Follow => {}
                    LeaseAction::Lead => self.drive(scope),
                    LeaseAction::Renew(term) => {
                        self.store(Store::Renewal, term, rank, expect, scope)
                    }
                    LeaseAction::Claim(term, _) => {
                        self.store(Store::Claim, term, rank, expect, scope)
                    }
                    LeaseAction::Deposed => self.depose(charge, scope),
                }
            }
        }
    }

    /// Learns whether the charge was written.
    pub(super) fn on_lease_stored(&mut self, written: bool, scope: &mut Context<'_>) {
        match self.write {
            Store::Claim => {
                self.lease.on_claimed(written, scope.awake);
                if self.is_leading() {
                    self.is_entered = false;
                    self.has_been_current = true;
                    let term = self.lease.term().unwrap_or_default();
                    self.duty.begin(term, self.is_handed_over, scope.now);
                    if !self.is_removal() {
                        self.notice(RegistrationEvent::Keeping, scope);
                    }
                }
            }
            Store::Renewal if written => self.drive(scope),
            Store::Renewal => self.depose(None, scope),
            Store::Leave => {}
        }
    }

    /// Takes the answer to a call.
    pub(super) fn on_response(
        &mut self,
        errand: AgentCallId,
        answer: Result<Response<'_>, CallFailure>,
        scope: &mut Context<'_>,
    ) {
        self.take_answer(errand, answer, scope);
        self.drive(scope);
    }

    /// Takes what came back for a probe.
    pub(super) fn on_probed(&mut self, probed: &ProbeResult<'_>, scope: &mut Context<'_>) {
        let mut notices = Vec::new();
        self.duty.on_probed(probed, scope.now, scope.rng, &mut notices);
        notices.into_iter().for_each(|notice| self.notice(notice, scope));
        self.drive(scope);
    }

    /// Asks what is due, as far as the gate lets it.
    pub(super) fn drive(&mut self, scope: &mut Context<'_>) {
        if !self.is_leading() || !(self.is_entered || self.is_removal()) {
            return;
        }
        if let Some(lost) = self.duty.poll_lost(scope.now) {
            self.take_answer(lost, Err(CallFailure::Lost), scope);
        }
        while let Some(probing) = self.duty.poll_probe(scope.now, scope.rng) {
            let (spot, number) = (probing.spot, probing.number);
            let id = ProbeId { registration: self.registration, spot, number };
            scope.out.push_back(Command::Probe { id, probe: Rc::new(probing.probe) });
        }
        let Some(errand) = self.duty.next_call(scope.now) else { return };
        let lane = if self.duty.is_failing_at(errand) { CallClass::Retry } else { CallClass::Read };
        let caller = self.registration;
        let pass = scope.gate.admit(caller, &self.datacenter, CallKind::Read(lane), scope.now);
        let Some(pass) = pass else { return };
        let Some((errand, request)) = self.duty.start(errand, scope.now) else { return };
        let call = CallId::Errand { registration: self.registration, errand };
        let cluster = self.duty.cluster().map(Box::from);
        if pass == Permit::Probe {
            let lost = self.duty.lost_at(scope.now + request.timeout);
            scope.gate.on_probe(caller, call, &self.datacenter, lost, scope.now);
        }
        scope.out.push_back(match cluster {
            Some(cluster) => Command::CallBy { cluster, call, request },
            None => Command::Call { call, request },
        });
    }

    fn take_answer(
        &mut self,
        errand: AgentCallId,
        answer: Result<Response<'_>, CallFailure>,
        scope: &mut Context<'_>,
    ) {
        let mut notices = Vec::new();
        let called = self.duty.on_response(errand, answer, scope.now, scope.rng, &mut notices);
        if let Some(called) = called {
            let call = CallId::Errand { registration: self.registration, errand };
            let Context { gate, now, rng, .. } = scope;
            gate.on_outcome(self.registration, call, &self.datacenter, called, *now, rng);
            self.notice(RegistrationEvent::Called(called), scope);
        }
        notices.into_iter().for_each(|notice| self.notice(notice, scope));
    }

    fn decide_lease(
        &mut self,
        charge: Option<RegistrationLease>,
        cas: Option<Cas>,
        rank: Rank,
        is_first_born: bool,
        now: Time,
    ) -> LeaseAction {
        let has_lasted = |patience| self.silence.has_lasted(patience, LOOKS, now);
        let is_abandoned = has_lasted(ABANDONED);
        let is_foreign = charge.is_some_and(|charge| charge.digest != self.digest);
        let is_left = charge.is_none_or(|charge| charge.is_left());
        let is_newer = !self.has_been_current && is_first_born && !self.is_removal();
        let may_claim = match (self.is_removal(), is_left) {
            _ if self.is_leading() => true,
            (true, true) => has_lasted(self.kinship.patience(is_first_born)),
            (true, false) => !is_foreign || is_abandoned,
            (false, true) => true,
            (false, false) => !is_foreign || is_newer || is_abandoned,
        };
        match charge {
            _ if !may_claim => LeaseAction::Follow,
            Some(charge) if is_foreign && !self.is_leading() => {
                self.lease.supersede(charge.tenure, rank)
            }
            _ => {
                self.has_been_current |= charge.is_some() && !is_foreign;
                self.lease.on_head(charge.map(|charge| charge.tenure).zip(cas), rank, now)
            }
        }
    }

    /// Stops, for another VM has the charge.
    fn depose(&mut self, charge: Option<RegistrationLease>, scope: &mut Context<'_>) {
        scope.gate.forget(self.registration, scope.now);
        self.lease = Lease::new(self.me);
        self.duty.end();
        if !self.is_removal() {
            let is_foreign = charge.is_some_and(|charge| charge.digest != self.digest);
            self.notice(RegistrationEvent::deposed(is_foreign), scope);
        }
    }

    fn release_lease(
        &mut self,
        charge: Option<RegistrationLease>,
        expect: Expect,
        scope: &mut Context<'_>,
    ) {
        let is_ours = |holder: Holder, term| holder.owner == self.me && holder.term == term;
        if let Some(term) = self.lease.term()
            && charge.is_some_and(|charge| is_ours(charge.tenure, term))
        {
            self.store(Store::Leave, term, Rank::LEAVING, expect, scope);
            if !self.is_removal() {
                self.notice(RegistrationEvent::GivenUp, scope);
            }
        }
        scope.gate.forget(self.registration, scope.now);
        self.lease = Lease::new(self.me);
        self.duty.end();
    }

    fn store(
        &mut self,
        write: Store,
        term: Term,
        rank: Rank,
        expect: Expect,
        scope: &mut Context<'_>,
    ) {
        self.write = write;
        let tenure = Holder { owner: self.me, term, rank };
        let is_kept = match self.write {
            Store::Claim => self.is_handed_over,
            Store::Renewal | Store::Leave => self.duty.is_registered_since_start(),
        };
        let charge = RegistrationLease { tenure, digest: self.digest, is_kept };
        scope.store(SharedKey::Charge(self.key), charge.encode(), expect);
    }

    fn notice(&self, notice: RegistrationEvent, scope: &mut Context<'_>) {
        let registration = self.registration;
        scope.out.push_back(Command::Registration { registration, notice });
    }
}
