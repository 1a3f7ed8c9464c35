//! What docs/load-balancing.md says that Envoy does over the filter's clusters, with its own lines.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::client::Answer;
use stack::{Backend, Registry, Service, Status, port, wait_until};

use super::{await_hosts, hosts, plain};
use crate::load::Load;
use crate::testbed::{SOON, Setup, Testbed, instances, who, yaml};

/// The blocks of the page that are fields of Envoy's, by the heading above.
fn blocks() -> BTreeMap<String, Value> {
    let page = include_str!("../../../docs/load-balancing.md");
    let (mut heading, mut block) = ("", None::<String>);
    let mut blocks = BTreeMap::new();
    for line in page.lines() {
        match &mut block {
            None if line == "```yaml envoy" => block = Some(String::new()),
            None if line.starts_with('#') => heading = line.trim_start_matches('#').trim(),
            None => {}
            Some(text) if line == "```" => {
                let fields = serde_yaml_ng::from_str(text).expect(heading);
                assert!(blocks.insert(heading.to_owned(), fields).is_none(), "two: {heading}");
                block = None;
            }
            Some(text) => text.extend([line, "\n"]),
        }
    }
    blocks
}

/// A service with the fields of a block in its cluster, and these.
fn service(name: &str, block: &Value, others: Value) -> Value {
    let mut cluster = json!({"health_checks": null, "outlier_detection": null});
    for fields in [block, &others] {
        for (field, value) in fields.as_object().expect("fields") {
            cluster[field] = value.clone();
        }
    }
    let policy = json!({"policy": "round_robin"});
    json!({
        "name": name,
        "hosts": [format!("{name}.internal")],
        "load_balancing": policy,
        "cluster": cluster,
    })
}

fn stat(bed: &Testbed, service: &str, name: &str) -> u64 {
    bed.envoy.stat(&format!("cluster.consul/{service}.{name}")).expect("stats")
}

fn await_stat(bed: &Testbed, service: &str, name: &str, is_so: impl Fn(u64) -> bool) {
    let came = wait_until(2 * SOON, || is_so(stat(bed, service, name)));
    assert!(came, "{name} of {service} is {}", stat(bed, service, name));
}

/// That a round of requests goes to the others, though this one is a host.
fn assert_left_alone(bed: &Testbed, service: &str, instance: &Backend, others: &[&str]) {
    assert!(hosts(bed, service).contains_key(&instance.address().to_string()));
    let before = instance.requests();
    let seen = bed.seen(&format!("{service}.internal"), 60);
    assert!(seen.keys().eq(others), "{seen:?}");
    assert_eq!(instance.requests(), before);
}

// Promise: R-803
#[test]
fn envoy_does_over_our_clusters_what_the_documentation_shows() {
    let mut blocks = blocks();
    let mut block = |name: &str| blocks.remove(name).unwrap_or_else(|| panic!("no {name}"));
    let checks = block("Active health checks");
    let ejection = block("Outlier detection");
    let budget = block("Retry budget");
    let panic = block("Panic threshold");
    let sticky = block("Sticky sessions");
    assert!(blocks.is_empty(), "not tried: {:?}", blocks.keys());
    let agent = Agent::start().expect("an agent");
    let checked = instances(&agent, "checked", &["c-1", "c-2"]);
    let ejecting = instances(&agent, "ejecting", &["e-1", "e-2", "e-3"]);
    let slow = instances(&agent, "budget", &["b-1"]);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()));
    let dead = Service::new("budget", "b-2").at(nobody).with_status(Status::Passing);
    agent.register(&dead).expect("registered");
    let panicking = instances(&agent, "panic", &["p-1", "p-2", "p-3"]);
    let mut pinned = instances(&agent, "sticky", &["s-1", "s-2"]);
    let also_checked = json!({"health_checks": checks["health_checks"]});
    let services = json!([
        service("checked", &checks, json!({})),
        service("ejecting", &ejection, json!({})),
        service("budget", &budget, json!({})),
        service("panic", &panic, also_checked),
        service("sticky", &json!({}), json!({})),
    ]);
    let bed = Setup::recommended(agent.address())
        .set("services", services)
        .edit(|bootstrap| {
            let manager = bootstrap.connection_manager().expect("a manager");
            let filters = manager["http_filters"].as_sequence_mut().expect("filters");
            let name = &sticky["http_filters"][0]["name"];
            let at = filters.iter().position(|it| it["name"].as_str() == name.as_str());
            filters[at.expect("the same filter")] = yaml(sticky["http_filters"][0].clone());
        })
        .start();
    bed.await_routed("checked.internal", &["c-1", "c-2"]);
    bed.await_routed("panic.internal", &["p-1", "p-2", "p-3"]);
    checked[1].set_healthy(false);
    panicking[1].set_healthy(false);
    panicking[2].set_healthy(false);

    ejecting[2].set_status(500);
    let load = Load::light(bed.ingress, "ejecting.internal");
    await_stat(&bed, "ejecting", "outlier_detection.ejections_active", |active| active == 1);
    load.end();
    assert_left_alone(&bed, "ejecting", &ejecting[2], &["e-1", "e-2"]);

    slow[0].set_delay(Duration::from_millis(300));
    let load = Load::start(bed.ingress, "budget.internal", 24, Duration::ZERO);
    await_stat(&bed, "budget", "upstream_rq_retry_overflow", |overflow| overflow > 0);
    load.end();

    let with = |cookie: &str| -> Answer {
        let request = bed.request("GET", "/", "sticky.internal").header("cookie", cookie);
        request.send().expect("an answer")
    };
    let first = bed.get("/", "sticky.internal");
    let cookie = |answer: &Answer| {
        let cookie = answer.header("set-cookie").expect("a cookie");
        cookie.split(';').next().unwrap_or(cookie).to_owned()
    };
    let (mine, pinned_to) = (cookie(&first), who(&first));
    for _ in 0..20 {
        let answer = with(&mine);
        assert_eq!(who(&answer), pinned_to, "{mine}");
        // Envoy tells where the host is not the one that was picked.
        assert_eq!(answer.header("x-consul-endpoint"), None);
    }
    pinned.retain(|instance| instance.name() != pinned_to);
    let other = with(&mine);
    assert_eq!((other.status, who(&other) == pinned[0].name()), (200, true), "{}", who(&other));
    agent.deregister(&pinned_to).expect("deregistered");
    await_hosts(&bed, "sticky", [plain(pinned[0].address())]);
    assert_ne!(cookie(&with(&mine)), mine, "the cookie is set anew");

    await_stat(&bed, "checked", "membership_healthy", |healthy| healthy == 1);
    assert!(stat(&bed, "checked", "health_check.failure") > 0);
    assert_left_alone(&bed, "checked", &checked[1], &["c-1"]);
    // It still answers its checks.
    agent.deregister("c-1").expect("deregistered");
    await_hosts(&bed, "checked", [plain(checked[1].address())]);
    let before = checked[0].requests();
    assert!((0..40).all(|_| bed.get("/", "checked.internal").status == 503));
    assert_eq!(checked[0].requests(), before);

    await_stat(&bed, "panic", "membership_healthy", |healthy| healthy == 1);
    bed.await_routed("panic.internal", &["p-1", "p-2", "p-3"]);
    assert!(stat(&bed, "panic", "lb_healthy_panic") > 0);
    bed.assert_no_crash();
}
