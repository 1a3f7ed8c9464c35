//! Tells the upstream which services are down that the one depends on that a request is for.

use crate::request::Stream;

/// The request header that names them, with commas between the names.
const DEPENDENCIES_DOWN: &str = "x-consul-dependencies-down";

/// Tells the upstream which ones are down, and that in no case a client does. Where all are well the
/// header is only looked for: a removal would make Envoy route the request anew.
pub(super) fn tell(down: Option<&str>, stream: &mut impl Stream) {
    match down {
        Some(names) => stream.set_header(DEPENDENCIES_DOWN, names.as_bytes()),
        None => !stream.has_header(DEPENDENCIES_DOWN) || stream.remove_header(DEPENDENCIES_DOWN),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Handoff};
    use crate::model::endpoint::Endpoint;
    use crate::model::service::SourceId;
    use crate::model::snapshot::Snapshot;
    use crate::request::counted::Counted;
    use crate::request::{Disposition, RequestHandler};
    use crate::router::Router;
    use crate::util::rng::Rng;
    use crate::util::time::Time;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Handles a request for a service that depends on another one, which is up or down.
    fn handled(header: bool, is_up: bool, mut stream: Counted) -> (Option<String>, usize) {
        let json = format!(
            r#"{{"consul": {{"cluster": "c"}}, "services": [
                {{"name": "web", "hosts": ["web.test"], "depends_on": ["db"],
                  "dependency_header": {header}}},
                {{"name": "db", "hosts": ["db.test"]}}
            ]}}"#
        );
        let mut router = Router::new(&Config::parse(json.as_bytes()).unwrap(), &mut Rng::new(1));
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let some = Snapshot::new(vec![Endpoint::new(address)]).into();
        router.install(SourceId::nth(0), &some, Time::ZERO);
        let db = if is_up { some } else { Snapshot::default().into() };
        router.install(SourceId::nth(1), &db, Time::ZERO);
        let manner = RequestHandler { route_metadata: false, handoff: Handoff::FilterState };
        let service = manner.find(&router, &mut stream);
        let verdict = manner.handle(&mut router, service, &mut stream);
        assert!(matches!(verdict, Disposition::Forward(_)), "{verdict:?}");
        // But for the host and the filter state.
        (stream.value(DEPENDENCIES_DOWN).map(str::to_owned), stream.calls - 2)
    }

    #[test]
    fn the_upstream_is_told_by_one_call_where_it_is_wanted_and_else_by_none() {
        let request = || Counted::to("web.test");
        assert_eq!(handled(true, false, request()), (Some("db".to_owned()), 1));
        assert_eq!(handled(true, true, request()), (None, 1));
        for is_up in [true, false] {
            assert_eq!(handled(false, is_up, request()), (None, 0));
        }
    }

    #[test]
    fn what_a_client_says_of_dependencies_never_stays() {
        let hostile =
            || Counted::to("web.test").with(DEPENDENCIES_DOWN, "x").with(DEPENDENCIES_DOWN, "y");
        assert_eq!(handled(true, false, hostile()).0.as_deref(), Some("db"));
        assert_eq!(handled(true, true, hostile()).0, None);
        assert_eq!(handled(false, true, hostile()).0.as_deref(), Some("x"), "it is nobody's");
    }
}
