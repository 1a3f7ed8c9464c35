//! Services that depend on others, while those have no endpoint.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stack::{Consul, Registry, Service, Status, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instances};

/// Enough new connections that every worker gets some.
const ROUND: usize = 30;

/// A service at `<name>.test` with these fields.
fn service(name: &str, fields: Value) -> Value {
    let mut service = json!({"name": name, "hosts": [format!("{name}.test")]});
    service.as_object_mut().expect("an object").extend(fields.as_object().expect("one").clone());
    service
}

fn start(consul: &Consul, services: &[Value]) -> Testbed {
    Setup::headers(consul.address())
        .set("services", json!(services))
        .access_log("%REQ(:AUTHORITY)% %RESPONSE_CODE_DETAILS%")
        .start()
}

fn report(consul: &Consul, name: &str, status: Status) {
    consul.set_check(&Service::check_id(name), status).expect("reported");
}

fn await_stat(bed: &Testbed, name: &str, value: u64) {
    let reached = wait_until(SOON, || bed.stat(name) == value);
    assert!(reached, "{name} is {}", bed.stat(name));
}

/// The answers of a round of requests over all workers.
fn answers(bed: &Testbed, host: &str) -> BTreeSet<String> {
    bed.seen(host, ROUND).into_keys().collect()
}

fn await_answers(bed: &Testbed, host: &str, expected: &str) {
    let expected = BTreeSet::from([expected.to_owned()]);
    let reached = wait_until(SOON, || answers(bed, host) == expected);
    assert!(reached, "{:?}, expected {expected:?}", answers(bed, host));
}

/// The response for a service that has no endpoint, as [`answers`] has it.
fn no_endpoints(name: &str) -> String {
    format!(r#"503 {{"error":"no_healthy_endpoints","service":"{name}"}}"#)
}

// Promise: R-807
#[test]
fn degraded_service_serves_and_is_counted_when_it_is_to_serve() {
    let Some(consul) = Consul::start_or_skip("dependencies that are counted") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let _db = instances(&consul, "db", &["db-1"]);
    let _cache = instances(&consul, "cache", &["cache-1"]);
    let web = json!({"depends_on": ["DB", "cache"]});
    let others = ["db", "cache"].map(|name| service(name, json!({})));
    let bed = start(&consul, &[&[service("web", web)], &others[..]].concat());
    bed.await_routed("web.test", &["web-1"]);
    bed.await_routed("db.test", &["db-1"]);
    bed.await_routed("cache.test", &["cache-1"]);
    assert_eq!(bed.stat("service.web.dependencies_down"), 0);
    let mark = LogMark::now(&bed.envoy);

    report(&consul, "cache-1", Status::Critical);
    await_answers(&bed, "cache.test", &no_endpoints("cache"));
    await_stat(&bed, "service.web.dependencies_down", 1);
    mark.await_line(
        &bed.envoy,
        "web: degraded, since of those that it depends on these are down: cache",
    );
    report(&consul, "db-1", Status::Critical);
    await_answers(&bed, "db.test", &no_endpoints("db"));
    await_stat(&bed, "service.web.dependencies_down", 2);
    // Requests go on.
    assert_eq!(answers(&bed, "web.test"), BTreeSet::from(["web-1".to_owned()]));

    report(&consul, "cache-1", Status::Passing);
    await_answers(&bed, "cache.test", "cache-1");
    await_stat(&bed, "service.web.dependencies_down", 1);
    report(&consul, "db-1", Status::Passing);
    await_answers(&bed, "db.test", "db-1");
    await_stat(&bed, "service.web.dependencies_down", 0);
    mark.await_line(&bed.envoy, "web: all that it depends on has endpoints again");
    // The main thread's VM and two workers, once each.
    await_stat(&bed, "service.web.degradations", 3);
    bed.assert_no_crash();
}

// Promise: R-807
#[test]
fn dependents_fail_and_recover_when_their_dependency_does() {
    let Some(consul) = Consul::start_or_skip("dependencies that fail") else {
        return;
    };
    let names = ["front", "web", "db"];
    let _all = names.map(|name| instances(&consul, name, &[name]));
    let fails = |on: &str| json!({"depends_on": [on], "on_dependency_down": "fail"});
    let services =
        [service("front", fails("web")), service("web", fails("db")), service("db", json!({}))];
    let bed = start(&consul, &services);
    for name in names {
        bed.await_routed(&format!("{name}.test"), &[name]);
    }

    report(&consul, "db", Status::Critical);
    let body = |service: &str, other: &str| {
        let fields = format!(r#""service":"{service}","dependencies":["{other}"]"#);
        format!(r#"503 {{"error":"dependency_down",{fields}}}"#)
    };
    await_answers(&bed, "web.test", &body("web", "db"));
    await_answers(&bed, "front.test", &body("front", "web"));
    let answer = bed.get("/", "web.test");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    bed.await_logged("front.test consul_resolver.dependency_down");
    assert!(bed.stat("local_replies.dependency_down") >= 2 * ROUND as u64);
    await_stat(&bed, "service.front.dependencies_down", 1);

    // It is registered no more; there is still none.
    consul.deregister("db").expect("deregistered");
    await_answers(&bed, "web.test", &body("web", "db"));
    let _db = instances(&consul, "db", &["db-2"]);
    await_answers(&bed, "web.test", "web");
    await_answers(&bed, "front.test", "front");
    await_stat(&bed, "service.front.dependencies_down", 0);
    bed.assert_no_crash();
}

// Promise: R-807
#[test]
fn dependency_is_not_down_when_a_datacenter_never_answers() {
    let Some(consul) = Consul::start_or_skip("a dependency that nobody knows") else {
        return;
    };
    let _web = instances(&consul, "web", &["web-1"]);
    let web = json!({"depends_on": ["db"], "on_dependency_down": "fail"});
    // Of that datacenter Consul has no path to.
    let db = json!({"datacenters": ["dc1", "dc9"]});
    let bed = start(&consul, &[service("web", web), service("db", db)]);
    await_stat(&bed, "service.db.datacenter.dc1.updates", 1);
    bed.await_routed("web.test", &["web-1"]);
    assert_eq!(answers(&bed, "web.test"), BTreeSet::from(["web-1".to_owned()]));
    assert_eq!(bed.stat("service.web.degradations"), 0);
    bed.assert_no_crash();
}
