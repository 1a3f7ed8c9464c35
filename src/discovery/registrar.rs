//! One registration, as one VM sees it: who keeps it, and what that one does.
//!
//! As a source has a [lease](crate::discovery::lease), so has a registration, in its
//! [`Charge`]. It also says what is registered, since a listener that is updated has two
//! configurations at work for a while, and both may register the same id: then the newer one does.

use std::rc::Rc;

use crate::config;
use crate::consul::registration::{Definition, Id};
use crate::consul::response::{CallFailure, Response};
use crate::discovery::caller::CallId;
use crate::discovery::circuit::{Datacenter, OF_THE_AGENT};
use crate::discovery::event::{Command, Expect, ProbeId};
use crate::discovery::gate::{Pass, Want};
use crate::discovery::lease::{Lease, Verdict};
use crate::discovery::line::Lane;
use crate::discovery::scope::Scope;
use crate::discovery::silence::Silence;
use crate::model::registration::RegistrationId;
use crate::model::service::QueryKey;
use crate::registration::errand::ErrandId;
use crate::registration::notice::Notice;
use crate::registration::probing::Probed;
use crate::rng::Rng;
use crate::shared::charge::Charge;
use crate::shared::head::{Rank, Tenure, Term};
use crate::shared::key::{Cas, Key, VmId};
use crate::time::Time;

use self::duty::Duty;
use self::kinship::{ABANDONED, Kinship};

mod duty;
pub(super) mod kinship;

/// So often it must have been looked at in that time.
const LOOKS: u32 = 20;

/// One registration, as one VM sees it.
#[derive(Debug)]
pub(super) struct Registrar {
    registration: RegistrationId,
    me: VmId,
    datacenter: Datacenter,
    key: QueryKey,
    digest: QueryKey,
    lease: Lease,
    duty: Duty,
    /// Whether this configuration has ever been the one that registers.
    has_been_current: bool,
    silence: Silence,
    look: Look,
    write: Write,
    /// Whether the book has an entry of it.
    is_entered: bool,
    /// Whether another VM kept exactly this before, as the charge that is claimed says, and had
    /// registered it.
    is_handed_over: bool,
    kinship: Kinship,
}

/// Why the charge was asked for.
#[derive(Debug, Clone, Copy)]
enum Look {
    Check { rank: Rank, is_first_born: bool },
    Leave,
}

/// Why the charge was written.
#[derive(Debug, Clone, Copy)]
enum Write {
    Claim,
    Renewal,
    Leave,
}

