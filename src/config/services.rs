//! The list of services, and what is checked across services and sections.

use hashbrown::HashMap;

use super::Config;
use super::cursor::Cursor;
use super::dependencies::Dependencies;
use super::error::Refusals;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::service::Service;
use super::staleness::Staleness;

/// Reads the list of services.
pub(super) fn services(node: &Cursor<'_>, finds_others: bool) -> Result<Vec<Service>, Refusals> {
    let read = node.array(Config::MAX_SERVICES, Service::read)?;
    let (mut services, dependencies): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    if services.is_empty() && !finds_others {
        return Err(node.error(FieldError::Empty { expected: "at least one service" }));
    }
    let mut refusals = Refusals::default();
    check_names_differ(&services, &mut refusals);
    check_hosts_differ(&services, &mut refusals);
    Dependencies::resolve(&dependencies, &mut services, &mut refusals);
    refusals.none_or(services)
}

fn check_names_differ(services: &[Service], refusals: &mut Refusals) {
    let place = |index| service_place(index).field("name");
    let mut seen = HashMap::with_capacity(services.len());
    for (index, service) in services.iter().enumerate() {
        let first = *seen.entry(service.name.to_ascii_lowercase()).or_insert(index);
        if first != index {
            let text = Excerpt::of(&service.name);
            refusals.add(place(index), FieldError::Repeated { text, first: place(first) });
        }
    }
}

fn check_hosts_differ(services: &[Service], refusals: &mut Refusals) {
    let place = |(index, host)| service_place(index).field("hosts").item(host);
    let mut seen = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        for (host, pattern) in service.hosts.iter().enumerate() {
            let first = *seen.entry(pattern).or_insert((index, host));
            if first != (index, host) {
                let text = Excerpt::of(&pattern.to_string());
                let problem = FieldError::Repeated { text, first: place(first) };
                refusals.add(place((index, host)), problem);
            }
        }
    }
}

/// The place of a service of the list.
pub(super) fn service_place(index: usize) -> FieldPath {
    FieldPath::root().field("services").item(index)
}

impl Config {
    /// Refuses services that no request could ever find.
    pub(super) fn check_hosts_given(&self, refusals: &mut Refusals) {
        let is_only = self.services.len() == 1 && self.is_static();
        if self.route_metadata || is_only || self.xds.is_some() {
            return;
        }
        for (index, service) in self.services.iter().enumerate() {
            if service.hosts.is_empty() {
                refusals.add(service_place(index).field("hosts"), FieldError::HostsNeeded);
            }
        }
    }

    /// Refuses an age that the endpoints of a quiet service reach while all is well.
    pub(super) fn check_cache_ages(&self, refusals: &mut Refusals) {
        let least = Staleness::least_max_age(&self.consul);
        for (place, service) in self.each() {
            if let Some(found) = service.staleness.map(|staleness| staleness.max_age)
                && found < least
            {
                refusals.add(place.field("max_age"), FieldError::BelowWait { found, least });
            }
        }
    }

    /// Refuses addresses of a fallback that would not be used if Consul had them.
    pub(super) fn check_fallbacks_admitted(&self, refusals: &mut Refusals) {
        for (index, service) in self.services.iter().enumerate() {
            for (n, address) in service.fallback.iter().enumerate() {
                if !self.endpoints.admits(address.ip()) {
                    let place = service_place(index).field("fallback").item(n);
                    refusals.add(place, FieldError::NotAdmitted);
                }
            }
        }
    }

    /// Every service, with its place: those that are configured, and what those are like that
    /// are found.
    pub(super) fn each(&self) -> impl Iterator<Item = (FieldPath, &Service)> {
        let place = || FieldPath::root().field("dns_names").field("service");
        let named = self.dns_names.as_ref().map(|it| (place(), &it.service));
        self.each_with_cluster().chain(named)
    }

    /// Those of them that a cluster of Envoy's own can be for: not what clients name.
    pub(super) fn each_with_cluster(&self) -> impl Iterator<Item = (FieldPath, &Service)> {
        let place = || FieldPath::root().field("discover").field("service");
        let listed = self.discover.as_ref().map(|it| (place(), &it.service));
        let configured = self.services.iter().enumerate();
        let configured = configured.map(|(index, service)| (service_place(index), service));
        configured.chain(listed)
    }
}
