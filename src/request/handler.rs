//! The handling of one request: its service, its pick, and its handoff.

use std::rc::Rc;

use crate::model::service::ServiceId;
use crate::request::inputs::{self, Stream};
use crate::router::Router;
use crate::router::disposition::Disposition;
use crate::router::forward::Forward;
use crate::router::on_demand_names::Lookup;
use crate::router::reply::Reply;

/// Finds the service of a request, has an endpoint picked, and hands the pick to Envoy's router.
#[derive(Debug, Clone, Copy)]
pub struct RequestHandler {
    /// True if the route's metadata may name the service.
    pub route_metadata: bool,
}

impl RequestHandler {
    /// Finds the service of a request. The route's metadata go first if they are read and name a service;
    /// else the host decides.
    pub fn find(self, router: &Router, stream: &mut impl Stream) -> Option<ServiceId> {
        if self.route_metadata
            && let Some(name) = stream.route_service()
        {
            return router.service_by_name(&name);
        }
        let authority = if router.needs_authority() { stream.authority() } else { None };
        router.service_by_host(authority.as_deref())
    }

    /// Resolves the host of a request that no service was [found](Self::find) for, if it is a name of
    /// Consul's DNS and such names are resolved.
    pub fn resolve_on_demand(self, router: &mut Router, stream: &mut impl Stream) -> Lookup {
        if !router.resolves_names() {
            return Lookup::Nothing;
        }
        // If the route names a service, known or not, the client's host has no say.
        if self.route_metadata && stream.route_service().is_some() {
            return Lookup::Nothing;
        }
        let authority = stream.authority();
        router.resolve_on_demand(authority.as_deref())
    }

    /// Has an endpoint of `service` picked, and hands it over. Removes the handoff's headers of a client in
    /// any case: a filter behind this one would believe them.
    pub fn handle(
        self,
        router: &mut Router,
        service: Option<ServiceId>,
        stream: &mut impl Stream,
    ) -> Disposition {
        let required = service.and_then(|id| router.required_inputs(id));
        let context = required.map(|required| inputs::read(required, stream)).unwrap_or_default();
        match router.decide(service, &context) {
            Disposition::Forward(forward) => hand_over(forward, router, stream),
            Disposition::Pass if !router.handoff().strip(stream) => {
                Disposition::Reply(Rc::new(Reply::handoff_refused()))
            }
            // No header goes anywhere: the filter replies, or handles the request again.
            other => other,
        }
    }
}

/// Writes the pick to the request. If Envoy refuses, it would go by what the client has sent: the filter
/// replies.
fn hand_over(mut forward: Forward, router: &Router, stream: &mut impl Stream) -> Disposition {
    if forward.is_doubted() && !stream.has_header("cookie") {
        forward.set_unbound();
    }
    let (own, method) = (router.handoff(), forward.handoff());
    // A handoff by headers overwrites those of the client. Another one leaves them where they are.
    let is_stripped = method == own || own.strip(stream);
    if !is_stripped || !method.apply(forward.handoffs(), stream) {
        return Disposition::Reply(Rc::new(Reply::handoff_refused()));
    }
    Disposition::Forward(forward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::handoff::headers::HANDOFF_HEADERS;
    use crate::model::endpoint::Endpoint;
    use crate::model::service::SourceId;
    use crate::model::snapshot::Snapshot;
    use crate::request::counted::Counted;
    use crate::util::rng::Rng;
    use crate::util::time::Time;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    struct Bench {
        router: Router,
        handler: RequestHandler,
    }

    impl Bench {
        fn new(services: &str, rest: &str, route_metadata: bool) -> Self {
            let json = format!(
                r#"{{"consul":{{"cluster":"c"}},"services":{services},
                    "route_metadata":{route_metadata}{rest}}}"#
            );
            let config = Config::parse(json.as_bytes()).unwrap();
            let router = Router::new(&config, &mut Rng::new(1));
            Self { router, handler: RequestHandler { route_metadata } }
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
            let service = self.handler.find(&self.router, stream);
            self.handler.handle(&mut self.router, service, stream)
        }
    }

    #[test]
    fn a_request_costs_two_host_calls_by_filter_state() {
        let mut stream = Counted::to("web.test");
        let disposition = Bench::filter_state().with_endpoints(&[80]).handle(&mut stream);
        assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
        assert_eq!(stream.calls, 2);
        assert_eq!(stream.filter_states.len(), 1);
    }

    #[test]
    fn a_request_costs_five_host_calls_by_headers() {
        let mut stream = Counted::to("web.test");
        let disposition = Bench::headers().with_endpoints(&[80, 81]).handle(&mut stream);
        assert!(matches!(disposition, Disposition::Forward(_)), "{disposition:?}");
        // The authority, and each of the four headers that could be believed.
        assert_eq!(stream.calls, 5);
    }

    #[test]
    fn request_saves_a_host_call_when_the_only_service_has_no_hosts() {
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
    fn request_waits_when_its_service_was_never_resolved() {
        let mut stream = Counted::to("web.test");
        let disposition = Bench::filter_state().handle(&mut stream);
        assert!(
            matches!(disposition, Disposition::Wait { service, .. } if service == ServiceId::nth(0)),
            "{disposition:?}"
        );
        let disposition = Bench::filter_state().with_endpoints(&[]).handle(&mut stream);
        assert!(matches!(disposition, Disposition::Reply(_)), "{disposition:?}");
    }

    #[test]
    fn host_decides_when_the_route_names_no_service() {
        let services = r#"[{"name":"web","hosts":["web.test"]},{"name":"api"}]"#;
        let bench = Bench::new(services, "", true);
        let find = |route_service, host| {
            let mut stream = Counted { route_service, ..Counted::to(host) };
            bench.handler.find(&bench.router, &mut stream)
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
            bench.handler.resolve_on_demand(&mut bench.router, &mut stream)
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
