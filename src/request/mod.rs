//! What is done with one request: its service is found, an endpoint is picked, and the pick
//! handed to Envoy's router.
//!
//! The host calls that this takes are a budget. The tests below count them, and the README
//! names them: adding one changes all three.

use std::rc::Rc;

use crate::balancer::upstream_host::EncodedHandoff;
use crate::config::Handoff;
use crate::model::service::ServiceId;
use crate::router::Router;
use crate::router::decision::{Decision, Forward};
use crate::router::handoff::{HANDOFF_HEADERS, HandoffEncoding};
use crate::router::lookup::Lookup;
use crate::router::reply::Reply;
use crate::util::time::Time;

mod hints;
pub mod response;
mod values;
pub mod warmup;

/// A request in its header phase, or paused in it.
pub trait Stream {
    /// Reads `:authority`.
    fn authority(&mut self) -> Option<Vec<u8>>;
    /// Reads the service's name from the route's metadata; one of no service where Envoy does not
    /// let them be read.
    fn route_service(&mut self) -> Option<Vec<u8>>;
    /// Reads a header's first value.
    fn header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Reads all values of a header, in their order, with commas between them.
    fn values(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Whether a body is still to come behind the headers.
    fn has_body(&self) -> bool;
    /// Reads the address and port that the request came from.
    fn source_address(&mut self) -> Option<Vec<u8>>;
    /// Reads the clock.
    fn now(&mut self) -> Time;
    /// Whether the request has a header of that name, or Envoy does not say.
    fn has_header(&mut self, name: &str) -> bool;
    /// Sets a header, whatever values it had; false when Envoy refuses.
    fn set_header(&mut self, name: &str, value: &[u8]) -> bool;
    /// Removes a header; false when Envoy refuses.
    fn remove_header(&mut self, name: &str) -> bool;
    /// Hands Envoy the encoded argument of its `set_envoy_filter_state`; false when it refuses.
    fn set_filter_state(&mut self, argument: &[u8]) -> bool;
}

/// How requests find their service and reach their endpoint; fixed by the configuration.
#[derive(Debug, Clone, Copy)]
pub struct RequestHandler {
    /// Whether the route's metadata may name the service.
    pub route_metadata: bool,
    /// How the pick is handed over.
    pub handoff: Handoff,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Disposition {
    /// It goes on as it is: it belongs to no service.
    Pass,
    /// It goes on to an endpoint, and counts there until it is dropped.
    Forward(Forward),
    /// It is answered here.
    Reply(Rc<Reply>),
    /// It waits until the service is resolved, and is answered like this if that takes too
    /// long.
    Wait(ServiceId, Rc<Reply>),
}

impl RequestHandler {
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

    /// Takes in the name of a request that no service was [found](Self::find) for, if names are
    /// resolved.
    pub fn resolve_on_demand(self, router: &mut Router, stream: &mut impl Stream) -> Lookup {
        if !router.takes_names() {
            return Lookup::Nothing;
        }
        // Where the route names a service, a client's host has no say, whether or not that is known.
        if self.route_metadata && stream.route_service().is_some() {
            return Lookup::Nothing;
        }
        let authority = stream.authority();
        router.resolve_on_demand(authority.as_deref())
    }

    /// Picks an endpoint of `service` and hands it over. What a client has put into the
    /// handoff's headers is removed, whatever becomes of the request: a filter behind this
    /// one would believe it.
    pub fn handle(
        self,
        router: &mut Router,
        service: Option<ServiceId>,
        stream: &mut impl Stream,
    ) -> Disposition {
        let wants = service.and_then(|id| router.required_inputs(id));
        let hints = wants.map(|wants| hints::read(wants, stream));
        match (router.decide(service, &hints.unwrap_or_default()), service) {
            (Decision::Forward(forward), _) => self.hand_over(forward, stream),
            // It is answered here, or will be handled again: no header of it goes anywhere.
            (Decision::Reply(reply), _) => Disposition::Reply(reply),
            (Decision::Wait(reply), Some(service)) => Disposition::Wait(service, reply),
            (Decision::Wait(_), None) | (Decision::Pass, _) => {
                match self.strip_client_headers(stream) {
                    true => Disposition::Pass,
                    false => Disposition::Reply(Rc::new(Reply::handoff_refused())),
                }
            }
        }
    }

    fn hand_over(self, mut forward: Forward, stream: &mut impl Stream) -> Disposition {
        if forward.is_doubted() && !stream.has_header("cookie") {
            forward.set_unbound();
        }
        let mut handoffs = forward.handoffs();
        let is_taken = match forward.preparation() {
            HandoffEncoding::Headers { .. } => {
                HANDOFF_HEADERS.iter().all(|name| match handoffs.next() {
                    Some(address) => stream.set_header(name, &address.first),
                    None => stream.remove_header(name),
                })
            }
            HandoffEncoding::Session => handoffs
                .next()
                .is_some_and(|address| stream.set_header(Handoff::SESSION_HEADER, &address.first)),
            HandoffEncoding::FilterState | HandoffEncoding::DynamicHost => {
                let mut arguments = handoffs.next().into_iter().flat_map(EncodedHandoff::arguments);
                self.strip_client_headers(stream)
                    && arguments.all(|argument| stream.set_filter_state(argument))
            }
        };
        drop(handoffs);
        if !is_taken {
            // Without it Envoy would go by what stands there, or by the client's host.
            return Disposition::Reply(Rc::new(Reply::handoff_refused()));
        }
        Disposition::Forward(forward)
    }

