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

/// `envoy.yaml`, changed for gRPC as the README says. One worker, so that each call is seen by
/// the one that judges.
fn start(consul: &Consul, protocol: &str) -> Testbed {
    let outlier_detection = json!({
        "consecutive_5xx": 3, "base_ejection_time": "1s", "max_ejection_percent": 50,
    });
    let service = json!({
        "name": "rpc", "protocol": protocol, "outlier_detection": outlier_detection,
    });
    Setup::recommended(consul.address())
        .set("services", json!([service]))
        .workers(1)
        .edit(|bootstrap| {
            for name in ["endpoint_0", "endpoint_1"] {
                let cluster = bootstrap.cluster(name).expect("a cluster");
                let options = &mut cluster["typed_extension_protocol_options"]
                    ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
                assert!(options["explicit_http_config"].is_mapping(), "{options:?}");
                options["explicit_http_config"] = yaml(json!({"http2_protocol_options": {}}));
            }
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

fn await_stat(bed: &Testbed, name: &str, value: u64, mut call: impl FnMut()) {
    let reached = wait_until(SOON, || {
        call();
        bed.stat(name) >= value
    });
    assert!(reached, "{name} is {}", bed.stat(name));
}

/// That an instance which answers so is ejected, and returns when it serves again.
fn is_ejected_and_returns(conduct: Conduct, call: impl Fn(&GrpcClient) -> GrpcAnswer) {
    let Some(consul) = Consul::start_or_skip(&format!("gRPC: {conduct:?}")) else {
        return;
    };
    let backends = backends(&consul);
    let bed = start(&consul, "grpc");
    let client = client(&bed);
    await_serving(&client, &NAMES);

    backends[1].set_conduct(conduct);
    let mut failed = BTreeSet::new();
    await_stat(&bed, "service.rpc.ejections", 1, || {
        for _ in 0..6 {
            let answer = call(&client);
            if answer.code != Code::Ok {
                failed.insert(answer.instance);
            }
        }
    });
    assert_eq!(failed, BTreeSet::from([Some("grpc-2".to_owned())]));
    let asked = backends[1].calls();
    (0..60).for_each(|_| drop(call(&client)));
    let probes = backends[1].calls() - asked;
    assert!(probes <= 2, "{probes} of 60 calls went to an ejected instance");

    backends[1].set_conduct(Conduct::Serve);
    await_stat(&bed, "service.rpc.returns", 1, || drop(call(&client)));
    await_serving(&client, &NAMES);
    bed.assert_no_crash();
}

#[test]
fn an_instance_that_refuses_calls_in_its_headers_is_ejected() {
    is_ejected_and_returns(Conduct::Refuse(Code::Unavailable), |client| {
        let answer = client.watch();
        assert!(answer.code == Code::Ok || answer.is_trailers_only, "{answer:?}");
        answer
    });
}

#[test]
fn an_instance_that_fails_calls_in_its_trailers_is_ejected() {
    is_ejected_and_returns(Conduct::BreakOff(Code::Internal), |client| {
        let answer = client.watch();
        assert!(!answer.is_trailers_only && answer.messages == 1, "{answer:?}");
        answer
    });
}

#[test]
fn a_status_that_is_about_the_request_and_one_that_is_not_looked_at_eject_nobody() {
    let Some(consul) = Consul::start_or_skip("gRPC: statuses of the caller") else {
        return;
    };
    let backends = backends(&consul);
    for (protocol, code) in [("grpc", Code::NotFound), ("http", Code::Unavailable)] {
        let bed = start(&consul, protocol);
        let client = client(&bed);
        await_serving(&client, &NAMES);
        backends[2].set_conduct(Conduct::Refuse(code));
        let refused = (0..60).filter(|_| client.check().code == code).count();
        assert!(refused >= 15, "{refused} of 60 calls were refused");
        assert_eq!(bed.stat("service.rpc.ejections"), 0, "{protocol}");
        backends[2].set_conduct(Conduct::Serve);
        bed.assert_no_crash();
    }
}