impl Registrar {
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
        /// Whoever removes registers nothing: what no definition hashes to, for all practical
        /// purposes.
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
            silence: Silence::default(),
            look: Look::Leave,
            write: Write::Leave,
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
        self.is_removal() || self.lease.is_settled() && (!self.is_leading() || self.duty.stands())
    }

    /// Whether the book is to get an entry of it.
    pub(super) const fn wants_entry(&self) -> bool {
        self.is_leading() && !self.is_removal() && !self.is_entered
    }

    /// Whether its entry in the book is to go.
    pub(super) fn wants_no_entry(&self) -> bool {
        self.is_leading() && self.duty.is_removed()
    }

    /// Learns that the book has no entry of it any more: it is to get one again.
    pub(super) const fn on_struck(&mut self) {
        self.is_entered = false;
    }

    /// Learns that the book has an entry of it.
    pub(super) fn on_entered(&mut self, scope: &mut Scope<'_>) {
        self.is_entered = true;
        self.work(scope);
    }

    /// Learns which services are down, of those that it depends on.
    pub(super) fn review_dependencies(
        &mut self,
        down: impl Fn(&[String]) -> Vec<String>,
        now: Time,
        rng: &mut Rng,
    ) {
        self.duty.review_dependencies(down, now, rng);
    }

    /// Looks after the lease, and what is to be done under it.
    pub(super) fn on_tick(&mut self, rank: Rank, is_first_born: bool, scope: &mut Scope<'_>) {
        self.look = Look::Check { rank, is_first_born };
        scope.load(Key::Charge(self.key));
    }

    /// Gives the charge away: this configuration is in use no longer.
    pub(super) fn leave(&mut self, scope: &mut Scope<'_>) {
        self.look = Look::Leave;
        scope.load(Key::Charge(self.key));
    }

    /// Takes the charge as it stands. One that cannot be read is as good as none.
    pub(super) fn on_charge(&mut self, value: Option<(&[u8], Cas)>, scope: &mut Scope<'_>) {
        let cas = value.map(|(_, cas)| cas);
        let charge = value.and_then(|(bytes, _)| Charge::decode(bytes).ok());
        let expect = cas.map_or(Expect::Absent, Expect::Unchanged);
        match self.look {
            Look::Leave => self.give_away(charge, expect, scope),
            Look::Check { rank, is_first_born } => {
                self.silence.on_look(cas, scope.awake);
                if !self.is_leading() {
                    let is_same = |it: Charge| it.digest == self.digest && it.is_kept;
                    self.is_handed_over = charge.is_some_and(is_same);
                }
                match self.judge(charge, cas, rank, is_first_born, scope.awake) {
                    Verdict::Follow => {}
                    Verdict::Lead => self.work(scope),
                    Verdict::Renew(term) => self.store(Write::Renewal, term, rank, expect, scope),
                    Verdict::Claim(term, _) => self.store(Write::Claim, term, rank, expect, scope),
                    Verdict::Deposed => self.depose(charge, scope),
                }
            }
        }
    }

    /// Learns whether the charge was written.
    pub(super) fn on_charge_stored(&mut self, written: bool, scope: &mut Scope<'_>) {
        match self.write {
            Write::Claim => {
                self.lease.on_claimed(written, scope.awake);
                let known = self.is_handed_over;
                if self.is_leading() {
                    self.is_entered = false;
                    self.has_been_current = true;
                    self.duty.begin(self.lease.term().unwrap_or_default(), known, scope.now);
                    if !self.is_removal() {
                        self.notice(Notice::Keeping, scope);
                    }
                }
            }
            Write::Renewal if written => self.work(scope),
            Write::Renewal => self.depose(None, scope),
            Write::Leave => {}
        }
    }

    /// Takes the answer to a call.
    pub(super) fn on_answer(
        &mut self,
        errand: ErrandId,
        answer: Result<Response<'_>, CallFailure>,
        scope: &mut Scope<'_>,
    ) {
        self.take_answer(errand, answer, scope);
        self.work(scope);
    }

    /// Takes what came back for a probe.
    pub(super) fn on_probed(&mut self, probed: &Probed<'_>, scope: &mut Scope<'_>) {
        let mut notices = Vec::new();
        self.duty.on_probed(probed, scope.now, scope.rng, &mut notices);
        notices.into_iter().for_each(|notice| self.notice(notice, scope));
        self.work(scope);
    }

    /// Asks what is due, as far as the gate lets it.
    pub(super) fn work(&mut self, scope: &mut Scope<'_>) {
        if !self.is_leading() || !(self.is_entered || self.is_removal()) {
            return;
        }
        if let Some(lost) = self.duty.poll_lost(scope.now) {
            self.take_answer(lost, Err(CallFailure::Lost), scope);
        }
        while let Some(probing) = self.duty.poll_probe(scope.now, scope.rng) {
            let (spot, number) = (probing.spot, probing.number);
            let id = ProbeId { registration: self.registration, spot, number };
            scope.out.push_back(Command::Examine { id, probe: Rc::new(probing.probe) });
        }
        let Some(errand) = self.duty.wants(scope.now) else { return };
        let lane = if self.duty.is_failing_at(errand) { Lane::Retry } else { Lane::Read };
        let caller = self.registration;
        let pass = scope.gate.admit(caller, &self.datacenter, Want::Read(lane), scope.now);
        let Some(pass) = pass else { return };
        let Some((errand, request)) = self.duty.call(errand, scope.now) else { return };
        let call = CallId::Errand { registration: self.registration, errand };
        let cluster = self.duty.cluster().map(Box::from);
        if pass == Pass::Probe {
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
        errand: ErrandId,
        answer: Result<Response<'_>, CallFailure>,
        scope: &mut Scope<'_>,
    ) {
        let mut notices = Vec::new();
        let called = self.duty.on_answer(errand, answer, scope.now, scope.rng, &mut notices);
        if let Some(called) = called {
            let call = CallId::Errand { registration: self.registration, errand };
            let Scope { gate, now, rng, .. } = scope;
            gate.on_outcome(self.registration, call, &self.datacenter, called, *now, rng);
            self.notice(Notice::Called(called), scope);
        }
        notices.into_iter().for_each(|notice| self.notice(notice, scope));
    }

    fn judge(
        &mut self,
        charge: Option<Charge>,
        cas: Option<Cas>,
        rank: Rank,
        is_first_born: bool,
        now: Time,
    ) -> Verdict {
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
            _ if !may_claim => Verdict::Follow,
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
    fn depose(&mut self, charge: Option<Charge>, scope: &mut Scope<'_>) {
        scope.gate.forget(self.registration, scope.now);
        self.lease = Lease::new(self.me);
        self.duty.end();
        if !self.is_removal() {
            let is_foreign = charge.is_some_and(|charge| charge.digest != self.digest);
            let notice = if is_foreign { Notice::Superseded } else { Notice::Left };
            self.notice(notice, scope);
        }
    }

    fn give_away(&mut self, charge: Option<Charge>, expect: Expect, scope: &mut Scope<'_>) {
        let term = self.lease.term();
        let is_ours =
            |charge: &Charge| charge.tenure.owner == self.me && Some(charge.tenure.term) == term;
        if charge.is_some_and(|charge| is_ours(&charge))
            && let Some(term) = term
        {
            self.store(Write::Leave, term, Rank::LEAVING, expect, scope);
            if !self.is_removal() {
                self.notice(Notice::GivenUp, scope);
            }
        }
        scope.gate.forget(self.registration, scope.now);
        self.lease = Lease::new(self.me);
        self.duty.end();
    }

    fn store(
        &mut self,
        write: Write,
        term: Term,
        rank: Rank,
        expect: Expect,
        scope: &mut Scope<'_>,
    ) {
        self.write = write;
        let tenure = Tenure { owner: self.me, term, rank };
        let is_kept = match self.write {
            Write::Claim => self.is_handed_over,
            Write::Renewal | Write::Leave => self.duty.is_sure(),
        };
        let charge = Charge { tenure, digest: self.digest, is_kept };
        scope.store(Key::Charge(self.key), charge.encode(), expect);
    }

    fn notice(&self, notice: Notice, scope: &mut Scope<'_>) {
        let registration = self.registration;
        scope.out.push_back(Command::Registration { registration, notice });
    }
}