    /// Removes the handoff's headers where there are any: a removal clears Envoy's route
    /// cache, and a request that passes is not to be routed anew for nothing. False where one
    /// stays.
    fn strip_client_headers(self, stream: &mut impl Stream) -> bool {
        let names: &[&str] = match self.handoff {
            Handoff::FilterState => &[],
            Handoff::Headers { .. } => &HANDOFF_HEADERS,
            Handoff::StatefulSession => &[Handoff::SESSION_HEADER],
        };
        names.iter().all(|name| !stream.has_header(name) || stream.remove_header(name))
    }
}

#[cfg(test)]
mod counted;
#[cfg(test)]
mod handoffs;

#[cfg(test)]
mod tests {
    use super::counted::Counted;
    use super::*;
    use crate::config::Config;
    use crate::model::endpoint::Endpoint;
    use crate::model::service::SourceId;
    use crate::model::snapshot::Snapshot;
    use crate::util::rng::Rng;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    struct Bench {
        router: Router,
        manner: RequestHandler,
    }

    impl Bench {
        fn new(services: &str, rest: &str, route_metadata: bool) -> Self {
            let json = format!(
                r#"{{"consul":{{"cluster":"c"}},"services":{services},
                    "route_metadata":{route_metadata}{rest}}}"#
            );
            let config = Config::parse(json.as_bytes()).unwrap();
            let router = Router::new(&config, &mut Rng::new(1));
            Self { router, manner: RequestHandler { route_metadata, handoff: config.handoff } }
        }

