//! The attempts of a request whose endpoints travel in headers, which each attempt shifts.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Backend, Bootstrap, Consul, Registry, Service, Status};

use crate::load::Load;
use crate::testbed::{Setup, Testbed, instances, yaml};

/// What moves the next endpoint to where the next attempt looks, for so many attempts: as the comment
/// in `envoy/headers.yaml` says.
fn shifts(attempts: u8) -> Vec<Value> {
    let shift = |n: u8| {
        let next = format!("%REQ(x-consul-endpoint-{})%", n + 1);
        let header = json!({"key": format!("x-consul-endpoint-{n}"), "value": next});
        json!({"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})
    };
    let last = json!({"remove": format!("x-consul-endpoint-{}", attempts - 1)});
    (0..attempts - 1).map(shift).chain([last]).collect()
}

/// The filters of the cluster itself.
fn cluster_filters(bootstrap: &mut Bootstrap) -> &mut Vec<serde_yaml_ng::Value> {
    let cluster = bootstrap.cluster("consul_resolver").expect("a cluster");
    let options = &mut cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    options["http_filters"].as_sequence_mut().expect("filters")
}

/// Retries whatever an instance answers with a 5xx, so often.
fn retry(bootstrap: &mut Bootstrap, retries: u8) {
    let manager = bootstrap.connection_manager().expect("a manager");
    let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
    for route in routes.as_sequence_mut().expect("routes") {
        let policy = &mut route["route"]["retry_policy"];
        policy["retry_on"] = "5xx,connect-failure,reset".into();
        policy["num_retries"] = retries.into();
    }
}

/// Each request has so many endpoints, in turn, and so many retries.
fn setup(consul: &Consul, attempts: u8, retries: u8) -> Setup {
    Setup::headers(consul.address())
        .workers(1)
        .set("handoff", json!({"via": "headers", "attempts": attempts}))
        .set("services", json!([{"name": "web", "load_balancing": {"policy": "round_robin"}}]))
        .edit(|bootstrap| {
            retry(bootstrap, retries);
            let mutations = &mut cluster_filters(bootstrap)[0]["typed_config"]["mutations"];
            // Those of the file are for two.
            if attempts == 2 {
                assert_eq!(mutations["request_mutations"], yaml(json!(shifts(2))));
            }
            mutations["request_mutations"] = yaml(json!(shifts(attempts)));
        })
}

fn requests(backends: &[Backend]) -> Vec<u64> {
    let mut counts: Vec<_> = backends.iter().map(Backend::requests).collect();
    counts.sort_unstable();
    counts
}

/// How often each instance is asked for a request to which all answer 503, the least asked one first.
fn asked_in_vain(bed: &Testbed, backends: &[Backend]) -> Vec<u64> {
    backends.iter().for_each(|backend| backend.set_status(503));
    backends.iter().for_each(Backend::reset_counts);
    let answer = bed.get("/", "any");
    let instance = answer.header("x-instance").map(str::to_owned);
    assert_eq!(answer.status, 503);
    assert!(instance.is_some(), "not the answer of an instance: {}", answer.text());
    requests(backends)
}

// Promise: R-806
#[test]
fn no_request_fails_when_attempts_outnumber_dead_instances() {
    let Some(consul) = Consul::start_or_skip("attempts beside the dead") else {
        return;
    };
    let live = ["web-1", "web-2"];
    let _live = instances(&consul, "web", &live);
    let names = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    for attempts in 2..=4 {
        let name = names[usize::from(attempts)];
        let nobody = ([127, 0, 0, 1], stack::port::free()).into();
        let dead = Service::new("web", name).at(nobody).with_status(Status::Passing);
        consul.register(&dead).expect("registered");
        consul.await_passing("web", &names[..=attempts.into()]).expect("passing");
        let bed = setup(&consul, attempts, attempts - 1).start();
        bed.await_routed("any", &live);
        let load = Load::start(bed.ingress, "any", 2, Duration::from_millis(1));
        load.go_on(300);
        load.end_without_failure(&live);
        assert!(bed.envoy.stat("cluster.consul_resolver.upstream_rq_retry").expect("stats") > 0);
        bed.assert_no_crash();
    }
}

// Promise: R-806
#[test]
fn each_attempt_goes_to_another_instance_as_far_as_there_are() {
    let Some(consul) = Consul::start_or_skip("attempts in vain") else {
        return;
    };
    let names = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    let backends = instances(&consul, "web", &names);
    for attempts in 2..=4 {
        let bed = setup(&consul, attempts, attempts - 1).start();
        bed.await_routed("any", &names);
        let expected: Vec<u64> = (0..5).map(|n| u64::from(n + attempts >= 5)).collect();
        assert_eq!(asked_in_vain(&bed, &backends), expected);
        backends.iter().for_each(|backend| backend.set_status(200));
        bed.assert_no_crash();
    }
}

#[test]
fn retries_beyond_the_attempts_go_to_the_last_instance_again() {
    let Some(consul) = Consul::start_or_skip("surplus retries") else {
        return;
    };
    let names = ["web-1", "web-2", "web-3"];
    let backends = instances(&consul, "web", &names);
    let bed = setup(&consul, 2, 4).start();
    bed.await_routed("any", &names);
    assert_eq!(asked_in_vain(&bed, &backends), [0, 1, 4]);
    bed.assert_no_crash();
}

#[test]
fn retries_go_to_the_same_instance_where_nothing_shifts() {
    let Some(consul) = Consul::start_or_skip("no header_mutation") else {
        return;
    };
    let names = ["web-1", "web-2", "web-3"];
    let backends = instances(&consul, "web", &names);
    let bed = setup(&consul, 2, 1).edit(|bootstrap| drop(cluster_filters(bootstrap).remove(0)));
    let bed = bed.start();
    bed.await_routed("any", &names);
    assert_eq!(asked_in_vain(&bed, &backends), [0, 0, 2]);
    bed.assert_no_crash();
}

#[test]
fn an_instance_sees_one_endpoint_and_none_that_a_client_names() {
    let Some(consul) = Consul::start_or_skip("what an instance sees") else {
        return;
    };
    let names = ["web-1", "web-2"];
    let backends = instances(&consul, "web", &names);
    let bed = setup(&consul, 2, 1).start();
    bed.await_routed("any", &names);
    let seen = bed.request("GET", "/headers", "any").header("x-consul-endpoint-3", "127.0.0.1:1");
    let seen = seen.send().expect("an answer").text();
    let is_of = |backend: &Backend| seen.contains(&backend.address().to_string());
    assert_eq!(seen.matches("x-consul-endpoint-").count(), 1, "{seen}");
    assert!(seen.contains("x-consul-endpoint-0") && backends.iter().any(is_of), "{seen}");
    bed.assert_no_crash();
}
