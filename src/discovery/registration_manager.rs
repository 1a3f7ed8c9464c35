//! All registrations of one VM: those of its configuration, and those that an earlier one has left
//! behind.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::AgentCallId;
use crate::config;
use crate::consul::registration::Id;
use crate::consul::response::{CallFailure, Response};
use crate::discovery::context::Context;
use crate::discovery::event::{Command, Expect};
use crate::discovery::registration_controller::Controller;
use crate::discovery::registration_controller::kinship::Kinship;
use crate::model::registration::RegistrationId;
use crate::model::service::QueryKey;
use crate::model::slot_map::SlotMap;
use crate::registration::probe::ProbeResult;
use crate::shared::key::{Cas, SharedKey, VmId};
use crate::shared::registration_index::RegistrationIndex;
use crate::shared::source_record::Rank;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// How often the book is looked at for what nobody wants any more.
const INTERVAL: Duration = Duration::from_secs(5);

/// All registrations of one VM.
#[derive(Debug)]
pub(super) struct RegistrationManager {
    me: VmId,
    consul: config::Consul,
    registrars: SlotMap<RegistrationId, Controller>,
    /// Which registration a charge belongs to.
    charges: HashMap<QueryKey, RegistrationId>,
    /// Registrations that are nobody's any more; forgotten once what follows from that is carried
    /// out.
    retired: Vec<RegistrationId>,
    next_look: Time,
}

impl RegistrationManager {
    /// Starts with nothing to register.
    pub(super) fn new(me: VmId, consul: &config::Consul) -> Self {
        Self {
            me,
            consul: consul.clone(),
            registrars: SlotMap::new(),
            charges: HashMap::new(),
            retired: Vec::new(),
            next_look: Time::ZERO,
        }
    }

    /// Takes the registrations of a complete configuration, in their order.
    pub(super) fn keep(&mut self, registrations: &[config::Registration]) {
        let Self { me, consul, .. } = self;
        let (me, consul) = (*me, consul.clone());
        for service in registrations {
            self.add(|registration| Controller::keeping(registration, me, &consul, service));
        }
    }

    /// Whether this VM keeps any of them.
    pub(super) fn is_leading(&self) -> bool {
        self.registrars.values().any(Controller::is_leading)
    }

    /// Whether it is known of each who keeps it, and that those stand that this VM keeps.
    pub(super) fn is_settled(&self) -> bool {
        self.registrars.values().all(Controller::is_settled)
    }

    /// Looks after all of them.
    pub(super) fn on_tick(&mut self, rank: Rank, is_first_born: bool, scope: &mut Context<'_>) {
        for (_, registrar) in self.registrars.iter_mut() {
            registrar.on_tick(rank, is_first_born, scope);
        }
        let mut registrars = self.registrars.values();
        let is_wanted = registrars.any(|it| it.needs_index_entry() || it.needs_no_index_entry());
        let is_due = scope.now >= self.next_look;
        if is_due {
            self.next_look = scope.now + INTERVAL;
        }
        if is_wanted || is_due {
            scope.load(SharedKey::Book);
        }
    }

    /// Gives all of them away.
    pub(super) fn leave(&mut self, scope: &mut Context<'_>) {
        self.registrars.iter_mut().for_each(|(_, registrar)| registrar.leave(scope));
    }

    /// Forgets what is nobody's any more.
    pub(super) fn forget_retired(&mut self) {
        for registration in self.retired.drain(..) {
            if let Some(registrar) = self.registrars.remove(registration) {
                self.charges.remove(&registrar.key());
            }
        }
    }

    /// Lets one ask whose turn has come.
    pub(super) fn on_ready(&mut self, registration: RegistrationId, scope: &mut Context<'_>) {
        if let Some(registrar) = self.registrars.get_mut(registration) {
            registrar.drive(scope);
        }
    }

    /// Learns which services are down, of those that its registrations depend on.
    pub(super) fn review_dependencies(
        &mut self,
        down: impl Fn(&[String]) -> Vec<String>,
        now: Time,
        rng: &mut Rng,
    ) {
        self.registrars.iter_mut().for_each(|(_, it)| it.review_dependencies(&down, now, rng));
    }

    /// Takes a charge as it stands.
    pub(super) fn on_lease(
        &mut self,
        key: QueryKey,
        value: Option<(&[u8], Cas)>,
        scope: &mut Context<'_>,
    ) {
        if let Some(registrar) = self.of(key) {
            registrar.on_lease(value, scope);
        }
    }

    /// Learns whether a charge was written.
    pub(super) fn on_lease_stored(
        &mut self,
        key: QueryKey,
        written: bool,
        scope: &mut Context<'_>,
    ) {
        if let Some(registrar) = self.of(key) {
            registrar.on_lease_stored(written, scope);
        }
    }

