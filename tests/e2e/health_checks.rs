//! Instances that Envoy itself finds not to be healthy.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use stack::{Agent, Backend, Consul, Registry, Status, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instances};

const NAMES: [&str; 3] = ["web-1", "web-2", "web-3"];
/// How often each instance is probed in these tests.
const INTERVAL: Duration = Duration::from_millis(500);

/// `envoy/health-check.yaml` with short intervals, and what else is to be set of the check.
fn setup(consul: SocketAddr, more: &Value) -> Setup {
    Setup::probing(consul).edit(|bootstrap| {
        let service = &mut bootstrap.plugin().expect("a plugin")["services"][0];
        let check = &mut service["active_health_check"];
        for field in ["interval", "unhealthy_interval"] {
            check[field] = format!("{}ms", INTERVAL.as_millis()).into();
        }
        check["interval_jitter"] = "50ms".into();
        for (field, value) in more.as_object().expect("fields") {
            check[field.as_str()] = crate::testbed::yaml(value.clone());
        }
    })
}

fn await_unhealthy(bed: &Testbed, count: u64) {
    let name = "service.web.unhealthy_endpoints";
    let is_so = wait_until(SOON, || bed.stat(name) == count);
    assert!(is_so, "{name} is {}, not {count}:\n{}", bed.stat(name), bed.envoy.log());
}

#[test]
fn an_instance_that_fails_its_probes_loses_its_traffic_on_all_workers_and_gets_it_back() {
    let Some(consul) = Consul::start_or_skip("probes of instances") else { return };
    let backends = instances(&consul, "web", &NAMES);
    let bed = setup(consul.address(), &json!({})).start();
    bed.await_routed("any", &NAMES);
    let probed = |backend: &Backend| backend.health_checks() > 0;
    assert!(wait_until(SOON, || backends.iter().all(probed)), "{}", bed.envoy.log());
    assert_eq!(bed.stat("service.web.unhealthy_endpoints"), 0);

    let mark = LogMark::now(&bed.envoy);
    backends[1].set_healthy(false);
    await_unhealthy(&bed, 1);
    bed.await_routed("any", &["web-1", "web-3"]);
    assert_eq!(bed.seen("any", 100).len(), 2, "one worker goes there");
    let line = format!(
        "service web: 1 of 3 endpoints do not pass active_health_check (1 more: {}, status 500)",
        backends[1].address()
    );
    mark.await_line(&bed.envoy, &line);
    assert!(consul.health("web", "passing").expect("health").ids().contains("web-2"));
    assert_eq!(bed.stat("service.web.endpoints"), 3);

    backends[1].set_healthy(true);
    bed.await_routed("any", &NAMES);
    await_unhealthy(&bed, 0);
    // One that does not answer at all.
    backends[2].stop();
    await_unhealthy(&bed, 1);
    bed.await_routed("any", &["web-1", "web-2"]);
    bed.assert_no_crash();
}

#[test]
fn what_is_asked_is_what_is_configured_and_one_vm_asks_for_all() {
    let Some(consul) = Consul::start_or_skip("the pace of probes") else { return };
    let backends = instances(&consul, "web", &NAMES);
    let more = json!({"expected_statuses": ["200-299"], "expected_body": "nothing of the kind"});
    let bed = setup(consul.address(), &more).start();
    await_unhealthy(&bed, 3);
    bed.await_reply("any", "no_healthy_endpoints");
    let before: Vec<u64> = backends.iter().map(Backend::health_checks).collect();
    std::thread::sleep(10 * INTERVAL);
    for (backend, before) in backends.iter().zip(before) {
        let probes = backend.health_checks() - before;
        assert!((6..=11).contains(&probes), "{probes} probes in ten intervals");
    }
    bed.assert_no_crash();
}

#[test]
fn consuls_own_checks_count_beside_or_not_at_all() {
    let Some(consul) = Consul::start_or_skip("consul_health") else { return };
    let backends = instances(&consul, "web", &NAMES);
    let id = stack::Service::check_id;
    consul.set_check(&id("web-2"), Status::Critical).expect("critical");
    consul.maintenance("web-3", true).expect("maintenance");
    let ignoring = setup(consul.address(), &json!({"consul_health": "ignore"})).start();
    let beside = setup(consul.address(), &json!({"consul_health": "and"})).start();
    beside.await_routed("any", &["web-1"]);
    ignoring.await_routed("any", &["web-1", "web-2"]);
    backends[0].set_healthy(false);
    await_unhealthy(&ignoring, 1);
    ignoring.await_routed("any", &["web-2"]);
    for bed in [ignoring, beside] {
        bed.assert_no_crash();
    }
}

#[test]
fn the_vm_that_probes_may_die_and_its_results_stay() {
    let agent = Agent::start().expect("an agent");
    let backends = instances(&agent, "web", &NAMES);
    let more = json!({"healthy_threshold": 100});
    let bed = setup(agent.address(), &more).trapping().start();
    bed.await_routed("any", &NAMES);
    backends[1].set_healthy(false);
    await_unhealthy(&bed, 1);
    bed.await_routed("any", &["web-1", "web-3"]);
    // It answers again, and is not healthy for long: who takes over has to know that.
    backends[1].set_healthy(true);
    let mark = LogMark::now(&bed.envoy);
    let trapped = bed.request("GET", "/", "any").header("x-trap", "fetcher").send();
    assert_eq!(trapped.expect("an answer").status, 200);
    mark.await_line(&bed.envoy, "this VM asks Consul from now on");
    let before = backends[1].health_checks();
    let probed = wait_until(SOON, || {
        assert!(!bed.seen("any", 5).contains_key("web-2"), "{}", bed.envoy.log());
        backends[1].health_checks() > before + 3
    });
    assert!(probed, "{}", bed.envoy.log());
    assert_eq!(bed.stat("service.web.unhealthy_endpoints"), 1);
    backends[2].set_healthy(false);
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
}

#[test]
fn where_probes_cannot_be_sent_endpoints_stay_and_the_log_says_why() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &NAMES);
    let bed = setup(agent.address(), &json!({"cluster": "nowhere"})).start();
    let mark = LogMark::START;
    bed.await_routed("any", &NAMES);
    let line = "service web: probes cannot be sent: Envoy has no such cluster; the endpoints count \
                as they did";
    mark.await_line(&bed.envoy, line);
    std::thread::sleep(4 * INTERVAL);
    bed.await_routed("any", &NAMES);
    assert_eq!(bed.stat("service.web.unhealthy_endpoints"), 0);
    bed.assert_no_crash();
}
