//! `peak_ewma`: an instance that is slow is avoided, and one that refuses draws nothing.

use std::time::Duration;

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Consul, Registry, Trouble, wait_until};

use crate::load::Load;
use crate::share::{Seen, count};
use crate::subscriptions::fed;
use crate::testbed::{SOON, Setup, Testbed, instances, who};
use crate::wire::Connection;

const NAMES: [&str; 3] = ["web-1", "web-2", "web-3"];

/// One worker, so that each request is seen by the one that has learned.
fn setup(consul: &Consul, balancing: Value) -> Setup {
    let service = json!([{"name": "web", "load_balancing": balancing}]);
    Setup::headers(consul.address()).set("services", service).workers(1)
}

fn start(consul: &Consul, balancing: Value, names: &[&str]) -> Testbed {
    let bed = setup(consul, balancing).start();
    bed.await_routed("any", names);
    bed
}

/// Some requests of four clients at a time, and who answered them.
fn seen(bed: &Testbed) -> Seen {
    let load = Load::start(bed.ingress, "any", 4, Duration::from_millis(1));
    load.go_on(400);
    let seen = load.end();
    assert!(seen.keys().all(|name| NAMES.contains(&name.as_str())), "{seen:?}");
    seen
}

#[test]
fn a_slow_instance_is_avoided_and_used_again_when_it_is_fast() {
    let Some(consul) = Consul::start_or_skip("peak_ewma") else {
        return;
    };
    let backends = instances(&consul, "web", &NAMES);
    let bed = start(&consul, json!({"policy": "peak_ewma", "decay": "1s"}), &NAMES);

    backends[1].set_delay(Duration::from_millis(100));
    // Each client may meet it once before anybody knows, and once in a while it is tried again.
    let slow = seen(&bed);
    assert!(count(&slow, "web-2") * 20 <= count(&slow, ""), "{slow:?}");

    backends[1].set_delay(Duration::ZERO);
    let mut last = Seen::new();
    let is_back = wait_until(Duration::from_secs(15), || {
        last = seen(&bed);
        // A third would be its share, where all are equally fast.
        count(&last, "web-2") * 6 >= count(&last, "")
    });
    assert!(is_back, "{last:?}");
    bed.assert_no_crash();
}

#[test]
fn a_hanging_instance_is_avoided_when_clients_leave_first() {
    let Some(consul) = Consul::start_or_skip("peak_ewma and clients that leave") else {
        return;
    };
    let backends = instances(&consul, "web", &NAMES);
    let bed = start(&consul, json!({"policy": "peak_ewma", "decay": "1s"}), &NAMES);
    backends[1].set_delay(Duration::from_secs(60));
    let leaves = || {
        let request = bed.request("GET", "/", "any").timeout(Duration::from_millis(300));
        request.send().is_err()
    };
    // However slow it looked before.
    assert!(wait_until(SOON, leaves), "nobody is sent to it");
    let left = (0..30).filter(|_| leaves()).count();
    assert!(left <= 2, "{left} of 30 clients were sent to it, and left");
    bed.assert_no_crash();
}

#[test]
fn a_slow_upload_leaves_its_instance_its_share() {
    let Some(consul) = Consul::start_or_skip("peak_ewma and slow uploads") else {
        return;
    };
    let _backends = instances(&consul, "web", &NAMES);
    // Whatever else the machine does is forgotten soon, and seconds are not.
    let bed = start(&consul, json!({"policy": "peak_ewma", "decay": "100ms"}), &NAMES);
    let mut client = Connection::open(bed.ingress).expect("a connection");
    client.send(b"POST /echo HTTP/1.1\r\nhost: any\r\ncontent-length: 2\r\n\r\na").expect("sent");
    std::thread::sleep(Duration::from_secs(5));
    client.send(b"b").expect("sent");
    let uploaded = client.answer().expect("an answer").who();
    let seen = bed.seen("any", 200);
    assert!(count(&seen, &uploaded) > 10, "{uploaded} had the upload: {seen:?}");
    bed.assert_no_crash();
}

