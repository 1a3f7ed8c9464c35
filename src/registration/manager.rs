//! All registrations of one VM: those of its configuration, and orphans of earlier ones.

use core::time::Duration;

use hashbrown::HashMap;

use crate::calls::caller::AgentCallId;
use crate::config;
use crate::host::{Context, Expect, LeaseLoad, LeaseStore, Load, Store};
use crate::model::registration::RegistrationId;
use crate::model::service::QueryKey;
use crate::model::slot_map::SlotMap;
use crate::registration::controller::Controller;
use crate::registration::desired_state::OrphanRelation;
use crate::registration::probe::ProbeResult;
use crate::registry::consul::registration::Id;
use crate::registry::http::{CallFailure, HttpResponse};
use crate::shared::key::{Cas, VmId};
use crate::shared::registration_index::RegistrationIndex;
use crate::shared::source_record::Rank;
use crate::telemetry::{RegistrationEvent, TelemetryEvent};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The interval between two reads of the index.
const INTERVAL: Duration = Duration::from_secs(5);

/// All registrations of one VM.
#[derive(Debug)]
pub struct RegistrationManager {
    me: VmId,
    consul: config::Consul,
    controllers: SlotMap<RegistrationId, Controller>,
    /// The registration of each lease.
    by_key: HashMap<QueryKey, RegistrationId>,
    /// The registrations that are removed, forgotten once all commands are executed.
    retired: Vec<RegistrationId>,
    next_look: Time,
}

impl RegistrationManager {
    /// Starts without registrations.
    pub fn new(me: VmId, consul: &config::Consul) -> Self {
        Self {
            me,
            consul: consul.clone(),
            controllers: SlotMap::new(),
            by_key: HashMap::new(),
            retired: Vec::new(),
            next_look: Time::ZERO,
        }
    }

    /// Adds the registrations of a configuration in their order.
    pub fn keep(&mut self, registrations: &[config::Registration]) {
        let Self { me, consul, .. } = self;
        let (me, consul) = (*me, consul.clone());
        for service in registrations {
            self.add(|registration| Controller::keeping(registration, me, &consul, service));
        }
    }

    /// Returns true if this VM leads any registration.
    pub fn is_leading(&self) -> bool {
        self.controllers.values().any(Controller::is_leading)
    }

    /// Returns true if every registration has a known leader, and those that this VM leads are in
    /// sync.
    pub fn is_settled(&self) -> bool {
        self.controllers.values().all(Controller::is_settled)
    }

    /// Handles a tick: loads all leases, and the index if it is due.
    pub fn on_tick(&mut self, rank: Rank, is_oldest: bool, context: &mut Context<'_>) {
        for (_, controller) in self.controllers.iter_mut() {
            controller.on_tick(rank, is_oldest, context);
        }
        let mut controllers = self.controllers.values();
        let is_wanted = controllers.any(|it| it.needs_index_entry() || it.needs_no_index_entry());
        let is_due = context.now >= self.next_look;
        if is_due {
            self.next_look = context.now + INTERVAL;
        }
        if is_wanted || is_due {
            context.load(Load::RegistrationIndex);
        }
    }

    /// Releases all leases.
    pub fn leave(&mut self, context: &mut Context<'_>) {
        self.controllers.iter_mut().for_each(|(_, controller)| controller.leave(context));
    }

    /// Forgets the registrations that are removed.
    pub fn forget_retired(&mut self) {
        for registration in self.retired.drain(..) {
            if let Some(controller) = self.controllers.remove(registration) {
                self.by_key.remove(&controller.key());
            }
        }
    }

    /// Starts the call of a registration whose turn has come.
    pub fn on_ready(&mut self, registration: RegistrationId, context: &mut Context<'_>) {
        if let Some(controller) = self.controllers.get_mut(registration) {
            controller.drive(context);
        }
    }

    /// Updates the services that are down, for the registrations that depend on them.
    pub fn review_dependencies(
        &mut self,
        down: impl Fn(&[String]) -> Vec<String>,
        now: Time,
        rng: &mut Rng,
    ) {
        self.controllers.iter_mut().for_each(|(_, it)| it.review_dependencies(&down, now, rng));
    }

    /// Takes a lease as it stands.
    pub fn on_lease(
        &mut self,
        key: QueryKey,
        purpose: LeaseLoad,
        value: Option<(&[u8], Cas)>,
        context: &mut Context<'_>,
    ) {
        if let Some(controller) = self.with_key(key) {
            controller.on_lease(purpose, value, context);
        }
    }

    /// Takes the result of a store of a lease.
    pub fn on_lease_stored(
        &mut self,
        key: QueryKey,
        purpose: LeaseStore,
        written: bool,
        context: &mut Context<'_>,
    ) {
        if let Some(controller) = self.with_key(key) {
            controller.on_lease_stored(purpose, written, context);
        }
    }

