//! Envoy's own cluster has the instances that the filter answers its subscription with.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::{Duration, Instant};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Bootstrap, Consul, Registry, wait_until};

use crate::load::Load;
use crate::log::LogMark;
use crate::question::{self, ENDPOINTS, answer, question};
use crate::testbed::{SOON, Setup, Testbed, instances, who, yaml};

/// How long a subscription without news is held.
const HOLD: Duration = Duration::from_secs(2);

/// Envoy with a cluster `web` of type EDS, fed over a pipe; the filter picks among its hosts.
pub fn fed(consul: SocketAddr) -> Setup {
    Setup::minimal(consul)
        .set("handoff", json!({"via": "stateful_session"}))
        .set("xds", json!({"cluster": "xds", "address": "{dir}/xds.sock", "hold": "2s"}))
        .edit(feed)
}

fn feed(bootstrap: &mut Bootstrap) {
    bootstrap.config()["node"] = yaml(json!({"id": "proxy-1", "cluster": "edge"}));
    let manager = bootstrap.connection_manager().expect("a manager");
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"] = yaml(json!({
        "cluster": "web",
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 1},
    }));
    let filters = manager["http_filters"].as_sequence_mut().expect("filters");
    let config = &mut filters[0]["typed_config"]["config"];
    config["allow_on_headers_stop_iteration"] = true.into();
    config["failure_policy"] = "FAIL_RELOAD".into();
    let plugin = filters[0].clone();
    let session = json!({
        "name": "pick",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
            "session_state": {
                "name": "envoy.http.stateful_session.header",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState",
                    "name": "x-consul-endpoint",
                },
            },
        },
    });
    filters.insert(1, yaml(session));
    let router = filters[2].clone();
    let none = json!({"match": {"prefix": "/"}, "direct_response": {"status": 404}});
    let mut manager = yaml(json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "xds",
        "http2_protocol_options": {"max_concurrent_streams": 4000},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [none]}]},
    }));
    manager["http_filters"] = vec![plugin, router].into();
    let mut listener = yaml(json!({
        "name": "xds",
        "address": {"pipe": {"path": "{dir}/xds.sock", "mode": 384}},
        "filter_chains": [{"filters": [{"name": "manager"}]}],
    }));
    listener["filter_chains"][0]["filters"][0]["typed_config"] = manager;
    let resources = &mut bootstrap.config()["static_resources"];
    resources["listeners"].as_sequence_mut().expect("listeners").push(listener);
    let clusters = resources["clusters"].as_sequence_mut().expect("clusters");
    clusters.push(yaml(json!({
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"pipe": {"path": "{dir}/xds.sock"}}}},
        ]}]},
    })));
    clusters.push(yaml(json!({
        "name": "web",
        "type": "EDS",
        "connect_timeout": "1s",
        "common_lb_config": {"update_merge_window": "0s"},
        "eds_cluster_config": {"service_name": "web", "eds_config": {
            "resource_api_version": "V3",
            "initial_fetch_timeout": "0.05s",
            "api_config_source": {
                "api_type": "REST",
                "transport_api_version": "V3",
                "cluster_names": ["xds"],
                "refresh_delay": "0.02s",
                "request_timeout": "4s",
            },
        }},
    })));
}

/// The addresses that Envoy's own cluster has.
fn hosts(bed: &Testbed) -> Vec<String> {
    let clusters = bed.envoy.admin("/clusters").expect("clusters").text();
    let hosts = clusters.lines().filter_map(|line| {
        let (cluster, rest) = line.split_once("::")?;
        let (host, rest) = rest.split_once("::")?;
        (cluster == "web" && rest.starts_with("health_flags")).then(|| host.to_owned())
    });
    hosts.collect()
}

/// Asks over the pipe, as an Envoy of that node that has this version would.
fn ask(bed: &Testbed, node: &str, version: &str, path: &str) -> (u16, String) {
    post(bed, path, &question(node, "web", version))
}

