//! A Consul where nobody may do anything without a token.

use std::time::Duration;

use serde_json::json;
use stack::{Backend, Consul, Registry, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup};

/// What a proxy needs that finds services.
const READS: &str = r#"service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }"#;

#[test]
fn a_token_registers_what_it_may_and_says_what_it_may_not() {
    let consul = Consul::builder().acls().start_or_skip("registration with ACLs");
    let Some(consul) = consul else { return };
    let other = r#"service "other" { policy = "write" }"#;
    let registers = consul.grant("registers", other).expect("a token");
    let reads = consul.grant("reads", READS).expect("a token");

    let app = Backend::start("app").expect("a backend");
    let port = stack::port::free();
    let bed = Setup::registering(consul.address(), app.address(), "proxy-1", port)
        .env("CONSUL_HTTP_TOKEN", &registers.secret)
        .start();
    let denied = "the token in CONSUL_HTTP_TOKEN needs service:write for \"edge\"";
    LogMark::START.await_line(&bed.envoy, denied);
    assert_eq!(bed.stat("registration.edge.registered"), 0);

    // The right comes while Envoy runs.
    consul.change(&registers, r#"service "edge" { policy = "write" }"#).expect("changed");
    let registered = wait_until(SOON, || bed.stat("registration.edge.registered") == 1);
    assert!(registered, "{}", bed.envoy.log());
    let client = Setup::recommended(consul.address())
        .env("CONSUL_HTTP_TOKEN", &reads.secret)
        .set("services", json!([{"name": "edge"}]))
        .start();
    client.await_routed("any", &["app"]);

    // And goes: nobody reports any more, so the TTL ends it.
    let mark = LogMark::now(&bed.envoy);
    consul.revoke(&registers).expect("revoked");
    mark.await_line(&bed.envoy, "ACL not found");
    assert_eq!(bed.stat("registration.edge.registered"), 0);
    let gone = wait_until(TTL + SOON, || client.get("/", "any").status == 503);
    assert!(gone, "{:?}", client.seen("any", 10));
    for bed in [&bed, &client] {
        bed.assert_no_crash();
    }
}

/// That of `envoy/register.yaml`.
const TTL: Duration = Duration::from_secs(15);
