//! The agent by itself: that it misbehaves, stops and comes back as it is told.

mod registrations;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use fake_consul::{Agent, AgentProcess, Fault, Scope, Times};
use stack::client::{Request, get};
use stack::{Node, Registry, Service, Status, wait_until};

#[test]
fn the_agent_misbehaves_as_often_as_it_is_told() {
    let agent = Agent::start().expect("agent");
    agent.register(&Service::new("web", "web-1")).expect("registered");
    let ask = || get(agent.address(), "/v1/health/service/web");
    let next = |fault| agent.misbehave(Scope::Service("web".into()), fault, Times::Next(1));

    next(Fault::Status(500, "No cluster leader".into()));
    let answer = ask().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (500, "No cluster leader"));
    next(Fault::Empty);
    next(Fault::Index(3));
    let lie = ask().expect("an answer");
    assert_eq!((lie.text().as_str(), lie.header("x-consul-index")), ("[]", Some("3")));
    next(Fault::NoIndex);
    assert_eq!(ask().expect("an answer").header("x-consul-index"), None);
    next(Fault::Header("X-Consul-Results-Filtered-By-ACLs".into(), "true".into()));
    assert_eq!(ask().expect("an answer").header("x-consul-results-filtered-by-acls"), Some("true"));
    next(Fault::Body(vec![b'x'; 40 << 20]));
    assert_eq!(ask().expect("an answer").body.len(), 40 << 20);
    next(Fault::Delay(Duration::from_millis(200)));
    let begin = std::time::Instant::now();
    ask().expect("an answer");
    assert!(begin.elapsed() >= Duration::from_millis(200));

    agent.misbehave(Scope::All, Fault::Status(503, String::new()), Times::Always);
    for _ in 0..3 {
        assert_eq!(ask().expect("an answer").status, 503);
    }
    agent.behave();
    assert_eq!(ask().expect("an answer").status, 200);
}

#[test]
fn blocked_queries_are_counted_until_their_client_leaves() {
    let agent = Agent::start().expect("agent");
    agent.register(&Service::new("web", "web-1")).expect("registered");
    let path = format!("/v1/health/service/web?index={}&wait=60s", agent.index());
    let ask = |timeout| {
        let request =
            Request::new("GET", agent.address(), &path).header("x-test", "1").timeout(timeout);
        std::thread::spawn(move || request.send())
    };
    let patient = ask(Duration::from_secs(30));
    let impatient = ask(Duration::from_secs(3));
    assert!(wait_until(Duration::from_secs(5), || agent.outstanding("web") == 2));
    impatient.join().expect("thread").expect_err("it left");
    assert!(wait_until(Duration::from_secs(5), || agent.outstanding("web") == 1));
    agent.wake();
    assert_eq!(patient.join().expect("thread").expect("an answer").status, 200);
    assert!(wait_until(Duration::from_secs(5), || agent.outstanding("web") == 0));
    assert_eq!((agent.most_outstanding("web"), agent.request_count()), (2, 2));
    let requests = agent.requests();
    assert_eq!(requests[0].query_value("wait"), Some("60s"));
    assert_eq!(requests[0].header("x-test"), Some("1"));
}

#[test]
fn a_fault_that_answers_at_once_befalls_blocked_queries() {
    let agent = Agent::start().expect("agent");
    let path = format!("/v1/health/service/web?index={}&wait=60s", agent.index());
    let request = Request::new("GET", agent.address(), &path);
    let blocked = std::thread::spawn(move || request.send());
    assert!(wait_until(Duration::from_secs(5), || agent.outstanding("web") == 1));
    agent.misbehave(Scope::All, Fault::Status(500, "No cluster leader".into()), Times::Next(1));
    assert_eq!(blocked.join().expect("thread").expect("an answer").status, 500);
}

#[test]
fn the_agent_stops_and_comes_back_on_its_port() {
    let agent = Agent::start().expect("agent");
    agent.register(&Service::new("web", "web-1")).expect("registered");
    agent.stop();
    TcpStream::connect(agent.address()).expect_err("refused");
    agent.register(&Service::new("web", "web-2")).expect("registered while stopped");
    agent.restart(false).expect("back");
    agent.await_passing("web", &["web-1", "web-2"]).expect("both");
    agent.renumber(1_000);
    assert_eq!(agent.health("web", "").expect("health").index, 1_000);
    agent.restart(true).expect("fresh");
    let health = agent.health("web", "").expect("health");
    assert!(health.entries.is_empty() && health.index < 1_000);
}

#[test]
fn the_agent_closes_connections_beyond_its_limit() {
    let agent = Agent::start().expect("agent");
    agent.limit_connections(2);
    let held: Vec<TcpStream> =
        (0..2).map(|_| TcpStream::connect(agent.address()).expect("accepted")).collect();
    assert!(wait_until(Duration::from_secs(5), || agent.connections() == 2));
    get(agent.address(), "/v1/status/leader").expect_err("one too many");
    drop(held);
    assert!(wait_until(Duration::from_secs(5), || agent.connections() == 0));
    get(agent.address(), "/v1/status/leader").expect("an answer");
}

#[test]
fn change_is_not_missed_when_it_comes_with_a_query() {
    let agent = Agent::start().expect("an agent");
    let service = Service::new("web", "web-1").with_status(Status::Passing);
    agent.register(&service).expect("registered");
    let (begin, mut index) = (Instant::now(), agent.index());
    for round in 0..400_u64 {
        let path = format!("index={index}&wait=60s");
        std::thread::scope(|scope| {
            let query = scope.spawn(|| agent.health("web", &path));
            // The query arrives some hundred microseconds after it was sent.
            std::thread::sleep(Duration::from_micros(round * 5));
            agent.maintenance("web-1", round % 2 == 0).expect("set");
            index = query.join().expect("no panic").expect("health").index;
        });
    }
    assert!(begin.elapsed() < Duration::from_secs(55), "a query waited");
}

#[test]
fn newer_consuls_locality_is_in_the_agents_answers() {
    let agent = Agent::start().expect("agent");
    let own = Service::new("web", "own").locality("eu", "eu-1a");
    let other = Service::new("web", "other").on(Node::new("node-b").locality("eu", "eu-1b"));
    agent.register(&own).expect("registered");
    agent.register(&other).expect("registered");
    let health = agent.health("web", "").expect("health");
    let zone = |id: &str, of: &str| health.entry(id).expect(id)[of]["Locality"]["Zone"].clone();
    assert_eq!(zone("own", "Service"), "eu-1a");
    assert_eq!(zone("other", "Node"), "eu-1b");
    assert!(zone("own", "Node").is_null() && zone("other", "Service").is_null());
}

#[test]
fn the_agent_refuses_filters_and_caches() {
    let agent = Agent::start().expect("agent");
    for path in ["health/service/web", "agent/services", "agent/checks"] {
        let answer = get(agent.address(), &format!("/v1/{path}?filter=x")).expect("an answer");
        assert_eq!(answer.status, 501, "{path}: {}", answer.text());
    }
    assert_eq!(get(agent.address(), "/v1/health/service/web?cached").expect("answer").status, 501);
}

#[test]
fn the_agent_runs_as_a_process_of_its_own() {
    let agent = AgentProcess::start(3).expect("a process");
    agent.register(&Service::new("web", "web-1").with_status(Status::Passing)).expect("registered");
    agent.await_passing("web", &["web-1"]).expect("passing");
    // Another one, so that no connection of the above is counted.
    let agent = AgentProcess::start(1).expect("a process");
    let _held = TcpStream::connect(agent.address()).expect("accepted");
    get(agent.address(), "/v1/status/leader").expect_err("one too many");
}