fn post(bed: &Testbed, path: &str, body: &str) -> (u16, String) {
    answer(question::ask(&pipe(bed), path, body))
}

fn pipe(bed: &Testbed) -> UnixAddr {
    UnixAddr::from_pathname(bed.envoy.dir().join("xds.sock")).expect("a path")
}

// Promise: R-301
#[test]
fn envoys_own_hosts_follow_consul() {
    let Some(consul) = Consul::start_or_skip("subscriptions") else {
        return;
    };
    let web = instances(&consul, "web", &["web-1"]);
    let bed = fed(Registry::address(&consul)).start();
    bed.await_routed("any", &["web-1"]);
    assert_eq!(hosts(&bed), [web[0].address().to_string()]);
    let _more = instances(&consul, "web", &["web-2"]);
    bed.await_routed("any", &["web-1", "web-2"]);
    assert_eq!(hosts(&bed).len(), 2);
    consul.deregister("web-1").expect("deregistered");
    bed.await_routed("any", &["web-2"]);
    consul.maintenance("web-2", true).expect("maintenance");
    bed.await_reply("any", "no_healthy_endpoints");
    assert!(wait_until(SOON, || hosts(&bed).is_empty()), "{:?}", hosts(&bed));
    assert!(wait_until(SOON, || bed.stat("xds.responses") >= 4));
    bed.assert_no_crash();
}

// Promise: R-301
#[test]
fn a_subscription_without_news_is_held_and_then_ended() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = fed(agent.address()).start();
    bed.await_routed("any", &["web-1"]);
    let (status, answer) = ask(&bed, "proxy-1", "", ENDPOINTS);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let version = answer["version_info"].as_str().expect("a version");
    let asked = Instant::now();
    let (status, rest) = ask(&bed, "proxy-1", version, ENDPOINTS);
    assert_eq!((status, rest.as_str()), (304, ""));
    let held = asked.elapsed();
    assert!(held >= HOLD, "held for {held:?}");
    assert!(held < HOLD + Duration::from_millis(300), "held for {held:?}");
    let is_ended = || bed.stat("xds.unchanged") >= 2 && bed.held() == 1;
    assert!(wait_until(SOON, is_ended), "Envoy's own is held");
    assert_eq!(bed.stat("xds.ended_early"), 0);
    bed.assert_no_crash();
}

// Promise: R-304
#[test]
fn hosts_follow_and_it_is_told_when_envoy_waits_a_second() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let without = |bootstrap: &mut Bootstrap| {
        let web = bootstrap.cluster("web").expect("a cluster");
        let source = &mut web["eds_cluster_config"]["eds_config"]["api_config_source"];
        source.as_mapping_mut().expect("a source").remove("request_timeout");
    };
    // Each VM tells it.
    let bed = fed(agent.address()).workers(1).edit(without).start();
    bed.await_routed("any", &["web-1"]);
    let counted = ["responses", "unchanged", "ended_early"];
    let counted = || counted.map(|what| bed.stat(&format!("xds.{what}")));
    assert!(wait_until(SOON, || counted()[2] >= 3), "{:?}", counted());
    let _more = instances(&agent, "web", &["web-2"]);
    bed.await_routed("any", &["web-1", "web-2"]);
    agent.deregister("web-1").expect("deregistered");
    bed.await_routed("any", &["web-2"]);
    assert_eq!(hosts(&bed).len(), 1);
    assert_eq!(counted()[1], 0, "none is held for so long");
    let told = "Envoy ends its subscriptions after";
    assert_eq!(LogMark::START.lines(&bed.envoy, told).len(), 1);
    bed.assert_no_crash();
}

// Promise: R-904
#[test]
fn discovery_request_is_answered_404_when_nodes_differ() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = fed(agent.address()).start();
    bed.await_routed("any", &["web-1"]);
    assert_eq!(ask(&bed, "proxy-2", "", ENDPOINTS).0, 404);
    LogMark::START.await_line(&bed.envoy, "an Envoy of another node, \"proxy-2\"");
    assert!(wait_until(SOON, || bed.stat("xds.foreign") == 1));
    bed.assert_no_crash();
}

