//! Consul is away, stands still, or does not tell the truth: Envoy's hosts stay.

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::json;
use stack::{Condition, Consul, Place, Registry, Relay, wait_until};

use super::{await_hosts, hosts, plain};
use crate::load::Load;
use crate::testbed::{SOON, Setup, Testbed, instances};

// Promise: R-104
#[test]
fn hosts_stay_while_consul_cannot_be_reached() {
    let Some(consul) = Consul::start_or_skip("hosts while consul is away") else { return };
    let names = ["web-1", "web-2", "web-3", "web-4"];
    let web = instances(&consul, "web", &names);
    let old = instances(&consul, "old", &["old-1"]);
    let late = instances(&consul, "late", &["late-1"]);
    let services = json!([
        {"name": "web", "hosts": ["web.internal"]},
        {"name": "old", "hosts": ["old.internal"], "max_age": "7s", "on_stale": "fail"},
        {"name": "late", "hosts": ["late.internal"], "fallback": [old[0].address()]},
    ]);
    let relay = Relay::start(consul.address()).expect("a relay");
    relay.set(Condition::Cut);
    let bed = Setup::recommended(relay.address())
        .set("consul", json!({"cluster": "consul", "wait": "1s"}))
        .set("services", services)
        .set("warmup_timeout", json!("300ms"))
        .start();
    // Consul has not answered yet.
    let has_fallback = || hosts(&bed, "late").contains_key(&old[0].address().to_string());
    assert!(wait_until(SOON, has_fallback), "{:?}", hosts(&bed, "late"));
    relay.set(Condition::Clear);
    bed.await_routed("web.internal", &names);
    bed.await_routed("late.internal", &["late-1"]);
    await_hosts(&bed, "late", [plain(late[0].address())]);
    bed.await_routed("old.internal", &["old-1"]);

    let all = hosts(&bed, "web");
    assert_eq!(all.len(), web.len());
    let load = Load::light(bed.ingress, "web.internal");
    let stays = |what: &str| {
        load.go_on(200);
        assert_eq!(hosts(&bed, "web"), all, "{what}");
    };
    let failed = || bed.stat("consul_calls.no_answer");
    let before = failed();
    relay.set(Condition::Reset(Place::InBody));
    stays("responses break off");
    assert!(wait_until(SOON, || failed() > before), "no response broke off");
    stays("a response has broken off");
    relay.set(Condition::Cut);
    stays("cut");
    relay.set(Condition::Clear);
    stays("back");
    await_old(&bed, 1);
    relay.set(Condition::Silent);
    stays("silent");
    // All but what may not be older.
    await_old(&bed, 0);
    stays("silent for long");
    relay.set(Condition::Clear);
    await_old(&bed, 1);
    load.end_without_failure(&names);
    bed.assert_no_crash();
}

#[test]
fn hosts_stay_while_consul_does_not_tell_the_truth() {
    let agent = Agent::start().expect("an agent");
    let names = ["web-1", "web-2", "web-3", "web-4"];
    let web = instances(&agent, "web", &names);
    let bed = Setup::recommended(agent.address())
        .set("consul", json!({"cluster": "consul", "wait": "1s"}))
        .set("services", json!([{"name": "web", "hosts": ["web.internal"]}]))
        .start();
    bed.await_routed("web.internal", &names);
    let all = hosts(&bed, "web");
    assert_eq!(all.len(), web.len());
    let load = Load::light(bed.ingress, "web.internal");
    for fault in
        [Fault::Empty, Fault::Body(b"[{]".to_vec()), Fault::Status(500, "no leader".to_owned())]
    {
        let what = format!("{fault:?}");
        let asked = agent.request_count();
        agent.misbehave(Scope::Service("web".into()), fault, Times::Always);
        agent.wake();
        load.go_on(200);
        assert_eq!(hosts(&bed, "web"), all, "{what}");
        assert!(agent.request_count() > asked, "{what} was not tried");
        agent.behave();
    }
    load.end_without_failure(&names);
    bed.assert_no_crash();
}

fn await_old(bed: &Testbed, count: usize) {
    let is_so = wait_until(2 * SOON, || hosts(bed, "old").len() == count);
    assert!(is_so, "{:?}, not {count}", hosts(bed, "old"));
}
