//! Services of a thousand endpoints and more, at which nobody is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fake_consul::Agent;
use serde_json::{Value, json};
use stack::{Registry, Service, Status, wait_until};

use super::{A_SECOND, Hosts, await_hosts, hosts};
use crate::testbed::{SOON, Setup, Testbed};

const THOUSAND: usize = 1_000;
/// So many are told to Envoy at a pace.
const MANY: usize = 5_000;
/// The pause between two answers of so many: a twentieth of a core reads them.
const PACE: Duration = Duration::from_millis(1_200);

/// An address that is no other's.
fn address(number: usize) -> SocketAddr {
    let [.., high, low] = (number + 256).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 8, high, low), 9))
}

fn id(number: usize) -> String {
    format!("web-{number}")
}

fn register(agent: &Agent, number: usize, tell: impl FnOnce(Service) -> Service) {
    let web = Service::new("web", id(number)).at(address(number));
    agent.register(&tell(web.with_status(Status::Passing))).expect("registered");
}

fn start(agent: &Agent) -> Testbed {
    Setup::recommended(agent.address())
        .set("services", json!([{"name": "web", "hosts": ["web.internal"]}]))
        .set("locality", json!({"zone": "eu-1a", "key": "zone"}))
        .of_clusters("health_checks", Value::Null)
        .start()
}

fn all(count: usize) -> Hosts {
    (0..count).map(|number| super::plain(address(number))).collect()
}

// Promise: R-203
#[test]
fn clusters_of_1000_are_exact_within_a_second_of_each_change() {
    let agent = Agent::start().expect("an agent");
    (0..THOUSAND).for_each(|number| register(&agent, number, |web| web));
    let bed = start(&agent);
    let mut expected = all(THOUSAND);
    let is_known = || hosts(&bed, "web").len() == THOUSAND;
    assert!(wait_until(SOON, is_known), "{}", hosts(&bed, "web").len());
    await_hosts(&bed, "web", expected.clone());

    agent.deregister(&id(500)).expect("deregistered");
    expected.remove(&address(500).to_string());
    await_hosts(&bed, "web", expected.clone());
    agent.set_check(&Service::check_id(&id(3)), Status::Critical).expect("reported");
    expected.remove(&address(3).to_string());
    await_hosts(&bed, "web", expected.clone());
    agent.maintenance(&id(4), true).expect("maintenance");
    expected.remove(&address(4).to_string());
    await_hosts(&bed, "web", expected.clone());
    register(&agent, THOUSAND, |web| web);
    expected.extend([super::plain(address(THOUSAND))]);
    await_hosts(&bed, "web", expected.clone());
    register(&agent, 7, |web| web.weights(9, 1).meta("zone", "eu-1b"));
    expected.insert(address(7).to_string(), json!(["HEALTHY", 9, 0, "eu-1b"]));
    await_hosts(&bed, "web", expected.clone());
    // Many at one time.
    agent.maintenance(&id(4), false).expect("maintenance");
    agent.set_check(&Service::check_id(&id(3)), Status::Passing).expect("reported");
    register(&agent, 500, |web| web);
    register(&agent, 7, |web| web);
    for number in 600..700 {
        agent.deregister(&id(number)).expect("deregistered");
        register(&agent, number + THOUSAND, |web| web);
        expected.remove(&address(number).to_string());
        expected.extend([super::plain(address(number + THOUSAND))]);
    }
    expected.extend([3, 4, 7, 500].map(|number| super::plain(address(number))));
    await_hosts(&bed, "web", expected);
    bed.assert_no_crash();
}

// Promise: R-203
#[test]
fn a_large_cluster_is_exact_within_its_pace() {
    let agent = Agent::start().expect("an agent");
    (0..MANY).for_each(|number| register(&agent, number, |web| web));
    let bed = start(&agent);
    let total = || bed.envoy.stat("cluster.consul/web.membership_total").expect("stats");
    let has = |count: usize| total() == u64::try_from(count).expect("a few");
    assert!(wait_until(SOON, || has(MANY)), "{} hosts", total());
    // The first of them may be told at once, and those that come then have to wait.
    for number in 0..10 {
        agent.deregister(&id(number)).expect("deregistered");
        std::thread::sleep(Duration::from_millis(20));
    }
    let since = Instant::now();
    let is_known = wait_until(PACE + A_SECOND, || has(MANY - 10));
    assert!(is_known, "{} hosts after {:?}", total(), since.elapsed());
    let expected: Hosts = (10..MANY).map(|number| super::plain(address(number))).collect();
    // Both at full length would be a long read.
    assert!(hosts(&bed, "web") == expected, "others than expected");
    bed.assert_no_crash();
}
