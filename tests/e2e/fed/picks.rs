//! The pick is the filter's, and nobody else's.

use std::time::Duration;

use serde_json::json;
use stack::{Agent, Registry, wait_until};

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
