//! gRPC calls, which say how they ended in `grpc-status` and not in the HTTP status.

use std::collections::BTreeSet;

use serde_json::json;
use stack::client::GrpcAnswer;
use stack::{
    Code, Conduct, Consul, GrpcBackend, GrpcClient, Registry, Service, Status, wait_until,
};

use crate::testbed::{SOON, Setup, Testbed, yaml};

const NAMES: [&str; 3] = ["grpc-1", "grpc-2", "grpc-3"];

fn backends(consul: &Consul) -> Vec<GrpcBackend> {
    let start = |name: &str| {
        let backend = GrpcBackend::start(name).expect("a backend");
        let instance = Service::new("rpc", name).at(backend.address());
        consul.register(&instance.with_status(Status::Passing)).expect("registered");
        backend
    };
    let backends = NAMES.map(start);
    consul.await_passing("rpc", &NAMES).expect("passing");
    backends.into()
}

/// `headers.yaml`, changed for gRPC as docs/limits.md says. One worker, so that each call is seen by
/// the one that learns.
fn start(consul: &Consul) -> Testbed {
    let service = json!({
        "name": "rpc", "protocol": "grpc",
        "load_balancing": {"policy": "peak_ewma", "decay": "1s"},
    });
    Setup::headers(consul.address())
        .set("services", json!([service]))
        .workers(1)
        .edit(|bootstrap| {
            let cluster = bootstrap.cluster("consul_resolver").expect("a cluster");
            let options = &mut cluster["typed_extension_protocol_options"]
                ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
            assert!(options["explicit_http_config"].is_mapping(), "{options:?}");
            options["explicit_http_config"] = yaml(json!({"http2_protocol_options": {}}));
        })
        .start()
}

fn client(bed: &Testbed) -> GrpcClient {
    GrpcClient::connect(bed.ingress, "rpc.test").expect("a connection")
}

/// The instances that answer some calls well.
fn serving(client: &GrpcClient) -> BTreeSet<String> {
    let calls = (0..30).map(|_| client.check()).filter(|answer| answer.code == Code::Ok);
    calls.filter_map(|answer| answer.instance).collect()
}

fn await_serving(client: &GrpcClient, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    let mut last = BTreeSet::new();
    let served = wait_until(SOON, || {
        last = serving(client);
        last == expected
    });
    assert!(served, "{last:?} serve, expected {expected:?}");
}

/// That an instance which answers so is avoided, and has calls again when it serves again.
fn is_avoided(conduct: Conduct, call: impl Fn(&GrpcClient) -> GrpcAnswer) {
    let Some(consul) = Consul::start_or_skip(&format!("gRPC: {conduct:?}")) else {
        return;
    };
    let backends = backends(&consul);
    let bed = start(&consul);
    let client = client(&bed);
    await_serving(&client, &NAMES);

    backends[1].set_conduct(conduct);
    let mut failed = BTreeSet::new();
    let mut call_all = |calls: usize| {
        for answer in (0..calls).map(|_| call(&client)).filter(|answer| answer.code != Code::Ok) {
            failed.insert(answer.instance);
        }
        !failed.is_empty()
    };
    // One whose first answer was slow gets no call until that is forgotten.
    assert!(wait_until(2 * SOON, || call_all(10)), "no call has failed");
    call_all(300);
    assert_eq!(failed, BTreeSet::from([Some("grpc-2".to_owned())]));
    let asked = backends[1].calls();
    (0..60).for_each(|_| drop(call(&client)));
    let more = backends[1].calls() - asked;
    assert!(more <= 10, "{more} of 60 calls went to an instance that fails");

    backends[1].set_conduct(Conduct::Serve);
    await_serving(&client, &NAMES);
    bed.assert_no_crash();
}

#[test]
fn an_instance_that_refuses_calls_in_its_headers_is_avoided() {
    is_avoided(Conduct::Refuse(Code::Unavailable), |client| {
        let answer = client.watch();
        assert!(answer.code == Code::Ok || answer.is_trailers_only, "{answer:?}");
        answer
    });
}

#[test]
fn an_instance_that_fails_calls_in_its_trailers_is_avoided() {
    is_avoided(Conduct::BreakOff(Code::Internal), |client| {
        let answer = client.watch();
        assert!(!answer.is_trailers_only && answer.messages == 1, "{answer:?}");
        answer
    });
}
