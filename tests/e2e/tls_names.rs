//! Instances with names over TLS: each has to be who Consul says, whatever the client says.

use serde_json::{Value, json};
use stack::pki::{self, Identity};
use stack::{Consul, Envoy, Registry, Service, Status};

use crate::testbed::{Setup, who, yaml};

/// A listener on a free port that answers with its name over TLS, by this certificate.
fn listener(name: &str, identity: &Identity) -> Value {
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{
            "certificate_chain": {"inline_string": identity.certificate},
            "private_key": {"inline_string": identity.key},
        }]},
    });
    let answer = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [
            {"header": {"key": "x-instance", "value": name}},
            {"header": {"key": "x-server-name", "value": "%REQUESTED_SERVER_NAME%"}},
        ],
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    });
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        }}],
        "filter_chains": [{
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        }],
    })
}

/// An instance of `web`: the name of the host at which it is registered, and the name that its
/// certificate is of. All names are the loopback's (RFC 6761).
pub struct Instance {
    pub id: &'static str,
    pub host: &'static str,
    pub certified: &'static str,
}

/// Starts them in an Envoy of their own, and gives the certificate of their authority.
pub fn start(consul: &dyn Registry, instances: &[Instance]) -> (Envoy, String) {
    let names: Vec<&str> = instances.iter().map(|instance| instance.certified).collect();
    let (ca, identities) = pki::certified(&names).expect("certificates");
    let listeners: Vec<Value> = instances
        .iter()
        .zip(&identities)
        .map(|(instance, identity)| listener(instance.id, identity))
        .collect();
    let admin = json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}});
    let config = json!({"admin": admin, "static_resources": {"listeners": listeners}});
    let envoy = Envoy::start(config.to_string()).expect("the instances");
    for Instance { id, host, .. } in instances {
        let port = envoy.listener(id).expect(id).port();
        let service = Service::new("web", *id).address(*host).port(port.into());
        consul.register(&service.with_status(Status::Passing)).expect("registered");
    }
    let ids: Vec<&str> = instances.iter().map(|instance| instance.id).collect();
    consul.await_passing("web", &ids).expect("passing");
    (envoy, ca)
}

/// Speaks TLS with the instances, and trusts this authority.
fn over_tls(consul: &Consul, ca: &str) -> Setup {
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": ca}}},
        "sni": FIXED,
    });
    Setup::dynamic_forward_proxy(consul.address()).edit(|bootstrap| {
        bootstrap.cluster("consul_resolver").expect("a cluster")["transport_socket"] =
            yaml(json!({"name": "envoy.transport_sockets.tls", "typed_config": tls}));
    })
}

/// What the cluster asks for where nobody says otherwise.
const FIXED: &str = "fixed.test";

/// What clients say.
const HOSTS: [&str; 4] = ["web.test", "one.localhost", "two.localhost", "10.0.0.1:443"];

// Promise: R-907
#[test]
fn instance_is_reached_by_its_name_whatever_the_host() {
    let Some(consul) = Consul::start_or_skip("TLS by name") else {
        return;
    };
    let one = Instance { id: "web-1", host: "one.localhost", certified: "one.localhost" };
    // A certificate of all names of a domain is of each.
    let two = Instance { id: "web-2", host: "two.all.localhost", certified: "*.all.localhost" };
    let (_instances, ca) = start(&consul, &[one, two]);
    let bed = over_tls(&consul, &ca).start();
    for host in HOSTS {
        bed.await_routed(host, &["web-1", "web-2"]);
        let answer = bed.get("/", host);
        let asked_for = answer.header("x-server-name").expect("a name").to_owned();
        let name = if who(&answer) == "web-1" { "one.localhost" } else { "two.all.localhost" };
        assert_eq!(asked_for, name);
    }
    bed.assert_no_crash();
}

// Promise: R-907
#[test]
fn instance_is_refused_when_its_certificate_is_anothers() {
    let Some(consul) = Consul::start_or_skip("TLS by another name") else {
        return;
    };
    let one = Instance { id: "web-1", host: "one.localhost", certified: "two.localhost" };
    let (_instances, ca) = start(&consul, &[one]);
    let bed = over_tls(&consul, &ca).start();
    for host in HOSTS {
        for _ in 0..4 {
            let answer = bed.get("/", host);
            assert_eq!(answer.status, 503, "{host}: {}", who(&answer));
        }
    }
    let refused = bed.envoy.stat("cluster.consul_resolver.ssl.fail_verify_san").expect("stats");
    assert!(refused > 0);
    bed.assert_no_crash();
}

#[test]
fn address_is_held_to_the_clusters_name_whatever_the_host() {
    let Some(consul) = Consul::start_or_skip("TLS by the cluster's name") else {
        return;
    };
    let own = Instance { id: "web-1", host: "127.0.0.1", certified: FIXED };
    let other = Instance { id: "web-2", host: "127.0.0.1", certified: "two.localhost" };
    let (_instances, ca) = start(&consul, &[own, other]);
    // As docs/load-balancing.md says.
    let bed = over_tls(&consul, &ca)
        .edit(|bootstrap| {
            let cluster = bootstrap.cluster("consul_resolver").expect("a cluster");
            cluster["cluster_type"]["typed_config"]["allow_insecure_cluster_options"] = true.into();
            let options = cluster["typed_extension_protocol_options"].as_mapping_mut();
            for options in options.expect("options").values_mut() {
                let options = options.as_mapping_mut().expect("options");
                options.remove("upstream_http_protocol_options").expect("auto_sni");
            }
            let tls = &mut cluster["transport_socket"]["typed_config"]["common_tls_context"];
            tls["validation_context"]["match_typed_subject_alt_names"] =
                yaml(json!([{"san_type": "DNS", "matcher": {"exact": FIXED}}]));
        })
        .start();
    for host in HOSTS {
        let answers: Vec<_> = (0..8).map(|_| bed.get("/", host)).collect();
        assert!(answers.iter().any(|answer| who(answer) == "web-1"), "{host}");
        for answer in answers {
            match answer.status {
                200 => assert_eq!(answer.header("x-server-name"), Some(FIXED)),
                status => assert_eq!(status, 503),
            }
            assert_ne!(who(&answer), "web-2");
        }
    }
    bed.assert_no_crash();
}
