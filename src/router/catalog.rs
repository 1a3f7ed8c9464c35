//! The services that Consul's catalog lists.

use core::time::Duration;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::model::service::{ServiceId, SourceId};
use crate::util::time::{AwakeClock, Time};

/// The time for which a service stays after it has left the catalog.
///
/// A service of one instance leaves the catalog for a moment when it restarts. Its statistics and its blocking
/// query stay if it comes back within this time.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// The services that Consul's catalog lists, and those that it listed a moment ago.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// The source of the catalog, once it is followed.
    pub(super) source: Option<SourceId>,
    /// By the name in lower case.
    services: HashMap<Box<[u8]>, Listed>,
    hosts: HashMap<Box<[u8]>, ServiceId>,
    /// Stands still while the process is stopped, since no service can come back then.
    clock: AwakeClock,
}

#[derive(Debug)]
struct Listed {
    service: ServiceId,
    host: Box<[u8]>,
    /// The time since which the catalog has not listed the service.
    gone: Option<Time>,
}

impl Catalog {
    /// Returns the service that serves a host.
    pub(super) fn by_host(&self, host: &[u8]) -> Option<ServiceId> {
        self.hosts.get(host).copied()
    }

    /// Returns the service of a name in lower case.
    pub(super) fn by_name(&self, name: &[u8]) -> Option<ServiceId> {
        self.services.get(name).map(|listed| listed.service)
    }

    /// Takes the names that the catalog lists now, and returns the new ones.
    pub(super) fn on_listed(&mut self, names: &[Rc<str>], now: Time) -> Vec<Rc<str>> {
        let now = self.clock.at(now);
        for listed in self.services.values_mut() {
            listed.gone.get_or_insert(now);
        }
        let mut new = Vec::new();
        for name in names {
            match self.services.get_mut(name.to_ascii_lowercase().as_bytes()) {
                Some(listed) => listed.gone = None,
                None => new.push(Rc::clone(name)),
            }
        }
        new
    }

    /// Adds a service. If two have one host, the first keeps it.
    pub(super) fn add(&mut self, name: &str, host: &str, service: ServiceId) {
        let host: Box<[u8]> = host.as_bytes().into();
        self.hosts.entry(host.clone()).or_insert(service);
        let name = name.to_ascii_lowercase().into_bytes().into();
        self.services.insert(name, Listed { service, host, gone: None });
    }

    /// Removes and returns the services whose grace is over. Beyond `most` services, also removes those that
    /// have been gone for longest.
    pub(super) fn take_gone(&mut self, most: usize, now: Time) -> Vec<ServiceId> {
        let now = self.clock.at(now);
        let is_over = |gone: Time| now.since(gone) >= GRACE;
        let mut gone: Vec<_> = self
            .services
            .iter()
            .filter_map(|(name, listed)| Some((listed.gone?, name.clone())))
            .collect();
        gone.sort_unstable();
        let too_many = self.services.len().saturating_sub(most);
        let due =
            gone.into_iter().zip(0..).filter(|((since, _), n)| *n < too_many || is_over(*since));
        let names: Vec<_> = due.map(|((_, name), _)| name).collect();
        let removed = names.iter().filter_map(|name| self.services.remove(name));
        removed
            .map(|listed| {
                if self.hosts.get(&listed.host) == Some(&listed.service) {
                    self.hosts.remove(&listed.host);
                }
                listed.service
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const MOST: usize = 10;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn names(names: &[&str]) -> Vec<Rc<str>> {
        names.iter().map(|name| Rc::from(*name)).collect()
    }

    fn id(n: u16) -> ServiceId {
        ServiceId::nth(n)
    }

    /// A catalog that lists two services.
    fn two() -> Catalog {
        let mut catalog = Catalog::default();
        assert_eq!(catalog.on_listed(&names(&["Api", "web"]), at(0)), names(&["Api", "web"]));
        catalog.add("Api", "api.internal", id(1));
        catalog.add("web", "web.internal", id(2));
        catalog
    }

    #[test]
    fn service_is_found_by_host_and_name_while_it_is_listed() {
        let mut catalog = two();
        assert_eq!(catalog.by_host(b"web.internal"), Some(id(2)));
        assert_eq!(catalog.by_name(b"api"), Some(id(1)));
        assert!(catalog.on_listed(&names(&["API", "WEB"]), at(1)).is_empty(), "in any case");
        assert!(catalog.take_gone(MOST, at(100)).is_empty());
    }

    #[test]
    fn service_stays_for_a_while_and_for_good_when_it_comes_back() {
        let mut catalog = two();
        catalog.on_listed(&names(&["web"]), at(10));
        assert!(pass(&mut catalog, 11..=35).is_empty());
        catalog.on_listed(&names(&["web"]), at(35));
        assert!(pass(&mut catalog, 36..=39).is_empty());
        assert_eq!(catalog.by_host(b"api.internal"), Some(id(1)));
        assert!(catalog.on_listed(&names(&["api", "web"]), at(39)).is_empty());
        assert!(pass(&mut catalog, 40..=100).is_empty());

        catalog.on_listed(&names(&["web"]), at(100));
        assert_eq!(pass(&mut catalog, 101..=130), [id(1)]);
        assert_eq!((catalog.by_host(b"api.internal"), catalog.by_name(b"api")), (None, None));
        assert_eq!(catalog.on_listed(&names(&["api"]), at(131)), names(&["api"]), "it is new");
    }

    /// Advances time second by second, and returns the services that have gone.
    fn pass(catalog: &mut Catalog, seconds: core::ops::RangeInclusive<u64>) -> Vec<ServiceId> {
        seconds.flat_map(|second| catalog.take_gone(MOST, at(second))).collect()
    }

    #[test]
    fn grace_goes_on_when_the_process_was_stopped() {
        let mut catalog = two();
        assert!(pass(&mut catalog, 1..=10).is_empty());
        catalog.on_listed(&names(&["web"]), at(10));
        assert!(catalog.take_gone(MOST, at(86_400)).is_empty(), "nobody could list it anew");
        assert!(pass(&mut catalog, 86_401..=86_428).is_empty());
        assert_eq!(pass(&mut catalog, 86_429..=86_430), [id(1)]);
    }

    #[test]
    fn names_that_come_and_go_never_make_more_than_the_most() {
        let mut catalog = two();
        catalog.on_listed(&names(&["web"]), at(1));
        catalog.on_listed(&names(&["new"]), at(2));
        catalog.add("new", "new.internal", id(3));
        assert_eq!(catalog.take_gone(2, at(2)), [id(1)], "gone for longest");
        assert_eq!(catalog.by_name(b"web"), Some(id(2)));
    }

    #[test]
    fn a_host_stays_with_the_first_that_has_it() {
        let mut catalog = two();
        catalog.add("web2", "web.internal", id(3));
        assert_eq!(catalog.by_host(b"web.internal"), Some(id(2)));
        catalog.on_listed(&names(&["api", "web"]), at(0));
        assert_eq!(pass(&mut catalog, 1..=30), [id(3)]);
        assert_eq!(catalog.by_host(b"web.internal"), Some(id(2)));
    }
}
