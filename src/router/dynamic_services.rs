//! Services that are found while the router is at work.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::{Config, Discover, Service};
use crate::discovery::source_spec::SourceSpec;
use crate::model::service::{QueryKey, ServiceId, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registry::query::{Query, service_of_host};
use crate::router::Router;
use crate::router::catalog::Catalog;
use crate::router::on_demand_names::OnDemandNames;
use crate::router::reply::Reply;
use crate::router::service_change::{Addition, Origin, ServiceChange};
use crate::util::time::Time;

/// Services that are found while the router is at work, and what is to be done about them.
#[derive(Debug)]
pub(super) struct DynamicServices {
    pub(super) config: Config,
    pub(super) catalog: Catalog,
    pub(super) demand: Option<OnDemandNames>,
    pub(super) too_many_names: Rc<Reply>,
    changes: VecDeque<ServiceChange>,
}

impl DynamicServices {
    /// Nothing is found yet; none where nothing ever is.
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        if config.is_static() {
            return None;
        }
        let catalog =
            config.discover.as_ref().map(|discover| SourceSpec::catalog(config, discover));
        let changes =
            catalog.map(|subject| ServiceChange::Catalog(Box::new(subject))).into_iter().collect();
        Some(Box::new(Self {
            config: config.clone(),
            catalog: Catalog::default(),
            demand: config.dns_names.clone().map(OnDemandNames::new),
            too_many_names: Rc::new(Reply::too_many_names()),
            changes,
        }))
    }

    /// Lets a service be followed.
    pub(super) fn add(&mut self, id: ServiceId, service: &Service, origin: Origin) {
        let config = &self.config;
        let subjects = config
            .datacenters(service)
            .map(|dc| SourceSpec::of(config, service, dc))
            .map(|subject| SourceSpec { on_trial: origin != Origin::Catalog, ..subject })
            .collect();
        self.changes.push_back(ServiceChange::Added(Addition {
            service: id,
            name: service.name.clone(),
            subjects,
            origin,
        }));
    }

    /// Lets a service be followed no more, that had its endpoints from these sources.
    pub(super) fn remove(&mut self, service: ServiceId, sources: Vec<SourceId>, is_named: bool) {
        self.changes.push_back(ServiceChange::Removed { service, sources, is_named });
    }

    /// The service that a host names in Consul's DNS, and what identifies its query.
    pub(super) fn named(&self, host: &[u8]) -> Option<(Service, QueryKey)> {
        let settings = &self.demand.as_ref()?.settings;
        let (mut service, datacenter) = service_of_host(host, settings)?;
        service.datacenters.extend(datacenter);
        let datacenter = self.config.datacenters(&service).next().flatten();
        let query = Query::new(&self.config, &service, datacenter).key();
        Some((service, query))
    }

    /// The service that serves a host.
    pub(super) fn by_host(&self, host: &[u8], now: Time) -> Option<ServiceId> {
        let asked = || self.demand.as_ref()?.by_host(host, now);
        self.catalog.by_host(host).or_else(asked)
    }
}

impl Router {
    /// What is to be done next about services that come and go, until there is nothing.
    pub fn poll_change(&mut self) -> Option<ServiceChange> {
        self.found.as_mut()?.changes.pop_front()
    }

    /// Learns where the snapshots of the catalog come from.
    pub fn follow_catalog(&mut self, source: SourceId) {
        if let Some(found) = &mut self.found {
            found.catalog.source = Some(source);
        }
    }

    /// Takes what a source says, if that is a catalog: services come at once, and go after a
    /// while.
    pub(super) fn on_catalog(&mut self, source: SourceId, snapshot: &Snapshot, now: Time) {
        let Some(mut found) = self.found.take() else {
            return;
        };
        if let (Some(services), Some(discover)) = (snapshot.services(), &found.config.discover)
            && found.catalog.source == Some(source)
        {
            let discover = discover.clone();
            for name in found.catalog.on_listed(services.names(), now) {
                self.add_listed(&mut found, &discover, &name);
            }
            if let Some(supply) = &mut self.supply {
                supply.on_listed();
            }
        }
        self.found = Some(found);
        self.remove_gone(now);
    }

    /// Forgets the services whose time is over.
    pub(super) fn remove_gone(&mut self, now: Time) {
        let Some(mut found) = self.found.take() else {
            return;
        };
        let most = found.config.discover.as_ref().map_or(0, |discover| discover.max_services);
        let gone = found.catalog.take_gone(most as usize, now).into_iter();
        let mut gone: Vec<_> = gone.map(|service| (service, false)).collect();
        if let Some(demand) = &mut found.demand {
            gone.extend(demand.take_gone(now).into_iter().map(|service| (service, true)));
            for (service, host) in demand.take_news(now) {
                let (sources, host) = (self.sources(service), text(&host));
                found.changes.push_back(ServiceChange::Wanted { sources, host });
            }
        }
        for (service, is_named) in gone {
            found.remove(service, self.remove(service), is_named);
        }
        self.found = Some(found);
    }

    /// Takes a service of the catalog in, unless a configured one has its name.
    fn add_listed(&mut self, found: &mut DynamicServices, discover: &Discover, name: &Rc<str>) {
        let Some(host) = discover.host.host_of(name) else {
            return;
        };
        if self.names.contains_key(name.to_ascii_lowercase().as_bytes()) {
            return;
        }
        let service = Service { name: name.to_string(), ..discover.service.clone() };
        if let Some(id) = self.add(&service) {
            // A host that the filter takes for a configured service's Envoy is to route there, too.
            let is_taken = self.hosts.find(Some(host.as_bytes())).is_some();
            let own = host.parse().ok().filter(|_| !is_taken);
            self.supply(id, &Service { hosts: own.into_iter().collect(), ..service.clone() });
            found.catalog.add(name, &host, id);
            found.add(id, &service, Origin::Catalog);
        }
    }
}

