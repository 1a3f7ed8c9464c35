//! A request to the listener at which Envoy's subscriptions are answered.

use core::time::Duration;
use std::rc::Rc;

use consul_resolver::config::{ClustersConfig, Config, RoutesConfig, Xds};
use consul_resolver::model::snapshot::Assignment;
use consul_resolver::util::time::Time;
use consul_resolver::xds::request::{StreamId, SubscriptionRequest};
use consul_resolver::xds::resources::Update;
use consul_resolver::xds::server::Server;
use serde_json::Value;

const CONFIG: &[u8] = br#"{
    "consul": {"cluster": "c"},
    "services": [{"name": "web", "hosts": ["a"]}, {"name": "api", "hosts": ["b"]}]
}"#;

/// Reads the first line as a path and what follows as a body. Such a request is answered or held,
/// once; it costs no more than itself; and what is said of it is fit for a log.
pub fn check(input: &[u8]) {
    let (path, body) = super::line(input);
    let mut server = server();
    let request = SubscriptionRequest { method: b"POST", path, body };
    server.on_request(StreamId(7), request, Time::ZERO);
    let answer = server.poll_response(Time::ZERO);
    let answered = usize::from(answer.is_some());
    assert_eq!((server.held() + answered, server.poll_response(Time::ZERO)), (1, None));
    while let Some(event) = server.poll_event() {
        super::check_error(&event, 400);
    }
    // What is nested too deeply for this reader is passed over by the other one.
    let value = serde_json::from_slice::<Value>(body);
    let is_own = value.map_or(true, |value| value["node"]["id"] == "me");
    let Some((StreamId(7), response)) = answer else {
        assert!(is_own && server.held() == 1, "it is held only for its own Envoy");
        let end = Time::from_start(Duration::from_secs(25));
        assert_eq!(server.due(), Some(end));
        let (_, response) = server.poll_response(end).expect("no request is held for ever");
        assert_eq!((response.status, response.body.len()), (304, 0));
        return;
    };
    match response.status {
        200 => {
            assert!(is_own);
            let told: Value = serde_json::from_slice(&response.body).expect("JSON");
            assert!(told["version_info"].as_str().is_some_and(|version| version.len() == 16));
            let resources = told["resources"].as_array().expect("a list");
            assert!(resources.iter().all(|resource| resource["@type"] == told["type_url"]));
            assert!(response.body.len() <= 1_000 + 100 * (body.len() + 1));
        }
        400 | 404 | 413 => assert!(!response.body.is_empty()),
        status => panic!("{status}"),
    }
}

/// A server that knows the endpoints of `web`: there are none.
fn server() -> Server {
    let xds = Xds {
        cluster: "xds".to_owned(),
        address: "/run/xds.sock".to_owned(),
        hold: Duration::from_secs(25),
        clusters: Some(ClustersConfig {
            name: "{service}".to_owned(),
            template: Default::default(),
        }),
        routes: Some(RoutesConfig { name: "all".to_owned(), template: Default::default() }),
    };
    let config = Config::parse(CONFIG).expect("a configuration");
    let config = Config { xds: Some(xds.clone()), ..config };
    let mut server = Server::new(&config, &xds, "me");
    let levels = vec![Rc::default()];
    let update = Update::Assigned { service: "web".into(), assignment: Assignment { levels } };
    server.on_update(update, Time::ZERO);
    server
}
