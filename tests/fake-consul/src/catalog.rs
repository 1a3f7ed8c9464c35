//! What the agent knows, and the indexes Consul would give it.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::check::{CheckDefinition, CheckRow, Course};
use super::entries::Entries;
use super::node::Node;
use super::registration::Registration;
use stack::Status;

/// The index a fresh agent is at when its node is registered.
const FIRST_INDEX: u64 = 7;

/// A registered instance.
#[derive(Debug, Clone)]
pub struct ServiceRow {
    pub registration: Registration,
    /// Registered at this agent, not by the server itself (as `consul` is).
    pub local: bool,
    pub create_index: u64,
    pub modify_index: u64,
}

/// The catalog of one node.
///
/// Indexes are per service, as Consul's are: a service's index moves when one of its instances or
/// their checks change, or a check of the node. A service without instances has the index of the
/// last service that lost its last instance, or the catalog's where none ever did.
#[derive(Debug, Clone)]
pub struct Catalog {
    node: Node,
    index: u64,
    /// The last change of instances, which is what a list of services shows.
    services_index: u64,
    last_extinction: Option<u64>,
    service_indexes: BTreeMap<String, u64>,
    services: BTreeMap<String, ServiceRow>,
    /// The ids of each service's instances, by its name in lower case.
    ids: BTreeMap<String, BTreeSet<String>>,
    checks: BTreeMap<String, CheckRow>,
    entries: Entries,
}

impl Catalog {
    pub fn new(node: Node, now: Instant) -> Self {
        let mut catalog = Self {
            node,
            index: FIRST_INDEX,
            services_index: FIRST_INDEX,
            last_extinction: None,
            service_indexes: BTreeMap::new(),
            services: BTreeMap::new(),
            ids: BTreeMap::new(),
            checks: BTreeMap::new(),
            entries: Entries::default(),
        };
        let serf =
            CheckDefinition::node("serfHealth", "Serf Health Status", "Agent alive and reachable");
        catalog.put_check(&serf, None, Status::Passing, FIRST_INDEX, now);
        let consul = Registration::of_server();
        catalog.put_service(consul, false, FIRST_INDEX);
        catalog
    }

    /// The agent's own node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The index of the last change of anything.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The index of the last change of any instance.
    pub fn services_index(&self) -> u64 {
        self.services_index
    }

    /// A service's index.
    pub fn service_index(&self, name: &str) -> u64 {
        let own = self.service_indexes.get(&name.to_lowercase()).copied();
        own.or(self.last_extinction).unwrap_or(self.index)
    }

    /// All instances, by id.
    pub fn services(&self) -> impl Iterator<Item = &ServiceRow> {
        self.services.values()
    }

    /// The instances of a service, by id; the name in any case.
    pub fn instances(&self, name: &str) -> impl Iterator<Item = &ServiceRow> {
        let ids = self.ids.get(&name.to_lowercase()).into_iter().flatten();
        ids.filter_map(|id| self.services.get(id))
    }

    /// The entries of instances that have not changed since they were asked for.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// One local instance.
    pub fn local(&self, id: &str) -> Option<&ServiceRow> {
        self.services.get(id).filter(|row| row.local)
    }

    /// The checks that tell an instance's health: its node's, then its own. Nobody checks a node
    /// without an agent.
    pub fn checks_of(&self, row: &ServiceRow) -> impl Iterator<Item = &CheckRow> {
        let of = move |wanted: Option<String>| {
            self.checks
                .values()
                .filter(move |check| check.service.as_ref().map(|(id, ..)| id) == wanted.as_ref())
        };
        let has_agent = row.registration.node.is_none();
        let of_node = has_agent.then(|| of(None)).into_iter().flatten();
        of_node.chain(of(Some(row.registration.id.clone())))
    }

    /// Whether the metadata of an instance's node has all of these.
    pub fn has_meta(&self, row: &ServiceRow, wanted: &BTreeMap<String, String>) -> bool {
        row.registration.node.as_ref().unwrap_or(&self.node).has_meta(wanted)
    }

    /// Registers an instance; one that is there already keeps the state of its checks, whose time
    /// begins anew.
    pub fn register(&mut self, registration: Registration, replace_checks: bool, now: Instant) {
        let id = registration.id.clone();
        let local = registration.node.is_none();
        let old = self.services.get(&id);
        let same = old.is_some_and(|row| row.registration.same_service(&registration));
        let wanted: Vec<String> =
            registration.checks.iter().map(|check| check.id.clone()).collect();
        let is_stale = |check: &String| replace_checks && !wanted.contains(check);
        let stale: Vec<String> = self.own_checks(&id).filter(is_stale).collect();
        let new_checks: Vec<&CheckDefinition> = registration
            .checks
            .iter()
            .filter(|check| {
                let row = self.checks.get(&check.id);
                // Without an agent the state, too, is only what was registered.
                let has_state = |row: &CheckRow| local || row.status == check.status;
                !row.is_some_and(|row| row.is_defined_by(check) && has_state(row))
            })
            .collect();
        if same && stale.is_empty() && new_checks.is_empty() {
            self.begin_anew(&registration.checks, now);
            return;
        }
        // An id that now names another service is gone from the old one, with its checks.
        let renamed = old.is_some_and(|row| row.registration.name != registration.name);
        let index = self.next_index();
        if renamed {
            let own: Vec<String> = self.own_checks(&id).collect();
            let kept: Vec<CheckRow> =
                own.iter().filter_map(|check| self.checks.remove(check)).collect();
            self.remove_service(&id, index);
            self.checks.extend(kept.into_iter().map(|check| (check.id.clone(), check)));
        }
        for check in stale {
            self.checks.remove(&check);
        }
        let service = Some((id, registration.name.clone(), registration.tags.clone()));
        for check in &registration.checks {
            let kept = self.checks.get(&check.id).filter(|_| local);
            let status = kept.map_or(check.status, |row| row.status);
            self.put_check(check, service.clone(), status, index, now);
        }
        self.put_service(registration, local, index);
    }

