//! A Consul where nobody may do anything without a token.

use std::time::Duration;

use serde_json::json;
use stack::{Backend, Consul, Registry, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed};

/// What a proxy needs that finds services.
const READS: &str = r#"service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }"#;

// Promise: R-705
#[test]
fn token_registers_only_what_its_acl_allows() {
    let consul = Consul::builder().acls().start_or_skip("registration with ACLs");
    let Some(consul) = consul else { return };
    let other = r#"service "other" { policy = "write" }"#;
    let registers = consul.grant("registers", other).expect("a token");
    let reads = consul.grant("reads", READS).expect("a token");

    let app = Backend::start("app").expect("a backend");
    let port = stack::port::free();
    let edge = |token: &str| {
        let setup = Setup::registering(consul.address(), app.address(), "proxy-1", port);
        setup.env("CONSUL_HTTP_TOKEN", token).start()
    };
    let first = edge(&registers.secret);
    let denied = "the token in CONSUL_HTTP_TOKEN needs service:write for \"edge\"";
    LogMark::START.await_line(&first.envoy, denied);
    assert_eq!(first.stat("registration.edge.registered"), 0);

    // The right comes while Envoy runs.
    let write = r#"service "edge" { policy = "write" }"#;
    consul.change(&registers, write).expect("changed");
    await_registered(&first);
    let client = Setup::headers(consul.address())
        .env("CONSUL_HTTP_TOKEN", &reads.secret)
        .set("services", json!([{"name": "edge"}]))
        .start();
    client.await_routed("any", &["app"]);

    // And goes.
    let mark = LogMark::now(&first.envoy);
    consul.revoke(&registers).expect("revoked");
    mark.await_line(&first.envoy, "ACL not found");
    assert_eq!(first.stat("registration.edge.registered"), 0);
    first.assert_no_crash();
    drop(first);

    // An agent tells its servers of a service with the token that it was registered with, so the next
    // Envoy must have registered it anew, for its end to be seen.
    let renews = consul.grant("renews", write).expect("a token");
    let second = edge(&renews.secret);
    await_registered(&second);
    second.assert_no_crash();
    client.await_routed("any", &["app"]);
    drop(second);
    let is_gone = || client.get("/", "any").text().contains("no_healthy_endpoints");
    assert!(wait_until(TTL + SOON, is_gone), "{:?}", client.seen("any", 10));
    client.assert_no_crash();
}

fn await_registered(bed: &Testbed) {
    let registered = wait_until(SOON, || bed.stat("registration.edge.registered") == 1);
    assert!(registered, "{}", bed.envoy.log());
}

/// That of `envoy/register.yaml`.
const TTL: Duration = Duration::from_secs(15);
