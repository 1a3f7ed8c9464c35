//! More services than Envoy's circuit breakers let requests through by default, which is 1,024.

use std::time::{Duration, Instant};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Registry, wait_until};

use crate::testbed::{SOON, Setup, Testbed, instances};

const SERVICES: usize = 1_100;
/// So many of them are one service of Consul.
const SHARING: usize = 100;

fn service(number: usize) -> Value {
    json!({
        "name": format!("s-{number}"),
        "service": format!("web-{}", number / SHARING),
        "hosts": [format!("s-{number}.internal")],
    })
}

/// Those that a regular expression finds. Envoy's main thread goes through all that these clusters
/// have, so it gets a pause.
fn stats(bed: &Testbed, pattern: &str) -> Vec<u64> {
    std::thread::sleep(Duration::from_millis(250));
    let found = bed.envoy.admin(&format!("/stats?filter={pattern}")).expect("stats").text();
    let value = |line: &str| line.rsplit_once(": ").and_then(|(_, value)| value.parse().ok());
    found.lines().filter_map(value).collect()
}

/// How many clusters have so many hosts.
fn with_hosts(bed: &Testbed, count: u64) -> usize {
    let all = stats(bed, "^cluster.consul/s-.*membership_total$");
    all.into_iter().filter(|total| *total == count).count()
}

// Promise: R-307
#[test]
fn news_come_when_more_than_1024_subscriptions_are_held() {
    let agent = Agent::start().expect("an agent");
    let _web: Vec<_> = (0..SERVICES / SHARING)
        .flat_map(|number| instances(&agent, &format!("web-{number}"), &[&format!("{number}")]))
        .collect();
    let bed = Setup::recommended(agent.address())
        .set("services", (0..SERVICES).map(service).collect())
        .of_clusters("health_checks", Value::Null)
        .start();
    let begin = Instant::now();
    let held = || bed.held();
    // All at once, with those for clusters and for routes.
    let all = u64::try_from(SERVICES).expect("a few") + 2;
    let are_held = wait_until(6 * SOON, || held() == all);
    assert!(are_held, "{} are held", held());
    let cpu = bed.envoy.cpu_time().expect("CPU time");
    let memory = bed.envoy.memory().expect("memory") >> 20;
    eprintln!("held after {:?}, {cpu:?} of CPU, {memory} MiB", begin.elapsed());
    assert_eq!(with_hosts(&bed, 1), SERVICES);
    bed.await_routed("s-0.internal", &["0"]);
    bed.await_routed("s-1099.internal", &["10"]);

    // What one service of Consul is told goes to a hundred of them, and to no other.
    let since = Instant::now();
    let _more = instances(&agent, "web-7", &["more"]);
    let have_come = wait_until(SOON, || with_hosts(&bed, 2) == SHARING);
    assert!(have_come, "{} have it", with_hosts(&bed, 2));
    eprintln!("known after {:?}", since.elapsed());
    bed.await_routed("s-777.internal", &["7", "more"]);
    agent.deregister("more").expect("deregistered");
    let have_gone = wait_until(SOON, || with_hosts(&bed, 1) == SERVICES);
    assert!(have_gone, "{} have it", with_hosts(&bed, 2));
    bed.await_routed("s-777.internal", &["7"]);
    assert_eq!(stats(&bed, "^cluster.xds.upstream_rq_pending_overflow$"), [0]);
    bed.assert_no_crash();
}
