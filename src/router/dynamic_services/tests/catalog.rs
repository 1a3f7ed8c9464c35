//! Services of the catalog.

use std::rc::Rc;

use crate::balancer::pick_context::PickContext;
use crate::config::Config;
use crate::model::endpoint::Endpoint;
use crate::model::service::{ServiceId, SourceId};
use crate::model::service_names::ServiceNames;
use crate::model::snapshot::Snapshot;
use crate::registry::http::ReadMode;
use crate::router::Router;
use crate::router::disposition::Disposition;
use crate::router::dynamic_services::{Addition, ServiceChange};
use crate::util::rng::Rng;
use crate::util::time::Time;
use core::net::SocketAddr;
use core::time::Duration;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

const CATALOG: SourceId = SourceId::nth(7);
const WEB: SourceId = SourceId::nth(8);

fn at(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

/// A router that follows the catalog.
fn router(services: &str, max_services: u32) -> Router {
    let json = format!(
        r#"{{
            "consul": {{ "cluster": "consul" }}, "services": {services},
            "discover": {{ "host": "{{service}}.internal", "max_services": {max_services} }}
        }}"#
    );
    let config = Config::parse(json.as_bytes()).unwrap();
    let mut router = Router::new(&config, &mut Rng::new(1));
    assert!(matches!(router.poll_change(), Some(ServiceChange::Catalog(_))));
    assert!(router.poll_change().is_none());
    router.follow_catalog(CATALOG);
    router
}

fn list(router: &mut Router, names: &[&str], now: Time) {
    let names = names.iter().map(|name| Rc::from(*name)).collect();
    router.install(CATALOG, &Snapshot::of_services(ServiceNames::new(names)).into(), now);
}

/// The names that have come, and how many services have gone.
fn changes(router: &mut Router) -> (Vec<String>, usize) {
    let (mut added, mut removed) = (Vec::new(), 0);
    while let Some(change) = router.poll_change() {
        match change {
            ServiceChange::Added(Addition { service, name, specs, .. }) => {
                assert_eq!(specs.len(), 1);
                let request = specs[0].query.request(None, ReadMode::AsConfigured);
                assert!(router.has(service));
                assert_eq!(request.path, format!("/v1/health/service/{name}"));
                added.push(name);
            }
            ServiceChange::Removed { service, .. } => {
                assert!(!router.has(service));
                removed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    (added, removed)
}

#[test]
fn listed_service_takes_requests_while_its_endpoints_are_known() {
    let mut router = router("[]", 10);
    assert!(router.needs_authority());
    list(&mut router, &["web"], at(0));
    let service = router.service_by_host(Some(b"Web.Internal:80")).unwrap();
    assert_eq!(router.service_by_name(b"WEB"), Some(service));
    assert!(matches!(
        router.decide(Some(service), &PickContext::default()),
        Disposition::Wait { .. }
    ));
    assert_eq!(changes(&mut router), (vec!["web".to_owned()], 0));

    router.attach(service, 0, WEB);
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let endpoints = Snapshot::new(vec![Endpoint::new(address)]);
    router.install(WEB, &endpoints.into(), at(1));
    assert!(matches!(
        router.decide(Some(service), &PickContext::default()),
        Disposition::Forward(_)
    ));

    list(&mut router, &[], at(10));
    (10..=39).for_each(|second| router.on_tick(at(second), |_, _| {}));
    assert!(router.has(service) && router.poll_change().is_none());
    router.on_tick(at(40), |_, _| {});
    assert!(!router.has(service));
    assert_eq!(router.service_by_host(Some(b"web.internal")), None);
    let Some(ServiceChange::Removed { sources, .. }) = router.poll_change() else { panic!() };
    assert_eq!(sources, [WEB]);
}

#[test]
fn configured_service_wins_over_a_listed_one_by_name_or_host() {
    let services = r#"[
        { "name": "Web", "hosts": ["web.test"] },
        { "name": "other", "hosts": ["api.internal", "*.v2.internal"] }
    ]"#;
    let mut router = router(services, 10);
    list(&mut router, &["web", "api", "a.v2", "db"], at(0));
    let (added, _) = changes(&mut router);
    assert_eq!(added, ["a.v2", "api", "db"]);
    let other = Some(ServiceId::nth(1));
    assert_eq!(router.service_by_host(Some(b"web.internal")), None);
    assert_eq!(router.service_by_host(Some(b"api.internal")), other);
    assert_eq!(router.service_by_host(Some(b"a.v2.internal")), other);
    assert!(router.service_by_host(Some(b"db.internal")).is_some());
    assert_eq!(router.service_by_name(b"web"), Some(ServiceId::nth(0)));
}

#[test]
fn names_that_change_all_the_time_leave_nothing_behind() {
    let mut router = router("[]", 2);
    let (mut all_added, mut all_removed) = (0, 0);
    for n in 0..1_000 {
        list(&mut router, &[&format!("a{n}"), &format!("b{n}")], at(n));
        assert!(router.table.len() <= 2);
        let (added, removed) = changes(&mut router);
        all_added += added.len();
        all_removed += removed;
    }
    assert_eq!((all_added, all_removed), (2_000, 1_998));
}

#[test]
fn what_another_source_lists_is_no_catalog() {
    let mut router = router("[]", 10);
    let services = ServiceNames::new(vec!["web".into()]);
    router.install(WEB, &Snapshot::of_services(services).into(), at(0));
    assert_eq!(changes(&mut router), (Vec::new(), 0));
}
