//! The checks across the sections of a configuration.

use super::error::Refusals;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::service::Service;
use super::services::service_place;
use super::staleness::Staleness;
use super::whole::Config;

impl Config {
    /// Refuses more sources than there are ids, those that may be found included.
    pub(super) fn check_ids_suffice(&self, refusals: &mut Refusals) {
        let each = |service: &Service| service.datacenters.len().max(1);
        let configured: usize = self.services.iter().map(each).sum();
        let listed = self.discover.as_ref().map_or(0, |discover| {
            // The catalog is a source, too.
            (discover.max_services as usize).saturating_mul(each(&discover.service)) + 1
        });
        let named = self.dns_names.as_ref().map_or(0, |names| names.unknown_too() as usize);
        let fields = ["services", "discover", "dns_names"];
        let mut found = 0;
        for (field, more) in fields.into_iter().zip([configured, listed, named]) {
            found += more;
            if found > Self::MAX_SOURCES {
                let problem = FieldError::TooManySources { limit: Self::MAX_SOURCES, found };
                return refusals.add(FieldPath::root().field(field), problem);
            }
        }
    }

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