    /// Takes the answer to a call.
    pub(super) fn on_response(
        &mut self,
        registration: RegistrationId,
        errand: AgentCallId,
        answer: Result<Response<'_>, CallFailure>,
        scope: &mut Context<'_>,
    ) {
        if let Some(registrar) = self.registrars.get_mut(registration) {
            registrar.on_response(errand, answer, scope);
            // What is removed is to go from the book at once.
            if registrar.needs_no_index_entry() {
                scope.load(SharedKey::Book);
            }
        }
    }

    /// Takes what came back for a probe.
    pub(super) fn on_probed(
        &mut self,
        registration: RegistrationId,
        probed: &ProbeResult<'_>,
        scope: &mut Context<'_>,
    ) {
        if let Some(registrar) = self.registrars.get_mut(registration) {
            registrar.on_probed(probed, scope);
        }
    }

    /// Takes the book as it stands: writes into it what is to be registered, and strikes out what
    /// is deregistered. One that cannot be read is as good as an empty one.
    pub(super) fn on_index(&mut self, value: Option<(&[u8], Cas)>, scope: &mut Context<'_>) {
        let book =
            value.and_then(|(bytes, _)| RegistrationIndex::decode(bytes).ok()).unwrap_or_default();
        for (_, registrar) in self.registrars.iter_mut() {
            if !book.contains(registrar.id()) {
                registrar.on_index_removed();
            }
        }
        self.adopt_orphans(&book, scope);
        let mut better = book.clone();
        for registrar in self.registrars.values() {
            if registrar.needs_index_entry() {
                better.add(registrar.id().clone());
            }
            if registrar.needs_no_index_entry() {
                better.remove(registrar.id());
            }
        }
        if better == book {
            return self.on_current(&book, scope);
        }
        let expect = value.map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(cas));
        scope.store(SharedKey::Book, better.encode(), expect);
    }

    /// Learns whether the book was written: what it says now is looked at in any case.
    pub(super) fn on_index_stored(&mut self, scope: &mut Context<'_>) {
        scope.load(SharedKey::Book);
    }

    fn on_current(&mut self, book: &RegistrationIndex, scope: &mut Context<'_>) {
        for (_, registrar) in self.registrars.iter_mut() {
            if registrar.needs_index_entry() && book.contains(registrar.id()) {
                registrar.on_indexed(scope);
            }
        }
    }

    /// Takes charge of what no configuration here has, and forgets what is not in the book any
    /// more: it was removed, or is somebody's again.
    fn adopt_orphans(&mut self, book: &RegistrationIndex, scope: &mut Context<'_>) {
        let is_gone = |it: &Controller| it.is_removal() && !book.contains(it.id());
        let gone = self.registrars.iter().filter(|(_, it)| is_gone(it)).map(|(id, _)| id);
        for registration in gone.collect::<Vec<_>>() {
            if let Some(registrar) = self.registrars.get_mut(registration) {
                registrar.leave(scope);
            }
            self.retired.push(registration);
        }
        let (me, consul) = (self.me, self.consul.clone());
        for id in book.iter() {
            if !self.charges.contains_key(&id.key()) {
                let removing =
                    |registration| Controller::removing(registration, me, &consul, id.clone());
                if let Some(registration) = self.add(removing) {
                    let id = id.id.clone();
                    scope.out.push_back(Command::Orphan { registration, id });
                }
            }
            let kinship = self.kinship(id, book);
            if let Some(registrar) = self.of(id.key()) {
                registrar.on_kinship(kinship);
            }
        }
    }

    /// How what stands in the book is related to what is registered here. What is there by another
    /// cluster, too, may be at the same agent.
    fn kinship(&self, id: &Id, book: &RegistrationIndex) -> Kinship {
        let is_kept = |other: &Id| {
            let registration = self.charges.get(&other.key());
            let registrar = registration.and_then(|it| self.registrars.get(*it));
            registrar.is_some_and(|it| !it.is_removal())
        };
        let others = || book.iter().filter(|other| *other != id && other.names_the_same_as(id));
        match others().count() {
            0 if id.cluster == self.consul.cluster => Kinship::Own,
            0 => Kinship::Foreign,
            _ if others().any(is_kept) => Kinship::Wanted,
            _ => Kinship::Doubtful,
        }
    }

    fn add(&mut self, make: impl FnOnce(RegistrationId) -> Controller) -> Option<RegistrationId> {
        let added = self.registrars.add(make)?;
        let key = self.registrars.get(added).map(Controller::key)?;
        self.charges.insert(key, added);
        Some(added)
    }

    fn of(&mut self, charge: QueryKey) -> Option<&mut Controller> {
        let registration = *self.charges.get(&charge)?;
        self.registrars.get_mut(registration)
    }
}
