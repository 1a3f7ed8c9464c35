//! What Consul is asked, other than for a service by its name.

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::{Value, json};
use stack::client::Request;
use stack::{Consul, Registry, Service, Status, wait_until};

use crate::testbed::{SOON, Setup, instance, instances};

fn prepare(registry: &dyn Registry, query: &Value) {
    let request = Request::new("POST", registry.address(), "/v1/query").body(query.to_string());
    assert_eq!(request.send().expect("an answer").status, 200);
}

#[test]
fn a_prepared_query_finds_the_instances_and_is_asked_again() {
    let Some(consul) = Consul::start_or_skip("prepared queries") else { return };
    let _others = instances(&consul, "web", &["web-1"]);
    let _tagged = instance(&consul, "web", "web-2", |service| service.tag("blue"));
    prepare(&consul, &json!({"Name": "blue", "Service": {"Service": "web", "Tags": ["blue"]}}));
    consul.await_passing("web", &["web-1", "web-2"]).expect("passing");
    let services = json!([{"name": "web", "query": "blue"}]);
    let bed = Setup::headers(consul.address()).set("services", services).start();
    bed.await_routed("any", &["web-2"]);
    let _more = instance(&consul, "web", "web-3", |service| service.tag("blue"));
    // A poll comes every five seconds, and Consul tells its own servers at its next sync.
    let seen = wait_until(SOON * 2, || bed.seen("any", 20).len() == 2);
    assert!(seen, "{:?}", bed.seen("any", 20));
    bed.await_routed("any", &["web-2", "web-3"]);
    bed.assert_no_crash();
}

// Promise: R-109
#[test]
fn critical_instance_of_a_prepared_query_is_not_held() {
    let Some(consul) = Consul::start_or_skip("prepared queries") else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    prepare(&consul, &json!({"Name": "ill", "Service": {"Service": "web"}}));
    let services = json!([{"name": "web", "query": "ill"}]);
    let bed = Setup::headers(consul.address()).set("services", services).start();
    bed.await_routed("any", &["web-1"]);
    consul.maintenance("web-1", true).expect("maintenance");
    // A poll comes every five seconds; `hold` is 30 s.
    bed.await_reply("any", "no_healthy_endpoints");
    consul.maintenance("web-1", false).expect("maintenance");
    bed.await_routed("any", &["web-1"]);
    bed.assert_no_crash();
}

#[test]
fn a_service_of_the_mesh_is_reached_by_its_sidecars() {
    let Some(consul) = Consul::start_or_skip("a service of the mesh") else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    let sidecar = stack::Backend::start("sidecar").expect("a backend");
    let (ip, port) = (sidecar.address().ip(), sidecar.address().port());
    let body = json!({
        "Name": "web-sidecar-proxy", "ID": "p1", "Address": ip, "Port": port,
        "Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "web"},
    });
    consul.put("/v1/agent/service/register", &body.to_string()).expect("registered");
    let services = json!([{"name": "web", "connect": true}]);
    let bed = Setup::headers(consul.address()).set("services", services).start();
    bed.await_routed("any", &["sidecar"]);
    bed.assert_no_crash();
}

// Promise: R-212
#[test]
fn filter_chooses_the_instances_of_a_service() {
    let Some(consul) = Consul::start_or_skip("filters") else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    let _prod = instance(&consul, "web", "web-2", |service| service.meta("env", "prod"));
    let services = json!([{"name": "web", "filter": "Service.Meta.env == \"prod\""}]);
    let bed = Setup::headers(consul.address()).set("services", services).start();
    bed.await_routed("any", &["web-2"]);
    let _more = instance(&consul, "web", "web-3", |service| service.meta("env", "prod"));
    bed.await_routed("any", &["web-2", "web-3"]);
    bed.assert_no_crash();
}

#[test]
fn endpoints_are_read_from_the_cache_of_the_agent() {
    let Some(consul) = Consul::start_or_skip("the agent's cache") else { return };
    let _web = instances(&consul, "web", &["web-1"]);
    let cached = json!({
        "cluster": "consul", "consistency": "cached",
        "cached": {"max_age": "30s", "stale_if_error": "60s"},
    });
    let bed = Setup::headers(consul.address()).set("consul", cached).start();
    bed.await_routed("any", &["web-1"]);
    let _more = instances(&consul, "web", &["web-2"]);
    bed.await_routed("any", &["web-1", "web-2"]);
    bed.assert_no_crash();
}

#[test]
fn leader_is_asked_when_a_server_lags_too_far_behind() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1", "web-2"]);
    let consul = json!({"cluster": "consul", "consistency": "stale", "max_stale": "1s"});
    let bed = Setup::headers(agent.address()).set("consul", consul).start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let is_asked = |parameter: &str| {
        agent.requests().iter().any(|request| request.query_value(parameter).is_some())
    };
    assert!(is_asked("stale") && !is_asked("leader"));

    let lag = Fault::Header("X-Consul-Lastcontact".into(), "60000".into());
    agent.misbehave(Scope::Service("web".into()), lag, Times::Always);
    let late = stack::Backend::start("web-3").expect("a backend");
    let late_service = Service::new("web", "web-3").at(late.address());
    agent.register(&late_service.with_status(Status::Passing)).expect("registered");
    assert!(wait_until(SOON, || is_asked("leader")), "the leader is never asked");
    agent.behave();
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    bed.assert_no_crash();
}
