//! What is done with one request: its service is found, an endpoint is picked, and the pick
//! handed to Envoy's router.
//!
//! The host calls that this takes are a budget. The tests below count them, and the README
//! names them: adding one changes all three.

use std::rc::Rc;

use crate::balance::ticket::Ticket;
use crate::model::service::ServiceId;
use crate::router::Router;
use crate::router::decision::{Decision, Forward};
use crate::router::handoff::HANDOFF_HEADERS;
use crate::router::reply::Reply;

/// A request in its header phase, or paused in it.
pub trait Stream {
    /// Reads `:authority`.
    fn authority(&mut self) -> Option<Vec<u8>>;
    /// Reads the service's name from the route's metadata.
    fn route_service(&mut self) -> Option<Vec<u8>>;
    /// Whether the request has a header of that name.
    fn has_header(&mut self, name: &str) -> bool;
    /// Sets a header, whatever values it had.
    fn set_header(&mut self, name: &str, value: &[u8]);
    /// Removes a header.
    fn remove_header(&mut self, name: &str);
    /// Hands Envoy the encoded argument of its `set_envoy_filter_state`.
    fn set_filter_state(&mut self, argument: &[u8]) -> bool;
}

/// How requests find their service and reach their endpoint; fixed by the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether the route's metadata may name the service.
    pub route_metadata: bool,
    /// Whether the pick is handed over in headers.
    pub by_headers: bool,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on as it is: it belongs to no service.
    Pass,
    /// It goes on to an endpoint; the ticket counts it there until it is dropped.
    Forward(Ticket),
    /// It is answered here.
    Reply(Rc<Reply>),
    /// It waits until the service is resolved, and is answered like this if that takes too
    /// long.
    Wait(ServiceId, Rc<Reply>),
}

impl Manner {
    /// Finds the service of a request: the one that its route's metadata names, where those
    /// are read and name one, else the one that serves its host.
    pub fn find(self, router: &Router, stream: &mut impl Stream) -> Option<ServiceId> {
        if self.route_metadata
            && let Some(name) = stream.route_service()
        {
            return router.service_by_name(&name);
        }
        let authority = if router.needs_authority() { stream.authority() } else { None };
        router.service_by_host(authority.as_deref())
    }

    /// Picks an endpoint of `service` and hands it over. What a client has put into the
    /// handoff's headers is removed, whatever becomes of the request: a filter behind this
    /// one would believe it.
    pub fn handle(
        self,
        router: &mut Router,
        service: Option<ServiceId>,
        stream: &mut impl Stream,
    ) -> Verdict {
        match (router.decide(service), service) {
            (Decision::Forward(forward), _) => self.hand_over(forward, stream),
            // It is answered here, or will be handled again: no header of it goes anywhere.
            (Decision::Reply(reply), _) => Verdict::Reply(reply),
            (Decision::Wait(reply), Some(service)) => Verdict::Wait(service, reply),
            (Decision::Wait(_), None) | (Decision::Pass, _) => {
                self.cleanse(stream);
                Verdict::Pass
            }
        }
    }

    fn hand_over(self, forward: Forward, stream: &mut impl Stream) -> Verdict {
        if self.by_headers {
            let mut handoffs = forward.handoffs();
            for name in HANDOFF_HEADERS {
                match handoffs.next() {
                    Some(address) => stream.set_header(name, address),
                    None => stream.remove_header(name),
                }
            }
        } else if let Some(argument) = forward.handoffs().next() {
            stream.set_filter_state(argument);
        }
        Verdict::Forward(forward.into_ticket())
    }