    /// Takes the response to a call.
    pub fn on_response(
        &mut self,
        registration: RegistrationId,
        call: AgentCallId,
        response: Result<HttpResponse<'_>, CallFailure>,
        context: &mut Context<'_>,
    ) {
        if let Some(controller) = self.controllers.get_mut(registration) {
            controller.on_response(call, response, context);
            // The entry of a removed registration is removed at once.
            if controller.needs_no_index_entry() {
                context.load(Load::RegistrationIndex);
            }
        }
    }

    /// Takes the result of a probe.
    pub fn on_probed(
        &mut self,
        registration: RegistrationId,
        probed: &ProbeResult<'_>,
        context: &mut Context<'_>,
    ) {
        if let Some(controller) = self.controllers.get_mut(registration) {
            controller.on_probed(probed, context);
        }
    }

    /// Takes the index as it stands, and adds and removes entries. An unreadable index counts as
    /// empty.
    pub fn on_index(&mut self, value: Option<(&[u8], Cas)>, context: &mut Context<'_>) {
        let index =
            value.and_then(|(bytes, _)| RegistrationIndex::decode(bytes).ok()).unwrap_or_default();
        for (_, controller) in self.controllers.iter_mut() {
            if !index.contains(controller.id()) {
                controller.on_index_removed();
            }
        }
        self.adopt_orphans(&index, context);
        let mut better = index.clone();
        for controller in self.controllers.values() {
            if controller.needs_index_entry() {
                better.add(controller.id().clone());
            }
            if controller.needs_no_index_entry() {
                better.remove(controller.id());
            }
        }
        if better == index {
            return self.on_current(&index, context);
        }
        let expect = value.map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(cas));
        context.store(Store::RegistrationIndex, better.encode(), expect);
    }

    /// Loads the index again after a store, whether it was written or not.
    pub fn on_index_stored(&mut self, context: &mut Context<'_>) {
        context.load(Load::RegistrationIndex);
    }

    fn on_current(&mut self, index: &RegistrationIndex, context: &mut Context<'_>) {
        for (_, controller) in self.controllers.iter_mut() {
            if controller.needs_index_entry() && index.contains(controller.id()) {
                controller.on_indexed(context);
            }
        }
    }

    /// Adopts orphans, which no configuration here contains. Forgets orphans that are no longer in
    /// the index: they were removed, or are wanted again.
    fn adopt_orphans(&mut self, index: &RegistrationIndex, context: &mut Context<'_>) {
        let is_gone = |it: &Controller| it.is_removal() && !index.contains(it.id());
        let gone = self.controllers.iter().filter(|(_, it)| is_gone(it)).map(|(id, _)| id);
        for registration in gone.collect::<Vec<_>>() {
            if let Some(controller) = self.controllers.get_mut(registration) {
                controller.leave(context);
            }
            self.retired.push(registration);
        }
        let (me, consul) = (self.me, self.consul.clone());
        for id in index.iter() {
            if !self.by_key.contains_key(&id.key()) {
                let removing =
                    |registration| Controller::removing(registration, me, &consul, id.clone());
                if let Some(registration) = self.add(removing) {
                    let event = RegistrationEvent::Orphaned { id: id.id.clone() };
                    context.emit(TelemetryEvent::Registration { registration, event });
                }
            }
            let relation = self.relation(id, index);
            if let Some(controller) = self.with_key(id.key()) {
                controller.on_relation(relation);
            }
        }
    }

    /// Returns the relation of an entry to this configuration. An entry of the same id through
    /// another cluster may be at the same agent.
    fn relation(&self, id: &Id, index: &RegistrationIndex) -> OrphanRelation {
        let is_kept = |other: &Id| {
            let registration = self.by_key.get(&other.key());
            let controller = registration.and_then(|it| self.controllers.get(*it));
            controller.is_some_and(|it| !it.is_removal())
        };
        let others = || index.iter().filter(|other| *other != id && other.names_the_same_as(id));
        match others().count() {
            0 if id.cluster == self.consul.cluster => OrphanRelation::SameCluster,
            0 => OrphanRelation::OtherCluster,
            _ if others().any(is_kept) => OrphanRelation::IdConfigured,
            _ => OrphanRelation::IdMaybeConfigured,
        }
    }

    fn add(&mut self, make: impl FnOnce(RegistrationId) -> Controller) -> Option<RegistrationId> {
        let added = self.controllers.add(make)?;
        let key = self.controllers.get(added).map(Controller::key)?;
        self.by_key.insert(key, added);
        Some(added)
    }

    fn with_key(&mut self, key: QueryKey) -> Option<&mut Controller> {
        let registration = *self.by_key.get(&key)?;
        self.controllers.get_mut(registration)
    }
}
