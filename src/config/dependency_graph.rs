//! The graph of services that depend on others: by their names, and in an order.

use core::cell::Cell;
use core::iter::once;

use hashbrown::HashMap;

use super::dependencies::{Dependencies, DependencyNames};
use super::dependency_error::DependencyError;
use super::error::Refusals;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::service::Service;
use super::services::service_place;
use super::suggestion::suggestion;
use super::whole::Config;
use crate::model::service::ServiceId;
use crate::model::slot_map::SecondaryMap;
use crate::util::excerpt::Excerpt;

impl Dependencies {
    /// Finds the services that the services of a list depend on: others of that list.
    pub(super) fn resolve(
        named: &[Option<DependencyNames>],
        services: &mut [Service],
        refusals: &mut Refusals,
    ) {
        if named.iter().all(Option::is_none) {
            return;
        }
        let mut is_known = true;
        let found: Vec<_> = {
            let names = Names::of(services);
            let named = named.iter().zip(ids()).enumerate();
            let found = named.map(|(index, (named, id))| {
                let place = service_place(index).field("depends_on");
                match names.resolve(named.as_ref()?, id, &place) {
                    Ok(found) => Some(found),
                    Err(refused) => {
                        is_known = false;
                        refusals.append(refused);
                        None
                    }
                }
            });
            found.collect()
        };
        for (service, dependencies) in services.iter_mut().zip(found) {
            service.dependencies = dependencies;
        }
        if is_known && let Err(cycle) = Self::order(services) {
            refusals.append(cycle.refused(services));
        }
    }

    /// The services, each behind all that it depends on.
    ///
    /// A depth-first search (Tarjan, *Depth-First Search and Linear Graph Algorithms*, 1972) that
    /// keeps its path itself: a chain may be as long as the list.
    ///
    /// # Errors
    ///
    /// One of them depends on itself.
    pub fn order(services: &[Service]) -> Result<Vec<ServiceId>, Cycle> {
        let all: SecondaryMap<ServiceId, &[ServiceId]> =
            ids().zip(services.iter().map(on)).collect();
        let mut marks = SecondaryMap::new();
        let mut order = Vec::with_capacity(services.len());
        for (root, _) in ids().zip(services) {
            let mut path: Vec<(ServiceId, &[ServiceId])> = Vec::new();
            let mut next = Some(root);
            loop {
                if let Some(id) = next.take() {
                    match marks.get(id) {
                        Some(Mark::Ordered) => {}
                        Some(Mark::OnPath) => {
                            let path = path.iter().map(|(id, _)| *id);
                            return Err(Cycle {
                                path: path.skip_while(|on_path| *on_path != id).collect(),
                            });
                        }
                        None => {
                            marks.insert(id, Mark::OnPath);
                            path.push((id, all.get(id).copied().unwrap_or_default()));
                        }
                    }
                }
                let Some((id, rest)) = path.last_mut() else { break };
                match rest.split_first() {
                    Some((first, others)) => {
                        next = Some(*first);
                        *rest = others;
                    }
                    None => {
                        marks.insert(*id, Mark::Ordered);
                        order.push(*id);
                        path.pop();
                    }
                }
            }
        }
        Ok(order)
    }
}

/// Dependencies of a service.
fn on(service: &Service) -> &[ServiceId] {
    service.dependencies.as_ref().map_or(&[], |dependencies| &dependencies.services)
}

/// Progress of the search with a service.
enum Mark {
    OnPath,
    Ordered,
}

/// Services of which each depends on the next one, and the last on the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    path: Vec<ServiceId>,
}

impl Cycle {
    fn refused(&self, services: &[Service]) -> Refusals {
        let all: SecondaryMap<ServiceId, &Service> = ids().zip(services).collect();
        let whole = self.path.iter().chain(self.path.first());
        let names = whole.filter_map(|id| all.get(*id)).map(|service| spelled(&service.name));
        let problem = FieldError::Dependency(DependencyError::Cycle { path: names.collect() });
        // Where the last of them names the first.
        let position = |id: Option<&ServiceId>| ids().position(|other| Some(&other) == id);
        let last = position(self.path.last()).unwrap_or_default();
        let mut names = services.get(last).into_iter().flat_map(on);
        let item = names.position(|id| self.path.first() == Some(id)).unwrap_or_default();
        let place = service_place(last).field("depends_on").item(item);
        Refusals::one(place, problem)
    }
}

/// A service's name as it is where it cannot be misread, else quoted.
fn spelled(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match name.len() <= Excerpt::LIMIT && name.bytes().all(is_plain) {
        true => name.to_owned(),
        false => Excerpt::of(name).to_string(),
    }
}

/// The services of a list, by their names in lower case: Consul knows them in any.
struct Names<'a> {
    ids: HashMap<String, ServiceId>,
    services: &'a [Service],
    /// The suggestions that may still be made: no more are told, and each compares all names.
    suggestions: Cell<usize>,
}