// Promise: R-904
#[test]
fn malformed_discovery_request_is_refused_and_harms_nothing() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = fed(agent.address()).start();
    bed.await_routed("any", &["web-1"]);
    assert_eq!(ask(&bed, "proxy-1", "", "/v3/discovery:other").0, 404);
    assert_eq!(post(&bed, ENDPOINTS, "{").0, 400);
    assert_eq!(post(&bed, ENDPOINTS, "").0, 404, "without a body it is the route's");
    assert_eq!(post(&bed, ENDPOINTS, &" ".repeat(2 << 20)).0, 413);
    assert!(wait_until(SOON, || bed.stat("xds.malformed") == 3), "{}", bed.stat("xds.malformed"));
    bed.await_routed("any", &["web-1"]);
    bed.assert_no_crash();
}

// Promise: R-904
#[test]
fn discovery_request_is_any_request_on_another_listener() {
    let agent = Agent::start().expect("an agent");
    let web = instances(&agent, "web", &["web-1"]);
    let bed = fed(agent.address()).start();
    bed.await_routed("any", &["web-1"]);
    let before = web[0].requests();
    let body = json!({"node": {"id": "proxy-1"}, "resource_names": ["web"]}).to_string();
    let answer = bed.request("POST", ENDPOINTS, "any").body(body).send().expect("an answer");
    assert_eq!(who(&answer), "web-1");
    assert_eq!(web[0].requests(), before + 1);
    bed.assert_no_crash();
}

// Promise: R-311
#[test]
fn hosts_stay_and_follow_when_the_answering_vm_has_trapped() {
    let agent = Agent::start().expect("an agent");
    let mut web = instances(&agent, "web", &["web-1", "web-2"]);
    // The worker that answers is the one that serves. Here no network filter ends what a VM has held that
    // has trapped: `request_timeout` does.
    let bed = fed(agent.address()).workers(1).trapping().start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let load = Load::light(bed.ingress, "any");
    for round in 1..=2 {
        trap(&bed);
        assert_eq!(hosts(&bed).len(), web.len(), "Envoy keeps its hosts");
        web.extend(instances(&agent, "web", &[&format!("web-{}", round + 2)]));
        let since = Instant::now();
        let is_known = wait_until(SOON, || hosts(&bed).len() == web.len());
        assert!(is_known, "{:?} after {:?}", hosts(&bed), since.elapsed());
    }
    drop(load);
    assert!(bed.reloads() >= 2);
    bed.await_routed("any", &["web-1", "web-2", "web-3", "web-4"]);
}

// Promise: R-312
#[test]
fn no_request_is_failed_since_envoy_has_no_hosts_yet() {
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    for _ in 0..3 {
        // Envoy is ready before it is answered for the first time.
        let bed = fed(agent.address()).start();
        assert_eq!(bed.seen("any", 20), [("web-1".to_owned(), 20)].into());
        assert_eq!(bed.envoy.stat("cluster.web.upstream_cx_none_healthy").expect("stats"), 0);
        bed.assert_no_crash();
    }
}

// Promise: R-312
#[test]
fn a_request_goes_on_and_it_is_told_when_nobody_subscribes() {
    let agent = Agent::start().expect("an agent");
    let web = instances(&agent, "web", &["web-1"]);
    let setup = fed(agent.address()).set("warmup_timeout", json!("1s")).workers(1);
    let bed = setup
        .edit(|bootstrap| {
            let clusters = &mut bootstrap.config()["static_resources"]["clusters"];
            clusters.as_sequence_mut().expect("clusters").retain(|it| it["name"] != "web");
            bootstrap.add_static_cluster("web", web[0].address());
        })
        .start();
    let asked = Instant::now();
    assert_eq!(who(&bed.get("/", "any")), "web-1");
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_secs(1), "it waited for {waited:?}");
    let asked = Instant::now();
    assert_eq!(bed.seen("any", 10).keys().collect::<Vec<_>>(), ["web-1"]);
    assert!(asked.elapsed() < Duration::from_secs(1), "others do not wait any more");
    let told = "envoy has not acknowledged endpoints within warmup_timeout";
    assert_eq!(LogMark::START.lines(&bed.envoy, told).len(), 1);
    bed.assert_no_crash();
}

