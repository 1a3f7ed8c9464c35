//! Who sends clients here asks Envoy whether there is somebody to serve them.

use fake_consul::Agent;
use stack::{Registry, wait_until};

use crate::testbed::{SOON, Setup, instances};

// Promise: R-316
#[test]
fn readiness_is_shown_while_the_cluster_has_healthy_hosts() {
    for setup in [Setup::recommended, Setup::native] {
        let agent = Agent::start().expect("an agent");
        let bed = setup(agent.address()).start();
        let status = || bed.get("/envoy/ready", "any").status;
        assert_eq!(status(), 503, "nobody is there");
        let _web = instances(&agent, "web", &["web-1"]);
        for (is_away, expected) in [(false, 200), (true, 503), (false, 200)] {
            agent.maintenance("web-1", is_away).expect("maintenance");
            let is_so = wait_until(SOON, || status() == expected);
            assert!(is_so, "{} where it is away: {is_away}", status());
        }
        bed.assert_no_crash();
    }
}
