use core::net::SocketAddr;

use serde_json::{Value, json};

use super::*;
use crate::config::{ClustersConfig, RoutesConfig, Service};
use crate::model::endpoint::{Address, Endpoint};
use crate::model::snapshot::{Assignment, Snapshot};
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod clusters;
mod trouble;

const HOLD: Duration = Duration::from_secs(25);

/// A server, the time, and the responses.
struct Script {
    server: Server,
    now: Time,
    streams: u32,
}

/// The response to a stream.
#[derive(Debug, PartialEq)]
struct Told {
    stream: u32,
    status: u16,
    /// Empty where there is none.
    version: String,
    resources: Vec<Value>,
}

impl Script {
    /// The services `web` and `api`, and whatever else the fields say.
    fn new(fields: &str) -> Self {
        Self::of(r#"{"name": "web", "hosts": ["a"]}, {"name": "api", "hosts": ["b"]}"#, fields)
    }

    fn of(services: &str, fields: &str) -> Self {
        let text = format!(r#"{{"consul": {{"cluster": "c"}}, "services": [{services}]{fields}}}"#);
        let config = Config::parse(text.as_bytes()).unwrap();
        let xds = Xds {
            cluster: "xds".to_owned(),
            address: "/run/xds.sock".to_owned(),
            hold: HOLD,
            clusters: Some(ClustersConfig {
                name: "{service}".to_owned(),
                template: Default::default(),
            }),
            routes: Some(RoutesConfig { name: "all".to_owned(), template: Default::default() }),
        };
        let config = Config { xds: Some(xds.clone()), ..config };
        Self { server: Server::new(&config, &xds, "me"), now: Time::ZERO, streams: 0 }
    }

    fn after(&mut self, millis: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(millis);
        self
    }

    fn assign(&mut self, service: &str, levels: impl IntoIterator<Item = Snapshot>) {
        let levels = levels.into_iter().map(Rc::new).collect();
        let update =
            Update::Assigned { service: service.into(), assignment: Assignment { levels } };
        self.server.on_update(update, self.now);
    }

    /// Sends a request and returns its stream.
    fn send(&mut self, path: &str, body: &str) -> u32 {
        self.streams += 1;
        let request =
            SubscriptionRequest { method: b"POST", path: path.as_bytes(), body: body.as_bytes() };
        self.server.on_request(StreamId(self.streams), request, self.now);
        self.streams
    }

    fn ask(&mut self, kind: ResourceKind, names: &[&str], version: &str) -> u32 {
        let body = json!({
            "version_info": version,
            "node": {"id": "me", "cluster": "c"},
            "resource_names": names,
            "type_url": kind.type_url(),
        });
        self.send(kind.path(), &body.to_string())
    }

    /// Asks for the endpoints of a service.
    fn eds(&mut self, name: &str, version: &str) -> u32 {
        self.ask(ResourceKind::Endpoints, &[name], version)
    }

    /// All responses until now.
    fn told(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        while let Some((StreamId(stream), SubscriptionResponse { status, body })) =
            self.server.poll_response(self.now)
        {
            let body =
                if status == 200 { serde_json::from_slice(&body).unwrap() } else { json!(0) };
            let version = body["version_info"].as_str().unwrap_or_default().to_owned();
            let resources = body["resources"].as_array().cloned().unwrap_or_default();
            all.push(Told { stream, status, version, resources });
        }
        all
    }

    /// The version that one stream is told, and nobody else anything.
    fn version(&mut self, stream: u32) -> String {
        let told = self.told();
        let [Told { status: 200, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(told[0].stream, stream);
        told.into_iter().next().unwrap().version
    }

    /// The events for a log.
    fn events(&mut self) -> Vec<String> {
        let events = core::iter::from_fn(|| self.server.poll_event());
        let is_known = |it: &SubscriptionEvent| {
            use SubscriptionEvent::{Acknowledged, ClustersTold, Gone};
            matches!(it, Acknowledged { .. } | Gone { .. } | ClustersTold)
        };
        let events = events.filter(|event| !is_known(event));
        events.map(|event| event.to_string()).collect()
    }

    /// The number of acknowledgements of a service.
    fn acknowledged(&mut self) -> usize {
        let all = core::iter::from_fn(|| self.server.poll_event());
        all.filter(|event| matches!(event, SubscriptionEvent::Acknowledged { .. })).count()
    }

    /// The services that Envoy has no longer, or `*` for all without a cluster.
    fn gone(&mut self) -> Vec<String> {
        let gone =
            core::iter::from_fn(|| self.server.poll_event()).filter_map(|event| match event {
                SubscriptionEvent::Gone { service } => Some(service.to_string()),
                SubscriptionEvent::ClustersTold => Some("*".to_owned()),
                _ => None,
            });
        gone.collect()
    }

    fn is_quiet(&mut self) -> bool {
        self.told().is_empty()
    }
}

/// Endpoints with these last octets.
fn of(octets: impl IntoIterator<Item = u8>) -> [Snapshot; 1] {
    let address = |octet| SocketAddr::from(([10, 0, 0, octet], 80));
    [Snapshot::new(octets.into_iter().map(|octet| Endpoint::new(address(octet))).collect())]
}

/// The ports of the endpoints that a response has, or their number where they are many.
fn many(count: u16) -> [Snapshot; 1] {
    let endpoint = |port| Endpoint::new(SocketAddr::from(([10, 0, 0, 1], port)));
    [Snapshot::new((1..=count).map(endpoint).collect())]
}

fn names(told: &Told, field: &str) -> Vec<String> {
    told.resources.iter().map(|it| it[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_request_is_held_until_its_service_is_known() {
    let mut script = Script::new("");
    let first = script.eds("web", "");
    assert!(script.is_quiet() && script.server.held() == 1);
    script.assign("api", of([9]));
    assert!(script.after(100).is_quiet());
    script.assign("web", of([1]));
    let version = script.version(first);
    assert_eq!((script.server.held(), script.events().len()), (0, 0));

    script.eds("web", &version);
    assert!(script.is_quiet());
    assert_eq!(script.acknowledged(), 1);
    script.assign("web", of([1]));
    assert!(script.is_quiet(), "it is the same");
    assert_eq!(script.server.held(), 1);
}

#[test]
fn a_held_request_is_answered_304_when_its_time_is_over() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    let first = script.eds("web", "");
    let version = script.version(first);
    script.after(1_000);
    let held = script.eds("web", &version);
    assert_eq!(script.server.due(), Some(script.now));
    assert!(script.is_quiet());
    assert_eq!(script.server.due(), Some(script.now + HOLD));
    assert!(script.after(24_999).is_quiet());
    let told = script.after(1).told();
    assert_eq!((told[0].stream, told[0].status, told.len()), (held, 304, 1));
    assert_eq!((script.server.due(), script.server.counts().unchanged), (None, 1));
}

#[test]
fn subscribers_of_one_service_get_the_same_response() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    let streams = [0; 3].map(|_| script.eds("web", ""));
    let version = script.told().remove(0).version;
    let streams = streams.map(|_| script.after(20).eds("web", &version));
    assert!(script.is_quiet());
    script.assign("web", of([1, 2]));
    let told = script.told();
    assert_eq!(told.iter().map(|told| told.stream).collect::<Vec<_>>(), streams);
    let same = |it: &Told| it.version == told[0].version && it.resources == told[0].resources;
    assert!(told.iter().all(same) && told[0].version != version);
}

// Promise: R-302
#[test]
fn equal_content_has_an_equal_version_in_every_vm() {
    let mut one = Script::new("");
    let mut other = Script::new(r#", "unmatched": "reject""#);
    for octet in 1..9 {
        one.assign("web", of([octet, 200]));
        let stream = one.after(50).eds("web", "");
        one.version(stream);
    }
    other.assign("web", of([200, 8]));
    let streams = (one.eds("web", ""), other.eds("web", ""));
    let version = one.version(streams.0);
    assert_eq!(version, other.version(streams.1));
    assert!(version.len() == 16 && version.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // After the VM was loaded anew, what Envoy has is no news.
    let mut anew = Script::new("");
    anew.eds("web", &version);
    anew.assign("web", of([8, 200]));
    assert!(anew.is_quiet());
}

#[test]
fn services_are_told_as_they_resolve_when_asked_for_together() {
    let mut script = Script::new("");
    let first = script.ask(ResourceKind::Endpoints, &["web", "api"], "");
    assert!(script.is_quiet());
    script.assign("web", of([1]));
    let told = script.told().remove(0);
    assert_eq!((told.stream, names(&told, "cluster_name")), (first, vec!["web".to_owned()]));
    let second = script.ask(ResourceKind::Endpoints, &["api", "web", "web"], &told.version);
    assert!(script.is_quiet());
    script.assign("api", of([2]));
    let told = script.told().remove(0);
    let both = vec!["api".to_owned(), "web".to_owned()];
    assert_eq!((told.stream, names(&told, "cluster_name")), (second, both));
}

#[test]
fn name_gets_an_empty_assignment_when_no_service_has_it() {
    let mut script = Script::new("");
    let first = script.eds("wep", "");
    let told = script.told().remove(0);
    assert_eq!((told.stream, &told.resources[0]["endpoints"]), (first, &json!([])));
    script.eds("wep", &told.version);
    assert!(script.is_quiet());
    let events = script.events();
    assert!(events.len() == 1 && events[0].contains(r#""wep""#), "{events:?}");
    assert!(events[0].ends_with(r#"did you mean "web"?"#), "{events:?}");
    script.server.on_update(Update::Added(Rc::new(Service::new("wep"))), script.now);
    assert!(script.is_quiet(), "its endpoints are not known");
    script.assign("wep", of([1]));
    assert_eq!(script.told()[0].resources[0]["cluster_name"], "wep");
    let removed = Update::Removed { service: "wep".into() };
    script.eds("wep", "");
    assert_eq!(script.told().len(), 1);
    script.eds("wep", "0000000000000001");
    script.server.on_update(removed, script.now);
    assert_eq!(script.told()[0].resources[0]["endpoints"], json!([]));
}

#[test]
fn clusters_come_and_go_with_their_services() {
    let mut script = Script::new("");
    let first = script.ask(ResourceKind::Clusters, &[], "");
    let told = script.told().remove(0);
    assert_eq!((told.stream, names(&told, "name")), (first, vec!["api".into(), "web".into()]));
    script.ask(ResourceKind::Clusters, &["*"], &told.version);
    script.assign("web", of([1]));
    assert!(script.is_quiet(), "endpoints are no news of clusters");
    script.server.on_update(Update::Added(Rc::new(Service::new("new"))), script.now);
    let told = script.told().remove(0);
    assert_eq!(names(&told, "name"), ["api", "new", "web"]);
    script.ask(ResourceKind::Clusters, &[], &told.version);
    script.server.on_update(Update::Added(Rc::new(Service::new("new"))), script.now);
    assert!(script.is_quiet());
    for service in ["new", "web", "api"] {
        script.server.on_update(Update::Removed { service: service.into() }, script.now);
    }
    assert!(script.told()[0].resources.is_empty());
}

#[test]
fn routes_are_sent_only_when_asked_for_by_their_name() {
    let mut script = Script::new("");
    let streams = [
        script.ask(ResourceKind::Routes, &["all"], ""),
        script.ask(ResourceKind::Routes, &["al"], ""),
    ];
    let told = script.told();
    assert_eq!(told.iter().map(|it| it.status).collect::<Vec<_>>(), [404, 200]);
    assert_eq!([told[1].stream, told[0].stream], streams);
    script.ask(ResourceKind::Routes, &["al"], "");
    assert_eq!((script.told()[0].status, script.events().len()), (404, 1));
}

// Promise: R-310
#[test]
fn resources_stay_when_the_catalog_was_not_read_yet() {
    let mut script = Script::new(r#", "discover": {"host": "{service}.x"}"#);
    let fresh = script.ask(ResourceKind::Clusters, &[], "");
    let version = script.version(fresh);
    // An Envoy that knows more, and one that knows a service that was found before.
    let [clusters, endpoints, current] = [
        script.ask(ResourceKind::Clusters, &[], "00000000000000ff"),
        script.eds("found", "00000000000000ff"),
        script.ask(ResourceKind::Clusters, &[], &version),
    ];
    assert!(script.is_quiet());
    script.server.on_update(Update::Added(Rc::new(Service::new("new"))), script.now);
    assert!(script.is_quiet());
    script.server.on_update(Update::Listed, script.now);
    let told = script.told();
    let streams: Vec<_> = told.iter().map(|told| told.stream).collect();
    assert_eq!(streams, [endpoints, clusters, current]);
    assert_eq!(names(&told[1], "name"), ["api", "new", "web"]);
}

#[test]
fn a_service_counts_as_known_once_envoy_has_a_host_of_it() {
    let mut script = Script::new("");
    script.assign("web", [Snapshot::default()]);
    let first = script.eds("web", "");
    let none = script.version(first);
    let second = script.after(20).eds("web", &none);
    assert!(script.told().is_empty());
    assert_eq!(script.acknowledged(), 0, "a pick would find no host there");
    let one = Endpoint::new(SocketAddr::from(([10, 0, 0, 1], 80)));
    script.assign("web", [Snapshot::new(vec![one])]);
    let some = script.version(second);
    assert_eq!(script.acknowledged(), 0);
    script.after(20).eds("web", &some);
    assert_eq!(script.acknowledged(), 1);
}

#[test]
fn service_is_known_anew_when_envoy_asks_with_its_version() {
    let mut script = Script::new("");
    script.assign("web", of([1]));
    let first = script.eds("web", "");
    let version = script.version(first);
    assert_eq!(script.acknowledged(), 0);
    for _ in 0..2 {
        script.after(20).eds("web", &version);
        assert!(script.is_quiet());
        assert_eq!(script.acknowledged(), 1);
    }
}

#[test]
fn service_is_gone_for_all_when_envoy_is_told_of_its_end() {
    let mut script = Script::new("");
    let clusters = script.ask(ResourceKind::Clusters, &[], "");
    let clusters = script.version(clusters);
    assert_eq!(script.gone(), ["*"]);
    script.assign("api", of([1]));
    let api = script.eds("api", "");
    let api = script.version(api);
    script.eds("api", &api);
    assert!(script.is_quiet() && script.gone().is_empty());
    script.server.on_update(Update::Removed { service: "api".into() }, script.now);
    assert_eq!(script.gone(), ["api"], "it may be back before Envoy asks");
    script.told();
    assert_eq!(script.gone(), ["api"], "it has no endpoints");
    script.ask(ResourceKind::Clusters, &[], &clusters);
    script.told();
    assert_eq!(script.gone(), ["*"], "it has no cluster");
    assert_eq!(script.server.services().collect::<Vec<_>>(), ["web"]);
    // One that had no endpoints any more is no news when it goes.
    script.server.on_update(Update::Added(Rc::new(Service::new("api"))), script.now);
    script.assign("api", of([]));
    let api = script.eds("api", "");
    let none = script.version(api);
    script.eds("api", &none);
    assert!(script.is_quiet() && script.gone().is_empty());
    script.server.on_update(Update::Removed { service: "api".into() }, script.now);
    assert!(script.is_quiet() && !script.gone().is_empty());
    // One that was only not known yet has not gone.
    script.assign("web", of([1]));
    script.eds("web", "");
    assert!(script.told().len() == 1 && script.gone().is_empty());
}
