//! Services that Envoy registers with Consul itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::{Value, json};
use stack::client::Request;
use stack::{Backend, Condition, Consul, Registry, Relay, Service, Status, wait_until};

use crate::dynamic::{DRAIN_SECONDS, LISTENERS};
use crate::load::Load;
use crate::log::{LogMark, assert_told_once};
use crate::testbed::{SOON, Setup, Testbed, instances, yaml};

/// How often a probe is sent in these tests, and so many must fail.
const INTERVAL: Duration = Duration::from_millis(500);
const FAILURES: u32 = 2;

/// `envoy/register.yaml` in front of a backend, with a short interval of its probe.
fn setup(consul: SocketAddr, backend: &Backend, node: &str) -> (Setup, String) {
    let port = stack::port::free();
    let id = format!("edge-{node}-127.0.0.1-{port}");
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

/// Waits for a metric of the registration: Consul shows what it is told before its answer has come.
fn await_stat(bed: &Testbed, name: &str, value: u64) {
    let stat = || bed.stat(&format!("registration.edge.{name}"));
    assert!(wait_until(SOON, || stat() == value), "{name}: {}", stat());
}

/// An Envoy that discovers `edge`, as another one would.
fn client(consul: SocketAddr) -> Testbed {
    Setup::headers(consul).set("services", json!([{"name": "edge"}])).start()
}

// Promise: R-701
#[test]
fn registration_is_found_only_while_it_is_healthy() {
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
    // The first report brings it, which comes behind the registration.
    let is_told = || check()["Output"] == "GET /health of local_app: status 200";
    assert!(wait_until(SOON, is_told), "{}", check());

    let other = client(consul.address());
    other.await_routed("any", &["app"]);
    await_stat(&bed, "registered", 1);
    await_stat(&bed, "health", 2);

    let address = backend.address();
    backend.stop();
    let bound = INTERVAL * FAILURES + Duration::from_secs(1);
    let critical = wait_until(bound, || check()["Status"] == "critical");
    assert!(critical, "after {bound:?}: {}", check());
    other.await_reply("any", "no_healthy_endpoints");
    await_stat(&bed, "health", 0);

    let _backend = Backend::start_on("app", address).expect("the backend again");
    other.await_routed("any", &["app"]);
    bed.assert_no_crash();
}

/// How often a check is reported on at the latest: a third of the TTL, and a tenth more.
const HEARTBEAT: Duration = Duration::from_millis(15_000 / 3 * 11 / 10);

// Promise: R-702
#[test]
fn all_is_registered_again_when_consul_has_lost_everything() {
    let Some(consul) = Consul::start_or_skip("a consul that loses registrations") else { return };
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(consul.address(), &backend, "proxy-1");
    let bed = setup.start();
    await_passing(&consul, &[&id]);
    // Without Consul's answer to it there is nothing to lose.
    await_stat(&bed, "registered", 1);

    consul.restart(true).expect("an empty consul");
    let back = wait_until(HEARTBEAT + CALLED_AGAIN, || passing(&consul) == one(&id));
    assert!(back, "{:?}", registered(&consul, &id));
    await_stat(&bed, "registered", 1);

    // One that forgets while it runs: nothing has to be reached again.
    consul.deregister(&id).expect("deregistered");
    let back = wait_until(HEARTBEAT + Duration::from_secs(1), || passing(&consul) == one(&id));
    assert!(back, "{:?}", registered(&consul, &id));
    await_stat(&bed, "drifts", 2);
    bed.assert_no_crash();
}

/// How long it takes until a Consul that could not be reached for some seconds is asked again: the
/// breaker's first times, open and open again.
const CALLED_AGAIN: Duration = Duration::from_secs(4);

fn one(id: &str) -> BTreeSet<String> {
    BTreeSet::from([id.to_owned()])
}

// Promise: R-706
#[test]
fn two_proxies_register_one_service_without_a_fight() {
    let agent = fake_consul::Agent::start().expect("an agent");
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

// Promise: R-704
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

// Promise: R-706
#[test]
fn registration_is_removed_when_an_update_takes_it_out() {
    let agent = fake_consul::Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let port = stack::port::free();
    let id = format!("edge-proxy-1-127.0.0.1-{port}");
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
    let agent = fake_consul::Agent::start().expect("an agent");
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
    await_stat(&bed, "health", 1);
    agent.set_check(&Service::check_id("db-1"), Status::Passing).expect("a check");
    await_passing(&agent, &[&id]);
    drop(db);
    bed.assert_no_crash();
}

// Promise: R-709
#[test]
fn registration_stays_when_its_leader_traps() {
    let agent = fake_consul::Agent::start().expect("an agent");
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

// Promise: R-703
#[test]
fn a_registration_that_took_only_in_part_is_repaired_or_undone() {
    let agent = fake_consul::Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(agent.address(), &backend, "proxy-1");
    let path = Scope::Path("/v1/agent/service/register".to_owned());
    // Twice without its check, and then as it should be.
    agent.misbehave(path.clone(), Fault::WithoutChecks, Times::Next(2));
    let bed = setup.start();
    // Without its check it counts as healthy: what repairs it is waited for.
    let repaired = wait_until(SOON, || check(&agent, &id)["Status"] == "passing");
    assert!(repaired, "{}", bed.envoy.log());
    assert_eq!(agent.requests_to("PUT", "/v1/agent/service/register").len(), 3);
    await_passing(&agent, &[&id]);

    // Never again as it should be.
    agent.misbehave(path, Fault::WithoutChecks, Times::Always);
    let mark = LogMark::now(&bed.envoy);
    agent.restart(true).expect("an empty agent");
    mark.await_line(&bed.envoy, "took the registration only in part");
    let undone = wait_until(SOON, || registered(&agent, &id) == Value::Null);
    assert!(undone, "one without its check would always count as healthy");
    await_stat(&bed, "registered", 0);
    bed.assert_no_crash();
}

/// Sets fields of what `envoy/register.yaml` registers.
fn registering(setup: Setup, fields: Value) -> Setup {
    setup.edit(|bootstrap| {
        let register = &mut bootstrap.plugin().expect("a plugin")["register"][0];
        for (field, value) in fields.as_object().expect("an object") {
            register[field] = yaml(value.clone());
        }
    })
}

/// How often the agent was called so.
fn count(agent: &Agent, method: &str, path: &str) -> usize {
    agent.requests_to(method, path).len()
}

// Promise: R-710
#[test]
fn a_slow_agent_is_registered_with() {
    let Some(consul) = Consul::start_or_skip("a slow agent") else { return };
    let backend = Backend::start("app").expect("a backend");
    let relay = Relay::start(consul.address()).expect("a relay");
    relay.set(Condition::Slow(Duration::from_secs(2)));
    let (setup, id) = setup(relay.address(), &backend, "proxy-1");
    let probe = json!({"cluster": "local_app", "path": "/health"});
    let checks = json!({"checks": [{"ttl": "10s", "probe": probe}]});
    let bed = registering(setup, checks).start();
    let registered = wait_until(Duration::from_secs(25), || passing(&consul) == one(&id));
    assert!(registered, "{}", bed.envoy.log());
    // For longer than the TTL.
    let end = std::time::Instant::now() + Duration::from_secs(12);
    while std::time::Instant::now() < end {
        assert_eq!(passing(&consul), one(&id));
        std::thread::sleep(Duration::from_millis(200));
    }
    bed.assert_no_crash();
}

// Promise: R-711
#[test]
fn an_agent_of_another_datacenter_gets_no_registration() {
    let Some(consul) = Consul::start_or_skip("an agent of another datacenter") else { return };
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(consul.address(), &backend, "proxy-1");
    let bed = registering(setup, json!({"datacenter": "elsewhere"})).start();
    LogMark::START.await_line(&bed.envoy, "the agent is of datacenter \"dc1\"");
    assert_eq!(registered(&consul, &id), Value::Null);
    assert_eq!(bed.stat("registration.edge.registered"), 0);
    bed.assert_no_crash();
}

// Promise: R-711
#[test]
fn several_agents_behind_one_cluster_are_told_of() {
    let agents = ["one", "two", "three"].map(|node| {
        let agent = Agent::start().expect("an agent");
        let config = json!({"Datacenter": "dc1", "NodeName": node});
        let body = json!({ "Config": config }).to_string().into_bytes();
        let path = Scope::Path("/v1/agent/self".to_owned());
        agent.misbehave(path, Fault::Body(body), Times::Always);
        agent
    });
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(agents[0].address(), &backend, "proxy-1");
    let setup = setup.edit(|bootstrap| {
        let endpoints = agents.iter().map(|agent| {
            let (ip, port) = (agent.address().ip(), agent.address().port());
            json!({"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}})
        });
        let endpoints = json!([{"lb_endpoints": endpoints.collect::<Vec<_>>()}]);
        let cluster = bootstrap.cluster("consul").expect("a cluster");
        cluster["load_assignment"]["endpoints"] = yaml(endpoints);
    });
    let bed = setup.start();
    LogMark::START.await_line(&bed.envoy, "several seem to be behind cluster \"consul\"");
    let is_left = |agent: &Agent| registered(agent, &id) != Value::Null;
    let is_gone = wait_until(SOON, || !agents.iter().any(is_left));
    assert!(is_gone, "{}", bed.envoy.log());
    await_stat(&bed, "registered", 0);
    bed.assert_no_crash();
}

// Promise: R-712
#[test]
fn nothing_passes_after_a_stop_before_it_is_probed() {
    let agent = Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let (setup, id) = setup(agent.address(), &backend, "proxy-1");
    let bed = registering(setup, json!({ "id": id })).start();
    await_passing(&agent, &[&id]);
    bed.envoy.process().stop();
    // It dies while nobody looks.
    backend.stop();
    let critical = wait_until(TTL + SOON, || check(&agent, &id)["Status"] == "critical");
    assert!(critical, "{}", check(&agent, &id));
    agent.forget_requests();
    bed.envoy.process().cont();
    let update = format!("/v1/agent/check/update/service:{id}:1");
    let reported = wait_until(SOON, || count(&agent, "PUT", &update) > 0);
    assert!(reported, "{}", bed.envoy.log());
    for report in agent.requests_to("PUT", &update) {
        let body = String::from_utf8_lossy(&report.body).into_owned();
        assert!(body.contains("critical"), "{body}");
    }
    bed.assert_no_crash();
}

// Promise: R-708
#[test]
fn registration_is_removed_when_it_leaves_after_a_rename() {
    let agent = Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let port = stack::port::free();
    let (id, gone_id) = ("edge-1", "gone-1");
    let setup = |cluster: &str, names: &[&str]| {
        let one = |name: &&str| json!({"name": name, "id": format!("{name}-1"), "checks": [{"ttl": "15s"}]});
        let register: Vec<_> = names.iter().map(one).collect();
        Setup::registering(agent.address(), backend.address(), "proxy-1", port)
            .set("services", json!([{"name": "web"}]))
            .set("register", json!(register))
            .edit(|bootstrap| {
                bootstrap.add_static_cluster("consul_local", agent.address());
                bootstrap.plugin().expect("a plugin")["consul"]["cluster"] = cluster.into();
            })
    };
    let bed = LISTENERS.start(|| setup("consul", &["edge", "gone"]));
    let is_there = |id: &str| registered(&agent, id) != Value::Null;
    assert!(wait_until(SOON, || is_there(id) && is_there(gone_id)), "{}", bed.envoy.log());

    // In the same update, and what stays is left alone.
    agent.forget_requests();
    LISTENERS.update(&bed, setup("consul_local", &["edge"]));
    let drained = Duration::from_secs(3 * DRAIN_SECONDS + 15);
    assert!(wait_until(drained, || !is_there(gone_id)), "{}", bed.envoy.log());
    std::thread::sleep(SOON);
    let deregistered = count(&agent, "PUT", &format!("/v1/agent/service/deregister/{id}"));
    assert_eq!(deregistered, 0, "{}", bed.envoy.log());
    await_passing(&agent, &[id]);

    // And in a later one.
    LISTENERS.update(&bed, setup("consul_local", &["other"]));
    assert!(wait_until(drained, || !is_there(id)), "{}", bed.envoy.log());
    bed.assert_no_crash();
}

#[test]
fn a_refused_registration_is_tried_again_after_minutes() {
    let agent = Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let path = "/v1/agent/service/register";
    let refusal = Fault::Status(400, "Invalid check".to_owned());
    agent.misbehave(Scope::Path(path.to_owned()), refusal, Times::Always);
    let bed = setup(agent.address(), &backend, "proxy-1").0.start();
    LogMark::START.await_line(&bed.envoy, "400 Invalid check");
    std::thread::sleep(Duration::from_secs(30));
    let tries = count(&agent, "PUT", path);
    assert!((5..12).contains(&tries), "{tries} in half a minute");
    bed.assert_no_crash();
}

#[test]
fn a_cluster_to_be_probed_that_is_not_there_is_told_of_once() {
    let agent = Agent::start().expect("an agent");
    let backend = Backend::start("app").expect("a backend");
    let (setup, _) = setup(agent.address(), &backend, "proxy-1");
    let bed = registering(setup, json!({"drain": {"cluster": "nowhere"}})).start();
    LogMark::START.await_line(&bed.envoy, "envoy has no cluster \"nowhere\"");
    std::thread::sleep(Duration::from_secs(5));
    assert_told_once(&bed.envoy, "envoy has no cluster \"nowhere\"");
    bed.assert_no_crash();
}

/// That of `envoy/register.yaml`.
const TTL: Duration = Duration::from_secs(15);
