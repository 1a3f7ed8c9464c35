//! Services that Envoy registers with Consul itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use stack::agent::{Fault, Lapse, Scope, Times};
use stack::client::Request;
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use crate::dynamic::{DRAIN_SECONDS, LISTENERS};
use crate::load::Load;
use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instances, yaml};

/// How often a probe is sent in these tests, and so many must fail.
const INTERVAL: Duration = Duration::from_millis(500);
const FAILURES: u32 = 2;

/// `envoy/register.yaml` in front of a backend, with a short interval of its probe.
fn setup(consul: SocketAddr, backend: &Backend, node: &str) -> (Setup, String) {
    let port = stack::port::free();
    let id = format!("edge-{node}-{port}");
    let setup = Setup::registering(consul, backend.address(), node, port).edit(|bootstrap| {
        let register = &mut bootstrap.plugin().expect("a plugin")["register"][0];
        let probe = &mut register["checks"][0]["probe"];
        probe["interval"] = format!("{}ms", INTERVAL.as_millis()).into();
        probe["unhealthy_threshold"] = FAILURES.into();
    });
    (setup, id)
}

/// The ids of the instances of `edge` that pass.
fn passing(consul: &dyn Registry) -> BTreeSet<String> {
    consul.health("edge", "passing").map(|health| health.ids()).unwrap_or_default()
}

fn await_passing(consul: &dyn Registry, ids: &[&str]) {
    consul.await_passing("edge", ids).unwrap_or_else(|error| panic!("{error}"));
}

/// What the agent has under an id.
fn registered(consul: &dyn Registry, id: &str) -> Value {
    let path = format!("/v1/agent/service/{id}");
    let answer = Request::new("GET", consul.address(), &path).send();
    answer
        .map(|answer| if answer.status == 200 { answer.json() } else { Value::Null })
        .unwrap_or_default()
}

/// The one check of an instance.
fn check(consul: &dyn Registry, id: &str) -> Value {
    let path = "/v1/agent/checks";
    let answer = Request::new("GET", consul.address(), path).send().expect("checks").json();
    answer[format!("service:{id}:1")].clone()
}

/// An Envoy that discovers `edge`, as another one would.
fn client(consul: SocketAddr) -> Testbed {
    Setup::recommended(consul).set("services", json!([{"name": "edge"}])).start()
}

#[test]
fn what_is_registered_is_found_while_it_is_healthy_and_no_longer() {
    let Some(consul) = Consul::start_or_skip("registration") else { return };
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(consul.address(), &backend, "proxy-1");
    let bed = setup.start();
    await_passing(&consul, &[&id]);

    let found = registered(&consul, &id);
    assert_eq!(found["Service"], "edge");
    assert_eq!(found["Address"], "127.0.0.1");
    assert_eq!(found["Port"], bed.ingress.port());
    assert_eq!(found["Tags"], json!(["envoy"]));
    assert_eq!(found["Meta"], json!({"version": "1.4.2"}));
    let check = || check(&consul, &id);
    assert_eq!(check()["Status"], "passing", "{}", check());
    assert_eq!(check()["Output"], "GET /health of local_app: status 200");

    let other = client(consul.address());
    other.await_routed("any", &["app"]);
    assert_eq!(bed.stat("registration.edge.registered"), 1);
    assert_eq!(bed.stat("registration.edge.health"), 2);

    let address = backend.address();
    backend.stop();
    let bound = INTERVAL * FAILURES + Duration::from_secs(1);
    let critical = wait_until(bound, || check()["Status"] == "critical");
    assert!(critical, "after {bound:?}: {}", check());
    other.await_reply("any", "no_healthy_endpoints");
    assert_eq!(bed.stat("registration.edge.health"), 0);

    let _backend = Backend::start_on("app", address).expect("the backend again");
    other.await_routed("any", &["app"]);
    bed.assert_no_crash();
}

/// How often a check is reported on at the latest: a third of the TTL, and a tenth more.
const HEARTBEAT: Duration = Duration::from_millis(15_000 / 3 * 11 / 10);

