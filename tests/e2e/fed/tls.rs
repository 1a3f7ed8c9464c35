//! Instances that speak TLS, as the cluster's template says.

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Registry, wait_until};

use crate::testbed::{SOON, Setup, instances};
use crate::tls_names::{Instance, start};

/// Instances are asked for by this name, and must have a certificate of it by this authority.
fn transport_socket(name: &str, ca: &str) -> Value {
    let names = json!([{"san_type": "DNS", "matcher": {"exact": name}}]);
    let trusted =
        json!({"trusted_ca": {"inline_string": ca}, "match_typed_subject_alt_names": names});
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": name,
        "common_tls_context": {"validation_context": trusted},
    }})
}

// Promise: R-315
#[test]
fn instances_are_reached_over_tls_when_a_template_says_so() {
    let agent = Agent::start().expect("an agent");
    let own = Instance { id: "web-1", host: "127.0.0.1", certified: "web.test" };
    let others = Instance { id: "web-2", host: "127.0.0.1", certified: "others.test" };
    let (_instances, ca) = start(&agent, &[own, others]);
    let _plain = instances(&agent, "plain", &["plain-1"]);
    let services = json!([
        {"name": "web", "hosts": ["web.internal"]},
        {"name": "plain", "hosts": ["plain.internal"], "cluster": {"transport_socket": null}},
        // The same instances, by the name of the other one.
        {"name": "others", "service": "web", "hosts": ["others.internal"],
         "cluster": {"transport_socket": transport_socket("others.test", &ca)}},
    ]);
    let bed = Setup::recommended(agent.address())
        .set("services", services)
        .of_clusters("transport_socket", transport_socket("web.test", &ca))
        .start();
    bed.await_routed("web.internal", &["web-1"]);
    bed.await_routed("others.internal", &["web-2"]);
    bed.await_routed("plain.internal", &["plain-1"]);
    assert_eq!(bed.get("/", "web.internal").header("x-server-name"), Some("web.test"));
    let refused = || bed.envoy.stat("cluster.consul/web.ssl.fail_verify_san").expect("stats");
    assert!(wait_until(SOON, || refused() > 0), "web-2 is a host, and is refused");
    bed.assert_no_crash();
}
