//! Services that come and go, by the router that has them.

use core::net::SocketAddr;
use core::time::Duration;
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
use crate::router::dynamic_services::{Addition, Origin, ServiceChange};
use crate::router::on_demand_names::Lookup;
use crate::util::rng::Rng;
use crate::util::time::Time;
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

fn on_demand_router(service: &str) -> Router {
    let json = format!(
        r#"{{"consul": {{"cluster": "c"}}, "dns_names": {{"idle_timeout": "60s", "service": {service}}}}}"#
    );
    Router::new(&Config::parse(json.as_bytes()).unwrap(), &mut Rng::new(1))
}

fn new(lookup: Lookup) -> ServiceId {
    match lookup {
        Lookup::New(service) => service,
        other => panic!("{other:?}"),
    }
}

#[test]
fn name_is_added_at_its_first_use_and_removed_when_unused() {
    let mut router = on_demand_router("{}");
    assert!(router.resolves_names() && router.needs_authority());
    assert_eq!(router.service_by_host(Some(b"web.service.consul")), None);
    let web = new(router.resolve_on_demand(Some(b"Web.Service.Consul.:80")));
    let Some(ServiceChange::Added(added)) = router.poll_change() else { panic!() };
    assert_eq!((added.service, added.specs.len()), (web, 1));
    assert_eq!(added.origin, Origin::Request("web.service.consul".into()));
    assert_eq!(router.service_by_host(Some(b"web.service.consul")), Some(web));

    router.attach(web, 0, SourceId::nth(0));
    router.on_tick(at(20), |_, _| {});
    let Some(ServiceChange::Requested { sources, host }) = router.poll_change() else { panic!() };
    assert_eq!((sources, &*host), (vec![SourceId::nth(0)], "web.service.consul"));
    router.on_tick(at(60), |_, _| {});
    assert!(!router.has(web));
    assert!(matches!(router.poll_change(), Some(ServiceChange::Removed { .. })));
}

#[test]
fn a_host_that_is_no_name_is_nothing() {
    let mut router = on_demand_router("{}");
    for host in ["web.test", "web.node.consul", "consul", "[::1]"] {
        assert!(
            matches!(router.resolve_on_demand(Some(host.as_bytes())), Lookup::Nothing),
            "{host}"
        );
    }
    assert!(matches!(router.resolve_on_demand(None), Lookup::Nothing));
    assert!(router.poll_change().is_none());
}

