//! What the filter counts and shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consul_resolver::registry::error_kind::ErrorKind;
use consul_resolver::router::reply::ReplyReason;
use serde_json::{Value, json};
use stack::{Backend, Consul, Registry, Trouble, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instance, instances, yaml};

const PREFIX: &str = "wasmcustom.consul_resolver.";

/// What happens to the requests of a service.
const COUNTERS: [&str; 4] = ["picks", "failures", "stale", "fallbacks"];

/// What is known of its endpoints.
const OF_DISCOVERY: [&str; 9] = [
    "updates",
    "endpoints",
    "snapshot_age_ms",
    "faulty_instances",
    "denied_instances",
    "fetchers",
    "doubted_answers",
    "refuted_answers",
    "held_answers",
];

fn all(bed: &Testbed) -> BTreeMap<String, u64> {
    let stats = bed.envoy.stats(PREFIX).expect("stats");
    let own = |(name, value): (String, u64)| Some((name.strip_prefix(PREFIX)?.to_owned(), value));
    stats.into_iter().filter_map(own).collect()
}

fn await_stat(bed: &Testbed, name: &str, holds: impl Fn(u64) -> bool) {
    let mut last = 0;
    let held = wait_until(SOON, || {
        last = bed.stat(name);
        holds(last)
    });
    assert!(held, "{name} is {last}: {:?}", all(bed));
}

