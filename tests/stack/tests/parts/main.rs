//! The parts by themselves: that they start, misbehave, come back and end as they say.

mod backends;
mod registrations;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use stack::agent::{Fault, Scope, Times};
use stack::client::{Request, Session, get, raw};
use stack::fetch::EnvoyRelease;
use stack::{
    Agent, Backend, BackendProcess, Consul, Envoy, Node, Registry, Service, Status, wait_until,
};

/// An Envoy that answers by itself and forwards `/web` to one address.
fn envoy_yaml(upstream: std::net::SocketAddr) -> String {
    format!(
        "
static_resources:
  listeners:
  - name: ingress
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{prefix: /}}
                route: {{cluster: web}}
          http_filters:
          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: web
    load_assignment:
      cluster_name: web
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]
",
        upstream.ip(),
        upstream.port()
    )
}

#[test]
fn envoys_run_side_by_side_and_tell_about_themselves() {
    let backend = Backend::start("web-1").expect("backend");
    let yaml = envoy_yaml(backend.address());
    let one = Envoy::builder(&yaml).concurrency(2).start().expect("envoy");
    let two = Envoy::start(&yaml).expect("another envoy");
    for envoy in [&one, &two] {
        let ingress = envoy.listener("ingress").expect("listener");
        let answer = get(ingress, "/some/path?q=1").expect("an answer");
        assert_eq!(answer.header("x-instance"), Some("web-1"));
        assert_eq!(answer.json()["path"], "/some/path?q=1");
        assert!(wait_until(Duration::from_secs(5), || {
            envoy.stat("cluster.web.upstream_rq_200").expect("stats") == 1
        }));
        assert!(envoy.listener("other").expect_err("no such").to_string().contains("ingress"));
    }
    assert!(one.cpu_time().expect("cpu") > Duration::from_millis(1));
    let threads = one.thread_cpu_times().expect("threads");
    assert!(threads.keys().any(|name| name.contains("wrk:worker_1")), "{threads:?}");
    assert!(one.memory().expect("memory") > 10_000_000);
    let pid = two.process().pid();
    drop(two);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_configuration_envoy_refuses_is_an_error_with_its_words() {
    let error = Envoy::start("static_resources: {clusters: [{nam: web}]}").expect_err("refused");
    assert!(error.to_string().contains("nam"), "{error}");
    let error = Envoy::builder("bogus: 1").validate().expect_err("refused");
    assert!(error.to_string().contains("bogus"), "{error}");
    Envoy::builder("static_resources: {}").validate().expect("valid");
}

#[test]
fn every_envoy_release_runs_and_tells_its_version() {
    for release in EnvoyRelease::ALL {
        let envoy = Envoy::builder("{}").release(release).start().expect("envoy");
        let told = envoy.admin("/server_info").expect("server info").json();
        let told = told["version"].as_str().expect("a version");
        assert!(told.contains(&format!("/{}/", release.version())), "{told}");
    }
}

#[test]
fn consul_keeps_its_port_over_a_kill_and_its_registrations_unless_fresh() {
    let Some(consul) = Consul::start_or_skip("consul restarts") else {
        return;
    };
    let address = consul.address();
    for number in 0..5 {
        let service = Service::new("web", format!("web-{number}")).with_status(Status::Passing);
        consul.register(&service).expect("registered");
    }
    let all = ["web-0", "web-1", "web-2", "web-3", "web-4"];
    consul.await_passing("web", &all).expect("all passing");
    for _ in 0..5 {
        consul.set_check("service:web-0", Status::Critical).expect("set");
        consul.await_passing("web", &all[1..]).expect("one less");
        consul.set_check("service:web-0", Status::Passing).expect("set");
        consul.await_passing("web", &all).expect("all again");
    }
    let before = consul.health("web", "").expect("health").index;

    consul.stop();
    let frozen = Request::new("GET", address, "/v1/status/leader")
        .timeout(Duration::from_millis(300))
        .send();
    assert!(frozen.is_err(), "a stopped process answers nothing");
    consul.cont();
    consul.await_passing("web", &all).expect("goes on");

    consul.kill();
    assert!(TcpStream::connect(address).is_err(), "refused");
    consul.restart(false).expect("back");
    assert_eq!(consul.address(), address);
    consul.await_passing("web", &all).expect("its registrations are back");
    assert!(consul.health("web", "").expect("health").index < before, "the index began anew");

    consul.restart(true).expect("fresh");
    assert!(consul.health("web", "").expect("health").entries.is_empty());
}

#[test]
fn a_durable_consul_keeps_its_indexes() {
    if Consul::start_or_skip("durable consul").is_none() {
        return;
    }
    let consul = Consul::start_durable().expect("consul");
    consul.register(&Service::new("web", "web-1")).expect("registered");
    consul.await_passing("web", &["web-1"]).expect("passing");
    let before = consul.health("web", "").expect("health").index;
    consul.restart(false).expect("back");
    consul.await_passing("web", &["web-1"]).expect("still there");
    assert!(consul.health("web", "").expect("health").index >= before);
}

#[test]
fn a_backend_answers_as_it_is_told() {
    let backend = Backend::start("web-1").expect("backend");
    let address = backend.address();
    let status = |path: &str| get(address, path).expect("an answer").status;
    assert_eq!(status("/health"), 200);
    backend.set_healthy(false);
    assert_eq!(status("/health"), 500);
    assert_eq!(status("/status?code=418"), 418);
    let headers =
        Request::new("GET", address, "/headers").header("x-test", "1").send().expect("an answer");
    assert_eq!(headers.json()["headers"]["x-test"], "1");
    let begin = std::time::Instant::now();
    assert_eq!(status("/slow?ms=200"), 200);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!((backend.requests(), backend.health_checks(), backend.in_flight()), (3, 2, 0));
    backend.stop();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_session_keeps_its_connection_and_raw_bytes_go_as_they_are() {
    let backend = Backend::start("web-1").expect("backend");
    let session = Session::default();
    for _ in 0..20 {
        let request = Request::new("GET", backend.address(), "/");
        assert_eq!(session.send(&request).expect("an answer").status, 200);
    }
    assert_eq!((backend.connections(), backend.requests()), (1, 20));
    let bytes = b"GET /headers HTTP/1.0\r\nx-odd: \xff\r\n\r\n";
    let answer = raw(backend.address(), bytes, Duration::from_secs(5)).expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("x-odd"), "{answer}");
}

#[test]
fn a_backend_listens_on_ipv6() {
    let backend = Backend::start_v6("web-6").expect("backend");
    assert!(backend.address().is_ipv6());
    assert_eq!(get(backend.address(), "/").expect("an answer").json()["instance"], "web-6");
}

#[test]
fn a_backend_process_can_be_killed() {
    let backend = BackendProcess::start("web-1").expect("backend");
    assert_eq!(get(backend.address(), "/").expect("an answer").header("x-instance"), Some("web-1"));
    backend.kill();
    assert!(TcpStream::connect(backend.address()).is_err());
}

#[test]
fn the_agent_misbehaves_as_often_as_it_is_told() {
    let agent = Agent::start().expect("agent");
    agent.register(&Service::new("web", "web-1")).expect("registered");
    let ask = || get(agent.address(), "/v1/health/service/web");
    let next = |fault| agent.misbehave(Scope::Service("web".into()), fault, Times::Next(1));

    next(Fault::Status(500, "No cluster leader".into()));
    let answer = ask().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (500, "No cluster leader"));
    for cut in
        [Fault::ResetBeforeHeaders, Fault::ResetAfterHeaders, Fault::ResetMidBody, Fault::Truncate]
    {
        next(cut.clone());
        ask().expect_err(&format!("{cut:?}"));
    }
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
    next(Fault::Drip(Duration::from_micros(10)));
    let begin = std::time::Instant::now();
    assert_eq!(ask().expect("an answer").json()[0]["Service"]["ID"], "web-1");
    assert!(begin.elapsed() > Duration::from_millis(50), "it came in one piece");
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
fn the_agent_counts_blocked_queries_and_forgets_those_whose_client_left() {
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
fn the_agent_stops_freezes_and_comes_back_on_its_port() {
    let agent = Agent::start().expect("agent");
    agent.register(&Service::new("web", "web-1")).expect("registered");
    let soon = |path: &str| {
        Request::new("GET", agent.address(), path).timeout(Duration::from_secs(1)).send()
    };
    agent.freeze();
    TcpStream::connect(agent.address()).expect("accepted");
    soon("/v1/status/leader").expect_err("frozen");
    agent.thaw();
    assert_eq!(soon("/v1/status/leader").expect("an answer").status, 200);

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
fn the_agent_misses_no_change_that_comes_at_the_same_moment_as_a_query() {
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
