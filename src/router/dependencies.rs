//! The health of services that others depend on.

use std::rc::Rc;

use hashbrown::HashMap;

use crate::config::{Config, OnDependencyDown, Service};
use crate::model::index_set::IndexSet;
use crate::model::service::ServiceId;
use crate::model::slot_map::{SecondaryMap, SlotMap};
use crate::router::reply::Reply;
use crate::router::route::Route;
use crate::telemetry::ServiceEvent;

/// The dependencies of the configured services, and the dependencies that are down.
///
/// A service is *down* if Consul has responded for all its datacenters and none has an endpoint, or if the
/// service itself fails because of a dependency. A service that was never resolved is not known to be down.
///
/// Requests do not look at this. Installs and ticks update it, and a change puts the reply to requests into
/// the routes of the dependents.
#[derive(Debug, Default)]
pub(super) struct DependencyHealth {
    /// The services that others depend on. The value is true if Consul lists no endpoint of the service,
    /// as of the last check.
    watched: HashMap<ServiceId, bool>,
    /// The services that depend on others, each behind all its dependencies.
    dependents: Vec<Dependent>,
}

/// A service that depends on others.
#[derive(Debug)]
struct Dependent {
    service: ServiceId,
    name: String,
    on: Vec<Dependency>,
    on_down: OnDependencyDown,
    /// The dependencies that are down, by their places in `on`.
    down: IndexSet,
    /// The value of `down` at the last event.
    reported: IndexSet,
}

/// One of the services that a service depends on.
#[derive(Debug)]
struct Dependency {
    service: ServiceId,
    name: Rc<str>,
}

impl DependencyHealth {
    /// Returns the dependencies of a configuration. None is known to be down yet.
    pub(super) fn new(config: &Config) -> Self {
        if config.services.iter().all(|service| service.dependencies.is_none()) {
            return Self::default();
        }
        let ids = (0..=u16::MAX).map(ServiceId::nth);
        let services: SecondaryMap<ServiceId, &Service> = ids.zip(&config.services).collect();
        // In a configuration that was parsed there is no cycle.
        let order = crate::config::Dependencies::order(&config.services).unwrap_or_default();
        let dependent = |id: &ServiceId| Dependent::new(*id, &services);
        let dependents: Vec<_> = order.iter().filter_map(dependent).collect();
        let watched = dependents.iter().flat_map(|dependent| &dependent.on);
        Self {
            watched: watched.map(|dependency| (dependency.service, false)).collect(),
            dependents,
        }
    }

    /// Updates a service whose endpoints may have come or gone.
    pub(super) fn on_changed(
        &mut self,
        service: ServiceId,
        routes: &mut SlotMap<ServiceId, Route>,
    ) {
        if let Some(seen) = self.watched.get_mut(&service)
            && let Some(route) = routes.get(service)
            && core::mem::replace(seen, route.pool.is_down()) != *seen
        {
            self.update(routes);
        }
    }

    /// Updates all services, and returns the events since the last tick.
    pub(super) fn on_tick(
        &mut self,
        routes: &mut SlotMap<ServiceId, Route>,
    ) -> Vec<(ServiceId, ServiceEvent)> {
        let mut has_changed = false;
        for (service, seen) in &mut self.watched {
            let down = routes.get(*service).is_some_and(|route| route.pool.is_down());
            has_changed |= core::mem::replace(seen, down) != down;
        }
        if has_changed {
            self.update(routes);
        }
        self.dependents.iter_mut().filter_map(Dependent::poll_event).collect()
    }

    /// Evaluates the dependencies of each service anew.
    fn update(&mut self, routes: &mut SlotMap<ServiceId, Route>) {
        for dependent in &mut self.dependents {
            let is_down = |service| routes.get(service).is_some_and(Route::is_down);
            if dependent.update(is_down)
                && let Some(route) = routes.get_mut(dependent.service)
            {
                route.refusal = dependent.refusal();
            }
        }
    }
}

impl Dependent {
    /// Returns a service of the configuration. Returns `None` if it depends on nothing.
    fn new(id: ServiceId, services: &SecondaryMap<ServiceId, &Service>) -> Option<Self> {
        let service = *services.get(id)?;
        let dependencies = service.dependencies.as_ref()?;
        let on = |id: &ServiceId| {
            let name = services.get(*id)?.name.as_str().into();
            Some(Dependency { service: *id, name })
        };
        Some(Self {
            service: id,
            name: service.name.clone(),
            on: dependencies.services.iter().filter_map(on).collect(),
            on_down: dependencies.on_down,
            down: IndexSet::default(),
            reported: IndexSet::default(),
        })
    }

