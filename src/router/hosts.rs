//! Which service serves a host.

use hashbrown::HashMap;

use crate::config::{HostPattern, Service};
use crate::model::service::ServiceId;
use crate::router::host_name::HostName;

/// Which service serves which hosts.
#[derive(Debug)]
pub(super) enum Hosts {
    /// The only service, which has no hosts configured, serves every request.
    All(ServiceId),
    /// Each pattern has its service; none is configured twice.
    Each {
        exact: HashMap<Box<[u8]>, ServiceId>,
        /// With the leading dot.
        suffixes: HashMap<Box<[u8]>, ServiceId>,
    },
}

impl Hosts {
    /// Reads the patterns of the configured services, whose ids are their positions.
    pub(super) fn new(services: &[Service]) -> Self {
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

    /// Whether [`Hosts::find`] looks at the authority at all.
    pub(super) fn needs_authority(&self) -> bool {
        match self {
            Self::All(_) => false,
            Self::Each { exact, suffixes } => !exact.is_empty() || !suffixes.is_empty(),
        }
    }

    /// The service that serves a request with this `:authority`.
    ///
    /// Takes one look for the host and one for each of its dots, so at most 128 for what a
    /// client may have made up, whatever the number of patterns.
    pub(super) fn find(&self, authority: Option<&[u8]>) -> Option<ServiceId> {
        let (exact, suffixes) = match self {
            Self::All(service) => return Some(*service),
            Self::Each { exact, suffixes } => (exact, suffixes),
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

    fn find(hosts: &Hosts, authority: &str) -> Option<ServiceId> {
        hosts.find(Some(authority.as_bytes()))
    }

    #[test]
    fn exact_beats_suffix_and_the_longest_suffix_wins() {
        let hosts = Hosts::new(&[
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
            assert_eq!(find(&hosts, authority), want.map(ServiceId::nth), "{authority}");
        }
        assert!(hosts.needs_authority());
        assert_eq!(hosts.find(None), None);
    }

    #[test]
    fn the_only_service_without_hosts_serves_every_request() {
        let hosts = Hosts::new(&[service(&[])]);
        assert!(!hosts.needs_authority());
        assert_eq!(hosts.find(None), Some(ServiceId::nth(0)));
        assert_eq!(hosts.find(Some(b"\xff")), Some(ServiceId::nth(0)));
    }

    #[test]
    fn services_without_hosts_are_not_found_by_host_when_there_are_several() {
        let hosts = Hosts::new(&[service(&[]), service(&[])]);
        assert!(!hosts.needs_authority());
        assert_eq!(find(&hosts, "web.test"), None);
        let hosts = Hosts::new(&[service(&[]), service(&["web.test"])]);
        assert_eq!(find(&hosts, "web.test"), Some(ServiceId::nth(1)));
        assert_eq!(find(&hosts, "other.test"), None);
    }
}