impl<'a> Names<'a> {
    fn of(services: &'a [Service]) -> Self {
        let names = services.iter().map(|service| service.name.to_ascii_lowercase());
        Self { ids: names.zip(ids()).collect(), services, suggestions: Cell::new(Refusals::MOST) }
    }

    /// Finds the services that one depends on; `place` is that of their list.
    fn resolve(
        &self,
        named: &DependencyNames,
        service: ServiceId,
        place: &FieldPath,
    ) -> Result<Dependencies, Refusals> {
        let mut refusals = Refusals::default();
        let mut refuse = |index, problem| refusals.add(place.item(index), problem);
        let mut found: Vec<ServiceId> = Vec::with_capacity(named.services.len());
        for (index, name) in named.services.iter().enumerate() {
            let id = match self.find(name) {
                Err(error) => {
                    refuse(index, FieldError::Dependency(error));
                    continue;
                }
                Ok(id) if id == service => {
                    refuse(index, FieldError::Dependency(DependencyError::Itself));
                    continue;
                }
                Ok(id) => id,
            };
            if let Some(first) = found.iter().position(|other| *other == id) {
                let (text, first) = (Excerpt::of(name), place.item(first));
                refuse(index, FieldError::Repeated { text, first });
                continue;
            }
            found.push(id);
        }
        refusals.none_or(Dependencies { services: found, on_down: named.on_down })
    }

    /// Finds a service.
    fn find(&self, name: &str) -> Result<ServiceId, DependencyError> {
        let id = self.ids.get(&name.to_ascii_lowercase());
        id.copied().ok_or_else(|| self.unknown(name))
    }

    /// The names of the services by which one leads to another, itself the first and that one the
    /// last; none: it does not. No service depends on itself.
    fn way(&self, from: ServiceId, to: &str) -> Option<Vec<&'a str>> {
        let all: SecondaryMap<ServiceId, &Service> = ids().zip(self.services).collect();
        let mut whence = SecondaryMap::new();
        whence.insert(from, from);
        let mut reached = vec![from];
        while let Some(mut id) = reached.pop() {
            let service = all.get(id)?;
            if service.name.eq_ignore_ascii_case(to) {
                let mut way = vec![service.name.as_str()];
                while id != from {
                    id = *whence.get(id)?;
                    way.push(&all.get(id)?.name);
                }
                way.reverse();
                return Some(way);
            }
            for next in on(service) {
                if whence.get(*next).is_none() {
                    whence.insert(*next, id);
                    reached.push(*next);
                }
            }
        }
        None
    }

    /// All names together have no more bytes than the configuration, which bounds the work.
    fn unknown(&self, name: &str) -> DependencyError {
        let known = self.services.iter().map(|service| service.name.as_str());
        let left = self.suggestions.get().checked_sub(1);
        self.suggestions.set(left.unwrap_or_default());
        let suggestion = left.and_then(|_| suggestion(name, known)).map(Excerpt::of);
        DependencyError::Unknown { found: Excerpt::of(name), suggestion }
    }
}

impl Config {
    /// Refuses a registration that depends on a service that is not there, or on itself: once it
    /// warned, and so was an endpoint of nobody's, it would never pass again.
    pub(super) fn check_registrations_depend(&self, refusals: &mut Refusals) {
        if self.registrations.iter().all(|registration| registration.depends_on.is_empty()) {
            return;
        }
        let names = Names::of(&self.services);
        for (index, registration) in self.registrations.iter().enumerate() {
            let place = FieldPath::root().field("register").item(index).field("depends_on");
            for (item, name) in registration.depends_on.iter().enumerate() {
                let mut refuse =
                    |error| refusals.add(place.item(item), FieldError::Dependency(error));
                let way = match names.find(name) {
                    Ok(id) => names.way(id, &registration.name),
                    Err(error) => {
                        refuse(error);
                        continue;
                    }
                };
                match way.as_deref() {
                    None => {}
                    Some([_]) => refuse(DependencyError::Itself),
                    Some(way) => {
                        let path = once(&*registration.name).chain(way.iter().copied());
                        let path = path.map(spelled).collect();
                        refuse(DependencyError::Cycle { path });
                    }
                }
            }
        }
    }
}

/// The ids of the configured services.
fn ids() -> impl Iterator<Item = ServiceId> {
    (0..=u16::MAX).map(ServiceId::nth)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn suggestions_are_made_only_for_as_many_names_as_are_told() {
        let json = br#"{"consul":{"cluster":"c"},"services":[{"name":"web"}]}"#;
        let config = Config::parse(json).unwrap();
        let names = Names::of(&config.services);
        let is_suggested =
            |found| matches!(found, Err(DependencyError::Unknown { suggestion: Some(_), .. }));
        let made = (0..2 * Refusals::MOST).filter(|_| is_suggested(names.find("wep")));
        assert_eq!(made.count(), Refusals::MOST);
    }
}
