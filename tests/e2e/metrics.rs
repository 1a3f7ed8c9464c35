//! What the filter counts and shows.

use std::collections::BTreeMap;

use consul_resolver::consul::error::ErrorKind;
use consul_resolver::router::reply::ReplyReason;
use serde_json::json;
use stack::{Consul, Registry, wait_until};

use crate::testbed::{SOON, Setup, Testbed, instances};

const PREFIX: &str = "wasmcustom.consul_resolver.";

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
    let bed = Setup::recommended(consul.address())
        .set("services", services)
        .set("unmatched", json!("reject"))
        .start();
    let of_service = |service: &str| {
        ["picks", "updates", "endpoints", "snapshot_age_ms", "faulty_instances", "fetchers"]
            .map(|what| format!("service.{service}.{what}"))
    };
    let expected: Vec<String> = [of_service("empty"), of_service("web")]
        .concat()
        .into_iter()
        .chain(ReplyReason::ALL.map(|reason| format!("local_replies.{}", reason.label())))
        .chain(ErrorKind::ALL.map(|kind| format!("consul_calls.{}", kind.label())))
        .chain(["consul_calls.ok".to_owned()])
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
    await_stat(&bed, "service.web.snapshot_age_ms", |age| age >= 1_500);
    assert_eq!(bed.stat("service.web.endpoints"), 3);
    assert_eq!(bed.stat("service.web.fetchers"), 1);
    bed.await_routed("web.test", &["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}
