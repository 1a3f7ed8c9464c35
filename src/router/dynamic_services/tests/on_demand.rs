//! Services that requests name.

use std::rc::Rc;

use crate::config::Config;
use crate::model::endpoint::Endpoint;
use crate::model::service::{ServiceId, SourceId};
use crate::model::snapshot::Snapshot;
use crate::router::Router;
use crate::router::dynamic_services::{Origin, ServiceChange};
use crate::router::on_demand_names::Lookup;
use crate::util::rng::Rng;
use crate::util::time::Time;
use core::net::SocketAddr;
use core::time::Duration;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn at(seconds: u64) -> Time {
    Time::from_start(Duration::from_secs(seconds))
}

fn router(service: &str) -> Router {
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
    let mut router = router("{}");
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
    let mut router = router("{}");
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
    let (mut here, mut there) = (router("{}"), router(r#"{"tags": ["x"]}"#));
    new(here.resolve_on_demand(Some(b"web.service.consul")));
    let Some(ServiceChange::Added(added)) = here.poll_change() else { panic!() };
    let key = added.specs[0].query.key();
    there.on_requested(key, "web.service.consul", at(0));
    assert!(there.poll_change().is_none(), "another configuration");
    let mut same = router("{}");
    for _ in 0..2 {
        same.on_requested(key, "web.service.consul", at(0));
    }
    let Some(ServiceChange::Added(added)) = same.poll_change() else { panic!() };
    assert_eq!(added.origin, Origin::OtherVm);
    assert!(same.poll_change().is_none());
}

#[test]
fn a_flood_of_names_is_refused_and_leaves_nothing_behind() {
    let mut router = router("{}");
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
    let (mut router, mut sources) = (router("{}"), 0);
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
    let mut router = router("{}");
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
