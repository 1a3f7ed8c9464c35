//! Backends that fail, and those that speak more than plain HTTP.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use stack::client::get;
use stack::{
    Backend, Conduct, Envoy, GrpcBackend, GrpcClient, Trouble, WebSocketBackend, WebSocketClient,
};
use tonic::Code;

use crate::envoy_yaml;

#[test]
fn a_backend_fails_a_share_of_its_requests_and_is_slow_as_told() {
    let backend = Backend::start("web-1").expect("backend");
    let statuses = |requests: usize| -> Vec<u16> {
        (0..requests).map(|_| get(backend.address(), "/").expect("an answer").status).collect()
    };
    backend.set_trouble(Trouble::every(NonZeroU64::new(2).expect("not zero"), 503));
    assert_eq!(statuses(4), [200, 503, 200, 503]);
    assert_eq!(get(backend.address(), "/health").expect("an answer").status, 200);
    backend.set_trouble(Trouble::none());
    assert_eq!(statuses(2), [200, 200]);
    backend.set_delay(Duration::from_millis(100));
    let begin = Instant::now();
    assert_eq!(statuses(1), [200]);
    assert!(begin.elapsed() >= Duration::from_millis(100));
}

#[test]
fn grpc_backend_responds_refuses_and_aborts_through_envoy() {
    let backend = GrpcBackend::start("grpc-1").expect("backend");
    let yaml = envoy_yaml(backend.address()).replace(
        "  - name: web\n    load",
        "  - name: web
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load",
    );
    let envoy = Envoy::start(yaml).expect("envoy");
    for address in [backend.address(), envoy.listener("ingress").expect("listener")] {
        let client = GrpcClient::connect(address, "grpc.test").expect("connected");
        backend.set_conduct(Conduct::Serve);
        for answer in [client.check(), client.watch()] {
            assert_eq!((answer.code, answer.messages), (Code::Ok, 1), "{answer:?}");
            assert_eq!(answer.instance.as_deref(), Some("grpc-1"));
            assert!(!answer.is_trailers_only);
        }
        backend.set_conduct(Conduct::Refuse(Code::Unavailable));
        for answer in [client.check(), client.watch()] {
            assert_eq!((answer.code, answer.messages), (Code::Unavailable, 0), "{answer:?}");
            assert_eq!(answer.instance.as_deref(), Some("grpc-1"));
            assert!(answer.is_trailers_only);
        }
        backend.set_conduct(Conduct::BreakOff(Code::Internal));
        let answer = client.watch();
        assert_eq!((answer.code, answer.messages), (Code::Internal, 1), "{answer:?}");
        assert_eq!(answer.text, "told to break off");
        assert!(!answer.is_trailers_only, "the status came after the message");
    }
    assert_eq!(backend.calls(), 10);
    backend.stop();
    GrpcClient::connect(backend.address(), "grpc.test").expect_err("refused");
}

#[test]
fn web_socket_backend_echoes_through_envoy() {
    let backend = WebSocketBackend::start("ws-1").expect("backend");
    let yaml = envoy_yaml(backend.address()).replace(
        "stat_prefix: ingress",
        "stat_prefix: ingress\n          upgrade_configs: [{upgrade_type: websocket}]",
    );
    let envoy = Envoy::start(yaml).expect("envoy");
    for address in [backend.address(), envoy.listener("ingress").expect("listener")] {
        let mut socket = WebSocketClient::connect(address, "ws.test", "/").expect("connected");
        assert_eq!(socket.instance(), Some("ws-1"));
        for text in ["one", "two"] {
            assert_eq!(socket.exchange(text).expect("an echo"), text);
        }
    }
    assert_eq!(backend.handshakes(), 2);
    let mut socket =
        WebSocketClient::connect(backend.address(), "ws.test", "/").expect("connected");
    backend.stop();
    socket.exchange("three").expect_err("cut off");
}
