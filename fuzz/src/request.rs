//! A request's headers: cookies, paths, versions, whatever a client has sent.

use std::net::SocketAddr;

use consul_resolver::config::Config;
use consul_resolver::handoff::encoded_handoff::HandoffStream;
use consul_resolver::handoff::headers::HANDOFF_HEADERS;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::service::{ServiceId, SourceId};
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::request::handler::RequestHandler;
use consul_resolver::request::inputs::Stream;
use consul_resolver::router::Router;
use consul_resolver::router::disposition::Disposition;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

/// The instances; no client can name another address.
const ADDRESSES: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
/// The most that a request may cost.
const MOST_CALLS: usize = 12;

const SERVICES: [&str; 5] = [
    r#"{"name":"s","load_balancing":{"policy":"ring_hash","minimum_ring_size":8,"maximum_ring_size":64,"hash_on":{"cookie":"id"}}}"#,
    r#"{"name":"s","load_balancing":{"policy":"maglev","table_size":101,"hash_on":{"query":"id"}}}"#,
    r#"{"name":"s","load_balancing":{"policy":"ring_hash","minimum_ring_size":8,"maximum_ring_size":64,"hash_on":{"source_address":true}}}"#,
    r#"{"name":"s","versions":{"key":"v","header":"x-version","split":{"1.x":1,"2.x":1},"hash_on":{"path":true}}}"#,
    r#"{"name":"s","versions":{"key":"v","header":"x-version","fallback":"none"}}"#,
];

/// Reads the lines as the `cookie`, the `:path`, `x-version`, the address that the request came
/// from, and the headers by which the pick is handed over: it goes to an endpoint of the service
/// or is answered, what the client said of the handoff is gone, and asking twice gives the same.
pub fn check(input: &[u8]) {
    for service in SERVICES {
        let mut router = router(service);
        let (first, kind) = decide(&mut router, input);
        let (second, again) = decide(&mut router, input);
        assert_eq!(kind, again, "{service}");
        if service.contains("hash_on\":{\"cookie") && first.value("cookie").is_some_and(has_id) {
            assert_eq!(first.set, second.set, "equal keys go to equal endpoints");
        }
    }
}

/// Whether there can be no doubt that the cookies have one of the name.
fn has_id(cookies: &[u8]) -> bool {
    cookies.starts_with(b"id=")
}

fn router(service: &str) -> Router {
    let config = format!(
        r#"{{"consul":{{"cluster":"c"}},"handoff":{{"via":"headers"}},"services":[{service}]}}"#
    );
    let config = Config::parse(config.as_bytes()).expect("a configuration");
    let mut router = Router::new(&config, &mut Rng::new(1));
    let versions = [Some("1.0"), Some("2.0.0-rc.1"), None];
    let endpoint = |(address, version): (&&str, Option<&str>)| Endpoint {
        version: version.map(Into::into),
        ..Endpoint::new(address.parse::<SocketAddr>().expect("an address"))
    };
    let endpoints = ADDRESSES.iter().zip(versions).map(endpoint).collect();
    router.install(SourceId::nth(0), &Snapshot::new(endpoints).into(), Time::ZERO);
    router
}

/// What becomes of the request, with its headers as they are afterwards.
fn decide<'i>(router: &mut Router, input: &'i [u8]) -> (Client<'i>, &'static str) {
    let mut client = Client::new(input);
    let handler = RequestHandler { route_metadata: false };
    let disposition = handler.handle(router, Some(ServiceId::nth(0)), &mut client);
    assert!(client.calls <= MOST_CALLS, "{} calls", client.calls);
    let kind = match disposition {
        Disposition::Forward(_) => {
            assert_eq!(client.set.len(), 2, "two attempts");
            for name in HANDOFF_HEADERS {
                let is_there = client.set.iter().any(|(set, _)| *set == name);
                assert!(is_there || client.removed.iter().any(|removed| removed == name), "{name}");
            }
            let is_known = |value: &[u8]| ADDRESSES.iter().any(|known| known.as_bytes() == value);
            assert!(client.set.iter().all(|(_, value)| is_known(value)), "{:?}", client.set);
            "forward"
        }
        Disposition::Reply(_) => "reply",
        Disposition::Pass => panic!("it has a service"),
        Disposition::Wait { .. } => panic!("the service is resolved"),
    };
    (client, kind)
}

/// A client's request.
struct Client<'i> {
    headers: [(&'static str, Option<&'i [u8]>); 4],
    set: Vec<(String, Vec<u8>)>,
    removed: Vec<String>,
    calls: usize,
}

impl<'i> Client<'i> {
    fn new(input: &'i [u8]) -> Self {
        let mut lines = input.split(|byte| *byte == b'\n');
        let headers = ["cookie", ":path", "x-version", "source"].map(|name| (name, lines.next()));
        Self { headers, set: Vec::new(), removed: Vec::new(), calls: 0 }
    }

    fn value(&self, name: &str) -> Option<&'i [u8]> {
        self.headers.iter().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
    }
}

impl Stream for Client<'_> {
    fn authority(&mut self) -> Option<Vec<u8>> {
        panic!("the service is known")
    }

    fn route_service(&mut self) -> Option<Vec<u8>> {
        panic!("the service is known")
    }

    fn header(&mut self, name: &str) -> Option<Vec<u8>> {
        self.calls += 1;
        self.value(name).map(<[u8]>::to_vec)
    }

    fn values(&mut self, name: &str) -> Option<Vec<u8>> {
        self.header(name)
    }

    fn has_body(&self) -> bool {
        false
    }

    fn source_address(&mut self) -> Option<Vec<u8>> {
        self.header("source")
    }

    fn now(&mut self) -> Time {
        self.calls += 1;
        Time::ZERO
    }
}

impl HandoffStream for Client<'_> {
    fn has_header(&mut self, _: &str) -> bool {
        self.calls += 1;
        true
    }

    fn set_header(&mut self, name: &str, value: &[u8]) -> bool {
        self.calls += 1;
        self.set.push((name.to_owned(), value.to_vec()));
        true
    }

    fn remove_header(&mut self, name: &str) -> bool {
        self.calls += 1;
        self.removed.push(name.to_owned());
        true
    }

    fn set_filter_state(&mut self, _: &[u8]) -> bool {
        panic!("the handoff is by headers")
    }
}
