//! The checks across the sections of a configuration.

use super::check::CheckKind;
use super::error::Refusals;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::handoff::Handoff;
use super::host_template::HostTemplate;
use super::policy::Policy;
use super::service::Service;
use super::services::service_place;
use super::staleness::Staleness;
use super::whole::Config;
use super::xds::ClustersConfig;
use super::xds_error::XdsError;
use crate::util::excerpt::Excerpt;

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

impl Config {
    /// Refuses what needs Envoy's own clusters where they are not fed, and what these cannot do.
    pub(super) fn check_clusters_suffice(&self, refusals: &mut Refusals) {
        let picks = self.handoff == Handoff::StatefulSession;
        let root = FieldPath::root();
        if picks && self.xds.is_none() {
            let place = root.field("handoff").field("via");
            refusals.add(place, FieldError::Needs { other: "xds" });
        }
        if picks && self.dns_names.is_some() {
            let problem = FieldError::Xds(XdsError::NoHost { instead: "headers" });
            refusals.add(root.field("dns_names"), problem);
        }
        let clusters = self.xds.as_ref().and_then(|xds| xds.clusters.as_ref());
        for (place, service) in self.each_with_cluster() {
            let mut refuse = |field: &str, problem| refusals.add(place.field(field), problem);
            if self.xds.is_none() && !service.endpoint_metadata.is_empty() {
                refuse("endpoint_metadata", FieldError::Needs { other: "xds" });
            }
            if clusters.is_none() && !service.cluster.is_empty() {
                refuse("cluster", FieldError::Needs { other: "xds.clusters" });
            }
            if picks && service.resolve_names {
                let problem = FieldError::Xds(XdsError::NoHost { instead: "filter_state" });
                refuse("resolve_names", problem);
            }
            if let Some(clusters) = clusters.filter(|_| !picks) {
                service.check_envoy_suffices(&place, refusals);
                service.check_subsets_free(&place, clusters, refusals);
            }
        }
        if let Some(clusters) = clusters {
            self.check_names_free(clusters, refusals);
        }
    }

    /// The clusters of Envoy's own configuration that are named here, with their places.
    fn other_clusters(&self) -> Vec<(FieldPath, &str)> {
        let of = |field| FieldPath::root().field(field);
        let mut all = vec![(of("consul"), self.consul.cluster.as_str())];
        all.extend(self.xds.iter().map(|it| (of("xds"), it.cluster.as_str())));
        for (index, registration) in self.registrations.iter().enumerate() {
            let place = of("register").item(index);
            for (n, check) in registration.checks.iter().enumerate() {
                if let CheckKind::Ttl { probe: Some(probe), .. } = &check.kind {
                    let place = place.field("checks").item(n).field("probe");
                    all.push((place, probe.cluster.as_str()));
                }
            }
            let drain = registration.drain.iter();
            all.extend(drain.map(|it| (place.field("drain"), it.cluster.as_str())));
        }
        all
    }

    /// Refuses a name by which a service of Consul could take the place of another cluster.
    fn check_names_free(&self, clusters: &ClustersConfig, refusals: &mut Refusals) {
        let place = || FieldPath::root().field("xds").field("clusters").field("name");
        if self.discover.is_some() && clusters.name == HostTemplate::SERVICE {
            let expected = "a name with more than \"{service}\", as it takes with discover: a \
                            service of the catalog could have the name of another cluster";
            let problem = FieldError::Malformed { text: Excerpt::of(&clusters.name), expected };
            refusals.add(place(), problem);
        }
        for (other, name) in self.other_clusters() {
            let own = clusters.service_of(name);
            if own.is_some_and(|own| self.services.iter().any(|service| service.name == own)) {
                let (text, first) = (Excerpt::of(name), other.field("cluster"));
                refusals.add(place(), FieldError::Repeated { text, first });
            }
        }
    }

    /// Leaves out services of the catalog whose clusters would have the name of another one: Envoy
    /// ignores such a cluster in silence, and the service's route would lead to the other one.
    pub(super) fn keep_clusters_apart(&mut self) {
        let Some(clusters) = self.xds.as_ref().and_then(|xds| xds.clusters.as_ref()) else {
            return;
        };
        let others = self.other_clusters();
        let services = others.iter().filter_map(|(_, name)| clusters.service_of(name));
        let reserved = services.map(str::to_owned).collect();
        if let Some(discover) = &mut self.discover {
            discover.reserved = reserved;
        }
    }
}

impl Service {
    /// Refuses settings that Envoy's own clusters do not have, where they alone decide.
    fn check_envoy_suffices(&self, place: &FieldPath, refusals: &mut Refusals) {
        let balancing = &self.load_balancing;
        let mut refuse = |section: &str, field: &str| {
            let place = place.field(section).field(field);
            refusals.add(place, FieldError::Xds(XdsError::NotOfEnvoy));
        };
        if matches!(balancing.policy, Policy::PeakEwma { .. }) {
            refuse("load_balancing", "policy");
        } else if balancing.slow_start.is_some() && !balancing.policy.starts_slowly_in_envoy() {
            refuse("load_balancing", "slow_start");
        }
        if self.versions.as_ref().is_some_and(|versions| !versions.split.is_empty()) {
            refuse("versions", "split");
        }
    }

    /// Refuses subsets in place of those by which its versions are told apart.
    fn check_subsets_free(
        &self,
        place: &FieldPath,
        clusters: &ClustersConfig,
        refusals: &mut Refusals,
    ) {
        const SUBSETS: &str = "lb_subset_config";
        let template = FieldPath::root().field("xds").field("clusters").field("template");
        for (fields, given) in
            [(&self.cluster, place.field("cluster")), (&clusters.template, template)]
        {
            if self.versions.is_some() && fields.contains_key(SUBSETS) {
                let problem = XdsError::Subsets { versions: place.field("versions") };
                refusals.add(given.field(SUBSETS), FieldError::Xds(problem));
            }
        }
    }
}
