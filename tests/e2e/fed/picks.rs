//! The pick is the filter's, and nobody else's.

use std::time::Duration;

use fake_consul::Agent;
use serde_json::json;
use stack::{Registry, wait_until};

use crate::load::Load;
use crate::testbed::{SOON, Setup, instance, instances, who};

/// `127.0.0.1:<port>` as the header has it.
fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let three = |bytes: &[u8]| {
        let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..4)
            .map(|at| match at <= bytes.len() {
                true => char::from(DIGITS[(number >> (18 - 6 * at) & 63) as usize]),
                false => '=',
            })
            .collect::<String>()
    };
    text.as_bytes().chunks(3).map(three).collect()
}

// Promise: R-903
#[test]
fn a_client_neither_chooses_nor_sees_the_pick() {
    let agent = Agent::start().expect("an agent");
    let web = instances(&agent, "web", &["web-1", "web-2"]);
    let trap = stack::Backend::start("trap").expect("a backend");
    let services = json!([{
        "name": "web", "hosts": ["web.internal"], "load_balancing": {"policy": "round_robin"}
    }]);
    let bed = Setup::recommended(agent.address()).set("services", services).start();
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    let address = web[0].address().to_string();
    assert_eq!(base64("127.0.0.1:80"), "MTI3LjAuMC4xOjgw");
    for named in [base64(&address), base64(&trap.address().to_string()), address, "%".into()] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let request = bed.request("GET", "/headers", "web.internal");
            let answer = request.header("x-consul-endpoint", &named).send().expect("an answer");
            seen.insert(who(&answer));
            assert_eq!(answer.header("x-consul-endpoint"), None, "the client");
            assert_eq!(answer.json()["headers"]["x-consul-endpoint"], json!(null), "the instance");
        }
        assert!(seen.iter().eq(["web-1", "web-2"]), "{named}: {seen:?}");
    }
    assert_eq!(trap.requests(), 0);
    bed.assert_no_crash();
}

// Promise: R-903
#[test]
fn a_client_chooses_nothing_when_the_filter_is_away() {
    let agent = Agent::start().expect("an agent");
    let web = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = Setup::recommended(agent.address())
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            let filters = manager["http_filters"].as_sequence_mut().expect("filters");
            let before = filters.len();
            filters.retain(|filter| filter["name"] != "consul_resolver");
            assert_eq!(filters.len(), before - 1);
        })
        .start();
    bed.await_routed("web.internal", &["web-1", "web-2"]);
    let named = base64(&web[0].address().to_string());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let request = bed.request("GET", "/headers", "web.internal");
        let answer = request.header("x-consul-endpoint", &named).send().expect("an answer");
        seen.insert(who(&answer));
        assert_eq!(answer.header("x-consul-endpoint"), None, "the client");
        assert_eq!(answer.json()["headers"]["x-consul-endpoint"], json!(null), "the instance");
    }
    assert!(seen.iter().eq(["web-1", "web-2"]), "{seen:?}");
    bed.assert_no_crash();
}

// Promise: R-804
#[test]
fn another_version_is_never_reached_by_a_cookie() {
    let agent = Agent::start().expect("an agent");
    let version = |name: &str, version: &str| {
        instance(&agent, "web", name, |web| web.meta("version", version))
    };
    let _web = [version("a-1", "1.0.0"), version("b-1", "2.0.0"), version("b-2", "2.0.0")];
    let services = json!([
        {"name": "web", "hosts": ["web.internal"],
         "versions": {"header": "x-version", "fallback": "none"}},
        {"name": "any", "service": "web", "hosts": ["any.internal"]},
    ]);
    let bed = Setup::recommended(agent.address()).set("services", services).start();
    bed.await_routed("any.internal", &["a-1", "b-1", "b-2"]);
    bed.await_routed("web.internal", &["a-1", "b-1", "b-2"]);
    let mut answers = (0..60).map(|_| bed.get("/", "any.internal"));
    let answer = answers.find(|answer| who(answer) == "a-1").expect("one of a-1");
    let cookie = answer.header("set-cookie").and_then(|it| it.split(';').next());
    let cookie = cookie.expect("a cookie");
    let with_cookie = |host: &str, version: &str| {
        let request = bed.request("GET", "/", host).header("cookie", cookie);
        request.header("x-version", version).send().expect("an answer")
    };
    for _ in 0..20 {
        assert_eq!(who(&with_cookie("any.internal", "2.0.0")), "a-1");
        let answer = with_cookie("web.internal", "2.0.0");
        assert!(["b-1", "b-2"].contains(&who(&answer).as_str()), "{}", who(&answer));
        assert_eq!(answer.header("set-cookie"), None);
    }
    bed.assert_no_crash();
}

// Promise: R-804
#[test]
fn another_version_is_never_reached_when_there_is_no_fallback() {
    let agent = Agent::start().expect("an agent");
    let version = |name: &str, version: &str| {
        instance(&agent, "web", name, |web| web.meta("version", version))
    };
    let _others: Vec<_> = ["a-1", "a-2", "a-3"].map(|name| version(name, "1.0.0")).into();
    let only = version("b-1", "2.0.0");
    let services = json!([{
        "name": "web",
        "hosts": ["web.internal"],
        "versions": {"header": "x-version", "fallback": "none"},
    }]);
    let bed = Setup::recommended(agent.address()).set("services", services).start();
    let ask = || {
        let request = bed.request("GET", "/", "web.internal").header("x-version", "2.0.0");
        who(&request.send().expect("an answer"))
    };
    assert!(wait_until(SOON, || ask() == "b-1"), "{}", ask());
    let load = Load::light(bed.ingress, "web.internal");
    let address = only.address();
    drop(only);
    // Consul lists it for a while.
    let mut failed = 0;
    for round in 0..150 {
        let answer = ask();
        assert!(answer == "b-1" || answer.starts_with("503"), "{round}: {answer}");
        failed += usize::from(answer.starts_with("503"));
    }
    assert!(failed > 100, "{failed} of 150");
    agent.deregister("b-1").expect("deregistered");
    assert!((0..100).all(|_| ask().starts_with("503")));
    let back = stack::Backend::start_on("b-1", address).expect("a backend");
    let registered = stack::Service::new("web", "b-1").at(back.address());
    let registered = registered.meta("version", "2.0.0");
    agent.register(&registered.with_status(stack::Status::Passing)).expect("registered");
    let is_back = || (0..20).all(|_| ask() == "b-1");
    assert!(wait_until(SOON + Duration::from_secs(5), is_back), "{}", ask());
    drop(load);
    bed.assert_no_crash();
}
