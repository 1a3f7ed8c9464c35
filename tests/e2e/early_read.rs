//! An instance that cannot be reached makes the filter ask Consul early.

use std::time::{Duration, Instant};

use fake_consul::{Agent, Fault, Record, Scope, Times};
use serde_json::json;
use stack::{Registry, wait_until};

use crate::testbed::{SOON, Setup, Testbed, instances};

/// One extra query at once, and another after this time at the earliest.
const REST: Duration = Duration::from_secs(5);

fn start(agent: &Agent) -> Testbed {
    let web = json!({"name": "web", "load_balancing": {"policy": "peak_ewma"}});
    let bed = Setup::headers(agent.address()).set("services", json!([web])).start();
    bed.await_routed("any", &["web-1", "web-2", "web-3"]);
    let blocks = wait_until(SOON, || agent.outstanding("web") == 1);
    assert!(blocks, "no query blocks: {:?}", agent.requests());
    agent.forget_requests();
    bed
}

/// The queries that did not block.
fn plain(agent: &Agent) -> Vec<Record> {
    let requests = agent.requests().into_iter();
    requests.filter(|request| request.query_value("index").is_none()).collect()
}

// Promise: R-209
#[test]
fn a_change_whose_answer_hangs_is_learned_by_asking_again() {
    let agent = Agent::start().expect("an agent");
    let backends = instances(&agent, "web", &["web-1", "web-2", "web-3"]);
    let bed = start(&agent);
    // The answer to the query that blocks, which tells of the change, is on its way for long.
    let hang = Fault::Delay(Duration::from_secs(60));
    agent.misbehave(Scope::Service("web".into()), hang, Times::Next(1));
    agent.deregister("web-3").expect("deregistered");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bed.stat("service.web.endpoints"), 3, "the answer has come");

    backends[2].stop();
    let begin = Instant::now();
    bed.await_routed("any", &["web-1", "web-2"]);
    let learned = wait_until(SOON, || {
        bed.seen("any", 5);
        bed.stat("service.web.endpoints") == 2
    });
    assert!(learned, "Consul was not asked: {:?}", agent.requests());
    assert!(begin.elapsed() < REST, "it took {:?}", begin.elapsed());
    assert_eq!(plain(&agent).len(), 1, "{:?}", agent.requests());
    bed.assert_no_crash();
}

// Promise: R-209
#[test]
fn consul_is_asked_at_its_pace_when_many_requests_fail() {
    let agent = Agent::start().expect("an agent");
    let backends = instances(&agent, "web", &["web-1", "web-2", "web-3"]);
    let bed = start(&agent);
    let begin = Instant::now();
    // The agent knows nothing of it, and says so as often as it is asked. With only one that is well
    // requests go on failing at the others.
    for backend in &backends[1..] {
        backend.stop();
    }
    let mut most = 0;
    let asked_twice = wait_until(3 * REST, || {
        bed.seen("any", 10);
        let asked = plain(&agent).len();
        let within = 1 + begin.elapsed().as_millis() / REST.as_millis();
        assert!(asked as u128 <= within, "asked {asked} times in {:?}", begin.elapsed());
        most = most.max(asked);
        most == 2
    });
    assert!(asked_twice, "asked {most} times: {:?}", agent.requests());
    assert_eq!(agent.outstanding("web"), 1, "the query that blocks still does");
    assert_eq!(agent.most_outstanding("web"), 1);
    assert_eq!(bed.stat("service.web.endpoints"), 3);
    bed.assert_no_crash();
}