    /// Updates which dependencies are down. Returns true if that has changed.
    fn update(&mut self, is_down: impl Fn(ServiceId) -> bool) -> bool {
        let on = self.on.iter().enumerate();
        let down = on.filter(|(_, it)| is_down(it.service)).map(|(place, _)| place).collect();
        core::mem::replace(&mut self.down, down) != down
    }

    /// Lists the names of the dependencies that are down.
    fn names(&self) -> Vec<Rc<str>> {
        let down = self.on.iter().enumerate().filter(|(place, _)| self.down.contains(*place));
        down.map(|(_, dependency)| Rc::clone(&dependency.name)).collect()
    }

    /// Returns the response to all requests while a dependency is down and requests are to fail.
    fn refusal(&self) -> Option<Rc<Reply>> {
        let fails = self.on_down == OnDependencyDown::Fail && !self.down.is_empty();
        fails.then(|| Rc::new(Reply::dependency_down(&self.name, &self.names())))
    }

    /// Returns the event of a change since the last call.
    fn poll_event(&mut self) -> Option<(ServiceId, ServiceEvent)> {
        let reported = core::mem::replace(&mut self.reported, self.down);
        (reported != self.down)
            .then(|| (self.service, ServiceEvent::DependenciesDown(self.names())))
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;
    use core::time::Duration;

    use super::*;
    use crate::balancer::pick_context::PickContext;
    use crate::model::endpoint::Endpoint;
    use crate::model::service::SourceId;
    use crate::model::snapshot::Snapshot;
    use crate::router::Router;
    use crate::router::disposition::Disposition;
    use crate::util::rng::Rng;
    use crate::util::time::Time;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const DATACENTERS: &str = r#""datacenters": ["dc1", "dc2"]"#;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    /// A router, and what its ticks have told.
    struct Bench {
        router: Router,
        now: Time,
    }

    impl Bench {
        /// Services of these names with these fields.
        fn new(services: &[(&str, &str)]) -> Self {
            let service = |(name, fields): &(&str, &str)| {
                let comma = if fields.is_empty() { "" } else { "," };
                format!(r#"{{"name": "{name}", "hosts": ["{name}.test"]{comma} {fields}}}"#)
            };
            let services: Vec<_> = services.iter().map(service).collect();
            let json = format!(
                r#"{{"consul": {{"cluster": "c"}}, "services": [{}]}}"#,
                services.join(",")
            );
            let config = Config::parse(json.as_bytes()).unwrap();
            Self { router: Router::new(&config, &mut Rng::new(1)), now: at(0) }
        }

        fn id(&self, name: &str) -> ServiceId {
            self.router.service_by_name(name.as_bytes()).unwrap()
        }

        /// Lets a service have endpoints with these last bytes in a datacenter.
        fn install(&mut self, name: &str, datacenter: usize, endpoints: &[u8]) {
            let address = |last: &u8| SocketAddr::from(([10, 0, 0, *last], 80));
            let endpoints = endpoints.iter().map(address).map(Endpoint::new).collect();
            let source: SourceId = self.router.sources(self.id(name))[datacenter];
            self.router.install(source, &Snapshot::new(endpoints).into(), self.now);
        }

        /// Lists the events by that moment, each with its service.
        fn tick(&mut self, milliseconds: u64) -> Vec<(String, ServiceEvent)> {
            self.now = at(milliseconds);
            let mut events = Vec::new();
            self.router.on_tick(self.now, |service, event| events.push((service, event)));
            events.retain(|(_, event)| *event != ServiceEvent::FellBack);
            let names = ["front", "web", "db", "cache"];
            let name = |id| {
                names.iter().find(|name| self.router.service_by_name(name.as_bytes()) == Some(id))
            };
            events.into_iter().map(|(id, event)| (name(id).unwrap().to_string(), event)).collect()
        }

        /// The last byte of the endpoint of a request; or what it is answered.
        fn sent(&mut self, name: &str) -> String {
            match self.router.decide(Some(self.id(name)), &PickContext::default()) {
                Disposition::Forward(forward) => {
                    let address = forward.ticket().host().address().to_string();
                    address.trim_start_matches("10.0.0.").trim_end_matches(":80").to_owned()
                }
                Disposition::Reply(reply) => reply.body.clone(),
                Disposition::Wait { reply, .. } => reply.reason.label().to_owned(),
                Disposition::Pass => "pass".to_owned(),
            }
        }

        /// The dependencies of a service that are down, with commas between their names.
        fn down(&self, name: &str) -> String {
            let id = self.id(name);
            let mut all = self.router.table.dependencies().dependents.iter();
            all.find(|dependent| dependent.service == id)
                .map_or_else(String::new, |it| it.names().join(","))
        }
    }

    fn down(name: &str, others: &[&str]) -> (String, ServiceEvent) {
        let others = others.iter().map(|other| Rc::from(*other)).collect();
        (name.to_owned(), ServiceEvent::DependenciesDown(others))
    }

    #[test]
    fn dependency_is_down_when_no_datacenter_has_an_endpoint() {
        let mut bench = Bench::new(&[
            ("web", r#""depends_on": ["DB", "cache"]"#),
            ("db", DATACENTERS),
            ("cache", ""),
        ]);
        bench.install("web", 0, &[1]);
        assert_eq!(bench.tick(0), []);
        assert_eq!(bench.down("web"), "", "nothing is known of any");
        bench.install("db", 0, &[]);
        assert_eq!(bench.down("web"), "", "the other datacenter may have one");
        bench.install("db", 1, &[]);
        assert_eq!((bench.sent("web"), bench.down("web")), ("1".into(), "db".into()));
        bench.install("cache", 0, &[]);
        assert_eq!(bench.down("web"), "db,cache");
        assert_eq!(bench.tick(250), [down("web", &["db", "cache"])]);
        assert_eq!(bench.tick(500), [], "it is told once");

        bench.install("db", 1, &[7]);
        assert_eq!(bench.down("web"), "cache");
        assert_eq!(bench.tick(750), [down("web", &["cache"])]);
        bench.install("cache", 0, &[8]);
        assert_eq!(bench.tick(1_000), [down("web", &[])]);
        assert_eq!((bench.down("web"), bench.down("db")), (String::new(), String::new()));
    }

    #[test]
    fn what_comes_and_goes_between_two_ticks_is_not_told() {
        let mut bench = Bench::new(&[("web", r#""depends_on": ["db"]"#), ("db", "")]);
        bench.install("db", 0, &[]);
        bench.install("db", 0, &[1]);
        assert_eq!(bench.tick(250), []);
    }

    #[test]
    fn service_that_fails_is_down_to_its_dependents() {
        let mut bench = Bench::new(&[
            ("front", r#""depends_on": ["web"], "on_dependency_down": "fail""#),
            ("web", r#""depends_on": ["db"], "on_dependency_down": "fail""#),
            ("db", ""),
            ("cache", r#""depends_on": ["front"]"#),
        ]);
        for name in ["front", "web", "db", "cache"] {
            bench.install(name, 0, &[1]);
        }
        assert_eq!((bench.sent("front").as_str(), bench.sent("web").as_str()), ("1", "1"));
        bench.install("db", 0, &[]);
        let body = |service: &str, other: &str| {
            let fields = format!(r#""service":"{service}","dependencies":["{other}"]"#);
            format!(r#"{{"error":"dependency_down",{fields}}}"#)
        };
        assert_eq!(bench.sent("web"), body("web", "db"));
        assert_eq!(bench.sent("front"), body("front", "web"));
        assert_eq!((bench.sent("cache"), bench.down("cache")), ("1".into(), "front".into()));
        let names = ["front", "WEB", "db", "cache", "nobody"];
        assert_eq!(bench.router.down(names), ["front", "WEB", "db"]);
        bench.install("db", 0, &[1]);
        for name in ["front", "web", "cache"] {
            assert_eq!((bench.sent(name), bench.down(name)), ("1".into(), String::new()));
        }
        assert!(bench.router.down(names).is_empty());
    }

    #[test]
    fn request_does_not_wait_when_a_dependency_makes_it_fail() {
        let mut bench = Bench::new(&[
            ("web", r#""depends_on": ["db"], "on_dependency_down": "fail""#),
            ("db", ""),
        ]);
        assert_eq!(bench.sent("web"), "not_resolved_yet");
        assert!(bench.router.is_pending(bench.id("web")));
        bench.install("db", 0, &[]);
        assert!(bench.sent("web").contains("dependency_down"));
        assert!(!bench.router.is_pending(bench.id("web")));
        assert!(!bench.router.is_resolved(bench.id("web")));
    }

    #[test]
    fn a_fallback_that_is_in_use_counts() {
        let mut bench = Bench::new(&[
            ("web", r#""depends_on": ["db"]"#),
            ("db", r#""fallback": ["10.0.0.9:80"], "datacenters": ["dc1", "dc2"]"#),
        ]);
        bench.tick(0);
        bench.install("db", 1, &[]);
        bench.tick(2_000);
        assert_eq!((bench.sent("db"), bench.down("web")), ("9".into(), String::new()));
        bench.install("db", 0, &[]);
        assert_eq!(bench.down("web"), "db", "now Consul has answered");
    }

    #[test]
    fn services_that_depend_on_nothing_are_never_looked_at() {
        let bench = Bench::new(&[("web", ""), ("db", "")]);
        let DependencyHealth { watched, dependents } = bench.router.table.dependencies();
        assert!(watched.is_empty() && dependents.is_empty());
    }
}
