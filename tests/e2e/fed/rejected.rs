//! A service's cluster that Envoy rejects, beside others.

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Registry, wait_until};

use super::hosts;
use super::listeners::MOVED;
use crate::dynamic::LISTENERS;
use crate::testbed::{SOON, Setup, instances};

const BAD: &str = "Envoy rejects what it is told by CDS of bad (rejection 1";
const OTHERS: &str = "Envoy rejects what it is told by CDS (";

/// What no Envoy takes as the `per_upstream_preconnect_ratio`, and what each does.
const REJECTED: u32 = 500;
const TAKEN: u32 = 1;

/// `web`, `api`, and `bad` with this ratio.
fn services(ratio: u32) -> Value {
    let hosts = |name: &str| [format!("{name}.internal")];
    let ratio = json!({"per_upstream_preconnect_ratio": ratio});
    json!([
        {"name": "web", "hosts": hosts("web"), "cluster": {"connect_timeout": "2s"}},
        {"name": "bad", "hosts": hosts("bad"), "cluster": {"preconnect_policy": ratio}},
        {"name": "api", "hosts": hosts("api")},
    ])
}

fn setup(agent: &Agent, socket: &str, ratio: u32) -> Setup {
    Setup::recommended(agent.address()).set("services", services(ratio)).edit(|bootstrap| {
        bootstrap.set_socket(socket).expect("a socket");
        bootstrap.plugin().expect("a plugin")["xds"]["hold"] = "2s".into();
    })
}

// Promise: R-306
#[test]
fn other_clusters_start_when_envoy_rejects_one() {
    let agent = Agent::start().expect("an agent");
    let _kept = ["web", "api", "bad"].map(|name| instances(&agent, name, &[name]));
    let bed = setup(&agent, "@consul_resolver/rejected", REJECTED).start();
    bed.await_routed("web.internal", &["web"]);
    bed.await_routed("api.internal", &["api"]);
    assert!(wait_until(SOON, || bed.envoy.log().contains(BAD)));
    let _more = instances(&agent, "web", &["web-2"]);
    assert!(wait_until(SOON, || hosts(&bed, "web").len() == 2));
    assert!(hosts(&bed, "bad").is_empty());
    assert!(!bed.envoy.log().contains(OTHERS));
    bed.assert_no_crash();
}

// Promise: R-306
#[test]
fn an_update_that_envoy_rejects_leaves_its_cluster_as_it_was() {
    let agent = Agent::start().expect("an agent");
    let _kept = ["web", "api", "bad"].map(|name| instances(&agent, name, &[name]));
    let socket = format!("@consul_resolver/rejected-{}", std::process::id());
    let bed = LISTENERS.start_with(|| setup(&agent, &socket, TAKEN), &[]);
    for name in ["web", "api", "bad"] {
        bed.await_routed(&format!("{name}.internal"), &[name]);
    }
    LISTENERS.update(&bed, setup(&agent, &socket, REJECTED));
    assert!(wait_until(MOVED, || bed.envoy.log().contains(BAD)));
    for name in ["web", "api", "bad"] {
        bed.await_routed(&format!("{name}.internal"), &[name]);
    }
    // It is offered again now and then, and harms nobody.
    assert!(wait_until(SOON, || bed.stat("xds.rejected") >= 4));
    for name in ["web", "api", "bad"] {
        bed.await_routed(&format!("{name}.internal"), &[name]);
    }
    assert!(!bed.envoy.log().contains(OTHERS));
    bed.assert_no_crash();
}
