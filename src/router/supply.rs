//! The updates of services for Envoy's own clusters.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::config::Service;
use crate::model::service::ServiceId;
use crate::model::snapshot::Assignment;
use crate::router::route::Route;
use crate::xds::resources::Update;

/// The updates of services for Envoy's own clusters, until they are asked for.
///
/// Holds at most one removal, one addition and one assignment of a service: only the newest assignment is
/// told.
#[derive(Debug, Default)]
pub(super) struct Supply {
    /// The additions and removals, in that order.
    changes: VecDeque<Update>,
    services: HashMap<ServiceId, Supplied>,
    /// The services with new endpoints, in the order of their first change.
    changed: VecDeque<ServiceId>,
    /// True if it was told that the whole catalog is known.
    is_listed: bool,
}

/// A service that Envoy may know.
#[derive(Debug)]
struct Supplied {
    name: Rc<str>,
    /// None before it is resolved.
    assignment: Option<Assignment>,
    /// True if the service is among the changed ones.
    is_changed: bool,
}

impl Supply {
    /// Adds a service.
    pub(super) fn add(&mut self, id: ServiceId, service: &Service) {
        let name = service.name.as_str().into();
        self.services.insert(id, Supplied { name, assignment: None, is_changed: false });
        self.changes.push_back(Update::Added(Rc::new(service.clone())));
    }

    /// Notes that all services of the catalog have been added.
    pub(super) fn on_listed(&mut self) {
        if !core::mem::replace(&mut self.is_listed, true) {
            self.changes.push_back(Update::Listed);
        }
    }

    /// Removes a service. If its addition was never told, neither is its removal.
    pub(super) fn remove(&mut self, id: ServiceId) {
        let Some(Supplied { name, .. }) = self.services.remove(&id) else {
            return;
        };
        self.changed.retain(|it| *it != id);
        let is_it = |it: &Update| matches!(it, Update::Added(service) if *service.name == *name);
        match self.changes.iter().position(is_it) {
            Some(untold) => drop(self.changes.remove(untold)),
            None => self.changes.push_back(Update::Removed { service: name }),
        }
    }

    /// Notes that a service may have new endpoints.
    pub(super) fn on_changed(&mut self, id: ServiceId, route: &Route) {
        let Some(supplied) = self.services.get_mut(&id) else {
            return;
        };
        let assignment = route.assignment(supplied.assignment.is_some());
        if assignment.is_none() || assignment == supplied.assignment {
            return;
        }
        supplied.assignment = assignment;
        if !core::mem::replace(&mut supplied.is_changed, true) {
            self.changed.push_back(id);
        }
    }