    /// Removes a local instance with its checks; `false` if there is none.
    pub fn deregister(&mut self, id: &str) -> bool {
        if self.local(id).is_none() {
            return false;
        }
        let index = self.next_index();
        self.remove_service(id, index);
        true
    }

    /// Removes an instance from a node without an agent; `false` if there is none.
    pub fn deregister_at(&mut self, node: &str, id: &str) -> bool {
        let is_it =
            |row: &ServiceRow| row.registration.node.as_ref().is_some_and(|n| n.name == node);
        if !self.services.get(id).is_some_and(is_it) {
            return false;
        }
        let index = self.next_index();
        self.remove_service(id, index);
        true
    }

    /// Adds or removes the maintenance check of a local instance (`Some`) or of the node.
    pub fn set_maintenance(
        &mut self,
        instance: Option<&str>,
        on: bool,
        reason: &str,
        now: Instant,
    ) {
        let service = instance.and_then(|id| self.local(id)).map(|row| &row.registration);
        let service = service.map(|r| (r.id.clone(), r.name.clone(), r.tags.clone()));
        let definition = CheckDefinition::maintenance(instance, reason);
        if on == self.checks.contains_key(&definition.id) {
            return;
        }
        let index = self.next_index();
        if on {
            self.put_check(&definition, service.clone(), Status::Critical, index, now);
        } else {
            self.checks.remove(&definition.id);
        }
        self.entries.forget(instance);
        self.touch(service.as_ref().map(|(_, name, _)| name.as_str()), index);
    }

    /// Moves every index to `index`, as after a restart that lost the raft log.
    pub fn renumber(&mut self, index: u64) {
        self.index = index;
        self.services_index = index;
        self.last_extinction = self.last_extinction.map(|_| index);
        self.service_indexes.values_mut().for_each(|own| *own = index);
        for row in self.services.values_mut() {
            (row.create_index, row.modify_index) = (index, index);
        }
        for row in self.checks.values_mut() {
            (row.create_index, row.modify_index) = (index, index);
        }
        self.entries.forget(None);
    }

    fn own_checks<'a>(&'a self, id: &'a str) -> impl Iterator<Item = String> + 'a {
        let own =
            move |check: &&CheckRow| check.service.as_ref().is_some_and(|(owner, ..)| owner == id);
        self.checks.values().filter(own).map(|check| check.id.clone())
    }

    fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    fn put_service(&mut self, registration: Registration, local: bool, index: u64) {
        let old = self.services.get(&registration.id);
        let same = old.filter(|row| row.registration.same_service(&registration));
        let modify_index = same.map_or(index, |row| row.modify_index);
        let create_index = old.map_or(index, |row| row.create_index);
        self.service_indexes.insert(registration.name.to_lowercase(), index);
        self.services_index = index;
        let id = registration.id.clone();
        self.entries.forget(Some(&id));
        self.ids.entry(registration.name.to_lowercase()).or_default().insert(id.clone());
        self.services.insert(id, ServiceRow { registration, local, create_index, modify_index });
    }

    fn put_check(
        &mut self,
        check: &CheckDefinition,
        service: Option<(String, String, Vec<String>)>,
        status: Status,
        index: u64,
        now: Instant,
    ) {
        self.entries.forget(service.as_ref().map(|(id, ..)| id.as_str()));
        // A check of this id may have been another instance's.
        let owner = self.checks.get(&check.id).and_then(|old| old.service.clone());
        let is_other = |id: &String| service.as_ref().is_some_and(|(own, ..)| own != id);
        if let Some((id, name, _)) = owner.filter(|(id, ..)| is_other(id)) {
            self.entries.forget(Some(&id));
            self.touch(Some(&name), index);
        }
        let old = self.checks.get(&check.id);
        let row = CheckRow {
            id: check.id.clone(),
            name: check.name.clone(),
            notes: check.notes.clone(),
            output: old.map_or_else(|| check.output.clone(), |old| old.output.clone()),
            status,
            service,
            course: Course::begin(check, now),
            create_index: old.map_or(index, |old| old.create_index),
            modify_index: index,
        };
        self.checks.insert(row.id.clone(), row);
    }

    fn remove_service(&mut self, id: &str, index: u64) {
        let Some(row) = self.services.remove(id) else {
            return;
        };
        for check in self.own_checks(id).collect::<Vec<_>>() {
            self.checks.remove(&check);
        }
        self.entries.forget(Some(id));
        self.services_index = index;
        let name = row.registration.name;
        if let Some(ids) = self.ids.get_mut(&name.to_lowercase()) {
            ids.remove(id);
        }
        if self.instances(&name).next().is_some() {
            self.touch(Some(&name), index);
        } else {
            self.service_indexes.remove(&name.to_lowercase());
            self.last_extinction = Some(index);
        }
    }

    /// Moves the index of one service, or of all where the node itself changed.
    fn touch(&mut self, name: Option<&str>, index: u64) {
        match name {
            Some(name) => {
                self.service_indexes.insert(name.to_lowercase(), index);
            }
            None => self.service_indexes.values_mut().for_each(|own| *own = index),
        }
    }
}

#[cfg(test)]
mod tests;
