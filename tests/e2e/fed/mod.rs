//! Envoy's own clusters and routes under `envoy/envoy.yaml`: what they have, and what it costs.

mod consul;
mod crowd;
mod documented;
mod dying;
mod hostile;
mod listeners;
mod metadata;
mod outage;
mod pace;
mod picks;
mod priorities;
mod readiness;
mod registry;
mod rejected;
mod size;
mod tls;
mod traps;
mod zones;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stack::wait_until;

use crate::testbed::Testbed;

/// How long after Consul shows a change Envoy's clusters may be behind.
const A_SECOND: Duration = Duration::from_secs(1);

/// What Envoy has of a host: `[health, weight, priority, zone]`.
type Hosts = BTreeMap<String, Value>;

/// The hosts of a service's cluster, by address: the filter's, or the configuration's of the service's name.
fn hosts(bed: &Testbed, service: &str) -> Hosts {
    let clusters = bed.envoy.admin("/clusters?format=json").expect("clusters").json();
    let names = [format!("consul/{service}"), service.to_owned()];
    let all = clusters["cluster_statuses"].as_array().into_iter().flatten();
    let cluster = all.filter(|it| names.iter().any(|name| it["name"] == name.as_str()));
    let hosts = cluster.flat_map(|it| it["host_statuses"].as_array().cloned().unwrap_or_default());
    let host = |host: Value| {
        let address = &host["address"]["socket_address"];
        let ip = address["address"].as_str().expect("an address");
        let told = json!([
            host["health_status"]["eds_health_status"],
            host["weight"],
            host["priority"].as_u64().unwrap_or(0),
            host["locality"]["zone"].as_str().unwrap_or_default(),
        ]);
        (format!("{ip}:{}", address["port_value"]), told)
    };
    hosts.map(host).collect()
}

/// A host that is healthy, of weight 1, in the first datacenter, and in no zone.
fn plain(address: SocketAddr) -> (String, Value) {
    (address.to_string(), json!(["HEALTHY", 1, 0, ""]))
}

/// Waits until a service's cluster has exactly these hosts.
///
/// # Panics
/// When it does not within a second.
fn await_hosts(bed: &Testbed, service: &str, expected: impl IntoIterator<Item = (String, Value)>) {
    let mut expected: Hosts = expected.into_iter().collect();
    let since = Instant::now();
    let mut last = Hosts::new();
    let is_so = wait_until(A_SECOND, || {
        last = hosts(bed, service);
        last == expected
    });
    let took = since.elapsed();
    // There may be thousands that are as expected.
    let same: Vec<_> = last.iter().filter(|(at, it)| expected.get(*at) == Some(it)).collect();
    let same: Vec<String> = same.into_iter().map(|(address, _)| address.clone()).collect();
    for address in &same {
        last.remove(address);
        expected.remove(address);
    }
    let same = same.len();
    assert!(is_so, "{service} has {last:?} and {same} others after {took:?}, not {expected:?}");
}