    /// Returns the next update.
    pub(super) fn poll(&mut self) -> Option<Update> {
        self.changes.pop_front().or_else(|| {
            let supplied = self.services.get_mut(&self.changed.pop_front()?)?;
            supplied.is_changed = false;
            let assignment = supplied.assignment.clone()?;
            Some(Update::Assigned { service: Rc::clone(&supplied.name), assignment })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Xds};
    use crate::model::endpoint::Endpoint;
    use crate::model::service::SourceId;
    use crate::model::service_names::ServiceNames;
    use crate::model::snapshot::Snapshot;
    use crate::router::Router;
    use crate::router::catalog::GRACE;
    use crate::router::on_demand_names::Lookup;
    use crate::util::rng::Rng;
    use crate::util::time::Time;
    use core::net::SocketAddr;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const CATALOG: SourceId = SourceId::nth(7);

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn router(fields: &str) -> Router {
        let json = format!(r#"{{ "consul": {{ "cluster": "consul", "wait": "1s" }}, {fields} }}"#);
        let xds = Xds {
            cluster: "xds".into(),
            address: "/run/xds.sock".into(),
            hold: Duration::from_secs(25),
            clusters: None,
            routes: None,
        };
        let config = Config { xds: Some(xds), ..Config::parse(json.as_bytes()).unwrap() };
        Router::new(&config, &mut Rng::new(1))
    }

    /// The router of a service, of which is told already that it is there.
    fn web(fields: &str) -> Router {
        let mut router = router(&format!(r#""services": [{{ "name": "web"{fields} }}]"#));
        assert_eq!(updates(&mut router), ["+web"]);
        router
    }

    fn snapshot(ports: &[u16]) -> Rc<Snapshot> {
        let address = |&port| SocketAddr::from(([10, 0, 0, 1], port));
        Snapshot::new(ports.iter().map(address).map(Endpoint::new).collect()).into()
    }

    fn list(router: &mut Router, names: &[&str], now: Time) {
        let names = names.iter().map(|name| Rc::from(*name)).collect();
        router.install(CATALOG, &Snapshot::of_services(ServiceNames::new(names)).into(), now);
    }

    /// All that is told: `+web`, `web: 1 2 | 3` by the ports in each datacenter, `-web`.
    fn updates(router: &mut Router) -> Vec<String> {
        let datacenter = |snapshot: &Rc<Snapshot>| {
            let ports = snapshot.endpoints().iter().map(|it| it.address.port().to_string());
            ports.collect::<Vec<_>>().join(" ")
        };
        let all = core::iter::from_fn(|| router.poll_update()).map(|update| match update {
            Update::Added(service) => format!("+{}", service.name),
            Update::Assigned { service, assignment } => {
                let datacenters: Vec<_> = assignment.levels.iter().map(datacenter).collect();
                format!("{service}: {}", datacenters.join(" | "))
            }
            Update::Removed { service } => format!("-{service}"),
            Update::Listed => "all".into(),
        });
        all.collect()
    }

    #[test]
    fn services_are_told_as_they_come_and_go() {
        let services = r#""services": [{ "name": "web", "hosts": ["web.test"] }],
            "discover": { "host": "{service}.internal" }"#;
        let mut router = router(services);
        router.follow_catalog(CATALOG);
        assert_eq!(updates(&mut router), ["+web"]);
        list(&mut router, &["api", "db", "web"], at(0));
        assert_eq!(updates(&mut router), ["+api", "+db", "all"]);
        let api = router.service_by_name(b"api").unwrap();
        router.attach(api, 0, SourceId::nth(8));
        router.install(SourceId::nth(8), &snapshot(&[1]), at(0));
        list(&mut router, &["db"], at(0));
        (0..=GRACE.as_secs()).for_each(|second| router.on_tick(at(second), |_, _| {}));
        assert_eq!(updates(&mut router), ["-api"], "what is gone has no endpoints");
        list(&mut router, &["api", "db"], at(40));
        assert_eq!(updates(&mut router), ["+api"]);
    }

    #[test]
    fn a_listed_service_is_told_with_the_host_that_is_left_to_it() {
        let mut router = router(
            r#""services": [{ "name": "web", "hosts": ["web.test", "*.db.internal"] }],
            "discover": { "host": "{service}.internal" }"#,
        );
        router.follow_catalog(CATALOG);
        list(&mut router, &["Api", "main.db"], at(0));
        let told = core::iter::from_fn(|| router.poll_update()).filter_map(|update| match update {
            Update::Added(service) => Some(service),
            _ => None,
        });
        let hosts: Vec<Vec<String>> =
            told.map(|it| it.hosts.iter().map(ToString::to_string).collect()).collect();
        let expected: [Vec<String>; 3] =
            [vec!["web.test".into(), "*.db.internal".into()], vec!["api.internal".into()], vec![]];
        assert_eq!(hosts, expected, "what the filter takes for web, Envoy is to route to web");
    }

    #[test]
    fn a_service_that_nobody_has_heard_of_goes_unsaid() {
        let mut router = router(r#""discover": { "host": "{service}.internal" }"#);
        router.follow_catalog(CATALOG);
        list(&mut router, &["api", "db"], at(0));
        let id = router.service_by_name(b"api").unwrap();
        router.remove(id);
        assert_eq!(updates(&mut router), ["+db", "all"]);
    }

    #[test]
    fn endpoints_are_told_once_a_service_is_resolved() {
        let mut router = web(r#", "datacenters": ["dc1", "dc2", "dc3"]"#);
        router.install(SourceId::nth(1), &Rc::default(), at(0));
        assert!(updates(&mut router).is_empty(), "the others may have some");
        let second = snapshot(&[1, 2]);
        router.install(SourceId::nth(1), &second, at(1));
        let Some(Update::Assigned { assignment, .. }) = router.poll_update() else { panic!() };
        assert!(Rc::ptr_eq(&assignment.levels[1], &second), "it is not copied");
        router.install(SourceId::nth(0), &snapshot(&[3]), at(2));
        assert_eq!(updates(&mut router), ["web: 3 | 1 2 | "]);
        for source in 0..2 {
            router.install(SourceId::nth(source), &Rc::default(), at(3));
        }
        assert_eq!(updates(&mut router), ["web:  |  | "]);
        let mut empty = web(r#", "datacenters": ["dc1", "dc2"]"#);
        empty.install(SourceId::nth(0), &Rc::default(), at(0));
        assert!(updates(&mut empty).is_empty());
        empty.install(SourceId::nth(1), &Rc::default(), at(0));
        assert_eq!(updates(&mut empty), ["web:  | "], "all have answered");
    }

    #[test]
    fn only_the_newest_of_several_changes_is_told() {
        let mut router = router(r#""services": [{ "name": "web" }]"#);
        for port in 1..=9 {
            router.install(SourceId::nth(0), &snapshot(&[port]), at(0));
        }
        assert_eq!(updates(&mut router), ["+web", "web: 9"]);
        router.install(SourceId::nth(0), &snapshot(&[9]), at(1));
        assert!(updates(&mut router).is_empty(), "nothing has changed");
    }

    // Promise: R-313
    #[test]
    fn a_fallback_is_told_while_it_is_in_use() {
        let mut router = web(r#", "fallback": ["10.0.0.9:9"], "datacenters": ["dc1", "dc2"]"#);
        router.on_tick(at(0), |_, _| {});
        router.on_tick(at(5), |_, _| {});
        assert_eq!(updates(&mut router), ["web: 9 | "]);
        router.install(SourceId::nth(0), &Rc::default(), at(6));
        assert!(updates(&mut router).is_empty(), "dc2 has not answered");
        router.install(SourceId::nth(1), &snapshot(&[1]), at(7));
        assert_eq!(updates(&mut router), ["web:  | 1"]);
    }

    // Promise: R-313
    #[test]
    fn stale_endpoints_are_told_as_none_when_they_are_to_fail() {
        let fields = |on_stale: &str| format!(r#", "max_age": "10s", "on_stale": "{on_stale}""#);
        let mut failing = web(&fields("fail"));
        failing.install(SourceId::nth(0), &snapshot(&[1]), at(0));
        assert!(updates(&mut failing).is_empty(), "they may be of any age");
        failing.on_confirmed(SourceId::nth(0), Duration::ZERO, at(0));
        assert_eq!(updates(&mut failing), ["web: 1"]);
        failing.on_tick(at(10), |_, _| {});
        assert_eq!(updates(&mut failing), ["web: "]);
        failing.install(SourceId::nth(0), &snapshot(&[2]), at(11));
        assert!(updates(&mut failing).is_empty(), "they are not confirmed yet");
        failing.on_confirmed(SourceId::nth(0), Duration::ZERO, at(11));
        failing.on_tick(at(11), |_, _| {});
        assert_eq!(updates(&mut failing), ["web: 2"]);

        let mut serving = web(&fields("serve"));
        serving.install(SourceId::nth(0), &snapshot(&[1]), at(0));
        serving.on_confirmed(SourceId::nth(0), Duration::ZERO, at(0));
        serving.on_tick(at(60), |_, _| {});
        assert_eq!(updates(&mut serving), ["web: 1"]);
    }

    #[test]
    fn names_of_clients_are_never_told() {
        let mut router = router(r#""dns_names": {}"#);
        let Lookup::New(service) = router.resolve_on_demand(Some(b"web.service.consul")) else {
            panic!()
        };
        router.attach(service, 0, SourceId::nth(3));
        router.install(SourceId::nth(3), &snapshot(&[1]), at(0));
        assert!(router.is_resolved(service) && updates(&mut router).is_empty());
        router.remove(service);
        assert!(updates(&mut router).is_empty());
    }

    #[test]
    fn nothing_is_kept_where_envoys_clusters_are_not_fed() {
        let json = br#"{ "consul": { "cluster": "c" }, "services": [{ "name": "web" }] }"#;
        let mut router = Router::new(&Config::parse(json).unwrap(), &mut Rng::new(1));
        let installed = snapshot(&[1]);
        router.install(SourceId::nth(0), &installed, at(0));
        assert!(updates(&mut router).is_empty());
        assert_eq!(Rc::strong_count(&installed), 1);
    }
}
