//! Each file of `envoy/`, on each release of Envoy that is tested: it starts, routes, and follows
//! Consul; where it retries elsewhere, a dead instance of four costs no GET.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use stack::fetch::EnvoyRelease;
use stack::{Backend, Consul, Pki, Registry, port, wait_until};

use crate::load::Load;
use crate::testbed::{SOON, Setup, instance, instances};

/// One that the files with routes of their own know.
const HOST: &str = "web.internal";

#[derive(Clone, Copy, PartialEq)]
enum Retries {
    Elsewhere,
    No,
}

#[derive(Clone, Copy, PartialEq)]
enum Readiness {
    Shown,
    No,
}

/// Runs one file on each release, with three instances of the service, then four.
fn follows_consul(
    consul: &Consul,
    service: &str,
    (retries, readiness): (Retries, Readiness),
    setup: impl Fn() -> Setup,
) {
    let three = ["1", "2", "3"].map(|number| format!("{service}-{number}"));
    let three = three.each_ref().map(String::as_str);
    let fourth = format!("{service}-4");
    let four: Vec<&str> = three.into_iter().chain([fourth.as_str()]).collect();
    let _kept = instances(consul, service, &three);
    for release in EnvoyRelease::ALL {
        eprintln!("Envoy {}", release.version());
        let bed = setup().release(release).start();
        bed.await_routed(HOST, &three);
        if readiness == Readiness::Shown {
            // By Envoy itself: no instance has answered.
            let answer = bed.get("/envoy/ready", HOST);
            assert_eq!((answer.status, answer.header("x-instance")), (200, None));
        }
        let added = instance(consul, service, &fourth, |service| service);
        bed.await_routed(HOST, &four);
        if retries == Retries::Elsewhere {
            let load = Load::start(bed.ingress, HOST, 4, Duration::from_millis(1));
            load.go_on(100);
            // Consul lists it all the time.
            drop(added);
            load.go_on(400);
            load.end_without_failure(&four);
        }
        consul.deregister(&fourth).expect("deregistered");
        bed.await_routed(HOST, &three);
        bed.assert_no_crash();
    }
}

// Promise
#[test]
fn envoy_yaml_follows_consul_on_every_release() {
    let Some(consul) = Consul::start_or_skip("envoy.yaml on every release") else { return };
    let setup = || Setup::recommended(consul.address());
    follows_consul(&consul, "web", (Retries::Elsewhere, Readiness::Shown), setup);
}

// Promise
#[test]
fn native_yaml_follows_consul_on_every_release() {
    let Some(consul) = Consul::start_or_skip("native.yaml on every release") else { return };
    let setup = || Setup::native(consul.address());
    follows_consul(&consul, "web", (Retries::Elsewhere, Readiness::Shown), setup);
}

// Promise: R-318
#[test]
fn headers_yaml_follows_consul_on_every_release() {
    let Some(consul) = Consul::start_or_skip("headers.yaml on every release") else { return };
    let setup = || Setup::headers(consul.address());
    follows_consul(&consul, "web", (Retries::Elsewhere, Readiness::No), setup);
}

// Promise: R-318
#[test]
fn tcp_yaml_follows_consul_on_every_release() {
    let Some(consul) = Consul::start_or_skip("tcp.yaml on every release") else { return };
    let setup = || Setup::tcp(consul.address());
    follows_consul(&consul, "db", (Retries::No, Readiness::No), setup);
}

// Promise: R-318
#[test]
fn minimal_yaml_follows_consul_on_every_release() {
    let Some(consul) = Consul::start_or_skip("minimal.yaml on every release") else { return };
    let setup = || Setup::minimal(consul.address());
    follows_consul(&consul, "web", (Retries::No, Readiness::No), setup);
}

// Promise: R-318
#[test]
fn dynamic_forward_proxy_yaml_follows_consul_on_every_release() {
    let Some(consul) = Consul::start_or_skip("dynamic-forward-proxy.yaml on every release") else {
        return;
    };
    let setup = || Setup::dynamic_forward_proxy(consul.address());
    follows_consul(&consul, "web", (Retries::No, Readiness::No), setup);
}

// Promise: R-318
#[test]
fn consul_tls_yaml_follows_consul_on_every_release() {
    let pki = Pki::for_datacenter("dc1").expect("certificates");
    let consul = Consul::builder().tls(pki.clone());
    let Some(consul) = consul.start_or_skip("consul-tls.yaml on every release") else { return };
    let dead = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()));
    let live = consul.https().expect("an address");
    let setup = || Setup::consul_tls([dead, live], &pki, &pki.client);
    follows_consul(&consul, "web", (Retries::No, Readiness::No), setup);
}

// Promise: R-318
#[test]
fn register_yaml_registers_and_routes_on_every_release() {
    let Some(consul) = Consul::start_or_skip("register.yaml on every release") else { return };
    let app = Backend::start("app").expect("a backend");
    for release in EnvoyRelease::ALL {
        eprintln!("Envoy {}", release.version());
        let node = format!("proxy-{}", release.version());
        let port = port::free();
        let setup = Setup::registering(consul.address(), app.address(), &node, port);
        let setup = setup.edit(|bootstrap| {
            let edge = &mut bootstrap.plugin().expect("a plugin")["register"][0];
            edge["checks"][0]["probe"]["interval"] = "500ms".into();
            edge["checks"][0]["probe"]["timeout"] = "500ms".into();
        });
        let bed = setup.release(release).start();
        bed.await_routed(HOST, &["app"]);
        let id = format!("edge-{node}-");
        let is_passing = || {
            let health = consul.health("edge", "passing").expect("health");
            health.ids().iter().any(|found| found.starts_with(&id))
        };
        assert!(wait_until(SOON, is_passing), "Consul does not show {id}…");
        app.set_healthy(false);
        assert!(wait_until(SOON, || !is_passing()), "Consul shows {id}…");
        app.set_healthy(true);
        assert!(wait_until(SOON, is_passing), "Consul does not show {id}… again");
        bed.assert_no_crash();
    }
}
