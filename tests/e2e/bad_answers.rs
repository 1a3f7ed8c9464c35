//! Consul answers with errors and nonsense: each costs a log line, and no endpoint.

use std::time::Duration;

use consul_resolver::registry::query_response::MAX_ENDPOINTS;
use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::json;
use stack::{Condition, Consul, Place, Registry, Relay, wait_until};

use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{Setup, Testbed, instances};

/// A way to fail.
struct Trouble {
    fault: Fault,
    /// The counter that moves.
    kind: &'static str,
    /// A part of the log line.
    says: &'static str,
}

fn trouble(fault: Fault, kind: &'static str, says: &'static str) -> Trouble {
    Trouble { fault, kind, says }
}

fn status(code: u16, body: &str) -> Fault {
    Fault::Status(code, body.to_owned())
}

fn body(text: impl Into<Vec<u8>>) -> Fault {
    Fault::Body(text.into())
}

fn header(name: &str, value: &str) -> Fault {
    Fault::Header(name.to_owned(), value.to_owned())
}

/// A whole array of that many bytes, over the limit of Envoy and of the filter.
fn padded(bytes: usize) -> Vec<u8> {
    let mut body = vec![b' '; bytes];
    body[0] = b'[';
    body[bytes - 1] = b']';
    body
}

/// One endpoint more than a service may have.
fn crowd() -> String {
    let entry = |n: usize| {
        let [_, b, c, d] = u32::try_from(n).expect("a number").to_be_bytes();
        format!(r#"{{"Service":{{"Address":"10.{b}.{c}.{d}","Port":80}}}}"#)
    };
    let entries: Vec<String> = (0..=MAX_ENDPOINTS).map(entry).collect();
    format!("[{}]", entries.join(","))
}

/// What an operator is told when Consul begins to fail, and when it has ended.
const FAILING: &str = "the endpoints stay as they are";
const RECOVERED: &str = "consul answers again";

fn misbehave(agent: &Agent, fault: &Fault) {
    agent.misbehave(Scope::Service("web".into()), fault.clone(), Times::Always);
    // A query that is out already is to be befallen too.
    agent.wake();
}

/// Starts Envoy, and waits until it is done with starting: one blocking query is out.
fn start(agent: &Agent) -> Testbed {
    let bed = Setup::headers(agent.address()).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let watched = wait_until(Duration::from_secs(10), || agent.outstanding("web") == 1);
    assert!(watched, "no blocking query is out");
    bed
}

/// Lets it fail at least twice, and then end, without any help for the filter.
fn go_through(bed: &Testbed, agent: &Agent, trouble: &Trouble) {
    let Trouble { fault, kind, says } = trouble;
    let (begin, end) = (|| misbehave(agent, fault), || agent.behave());
    assert_told_once(bed, &format!("{fault:.60?}"), (kind, says), begin, end);
    assert_watched(bed, agent);
}

/// Expects that a failure costs no endpoint: a counter moves twice at least, one log line says so
/// when it begins, and one when it has ended.
fn assert_told_once(
    bed: &Testbed,
    what: &str,
    (kind, says): (&str, &str),
    begin: impl FnOnce(),
    end: impl FnOnce(),
) {
    let counter = format!("consul_calls.{kind}");
    let (mark, before) = (LogMark::now(&bed.envoy), bed.stat(&counter));
    begin();
    let failed = wait_until(Duration::from_secs(10), || bed.stat(&counter) >= before + 2);
    assert!(failed, "{what}: {counter} is {}, was {before}", bed.stat(&counter));
    bed.await_routed("any", &["web-1", "web-2"]);
    end();
    mark.await_line(&bed.envoy, RECOVERED);
    let failing = mark.lines(&bed.envoy, FAILING);
    assert!(
        matches!(failing.as_slice(), [one] if one.contains(says)),
        "{what}: not one line with {says:?}: {failing:#?}"
    );
    let recovered = mark.lines(&bed.envoy, RECOVERED);
    assert_eq!(recovered.len(), 1, "{what}: {recovered:#?}");
}

/// A change is seen, so Consul is asked again as ever.
fn assert_watched(bed: &Testbed, consul: &dyn Registry) {
    consul.maintenance("web-2", true).expect("maintenance");
    bed.await_routed("any", &["web-1"]);
    consul.maintenance("web-2", false).expect("maintenance");
    bed.await_routed("any", &["web-1", "web-2"]);
}

// Promise: R-101
#[test]
fn endpoints_stay_and_one_line_is_logged_when_consul_fails() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = start(&agent);
    let troubles = [
        trouble(status(500, "No cluster leader"), "server_error", "500 No cluster leader"),
        trouble(status(503, ""), "server_error", "503"),
        trouble(status(429, "rate limit exceeded"), "rate_limited", "429 rate limit"),
        trouble(status(403, "Permission denied"), "denied", "CONSUL_HTTP_TOKEN"),
        trouble(status(301, ""), "client_error", "301"),
        trouble(Fault::NoIndex, "bad_index", "no x-consul-index"),
        trouble(header("X-Consul-Index", "many"), "bad_index", "index"),
        trouble(body("<html>Welcome"), "bad_body", "not JSON at line 1"),
        trouble(body(r#"{"errors": []}"#), "bad_body", "not an array"),
        trouble(body(r#"[{"Service": {"Addr"#), "bad_body", "truncated at line 1"),
        trouble(body(""), "bad_body", "truncated"),
        trouble(body("[] []"), "bad_body", "more follows"),
        trouble(header("X-Consul-Index", &"0".repeat(21)), "bad_index", "64 bits"),
        trouble(body(crowd()), "bad_body", "more than 65536 endpoints"),
        trouble(body(padded(40 << 20)), "no_answer", "over 32 MiB"),
    ];
    let load = Load::light(bed.ingress, "any");
    for trouble in &troubles {
        go_through(&bed, &agent, trouble);
    }
    load.end_without_failure(&["web-1", "web-2"]);
    bed.assert_no_crash();
}

#[test]
fn no_response_that_breaks_off_removes_an_endpoint() {
    let Some(consul) = Consul::start_or_skip("responses that break off") else { return };
    let _backends = instances(&consul, "web", &["web-1", "web-2"]);
    let relay = Relay::start(consul.address()).expect("a relay");
    let bed = Setup::headers(relay.address())
        .set("consul", json!({ "cluster": "consul", "wait": "1s" }))
        .start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    for (condition, told) in [
        (Condition::Truncated, ("no_answer", "broke off")),
        (Condition::Reset(Place::BeforeHeaders), ("unreachable", "could not reach consul")),
        (Condition::Reset(Place::AfterHeaders), ("no_answer", "broke off")),
        (Condition::Reset(Place::InBody), ("no_answer", "broke off")),
    ] {
        let (begin, end) = (|| relay.set(condition), || relay.set(Condition::Clear));
        assert_told_once(&bed, &format!("{condition:?}"), told, begin, end);
        assert_watched(&bed, &consul);
    }
    load.end_without_failure(&["web-1", "web-2"]);
    bed.assert_no_crash();
}

#[test]
fn failure_is_logged_again_and_calls_back_off_when_it_changes() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = start(&agent);
    let mark = LogMark::now(&bed.envoy);
    agent.forget_requests();
    misbehave(&agent, &status(500, "No cluster leader"));
    std::thread::sleep(Duration::from_secs(4));
    let calls = agent.request_count();
    // After up to 200 ms, and then up to twice as long each time; from the fifth on the breaker
    // is open, too.
    assert!((3..=14).contains(&calls), "{calls} calls in 4 s");
    assert_eq!(mark.lines(&bed.envoy, FAILING).len(), 1);

    agent.behave();
    misbehave(&agent, &status(403, "ACL not found"));
    mark.await_line(&bed.envoy, "403 ACL not found");
    assert_eq!(mark.lines(&bed.envoy, FAILING).len(), 2);
    agent.behave();
    mark.await_line(&bed.envoy, RECOVERED);
    assert_watched(&bed, &agent);
    bed.assert_no_crash();
}

// Promise: R-206
#[test]
fn consul_is_not_flooded_when_its_index_goes_back_or_is_zero() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    agent.renumber(5_000);
    let bed = start(&agent);
    let mark = LogMark::now(&bed.envoy);
    let load = Load::light(bed.ingress, "any");
    for index in [4_000, 0] {
        agent.forget_requests();
        misbehave(&agent, &Fault::Index(index));
        std::thread::sleep(Duration::from_secs(3));
        let calls = agent.request_count();
        assert!((2..=14).contains(&calls), "index {index}: {calls} calls");
        // Changes are seen even so.
        assert_watched(&bed, &agent);
        agent.behave();
    }
    // As after a restart that lost the log: blocked queries stay blocked until there is a change.
    agent.renumber(100);
    assert_watched(&bed, &agent);
    load.end_without_failure(&["web-1", "web-2"]);
    let failing = mark.lines(&bed.envoy, FAILING);
    assert!(failing.is_empty(), "{failing:#?}");
    bed.assert_no_crash();
}