        fn filter_state() -> Self {
            Self::new(r#"[{"name":"web","hosts":["web.test"]}]"#, "", false)
        }

        fn headers() -> Self {
            let handoff = r#","handoff":{"via":"headers","attempts":2}"#;
            Self::new(r#"[{"name":"web","hosts":["web.test"]}]"#, handoff, false)
        }

        fn with_endpoints(mut self, ports: &[u16]) -> Self {
            let endpoint =
                |&port| Endpoint::new(core::net::SocketAddr::from(([10, 0, 0, 1], port)));
            let snapshot = Snapshot::new(ports.iter().map(endpoint).collect());
            self.router.install(SourceId::nth(0), &snapshot.into(), Time::ZERO);
            self
        }

        fn handle(&mut self, stream: &mut Counted) -> Disposition {
            let service = self.manner.find(&self.router, stream);
            self.manner.handle(&mut self.router, service, stream)
        }
    }

    #[test]
    fn a_request_costs_two_host_calls_by_filter_state() {
        let mut stream = Counted::to("web.test");
        let verdict = Bench::filter_state().with_endpoints(&[80]).handle(&mut stream);
        assert!(matches!(verdict, Disposition::Forward(_)), "{verdict:?}");
        assert_eq!(stream.calls, 2);
        assert_eq!(stream.filter_states.len(), 1);
    }

    #[test]
    fn a_request_costs_five_host_calls_by_headers() {
        let mut stream = Counted::to("web.test");
        let verdict = Bench::headers().with_endpoints(&[80, 81]).handle(&mut stream);
        assert!(matches!(verdict, Disposition::Forward(_)), "{verdict:?}");
        // The authority, and each of the four headers that could be believed.
        assert_eq!(stream.calls, 5);
    }

    #[test]
    fn a_request_for_the_only_service_without_hosts_saves_the_call_for_its_host() {
        let mut bench = Bench::new(r#"[{"name":"web"}]"#, "", false).with_endpoints(&[80]);
        let mut stream = Counted::default();
        assert!(matches!(bench.handle(&mut stream), Disposition::Forward(_)));
        assert_eq!(stream.calls, 1);
    }

    #[test]
    fn what_a_client_sends_in_the_handoffs_headers_never_stays() {
        let hostile = |host: &str| {
            HANDOFF_HEADERS.iter().fold(Counted::to(host), |stream, name| stream.with(name, "trap"))
        };
        let mut bench = Bench::headers().with_endpoints(&[80, 81]);

        let mut matched = hostile("web.test");
        assert!(matches!(bench.handle(&mut matched), Disposition::Forward(_)));
        let mut picked = [0, 1].map(|n| matched.value(HANDOFF_HEADERS[n]).unwrap().to_owned());
        picked.sort();
        assert_eq!(picked, ["10.0.0.1:80", "10.0.0.1:81"]);
        assert_eq!(matched.value(HANDOFF_HEADERS[2]), None);
        assert_eq!(matched.value(HANDOFF_HEADERS[3]), None);

        let mut unmatched = hostile("other.test");
        assert!(matches!(bench.handle(&mut unmatched), Disposition::Pass));
        assert!(HANDOFF_HEADERS.iter().all(|name| unmatched.value(name).is_none()));
    }

    #[test]
    fn a_request_of_no_service_is_not_written_to() {
        let mut stream = Counted::to("other.test");
        assert!(matches!(Bench::headers().handle(&mut stream), Disposition::Pass));
        // The authority, and a look at each header: a write would make Envoy route it anew.
        assert_eq!(stream.calls, 5);
        assert_eq!(stream.headers.len(), 1);
    }

    #[test]
    fn a_service_that_was_never_resolved_is_waited_for_and_an_empty_one_is_not() {
        let mut stream = Counted::to("web.test");
        let verdict = Bench::filter_state().handle(&mut stream);
        assert!(
            matches!(verdict, Disposition::Wait(its, _) if its == ServiceId::nth(0)),
            "{verdict:?}"
        );
        let verdict = Bench::filter_state().with_endpoints(&[]).handle(&mut stream);
        assert!(matches!(verdict, Disposition::Reply(_)), "{verdict:?}");
    }

    #[test]
    fn a_route_may_name_the_service_and_the_host_counts_where_it_does_not() {
        let services = r#"[{"name":"web","hosts":["web.test"]},{"name":"api"}]"#;
        let bench = Bench::new(services, "", true);
        let find = |route_service, host| {
            let mut stream = Counted { route_service, ..Counted::to(host) };
            bench.manner.find(&bench.router, &mut stream)
        };
        assert_eq!(find(Some("api"), "web.test"), Some(ServiceId::nth(1)));
        assert_eq!(find(None, "web.test"), Some(ServiceId::nth(0)));
        assert_eq!(find(Some("unknown"), "web.test"), None);
    }

    #[test]
    fn a_clients_host_has_no_say_where_the_route_names_a_service() {
        let names = r#","dns_names":{"domain":"consul"}"#;
        let mut bench = Bench::new(r#"[{"name":"web"}]"#, names, true);
        let mut ask = |route_service| {
            let mut stream = Counted { route_service, ..Counted::to("admin.service.consul") };
            bench.manner.resolve_on_demand(&mut bench.router, &mut stream)
        };
        assert!(matches!(ask(Some("gone")), Lookup::Nothing));
        let Lookup::New(id) = ask(None) else { panic!("it is a name") };
        assert!(matches!(ask(None), Lookup::New(again) if again == id), "it is taken in once");
    }

    #[test]
    fn a_cookie_is_looked_for_when_envoy_has_passed_the_pick_over() {
        let handoff =
            r#","handoff":{"via":"stateful_session"},"xds":{"cluster":"x","address":"/x"}"#;
        let services = r#"[{"name":"web","load_balancing":{"policy":"peak_ewma"}}]"#;
        let mut bench = Bench::new(services, handoff, false).with_endpoints(&[80]);
        let mut calls = |doubted| {
            let mut stream = Counted::default();
            let Disposition::Forward(forward) = bench.handle(&mut stream) else {
                panic!("not forwarded")
            };
            if doubted {
                forward.ticket().host().doubt(Time::ZERO);
            }
            stream.calls
        };
        // The clock, and the header of the pick.
        assert_eq!([calls(false), calls(true), calls(false)], [2, 2, 3]);
    }

    /// A service that is configured so beside its name.
    fn of(service: &str) -> Bench {
        let services = format!(r#"[{{"name":"web"{service}}}]"#);
        Bench::new(&services, "", false).with_endpoints(&[80, 81, 82, 83])
    }

    #[test]
    fn each_feature_costs_its_host_calls_and_no_other() {
        let hash = |on: &str| {
            format!(r#","load_balancing":{{"policy":"maglev","table_size":11,"hash_on":{on}}}"#)
        };
        for (service, calls) in [
            (String::new(), 0),
            (r#","load_balancing":{"policy":"least_request","slow_start":"1s"}"#.into(), 0),
            // The clock.
            (r#","load_balancing":{"policy":"peak_ewma"}"#.into(), 1),
            (hash(r#"{"header":"x-user"}"#), 1),
            (hash(r#"{"cookie":"c"}"#), 1),
            (hash(r#"{"query":"q"}"#), 1),
            (hash(r#"{"path":true}"#), 1),
            (hash(r#"{"source_address":true}"#), 1),
            (r#","versions":{"header":"x-version"}"#.into(), 1),
            (r#","versions":{"split":{"1.x":1}}"#.into(), 0),
            (r#","versions":{"split":{"1.x":1},"hash_on":{"path":true}}"#.into(), 1),
            (
                r#","versions":{"header":"x-version","split":{"1.x":1},"hash_on":{"path":true}}"#
                    .into(),
                2,
            ),
        ] {
            let mut stream = Counted::default();
            assert!(matches!(of(&service).handle(&mut stream), Disposition::Forward(_)));
            // One more sets the filter state.
            assert_eq!(stream.calls, calls + 1, "{service}");
        }
    }
}
