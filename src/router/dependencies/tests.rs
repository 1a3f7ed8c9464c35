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
        let json =
            format!(r#"{{"consul": {{"cluster": "c"}}, "services": [{}]}}"#, services.join(","));
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
        let name =
            |id| names.iter().find(|name| self.router.service_by_name(name.as_bytes()) == Some(id));
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
    let mut bench =
        Bench::new(&[("web", r#""depends_on": ["db"], "on_dependency_down": "fail""#), ("db", "")]);
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