#[test]
fn every_counter_and_gauge_is_shown_and_moves() {
    let Some(consul) = Consul::start_or_skip("metrics") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1", "web-2"]);
    let services = json!([
        {"name": "web", "hosts": ["web.test"]},
        {"name": "empty", "hosts": ["empty.test"]},
    ]);
    let bed = Setup::headers(consul.address())
        .set("services", services)
        .set("unmatched", json!("reject"))
        .start();
    let of_service = |service: &str| {
        let all = COUNTERS.iter().chain(&OF_DISCOVERY);
        all.map(|what| format!("service.{service}.{what}")).collect::<Vec<_>>()
    };
    let expected: Vec<String> = [of_service("empty"), of_service("web")]
        .concat()
        .into_iter()
        .chain(ReplyReason::ALL.map(|reason| format!("local_replies.{}", reason.label())))
        .chain(ErrorKind::ALL.map(|kind| format!("consul_calls.{}", kind.label())))
        .chain(["consul_calls.ok", "consul_breaker", "consul_breaker_opens"].map(str::to_owned))
        .collect();
    let mut expected = expected;
    expected.sort_unstable();
    assert_eq!(all(&bed).into_keys().collect::<Vec<_>>(), expected);

    for service in ["web", "empty"] {
        await_stat(&bed, &format!("service.{service}.fetchers"), |n| n == 1);
        await_stat(&bed, &format!("service.{service}.updates"), |n| n >= 1);
    }
    await_stat(&bed, "service.web.endpoints", |n| n == 2);
    await_stat(&bed, "service.empty.endpoints", |n| n == 0);
    await_stat(&bed, "consul_calls.ok", |n| n >= 2);

    for _ in 0..30 {
        assert_eq!(bed.get("/", "web.test").status, 200);
    }
    for _ in 0..7 {
        assert_eq!(bed.get("/", "empty.test").status, 503);
    }
    for _ in 0..5 {
        assert_eq!(bed.get("/", "other.test").status, 404);
    }
    await_stat(&bed, "service.web.picks", |n| n == 30);
    assert_eq!(bed.stat("service.empty.picks"), 0);
    assert_eq!(bed.stat("local_replies.no_healthy_endpoints"), 7);
    assert_eq!(bed.stat("local_replies.unknown_service"), 5);
    assert_eq!(bed.stat("local_replies.not_resolved_yet"), 0);

    // The age grows while nothing changes, and falls when something does.
    await_stat(&bed, "service.web.snapshot_age_ms", |age| age >= 1_500);
    let updates = bed.stat("service.web.updates");
    let _third = instances(&consul, "web", &["web-3"]);
    await_stat(&bed, "service.web.endpoints", |n| n == 3);
    await_stat(&bed, "service.web.snapshot_age_ms", |age| age < 1_500);
    assert_eq!(bed.stat("service.web.updates"), updates + 1);
    assert_eq!(bed.stat("service.empty.updates"), 1);

    consul.kill();
    await_stat(&bed, "consul_calls.unreachable", |n| n >= 2);
    await_stat(&bed, "consul_breaker_opens", |n| n == 1);
    await_stat(&bed, "consul_breaker", |n| n == 2);
    await_stat(&bed, "service.web.snapshot_age_ms", |age| age >= 1_500);
    assert_eq!(bed.stat("service.web.endpoints"), 3);
    assert_eq!(bed.stat("service.web.fetchers"), 1);
    bed.await_routed("web.test", &["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

/// One worker, so that each request is seen by the one that learns, and what it counts is exact.
fn learning(consul: &Consul, service: Value) -> Testbed {
    let setup = Setup::headers(consul.address()).workers(1);
    setup.set("services", json!([service])).start()
}

#[test]
fn failures_are_counted_when_responses_are_read() {
    let Some(consul) = Consul::start_or_skip("metrics of answers") else {
        return;
    };
    let backends = instances(&consul, "web", &["web-1", "web-2"]);
    for (policy, reads) in [("peak_ewma", true), ("least_request", false)] {
        let balancing = json!({"policy": policy});
        let bed = learning(&consul, json!({"name": "web", "load_balancing": balancing}));
        bed.await_routed("any", &["web-1", "web-2"]);
        assert_eq!(bed.stat("service.web.failures"), 0, "{policy}");

        let before = bed.stat("service.web.picks");
        backends.iter().for_each(|backend| backend.set_trouble(Trouble::always(500)));
        for _ in 0..30 {
            assert_eq!(bed.get("/", "any").status, 500);
        }
        await_stat(&bed, "service.web.picks", |n| n >= before + 30);
        await_stat(&bed, "service.web.failures", |n| n == if reads { 30 } else { 0 });
        backends.iter().for_each(|backend| backend.set_trouble(Trouble::none()));
        bed.assert_no_crash();
    }
}

#[test]
fn each_datacenter_of_a_service_has_its_own() {
    let Some(consul) = Consul::start_or_skip("metrics of datacenters") else {
        return;
    };
    let _backends = instances(&consul, "web", &["web-1"]);
    let bed = learning(&consul, json!({"name": "web", "datacenters": ["dc1", "dc2"]}));
    await_stat(&bed, "service.web.datacenter.dc1.endpoints", |n| n == 1);
    await_stat(&bed, "service.web.datacenter.dc1.fetchers", |n| n == 1);
    let names = all(&bed).into_keys();
    let of_service = names.filter_map(|name| Some(name.strip_prefix("service.web.")?.to_owned()));
    let of_both = |what: &&str| ["dc1", "dc2"].map(|dc| format!("datacenter.{dc}.{what}"));
    let mut expected: Vec<String> = COUNTERS.iter().map(|&what| what.to_owned()).collect();
    expected.extend(OF_DISCOVERY.iter().flat_map(of_both));
    expected.sort_unstable();
    assert_eq!(of_service.collect::<Vec<_>>(), expected);
    bed.assert_no_crash();
}

/// A configuration of a second listener, which has other services.
fn beside(setup: Setup, services: Value) -> Setup {
    setup.edit(|bootstrap| {
        let plugin = bootstrap.plugin().expect("a plugin");
        let own = std::mem::replace(&mut plugin["services"], yaml(services));
        let mut other = bootstrap.ingress().expect("a listener").clone();
        other["name"] = "other".into();
        bootstrap.plugin().expect("a plugin")["services"] = own;
        let listeners = &mut bootstrap.config()["static_resources"]["listeners"];
        listeners.as_sequence_mut().expect("listeners").push(other);
    })
}

/// One instance of `web` with the tag `v1`, and two with `v2`.
fn two_versions(consul: &dyn Registry) -> Vec<Backend> {
    let tagged = [("web-1", "v1"), ("web-2", "v2"), ("web-3", "v2")];
    let start = |(name, tag)| instance(consul, "web", name, |web| web.tag(tag));
    tagged.into_iter().map(start).collect()
}

#[test]
fn services_of_one_name_in_consul_have_metrics_of_their_own() {
    let Some(consul) = Consul::start_or_skip("names that are not those in Consul") else {
        return;
    };
    let _backends = two_versions(&consul);
    let _with_slash = instances(&consul, "team/web", &["web-4"]);
    let services = json!([
        {"name": "web-v1", "service": "web", "hosts": ["v1.test"], "tags": ["V1"]},
        {"name": "web-v2", "service": "web", "hosts": ["v2.test"], "tags": ["v2"]},
        {"name": "all", "service": "web", "hosts": ["all.test"]},
        {"name": "all-too", "service": "web", "hosts": ["all-too.test"]},
        {"name": "team/web", "hosts": ["team.test"]},
        {"name": "none", "service": "web", "hosts": ["none.test"], "tags": ["v3"]},
    ]);
    let bed = Setup::headers(consul.address()).set("services", services).start();
    bed.await_routed("v1.test", &["web-1"]);
    bed.await_routed("v2.test", &["web-2", "web-3"]);
    bed.await_routed("all.test", &["web-1", "web-2", "web-3"]);
    bed.await_routed("all-too.test", &["web-1", "web-2", "web-3"]);
    bed.await_routed("team.test", &["web-4"]);
    bed.await_reply("none.test", "no_healthy_endpoints");
    assert_eq!(bed.get("/", "none.test").json()["service"], "none");
    for (name, endpoints) in [("web-v1", 1), ("web-v2", 2), ("all", 3), ("all-too", 3), ("none", 0)]
    {
        await_stat(&bed, &format!("service.{name}.endpoints"), |n| n == endpoints);
        await_stat(&bed, &format!("service.{name}.fetchers"), |n| n == 1);
    }
    await_stat(&bed, "service.team/web.endpoints", |n| n == 1);
    assert!(!all(&bed).keys().any(|name| name.starts_with("service.web.")), "{:?}", all(&bed));
    LogMark::START.await_line(&bed.envoy, "service web-v2: 2 endpoints");
    LogMark::START.await_line(&bed.envoy, "service all, service all-too: 3 endpoints");
    bed.assert_no_crash();
}

#[test]
fn gauges_of_one_name_show_one_of_two_configurations() {
    let Some(consul) = Consul::start_or_skip("two configurations of one name") else {
        return;
    };
    let mut backends = two_versions(&consul);
    backends.push(instance(&consul, "web", "web-4", |web| web.tag("v2")));
    consul.await_passing("web", &["web-1", "web-2", "web-3", "web-4"]).expect("passing");
    let [one, two] = ["v1", "v2"].map(|tag| json!([{"name": "web", "tags": [tag]}]));
    let bed = beside(Setup::headers(consul.address()).set("services", one), two).start();
    bed.await_routed("any", &["web-1"]);
    LogMark::START.await_line(
        &bed.envoy,
        "consul_resolver.service.web.* show what another configuration asks of consul",
    );
    // What changes for the other one is counted, and not shown.
    let endpoints = bed.stat("service.web.endpoints");
    let (shown, other) = if endpoints == 1 { ("v1", "v2") } else { ("v2", "v1") };
    let updates = bed.stat("service.web.updates");
    let _other = instance(&consul, "web", "web-5", |web| web.tag(other));
    let mut seen = BTreeSet::new();
    let is_published = wait_until(SOON, || {
        seen.insert(bed.stat("service.web.endpoints"));
        bed.stat("service.web.updates") > updates
    });
    assert!(is_published, "{:?}", all(&bed));
    let renewed = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < renewed {
        seen.insert(bed.stat("service.web.endpoints"));
    }
    assert_eq!(seen, BTreeSet::from([endpoints]));
    let _shown = instance(&consul, "web", "web-6", |web| web.tag(shown));
    await_stat(&bed, "service.web.endpoints", |n| n == endpoints + 1);
    await_stat(&bed, "service.web.snapshot_age_ms", |age| age >= 1_500);
    bed.assert_no_crash();
}
