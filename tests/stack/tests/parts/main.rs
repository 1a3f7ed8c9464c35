//! The parts by themselves: that they start, misbehave, come back and end as they say.

mod backends;

use std::net::TcpStream;
use std::time::Duration;

use stack::client::{Request, Session, get, raw};
use stack::fetch::EnvoyRelease;
use stack::{Backend, BackendProcess, Consul, Envoy, Registry, Service, Status, wait_until};

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
fn consul_keeps_port_and_registrations_when_killed() {
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
