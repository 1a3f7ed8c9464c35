//! Consul is asked over TLS, by whoever it trusts, and only if it is who it should be.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use stack::{Consul, Pki, port, wait_until};

use crate::testbed::{SOON, Setup, Testbed, instances};

/// A Consul that wants client certificates, and the address of one that is not there.
fn consul(test: &str, pki: &Pki) -> Option<(Consul, [SocketAddr; 2])> {
    let consul = Consul::builder().tls(pki.clone()).start_or_skip(test)?;
    let dead = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()));
    let live = consul.https().expect("an address");
    Some((consul, [dead, live]))
}

fn stat(bed: &Testbed, name: &str) -> u64 {
    bed.envoy.stat(&format!("cluster.consul.{name}")).expect("stats")
}

fn await_stat(bed: &Testbed, name: &str) {
    assert!(wait_until(SOON, || stat(bed, name) > 0), "{name} is 0:\n{}", bed.envoy.log());
}

/// Starts one whose requests do not wait for an answer of Consul.
fn impatient(setup: Setup) -> Testbed {
    setup.set("warmup_timeout", json!("0s")).start()
}

/// No answer of Consul has come, and the filter says so to its clients.
fn assert_never_resolved(bed: &Testbed) {
    bed.await_reply("any", "not_resolved_yet");
    assert_eq!(bed.stat("consul_calls.ok"), 0);
    bed.assert_no_crash();
}

// Promise: R-911
#[test]
fn answering_address_is_used_when_consul_has_two_over_tls() {
    let pki = Pki::for_datacenter("dc1").expect("certificates");
    let Some((consul, addresses)) = consul("mutual TLS", &pki) else { return };
    let _web = instances(&consul, "web", &["web-1", "web-2"]);
    let bed = Setup::consul_tls(addresses, &pki, &pki.client).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    // A change arrives by the long poll, which stays open on the one connection of HTTP/2.
    let _more = instances(&consul, "web", &["web-3"]);
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    assert_eq!((stat(&bed, "membership_total"), stat(&bed, "membership_healthy")), (2, 1));
    assert!(stat(&bed, "upstream_cx_http2_total") > 0);
    assert_eq!(stat(&bed, "upstream_cx_http1_total"), 0);
    assert!(stat(&bed, "ssl.handshake") > 0);
    bed.assert_no_crash();
}

// Promise: R-911
#[test]
fn a_client_that_consul_does_not_trust_gets_nothing() {
    let pki = Pki::for_datacenter("dc1").expect("certificates");
    let Some((consul, addresses)) = consul("a stranger", &pki) else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    let bed = impatient(Setup::consul_tls(addresses, &pki, &pki.stranger));
    await_stat(&bed, "health_check.failure");
    assert_never_resolved(&bed);
}

// Promise: R-911
#[test]
fn consul_is_not_asked_when_its_certificate_is_anothers() {
    // The same authority, and the certificate of another datacenter's server.
    let pki = Pki::for_datacenter("dc2").expect("certificates");
    let Some((consul, addresses)) = consul("another server", &pki) else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    let bed = impatient(Setup::consul_tls(addresses, &pki, &pki.client));
    await_stat(&bed, "ssl.fail_verify_san");
    assert_never_resolved(&bed);
}
