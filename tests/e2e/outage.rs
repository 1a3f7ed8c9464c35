//! Consul stands still, is killed, or comes back without its memory.

use std::time::Duration;

use serde_json::json;
use stack::{Consul, Registry, wait_until};

use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{Setup, Testbed, instances};

/// Polls that end after a second: their callouts are given up after six.
fn with_short_polls(consul: &Consul) -> Testbed {
    let towards = json!({"cluster": "consul", "wait": "1s"});
    let bed = Setup::headers(consul.address()).set("consul", towards).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    bed
}

fn await_calls(bed: &Testbed, kind: &str, more_than: u64) {
    let name = format!("consul_calls.{kind}");
    let counted = wait_until(Duration::from_secs(20), || bed.stat(&name) > more_than);
    assert!(counted, "{name}: {} in 20 s", bed.stat(&name));
}

// Promise: R-102
#[test]
fn no_request_fails_when_consul_freezes_and_goes_on() {
    let Some(consul) = Consul::start_or_skip("a frozen consul") else {
        return;
    };
    let _first = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = with_short_polls(&consul);
    let mark = LogMark::now(&bed.envoy);
    let load = Load::light(bed.ingress, "any");
    load.go_on(40);

    consul.stop();
    await_calls(&bed, "timeout", 0);
    load.go_on(40);
    consul.cont();
    mark.await_line(&bed.envoy, "consul answers again");

    let _more = instances(&consul, "web", &["web-1", "web-2", "web-3"]);
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    let failing = mark.lines(&bed.envoy, "the endpoints stay as they are");
    assert_eq!(failing.len(), 1, "{failing:#?}");
    assert!(failing[0].contains("did not begin to answer in time"));
    bed.assert_no_crash();
}

// Promise: R-102
#[test]
fn lower_index_is_accepted_when_a_new_consul_takes_over() {
    let Some(consul) = Consul::start_or_skip("a killed consul") else {
        return;
    };
    let _old = instances(&consul, "web", &["web-1", "web-2"]);
    // Changes that a fresh Consul will not have seen: its index stays below.
    for _ in 0..10 {
        for on in [true, false] {
            consul.maintenance("web-2", on).expect("maintenance");
        }
        consul.await_passing("web", &["web-1", "web-2"]).expect("all");
    }
    let bed = with_short_polls(&consul);
    let before = consul.health("web", "").expect("health").index;
    let mark = LogMark::now(&bed.envoy);
    let load = Load::light(bed.ingress, "any");
    load.go_on(40);

    consul.kill();
    await_calls(&bed, "unreachable", 3);
    load.go_on(40);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);

    consul.restart(true).expect("a fresh consul");
    // One of the old instances is gone for good, and there is a new one.
    let _new = instances(&consul, "web", &["web-2", "web-3"]);
    let after = consul.health("web", "").expect("health").index;
    assert!(after < before, "the index went from {before} to {after}");
    bed.await_routed("any", &["web-2", "web-3"]);
    let failing = mark.lines(&bed.envoy, "the endpoints stay as they are");
    assert!(
        matches!(failing.as_slice(), [one] if one.contains("could not reach consul")),
        "{failing:#?}"
    );
    let recovered = mark.lines(&bed.envoy, "consul answers again");
    assert_eq!(recovered.len(), 1, "{recovered:#?}");

    // It is watched as the one before: by blocking queries.
    consul.deregister("web-2").expect("deregistered");
    bed.await_routed("any", &["web-3"]);
    bed.assert_no_crash();
}

// Promise: R-102
#[test]
fn no_request_fails_when_consul_comes_back_under_a_query() {
    let Some(consul) = Consul::start_or_skip("a paused consul") else {
        return;
    };
    let _first = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = Setup::headers(consul.address()).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    // Shorter than any timeout: the query that is out just takes longer.
    consul.stop();
    std::thread::sleep(Duration::from_secs(2));
    load.go_on(40);
    consul.cont();
    let _more = instances(&consul, "web", &["web-1", "web-2", "web-3"]);
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    let calls = bed.envoy.stats("wasmcustom.consul_resolver.consul_calls.");
    let failed: u64 = calls
        .expect("stats")
        .into_iter()
        .filter(|(name, _)| !name.ends_with(".ok"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(failed, 0, "a pause is no failure");
}