#[test]
fn an_instance_that_refuses_at_once_draws_no_traffic() {
    let Some(consul) = Consul::start_or_skip("peak_ewma and refusals") else {
        return;
    };
    let names = ["web-1", "web-2"];
    let backends = instances(&consul, "web", &names);
    let bed = start(&consul, json!({"policy": "peak_ewma", "decay": "1s"}), &names);
    backends[0].set_delay(Duration::from_millis(10));
    backends[1].set_trouble(Trouble::always(429));
    let load = Load::start(bed.ingress, "any", 8, Duration::from_millis(1));
    load.go_on(400);
    let seen = load.end();
    assert!(count(&seen, "429") * 2 <= count(&seen, ""), "{seen:?}");
    bed.assert_no_crash();
}

#[test]
fn endpoint_has_not_failed_when_it_answers_a_hedged_request() {
    let Some(consul) = Consul::start_or_skip("peak_ewma and hedging") else {
        return;
    };
    const REQUESTS: u64 = 20;
    let names = ["web-1", "web-2"];
    let backends = instances(&consul, "web", &names);
    let hedging = json!({"hedge_on_per_try_timeout": true});
    let bed = setup(&consul, json!({"policy": "peak_ewma"}))
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            let route = &mut manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
            route["retry_policy"]["per_try_timeout"] = "0.1s".into();
            route["hedge_policy"] = crate::testbed::yaml(hedging);
        })
        .start();
    assert!(wait_until(SOON, || bed.stat("service.web.endpoints") == 2));
    // Each request has a second attempt, and the first instance answers before the second one,
    // whichever was asked first.
    backends[0].set_delay(Duration::from_millis(250));
    backends[1].set_delay(Duration::from_secs(5));
    for _ in 0..REQUESTS {
        assert_eq!(who(&bed.get("/", "any")), "web-1");
    }
    // Those that began at the second instance, until that is avoided.
    let failures = || bed.stat("service.web.failures");
    wait_until(Duration::from_secs(1), || failures() > REQUESTS / 2);
    assert!(failures() <= REQUESTS / 2, "{} of {REQUESTS} requests", failures());
    assert!(
        bed.envoy.stat("cluster.consul_resolver.upstream_rq_retry").expect("stats") > REQUESTS / 2
    );
    bed.assert_no_crash();
}

#[test]
fn failing_pick_draws_little_when_envoys_retries_save_it() {
    let agent = Agent::start().expect("an agent");
    let names = ["web-1", "web-2"];
    let backends = instances(&agent, "web", &names);
    let balancing = json!({"policy": "peak_ewma", "decay": "10s"});
    // Envoy names the host alone that has answered last.
    let retries = json!({
        "retry_on": "5xx,reset,connect-failure",
        "num_retries": 2,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": 5,
    });
    let bed = fed(agent.address())
        .set("services", json!([{"name": "web", "load_balancing": balancing}]))
        .workers(1)
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            let route = &mut manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
            route["retry_policy"] = crate::testbed::yaml(retries);
            let clusters = &mut bootstrap.config()["static_resources"]["clusters"];
            let clusters = clusters.as_sequence_mut().expect("clusters").iter_mut();
            let web = clusters.rev().find(|it| it["name"] == "web").expect("web");
            let breakers = json!({"thresholds": [{"max_retries": 1024}]});
            web["circuit_breakers"] = crate::testbed::yaml(breakers);
        })
        .start();
    bed.await_routed("any", &names);
    // It answers sooner than the other one, and never well.
    backends[0].set_delay(Duration::from_millis(5));
    backends[1].set_trouble(Trouble::always(503));
    let load = Load::start(bed.ingress, "any", 4, Duration::from_millis(1));
    load.go_on(50);
    backends.iter().for_each(stack::Backend::reset_counts);
    load.go_on(200);
    let [well, failing] = [0, 1].map(|number: usize| backends[number].requests());
    load.end_without_failure(&["web-1"]);
    assert!(failing * 5 <= well, "{failing} were sent to the failing one, and {well} to the other");
    assert!(wait_until(SOON, || bed.stat("service.web.failures") >= 5));
    bed.assert_no_crash();
}