    /// Removes the handoff's headers where there are any: a removal clears Envoy's route
    /// cache, and a request that passes is not to be routed anew for nothing.
    fn cleanse(self, stream: &mut impl Stream) {
        if self.by_headers {
            for name in HANDOFF_HEADERS {
                if stream.has_header(name) {
                    stream.remove_header(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::endpoint::Endpoint;
    use crate::model::snapshot::Snapshot;
    use crate::rng::Rng;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A request that counts the calls to the host.
    #[derive(Default)]
    struct Counted {
        headers: Vec<(String, Vec<u8>)>,
        route_service: Option<&'static str>,
        filter_state: Option<Vec<u8>>,
        calls: usize,
    }

    impl Counted {
        fn to(authority: &str) -> Self {
            let mut stream = Self::default();
            stream.headers.push((":authority".to_owned(), authority.as_bytes().to_vec()));
            stream
        }

        fn with(mut self, name: &str, value: &str) -> Self {
            self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
            self
        }

        fn value(&self, name: &str) -> Option<&str> {
            let header = self.headers.iter().find(|(known, _)| known == name);
            header.map(|(_, value)| std::str::from_utf8(value).unwrap())
        }
    }

    impl Stream for Counted {
        fn authority(&mut self) -> Option<Vec<u8>> {
            self.calls += 1;
            self.value(":authority").map(|value| value.as_bytes().to_vec())
        }

        fn route_service(&mut self) -> Option<Vec<u8>> {
            self.calls += 1;
            self.route_service.map(|name| name.as_bytes().to_vec())
        }

        fn has_header(&mut self, name: &str) -> bool {
            self.calls += 1;
            self.value(name).is_some()
        }

        fn set_header(&mut self, name: &str, value: &[u8]) {
            self.remove_header(name);
            self.headers.push((name.to_owned(), value.to_vec()));
        }

        fn remove_header(&mut self, name: &str) {
            self.calls += 1;
            self.headers.retain(|(known, _)| known != name);
        }

        fn set_filter_state(&mut self, argument: &[u8]) -> bool {
            self.calls += 1;
            self.filter_state = Some(argument.to_vec());
            true
        }
    }

    struct Bench {
        router: Router,
        manner: Manner,
    }

    impl Bench {
        fn new(services: &str, rest: &str, by_headers: bool, route_metadata: bool) -> Self {
            let json = format!(
                r#"{{"consul":{{"cluster":"c"}},"services":{services},
                    "route_metadata":{route_metadata}{rest}}}"#
            );
            let config = Config::parse(json.as_bytes()).unwrap();
            let router = Router::new(&config, &mut Rng::new(1));
            Self { router, manner: Manner { route_metadata, by_headers } }
        }

        fn filter_state() -> Self {
            Self::new(r#"[{"name":"web","hosts":["web.test"]}]"#, "", false, false)
        }

        fn headers() -> Self {
            let handoff = r#","handoff":{"via":"headers","attempts":2}"#;
            Self::new(r#"[{"name":"web","hosts":["web.test"]}]"#, handoff, true, false)
        }

        fn with_endpoints(mut self, ports: &[u16]) -> Self {
            let endpoint = |&port| Endpoint::new(([10, 0, 0, 1], port).into());
            let snapshot = Snapshot::new(ports.iter().map(endpoint).collect());
            self.router.install(ServiceId(0), &snapshot);
            self
        }

        fn handle(&mut self, stream: &mut Counted) -> Verdict {
            let service = self.manner.find(&self.router, stream);
            self.manner.handle(&mut self.router, service, stream)
        }
    }

    #[test]
    fn a_request_costs_two_host_calls_by_filter_state() {
        let mut stream = Counted::to("web.test");
        let verdict = Bench::filter_state().with_endpoints(&[80]).handle(&mut stream);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        assert_eq!(stream.calls, 2);
        assert!(stream.filter_state.is_some());
    }

    #[test]
    fn a_request_costs_five_host_calls_by_headers() {
        let mut stream = Counted::to("web.test");
        let verdict = Bench::headers().with_endpoints(&[80, 81]).handle(&mut stream);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        // The authority, and each of the four headers that could be believed.
        assert_eq!(stream.calls, 5);
    }

    #[test]
    fn a_request_for_the_only_service_without_hosts_saves_the_call_for_its_host() {
        let mut bench = Bench::new(r#"[{"name":"web"}]"#, "", false, false).with_endpoints(&[80]);
        let mut stream = Counted::default();
        assert!(matches!(bench.handle(&mut stream), Verdict::Forward(_)));
        assert_eq!(stream.calls, 1);
    }

    #[test]
    fn what_a_client_sends_in_the_handoffs_headers_never_stays() {
        let hostile = |host: &str| {
            HANDOFF_HEADERS.iter().fold(Counted::to(host), |stream, name| stream.with(name, "trap"))
        };
        let mut bench = Bench::headers().with_endpoints(&[80, 81]);

        let mut matched = hostile("web.test");
        assert!(matches!(bench.handle(&mut matched), Verdict::Forward(_)));
        let mut picked = [0, 1].map(|n| matched.value(HANDOFF_HEADERS[n]).unwrap().to_owned());
        picked.sort();
        assert_eq!(picked, ["10.0.0.1:80", "10.0.0.1:81"]);
        assert_eq!(matched.value(HANDOFF_HEADERS[2]), None);
        assert_eq!(matched.value(HANDOFF_HEADERS[3]), None);

        let mut unmatched = hostile("other.test");
        assert!(matches!(bench.handle(&mut unmatched), Verdict::Pass));
        assert!(HANDOFF_HEADERS.iter().all(|name| unmatched.value(name).is_none()));
    }

    #[test]
    fn a_request_of_no_service_is_not_written_to() {
        let mut stream = Counted::to("other.test");
        assert!(matches!(Bench::headers().handle(&mut stream), Verdict::Pass));
        // The authority, and a look at each header: a write would make Envoy route it anew.
        assert_eq!(stream.calls, 5);
        assert_eq!(stream.headers.len(), 1);
    }

    #[test]
    fn a_service_that_was_never_resolved_is_waited_for_and_an_empty_one_is_not() {
        let mut stream = Counted::to("web.test");
        let verdict = Bench::filter_state().handle(&mut stream);
        assert!(matches!(verdict, Verdict::Wait(ServiceId(0), _)), "{verdict:?}");
        let verdict = Bench::filter_state().with_endpoints(&[]).handle(&mut stream);
        assert!(matches!(verdict, Verdict::Reply(_)), "{verdict:?}");
    }

    #[test]
    fn a_route_may_name_the_service_and_the_host_counts_where_it_does_not() {
        let services = r#"[{"name":"web","hosts":["web.test"]},{"name":"api"}]"#;
        let bench = Bench::new(services, "", false, true);
        let find = |route_service, host| {
            let mut stream = Counted { route_service, ..Counted::to(host) };
            bench.manner.find(&bench.router, &mut stream)
        };
        assert_eq!(find(Some("api"), "web.test"), Some(ServiceId(1)));
        assert_eq!(find(None, "web.test"), Some(ServiceId(0)));
        assert_eq!(find(Some("unknown"), "web.test"), None);
    }
}