#[test]
fn a_consul_that_has_lost_everything_has_it_again_within_a_heartbeat() {
    let Some(consul) = Consul::start_or_skip("a consul that loses registrations") else { return };
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(consul.address(), &backend, "proxy-1");
    let bed = setup.start();
    await_passing(&consul, &[&id]);

    consul.restart(true).expect("an empty consul");
    let back = wait_until(HEARTBEAT + CALLED_AGAIN, || passing(&consul) == one(&id));
    assert!(back, "{:?}", registered(&consul, &id));
    assert_eq!(bed.stat("registration.edge.registered"), 1);

    // One that forgets while it runs: nothing has to be reached again.
    consul.deregister(&id).expect("deregistered");
    let back = wait_until(HEARTBEAT + Duration::from_secs(1), || passing(&consul) == one(&id));
    assert!(back, "{:?}", registered(&consul, &id));
    assert_eq!(bed.stat("registration.edge.drifts"), 2);
    bed.assert_no_crash();
}

/// How long it takes until a Consul that could not be reached for some seconds is asked again: the
/// breaker's first times, open and open again.
const CALLED_AGAIN: Duration = Duration::from_secs(4);

fn one(id: &str) -> BTreeSet<String> {
    BTreeSet::from([id.to_owned()])
}

#[test]
fn two_proxies_register_one_service_without_a_fight() {
    let agent = stack::Agent::start().expect("an agent");
    let backends = ["one", "two"].map(|name| Backend::start(name).expect("a backend"));
    let (first, first_id) = setup(agent.address(), &backends[0], "proxy-1");
    let (second, second_id) = setup(agent.address(), &backends[1], "proxy-2");
    let beds = [first.start(), second.start()];
    await_passing(&agent, &[&first_id, &second_id]);
    let other = client(agent.address());
    other.await_routed("any", &["one", "two"]);

    agent.forget_requests();
    std::thread::sleep(2 * HEARTBEAT);
    let written: Vec<_> =
        agent.requests().into_iter().filter(|call| call.path.contains("register")).collect();
    assert!(written.is_empty(), "{written:?}");
    assert_eq!(registered(&agent, &first_id)["Port"], beds[0].ingress.port());
    assert_eq!(registered(&agent, &second_id)["Port"], beds[1].ingress.port());
    beds.iter().for_each(Testbed::assert_no_crash);
}

