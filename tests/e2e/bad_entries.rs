//! Consul lists instances that cannot be: each costs that instance only.

use std::time::Duration;

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::{Value, json};
use stack::{Backend, Registry, wait_until};

use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{SOON, Setup, instances};

/// An address at which nobody answers: a request that was sent there would fail.
const NOBODY: &str = "127.0.0.254";

fn at(address: &str, port: Value) -> Value {
    json!({"Node": {"Address": NOBODY}, "Service": {"Address": address, "Port": port}})
}

fn with_check(status: Value) -> Value {
    let mut entry = at(NOBODY, json!(1));
    entry["Checks"] = json!([{"CheckID": "c", "Status": status}]);
    entry
}

fn good(backend: &Backend) -> Value {
    let address = backend.address();
    at(&address.ip().to_string(), json!(address.port()))
}

/// Entries of which none may ever be picked.
fn nonsense() -> Vec<Value> {
    let nulls = json!({
        "Node": null,
        "Service": {
            "ID": null, "Service": null, "Address": null, "Port": null, "Tags": null,
            "Meta": null, "Weights": null, "TaggedAddresses": null,
        },
        "Checks": null,
    });
    vec![
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!({"Service": null}),
        json!({"Service": "web"}),
        at("db.internal", json!(80)),
        at("[::1", json!(80)),
        at(NOBODY, json!(0)),
        at(NOBODY, json!(-1)),
        at(NOBODY, json!(70_000)),
        at(NOBODY, json!(8e3)),
        at(NOBODY, json!("80")),
        at(NOBODY, json!(null)),
        with_check(json!("haywire")),
        with_check(json!(null)),
        with_check(json!({})),
        nulls,
    ]
}

fn answer(agent: &Agent, entries: &[Value]) {
    let body = Fault::Body(json!(entries).to_string().into_bytes());
    agent.misbehave(Scope::Service("web".into()), body, Times::Always);
    agent.wake();
}

// Promise: R-106
#[test]
fn other_entries_are_used_when_one_is_malformed() {
    let agent = Agent::start().expect("an agent");
    let backends = instances(&agent, "web", &["web-1", "web-2"]);
    let bed = Setup::headers(agent.address()).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let mark = LogMark::now(&bed.envoy);
    let load = Load::light(bed.ingress, "any");

    let third = Backend::start("web-3").expect("a backend");
    let mut entries = nonsense();
    // Twice the same address is one endpoint.
    entries.extend(backends.iter().chain(&backends).chain([&third]).map(good));
    agent.forget_requests();
    answer(&agent, &entries);
    mark.await_line(&bed.envoy, "left out of the answer: ");
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    assert_eq!(bed.stat("service.web.endpoints"), 3);
    assert_eq!(bed.stat("service.web.faulty_instances"), 15);
    std::thread::sleep(Duration::from_secs(2));
    let calls = agent.request_count();
    assert!(calls <= 14, "{calls} calls for the same answer");
    let left_out = mark.lines(&bed.envoy, "left out of the answer: ");
    assert_eq!(left_out.len(), 1, "{left_out:#?}");

    agent.behave();
    let mended = wait_until(Duration::from_secs(10), || {
        agent.wake();
        let none = mark.lines(&bed.envoy, "left out of the answer: none");
        !none.is_empty()
    });
    assert!(mended, "nobody says that all is well again");
    assert_eq!(bed.stat("service.web.faulty_instances"), 0);
    bed.await_routed("any", &["web-1", "web-2"]);
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-106
#[test]
fn endpoints_stay_for_a_while_when_all_entries_are_malformed() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    let service = json!([{ "name": "web", "shrink_guard": { "hold": "7s" } }]);
    let bed = Setup::headers(agent.address()).set("services", service).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    let entries = [
        json!({"Service": null}),
        at("db.internal", json!(80)),
        at(NOBODY, json!(0)),
        at(NOBODY, json!(70_000)),
        json!(null),
    ];
    for entry in &entries {
        let mark = LogMark::now(&bed.envoy);
        let is_told = |line: &str| {
            agent.wake();
            !mark.lines(&bed.envoy, line).is_empty()
        };
        answer(&agent, std::slice::from_ref(entry));
        let doubt = "consul lists only instances that cannot be reached";
        assert!(wait_until(SOON, || is_told(doubt)), "{entry} is not doubted");
        assert_eq!(bed.stat("service.web.held_answers"), 1);
        agent.behave();
        assert!(wait_until(SOON, || is_told("or some that can be reached")), "{entry}");
        assert_eq!(bed.stat("service.web.held_answers"), 0);
    }
    load.end_without_failure(&["web-1", "web-2", "web-3"]);
    assert_eq!(bed.stat("consul_calls.bad_body"), 0);

    // What Consul says for longer than that is so.
    let mark = LogMark::now(&bed.envoy);
    answer(&agent, &entries);
    let is_over = wait_until(SOON * 2, || {
        agent.wake();
        !mark.lines(&bed.envoy, "shrink_guard.hold is over").is_empty()
    });
    assert!(is_over, "it is never believed");
    bed.await_reply("any", "no_healthy_endpoints");
    agent.behave();
    let has = |endpoints: u64| {
        wait_until(SOON, || {
            agent.wake();
            bed.stat("service.web.endpoints") == endpoints
        })
    };
    assert!(has(2), "what can be reached again is not used");
    bed.await_routed("any", &["web-1", "web-2"]);

    // Consul itself says that there is nobody, or nobody healthy: that is no nonsense.
    let mark = LogMark::now(&bed.envoy);
    let mut sick = at(NOBODY, json!(80));
    sick["Checks"] = json!([{"CheckID": "c", "Status": "critical"}]);
    answer(&agent, &[sick, json!({"Service": null})]);
    assert!(has(0), "what is critical is not believed");
    bed.await_reply("any", "no_healthy_endpoints");
    assert!(mark.lines(&bed.envoy, "cannot be reached").is_empty());
    agent.behave();
    agent.deregister("web-2").expect("deregistered");
    bed.await_routed("any", &["web-1"]);
    bed.assert_no_crash();
}