// Promise: R-312
#[test]
fn first_request_is_answered_when_a_found_service_comes_back() {
    let agent = Agent::start().expect("an agent");
    let web = instances(&agent, "web", &["web-1"]);
    // A catalog that is not empty is believed at once.
    let _other = instances(&agent, "other", &["other-1"]);
    let guard = json!({"shrink_guard": {"hold": "0s"}});
    let bed = fed(agent.address())
        .set("services", json!([]))
        .set("discover", json!({"host": "{service}.found", "service": guard}))
        .set("unmatched", json!("reject"))
        // So the first request shows that Envoy has acknowledged its hosts.
        .set("warmup_timeout", json!("25s"))
        // Several workers do not forget it at one moment.
        .workers(1)
        .edit(|bootstrap| {
            let cluster = bootstrap.cluster("web").expect("a cluster");
            // It pauses for so long that it does not know of the service when that comes back.
            let source = &mut cluster["eds_cluster_config"]["eds_config"]["api_config_source"];
            source["refresh_delay"] = "3s".into();
        })
        .start();
    assert!(wait_until(SOON, || bed.get("/", "web.found").status == 200));
    agent.deregister("web-1").expect("deregistered");
    drop(web);
    // First it has no instances, and after 30 s it is no service.
    let is_gone = || bed.get("/", "web.found").status == 404;
    assert!(wait_until(Duration::from_secs(30) + SOON, is_gone));
    assert_eq!(hosts(&bed), Vec::<String>::new());
    // The VM of the main thread forgets the service at a tick of its own. Before that, its empty
    // snapshot would be found again, and a request would go by it for a millisecond.
    std::thread::sleep(Duration::from_secs(1));
    let _web = instances(&agent, "web", &["web-2"]);
    let since = Instant::now();
    let mut answer = bed.get("/", "web.found");
    while answer.status == 404 && since.elapsed() < SOON {
        answer = bed.get("/", "web.found");
    }
    assert_eq!(who(&answer), "web-2", "{} after {:?}", answer.text(), since.elapsed());
    bed.assert_no_crash();
}

// Promise: R-301
#[test]
fn many_held_subscriptions_are_answered_at_one_time() {
    const MANY: usize = 900;
    let agent = Agent::start().expect("an agent");
    let _web = instances(&agent, "web", &["web-1"]);
    let bed = fed(agent.address()).workers(1).start();
    bed.await_routed("any", &["web-1"]);
    let (_, told) = ask(&bed, "proxy-1", "", ENDPOINTS);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let body = question("proxy-1", "web", told["version_info"].as_str().expect("a version"));
    let pipe = pipe(&bed);
    let held: Vec<_> = (0..MANY).map(|_| question::ask(&pipe, ENDPOINTS, &body)).collect();
    let _more = instances(&agent, "web", &["web-2"]);
    for stream in held {
        let (status, told) = answer(stream);
        assert!(status == 200 || status == 304, "{status} {told}");
    }
    bed.await_routed("any", &["web-1", "web-2"]);
    bed.assert_no_crash();
}

/// Makes the VM trap that answers at the pipe.
fn trap(bed: &Testbed) {
    let mut stream = UnixStream::connect(bed.envoy.dir().join("xds.sock")).expect("the pipe");
    let request = "GET / HTTP/1.1\r\nhost: xds\r\nconnection: close\r\nx-trap: here\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
}
