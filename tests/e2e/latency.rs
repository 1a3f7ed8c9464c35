//! `peak_ewma`: an instance that is slow is avoided.

use std::time::Duration;

use serde_json::json;
use stack::{Consul, Registry, wait_until};

use crate::load::Load;
use crate::share::{Seen, count};
use crate::testbed::{Setup, Testbed, instances};

const NAMES: [&str; 3] = ["web-1", "web-2", "web-3"];

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
    let balancing = json!({"policy": "peak_ewma", "decay": "1s"});
    let service = json!([{"name": "web", "load_balancing": balancing}]);
    let bed = Setup::recommended(consul.address()).set("services", service).workers(1).start();
    bed.await_routed("any", &NAMES);

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