#[test]
fn name_of_another_vm_is_added_once_when_its_query_is_the_same() {
    let (mut here, mut there) = (on_demand_router("{}"), on_demand_router(r#"{"tags": ["x"]}"#));
    new(here.resolve_on_demand(Some(b"web.service.consul")));
    let Some(ServiceChange::Added(added)) = here.poll_change() else { panic!() };
    let key = added.specs[0].query.key();
    there.on_requested(key, "web.service.consul", at(0));
    assert!(there.poll_change().is_none(), "another configuration");
    let mut same = on_demand_router("{}");
    for _ in 0..2 {
        same.on_requested(key, "web.service.consul", at(0));
    }
    let Some(ServiceChange::Added(added)) = same.poll_change() else { panic!() };
    assert_eq!(added.origin, Origin::OtherVm);
    assert!(same.poll_change().is_none());
}

#[test]
fn a_flood_of_names_is_refused_and_leaves_nothing_behind() {
    let mut router = on_demand_router("{}");
    let hosts: Vec<String> = (0..1_000).map(|n| format!("a{n}.service.consul")).collect();
    let lookups: Vec<Lookup> =
        hosts.iter().map(|host| router.resolve_on_demand(Some(host.as_bytes()))).collect();
    let taken = lookups.iter().filter(|lookup| matches!(lookup, Lookup::New(_))).count();
    assert!(taken <= 20 && taken == router.table.len(), "{taken}");
    assert!(matches!(lookups.last(), Some(Lookup::Refused(_))));
    while let Some(ServiceChange::Added(added)) = router.poll_change() {
        let source = SourceId::nth(u16::try_from(router.table.len()).unwrap());
        router.attach(added.service, 0, source);
        router.install(source, &Rc::default(), at(1));
    }
    router.on_tick(at(31), |_, _| {});
    assert_eq!(router.table.len(), 0);
}

/// Lets Consul answer for all that were taken in: with an endpoint where the name is real.
fn answer(router: &mut Router, sources: &mut u16, now: Time) -> usize {
    let mut taken = 0;
    while let Some(change) = router.poll_change() {
        let ServiceChange::Added(added) = change else { continue };
        if !router.has(added.service) {
            continue;
        }
        *sources += 1;
        let source = SourceId::nth(*sources);
        router.attach(added.service, 0, source);
        let is_real = added.name.starts_with("real");
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let endpoints = is_real.then(|| Endpoint::new(address)).into_iter().collect();
        router.install(source, &Snapshot::new(endpoints).into(), now);
        taken += usize::from(is_real);
    }
    taken
}

#[test]
fn real_names_are_taken_in_while_many_are_made_up() {
    let (mut router, mut sources) = (on_demand_router("{}"), 0);
    let (mut taken, mut made_up) = (0, 0);
    // A hundred a second are made up; sixty real ones are asked for once a second each.
    for step in 0..1_000_u64 {
        let now = Time::from_start(Duration::from_millis(step * 10));
        router.on_tick(now, |_, _| {});
        let _ = router.resolve_on_demand(Some(format!("made-up{step}.service.consul").as_bytes()));
        if step >= 500 {
            let host = format!("real{}.service.consul", step % 100);
            if step % 100 < 60 && router.service_by_host(Some(host.as_bytes())).is_none() {
                let _ = router.resolve_on_demand(Some(host.as_bytes()));
            }
        }
        let before = sources;
        let real = answer(&mut router, &mut sources, now);
        taken += real;
        made_up += usize::from(sources - before) - real;
    }
    assert_eq!(taken, 60);
    assert!(made_up <= 60, "{made_up}");
}

#[test]
fn spellings_of_one_service_are_one_name_and_all_route() {
    let mut router = on_demand_router("{}");
    let web = new(router.resolve_on_demand(Some(b"web.service.dc1.consul")));
    for host in [
        "web.service.dc1.dc.consul",
        "_web._tcp.service.dc1.consul",
        "_web._tcp.service.dc1.dc.consul",
        "WEB.service.dc1.consul.:8080",
    ] {
        assert_eq!(new(router.resolve_on_demand(Some(host.as_bytes()))), web, "{host}");
        assert_eq!(router.service_by_host(Some(host.as_bytes())), Some(web), "{host}");
    }
    assert_eq!(router.table.len(), 1);
    for other in ["web.service.consul", "v2.web.service.dc1.consul", "web.query.dc1.consul"] {
        assert_ne!(new(router.resolve_on_demand(Some(other.as_bytes()))), web, "{other}");
    }
}

#[test]
fn a_new_name_is_taken_in_though_there_are_too_many() {
    let json = br#"{"consul": {"cluster": "c"}, "dns_names": {"max_services": 3}}"#;
    let mut router = Router::new(&Config::parse(json).unwrap(), &mut Rng::new(1));
    let mut sources = 0;
    for n in 0..5 {
        let now = at(n);
        router.on_tick(now, |_, _| {});
        for host in [format!("real{n}.service.consul"), format!("q{n}.query.consul")] {
            new(router.resolve_on_demand(Some(host.as_bytes())));
            answer(&mut router, &mut sources, now);
        }
        router.on_tick(now, |_, _| {});
    }
    let has = |host: &str| router.service_by_host(Some(host.as_bytes())).is_some();
    let kept = |name: fn(usize) -> String| [0, 1, 2, 3, 4].map(|n| has(&name(n)));
    let expected = [false, false, true, true, true];
    assert_eq!(kept(|n| format!("real{n}.service.consul")), expected);
    assert_eq!(kept(|n| format!("q{n}.query.consul")), expected);
}
