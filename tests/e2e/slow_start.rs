//! A new instance comes to its share by and by.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stack::{Consul, Registry, wait_until};

use crate::share::{assert_share, count, tolerance};
use crate::testbed::{SOON, Setup, instances};

const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(2);

fn service(name: &str, window: Duration) -> Value {
    let balancing = json!({"slow_start": format!("{}s", window.as_secs())});
    json!({"name": name, "hosts": [name], "load_balancing": balancing})
}

#[test]
fn new_instance_gets_its_share_when_its_slow_start_is_over() {
    let Some(consul) = Consul::start_or_skip("slow start") else {
        return;
    };
    let _slow = instances(&consul, "slow", &["slow-1", "slow-2"]);
    let _fast = instances(&consul, "fast", &["fast-1", "fast-2"]);
    let services = json!([service("slow", LONG), service("fast", SHORT)]);
    let bed = Setup::headers(consul.address()).set("services", services).start();
    bed.await_routed("slow", &["slow-1", "slow-2"]);
    bed.await_routed("fast", &["fast-1", "fast-2"]);

    let begin = Instant::now();
    let _new = (instances(&consul, "slow", &["slow-3"]), instances(&consul, "fast", &["fast-3"]));
    bed.await_routed("slow", &["slow-1", "slow-2", "slow-3"]);
    bed.await_routed("fast", &["fast-1", "fast-2", "fast-3"]);
    let installed = Instant::now();

    // A tenth of the weight at least, and at most what part of the window has passed.
    let seen = bed.seen("slow", 600);
    let passed = begin.elapsed().as_secs_f64() / LONG.as_secs_f64();
    let (least, most) = (0.1 / 2.1, passed.max(0.1) / (2.0 + passed.max(0.1)));
    let range = 600.0 * least - tolerance(600, least)..=600.0 * most + tolerance(600, most);
    assert!(range.contains(&(count(&seen, "slow-3") as f64)), "not within {range:?}: {seen:?}");
    assert!(*range.end() < 100.0, "the machine is too slow to see anything: {range:?}");

    // The weights are looked at four times a second.
    let over = SHORT + Duration::from_millis(500);
    assert!(wait_until(SOON, || installed.elapsed() >= over));
    let seen = bed.seen("fast", 600);
    assert_share(&seen, "fast-3", 100.0 / 3.0);
    assert_share(&seen, "fast-1", 100.0 / 3.0);
    bed.assert_no_crash();
}