/// A host of the demand, which is text.
pub(super) fn text(host: &[u8]) -> Box<str> {
    String::from_utf8_lossy(host).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::pick_context::PickContext;
    use crate::model::endpoint::Endpoint;
    use crate::model::service_names::ServiceNames;
    use crate::registry::request::ReadMode;
    use crate::router::disposition::Disposition;
    use crate::util::rng::Rng;
    use core::net::SocketAddr;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const CATALOG: SourceId = SourceId::nth(7);
    const WEB: SourceId = SourceId::nth(8);

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    /// A router that follows the catalog.
    fn router(services: &str, max_services: u32) -> Router {
        let json = format!(
            r#"{{
                "consul": {{ "cluster": "consul" }}, "services": {services},
                "discover": {{ "host": "{{service}}.internal", "max_services": {max_services} }}
            }}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let mut router = Router::new(&config, &mut Rng::new(1));
        assert!(matches!(router.poll_change(), Some(ServiceChange::Catalog(_))));
        assert!(router.poll_change().is_none());
        router.follow_catalog(CATALOG);
        router
    }

    fn list(router: &mut Router, names: &[&str], now: Time) {
        let names = names.iter().map(|name| Rc::from(*name)).collect();
        router.install(CATALOG, &Snapshot::of_services(ServiceNames::new(names)).into(), now);
    }

    /// The names that have come, and how many services have gone.
    fn changes(router: &mut Router) -> (Vec<String>, usize) {
        let (mut added, mut removed) = (Vec::new(), 0);
        while let Some(change) = router.poll_change() {
            match change {
                ServiceChange::Added(Addition { service, name, subjects, .. }) => {
                    assert_eq!(subjects.len(), 1);
                    let request = subjects[0].query.request(None, ReadMode::AsConfigured);
                    assert!(router.has(service));
                    assert_eq!(request.path, format!("/v1/health/service/{name}"));
                    added.push(name);
                }
                ServiceChange::Removed { service, .. } => {
                    assert!(!router.has(service));
                    removed += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        (added, removed)
    }

    #[test]
    fn a_listed_service_takes_requests_once_its_endpoints_are_known_and_until_it_is_gone() {
        let mut router = router("[]", 10);
        assert!(router.needs_authority());
        list(&mut router, &["web"], at(0));
        let service = router.service_by_host(Some(b"Web.Internal:80")).unwrap();
        assert_eq!(router.service_by_name(b"WEB"), Some(service));
        assert!(matches!(
            router.decide(Some(service), &PickContext::default()),
            Disposition::Wait { .. }
        ));
        assert_eq!(changes(&mut router), (vec!["web".to_owned()], 0));

        router.attach(service, 0, WEB);
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let endpoints = Snapshot::new(vec![Endpoint::new(address)]);
        router.install(WEB, &endpoints.into(), at(1));
        assert!(matches!(
            router.decide(Some(service), &PickContext::default()),
            Disposition::Forward(_)
        ));

        list(&mut router, &[], at(10));
        (10..=39).for_each(|second| router.on_tick(at(second), |_, _| {}));
        assert!(router.has(service) && router.poll_change().is_none());
        router.on_tick(at(40), |_, _| {});
        assert!(!router.has(service));
        assert_eq!(router.service_by_host(Some(b"web.internal")), None);
        let Some(ServiceChange::Removed { sources, .. }) = router.poll_change() else { panic!() };
        assert_eq!(sources, [WEB]);
    }

    #[test]
    fn a_configured_service_wins_over_a_listed_one_of_its_name_or_host() {
        let services = r#"[
            { "name": "Web", "hosts": ["web.test"] },
            { "name": "other", "hosts": ["api.internal", "*.v2.internal"] }
        ]"#;
        let mut router = router(services, 10);
        list(&mut router, &["web", "api", "a.v2", "db"], at(0));
        let (added, _) = changes(&mut router);
        assert_eq!(added, ["a.v2", "api", "db"]);
        let other = Some(ServiceId::nth(1));
        assert_eq!(router.service_by_host(Some(b"web.internal")), None);
        assert_eq!(router.service_by_host(Some(b"api.internal")), other);
        assert_eq!(router.service_by_host(Some(b"a.v2.internal")), other);
        assert!(router.service_by_host(Some(b"db.internal")).is_some());
        assert_eq!(router.service_by_name(b"web"), Some(ServiceId::nth(0)));
    }

    #[test]
    fn names_that_change_all_the_time_leave_nothing_behind() {
        let mut router = router("[]", 2);
        let (mut all_added, mut all_removed) = (0, 0);
        for n in 0..1_000 {
            list(&mut router, &[&format!("a{n}"), &format!("b{n}")], at(n));
            assert!(router.routes.len() <= 2);
            let (added, removed) = changes(&mut router);
            all_added += added.len();
            all_removed += removed;
        }
        assert_eq!((all_added, all_removed), (2_000, 1_998));
    }

    #[test]
    fn what_another_source_lists_is_no_catalog() {
        let mut router = router("[]", 10);
        let services = ServiceNames::new(vec!["web".into()]);
        router.install(WEB, &Snapshot::of_services(services).into(), at(0));
        assert_eq!(changes(&mut router), (Vec::new(), 0));
    }
}