#[test]
fn a_proxy_that_drains_loses_its_traffic_before_it_stops() {
    let Some(consul) = Consul::start_or_skip("a drain") else { return };
    let backends = ["one", "two"].map(|name| Backend::start(name).expect("a backend"));
    let (first, first_id) = setup(consul.address(), &backends[0], "proxy-1");
    let (second, second_id) = setup(consul.address(), &backends[1], "proxy-2");
    let (leaving, staying) = (first.start(), second.start());
    await_passing(&consul, &[&first_id, &second_id]);
    let other = client(consul.address());
    other.await_routed("any", &["one", "two"]);
    let load = Load::light(other.ingress, "any");
    load.go_on(40);

    leaving.envoy.admin_post("/healthcheck/fail").expect("the administration interface");
    consul.await_passing("edge", &[&second_id]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(check(&consul, &first_id)["Output"], "Envoy drains");
    let left = wait_until(SOON, || other.stat("service.edge.endpoints") == 1);
    assert!(left, "the other one still has it");
    other.await_routed("any", &["two"]);
    drop(leaving);
    load.go_on(200);
    load.end_without_failure(&["one", "two"]);
    staying.assert_no_crash();
}

#[test]
fn what_an_update_takes_out_of_the_configuration_is_deregistered() {
    let agent = stack::Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let port = stack::port::free();
    let id = format!("edge-proxy-1-{port}");
    let setup = |register: Value| {
        Setup::registering(agent.address(), backend.address(), "proxy-1", port)
            .set("services", json!([{"name": "web"}]))
            .set("register", register)
    };
    let checks = json!([{"ttl": "15s"}]);
    let edge = |version: &str| json!({"name": "edge", "version": version, "checks": checks});
    let gone = json!({"name": "gone", "checks": checks});
    let bed = LISTENERS.start(|| setup(json!([edge("1"), gone])));
    await_passing(&agent, &[&id]);
    let gone_id = id.replace("edge", "gone");
    let there = wait_until(SOON, || registered(&agent, &gone_id) != Value::Null);
    assert!(there, "{gone_id}");

    LISTENERS.update(&bed, setup(json!([edge("2")])));
    // The new configuration registers what it changes at once, though the old one still drains.
    let changed =
        wait_until(Duration::from_secs(5), || registered(&agent, &id)["Meta"]["version"] == "2");
    assert!(changed, "{}", registered(&agent, &id));
    let removed = Duration::from_secs(3 * DRAIN_SECONDS + 15);
    let removed = wait_until(removed, || registered(&agent, &gone_id) == Value::Null);
    assert!(removed, "{}", bed.envoy.log());
    assert_eq!(registered(&agent, &id)["Meta"]["version"], "2");
    await_passing(&agent, &[&id]);
    bed.assert_no_crash();
}

#[test]
fn a_check_warns_while_a_dependency_has_no_endpoint() {
    let agent = stack::Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let db = instances(&agent, "db", &["db-1"]);
    let (setup, id) = setup(agent.address(), &backend, "proxy-1");
    let setup = setup.set("services", json!([{"name": "db"}])).edit(|bootstrap| {
        let register = &mut bootstrap.plugin().expect("a plugin")["register"][0];
        register["depends_on"] = yaml(json!(["db"]));
    });
    let bed = setup.start();
    await_passing(&agent, &[&id]);
    agent.set_check(&Service::check_id("db-1"), Status::Critical).expect("a check");
    let warns = wait_until(SOON, || check(&agent, &id)["Status"] == "warning");
    assert!(warns, "{}", check(&agent, &id));
    assert_eq!(check(&agent, &id)["Output"], "no healthy endpoint of db");
    assert_eq!(bed.stat("registration.edge.health"), 1);
    agent.set_check(&Service::check_id("db-1"), Status::Passing).expect("a check");
    await_passing(&agent, &[&id]);
    drop(db);
    bed.assert_no_crash();
}

#[test]
fn the_vm_that_keeps_a_registration_may_die() {
    let agent = stack::Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(agent.address(), &backend, "proxy-1");
    let bed = setup.trapping().start();
    await_passing(&agent, &[&id]);
    let mark = LogMark::now(&bed.envoy);
    let trapped = bed.request("GET", "/", "any").header("x-trap", "fetcher").send();
    assert_eq!(trapped.expect("an answer").status, 200);
    mark.await_line(&bed.envoy, "this VM keeps the registration from now on");
    // Longer than the TTL.
    let end = std::time::Instant::now() + Duration::from_secs(16);
    while std::time::Instant::now() < end {
        assert_eq!(check(&agent, &id)["Status"], "passing");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_registration_that_took_only_in_part_is_repaired_or_undone() {
    let agent = stack::Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(agent.address(), &backend, "proxy-1");
    let path = Scope::Path("/v1/agent/service/register".to_owned());
    // Twice without its check, and then as it should be.
    agent.misbehave(path.clone(), Fault::Registration(Lapse::Checks(vec![])), Times::Next(2));
    let bed = setup.start();
    // Without its check it counts as healthy: what repairs it is waited for.
    let repaired = wait_until(SOON, || check(&agent, &id)["Status"] == "passing");
    assert!(repaired, "{}", bed.envoy.log());
    assert_eq!(agent.requests_to("PUT", "/v1/agent/service/register").len(), 3);
    await_passing(&agent, &[&id]);

    // Never again as it should be.
    agent.misbehave(path, Fault::Registration(Lapse::Checks(vec![])), Times::Always);
    let mark = LogMark::now(&bed.envoy);
    agent.restart(true).expect("an empty agent");
    mark.await_line(&bed.envoy, "took the registration only in part");
    let undone = wait_until(SOON, || registered(&agent, &id) == Value::Null);
    assert!(undone, "one without its check would always count as healthy");
    assert_eq!(bed.stat("registration.edge.registered"), 0);
    bed.assert_no_crash();
}
