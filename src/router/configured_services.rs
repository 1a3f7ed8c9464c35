//! The configured services, by host and by name.

use hashbrown::HashMap;

use crate::config::{HostPattern, Service};
use crate::model::service::ServiceId;
use crate::router::host_name::HostName;

/// The configured services, by host and by name.
#[derive(Debug)]
pub(super) struct ConfiguredServices {
    hosts: Hosts,
    /// By the name in lower case.
    names: HashMap<Box<[u8]>, ServiceId>,
}

/// The configured services by host.
#[derive(Debug)]
enum Hosts {
    /// The only service, which has no hosts configured, serves every request.
    All(ServiceId),
    /// Each pattern has its service; none is configured twice.
    Each {
        exact: HashMap<Box<[u8]>, ServiceId>,
        /// With the leading dot.
        suffixes: HashMap<Box<[u8]>, ServiceId>,
    },
}

impl ConfiguredServices {
    /// Reads the configured services, whose ids are their positions.
    pub(super) fn new(services: &[Service]) -> Self {
        let ids = (0..=u16::MAX).map(ServiceId::nth);
        let name = |service: &Service| service.name.to_ascii_lowercase().into_bytes().into();
        let names = services.iter().zip(ids).map(|(service, id)| (name(service), id)).collect();
        Self { hosts: Hosts::new(services), names }
    }

    /// Returns the service of a name in lower case.
    pub(super) fn by_name(&self, name: &[u8]) -> Option<ServiceId> {
        self.names.get(name).copied()
    }

    /// Returns true if [`ConfiguredServices::by_host`] looks at the authority.
    pub(super) fn needs_authority(&self) -> bool {
        match &self.hosts {
            Hosts::All(_) => false,
            Hosts::Each { exact, suffixes } => !exact.is_empty() || !suffixes.is_empty(),
        }
    }

    /// Returns the service that serves a request with this `:authority`.
    ///
    /// Looks the host up once, and once for each of its dots: at most 128 times for an authority that a
    /// client has made up, whatever the number of patterns.
    pub(super) fn by_host(&self, authority: Option<&[u8]>) -> Option<ServiceId> {
        let (exact, suffixes) = match &self.hosts {
            Hosts::All(service) => return Some(*service),
            Hosts::Each { exact, suffixes } => (exact, suffixes),
        };
        let host = HostName::of(authority?)?;
        let host = host.as_bytes();
        if let Some(service) = exact.get(host) {
            return Some(*service);
        }
        if suffixes.is_empty() {
            return None;
        }
        // From the left, so that the longest comes first. A suffix needs something before it.
        (1..host.len())
            .filter_map(|start| host.get(start..))
            .filter(|suffix| suffix.starts_with(b"."))
            .find_map(|suffix| suffixes.get(suffix).copied())
    }
}

impl Hosts {
    /// Reads the patterns of the services.
    fn new(services: &[Service]) -> Self {
        if let [only] = services
            && only.hosts.is_empty()
        {
            return Self::All(ServiceId::nth(0));
        }
        let (mut exact, mut suffixes) = (HashMap::new(), HashMap::new());
        for (service, id) in services.iter().zip((0..=u16::MAX).map(ServiceId::nth)) {
            for pattern in &service.hosts {
                let (map, key) = match pattern {
                    HostPattern::Exact(host) => (&mut exact, host),
                    HostPattern::Suffix(suffix) => (&mut suffixes, suffix),
                };
                map.insert(key.as_bytes().into(), id);
            }
        }
        Self::Each { exact, suffixes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn service(patterns: &[&str]) -> Service {
        let mut service = Service::new("web");
        service.hosts = patterns.iter().map(|text| text.parse().unwrap()).collect();
        service
    }

    fn find(services: &ConfiguredServices, authority: &str) -> Option<ServiceId> {
        services.by_host(Some(authority.as_bytes()))
    }

    #[test]
    fn exact_beats_suffix_and_the_longest_suffix_wins() {
        let services = ConfiguredServices::new(&[
            service(&["*.internal"]),
            service(&["*.web.internal", "[::1]"]),
            service(&["a.web.internal", "web.test"]),
        ]);
        for (authority, want) in [
            ("web.test", Some(2)),
            ("A.web.internal:80", Some(2)),
            ("b.web.internal", Some(1)),
            ("b.a.web.internal.", Some(1)),
            ("web.internal", Some(0)),
            ("[::1]:8080", Some(1)),
            (".web.internal", Some(0)),
            (".internal", None),
            ("internal", None),
            ("web.test.evil", None),
            ("eweb.test", None),
        ] {
            assert_eq!(find(&services, authority), want.map(ServiceId::nth), "{authority}");
        }
        assert!(services.needs_authority());
        assert_eq!(services.by_host(None), None);
    }

    #[test]
    fn the_only_service_without_hosts_serves_every_request() {
        let services = ConfiguredServices::new(&[service(&[])]);
        assert!(!services.needs_authority());
        assert_eq!(services.by_host(None), Some(ServiceId::nth(0)));
        assert_eq!(services.by_host(Some(b"\xff")), Some(ServiceId::nth(0)));
    }

    #[test]
    fn service_without_hosts_has_no_host_when_it_is_not_alone() {
        let services = ConfiguredServices::new(&[service(&[]), service(&[])]);
        assert!(!services.needs_authority());
        assert_eq!(find(&services, "web.test"), None);
        let services = ConfiguredServices::new(&[service(&[]), service(&["web.test"])]);
        assert_eq!(find(&services, "web.test"), Some(ServiceId::nth(1)));
        assert_eq!(find(&services, "other.test"), None);
    }
}
