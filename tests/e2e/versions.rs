//! Requests go to the version that they name, or to one by the weights of a split.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stack::{Backend, Consul, Registry, Service, Status, wait_until};

use crate::share::{Seen, assert_share, count};
use crate::testbed::{SOON, Setup, Testbed, who};

/// Two instances of 1.x and two of 2.x, with their versions in the metadata and in a tag.
const INSTANCES: [(&str, &str); 4] =
    [("v1-a", "1.4.0"), ("v1-b", "1.5.2"), ("v2-a", "2.0.0"), ("v2-b", "2.1.0")];

const NAMES: [&str; 4] = ["v1-a", "v1-b", "v2-a", "v2-b"];

/// Starts the instances, and a service of its own for each way to choose among their versions.
fn start(consul: &Consul, versions: &[Value]) -> (Vec<Backend>, Testbed) {
    let backends = INSTANCES.map(|(name, _)| Backend::start(name).expect("a backend"));
    let mut services = Vec::new();
    for (at, versions) in versions.iter().enumerate() {
        let service = format!("web-{at}");
        for (backend, (_, version)) in backends.iter().zip(INSTANCES) {
            consul.register(&instance(&service, backend, version)).expect("registered");
        }
        let ids = NAMES.map(|name| format!("{service} {name}"));
        consul.await_passing(&service, &ids.each_ref().map(String::as_str)).expect("passing");
        let host = format!("{at}.test");
        services.push(json!({"name": service, "hosts": [host], "versions": versions}));
    }
    let bed = Setup::headers(consul.address()).set("services", json!(services)).start();
    (backends.into(), bed)
}

fn instance(service: &str, backend: &Backend, version: &str) -> Service {
    Service::new(service, format!("{service} {}", backend.name()))
        .at(backend.address())
        .meta("version", version)
        .tag(format!("release-{version}"))
        .with_status(Status::Passing)
}

/// Who answers a request that names a version.
fn of_version(bed: &Testbed, host: &str, version: &str) -> String {
    who(&bed.request("GET", "/", host).header("x-version", version).send().expect("an answer"))
}

/// All who answer requests that name a version.
fn all_of_version(bed: &Testbed, host: &str, version: &str) -> BTreeSet<String> {
    (0..30).map(|_| of_version(bed, host, version)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_split_gives_each_version_its_share() {
    let Some(consul) = Consul::start_or_skip("versions: split") else {
        return;
    };
    let (_backends, bed) = start(
        &consul,
        &[
            json!({"split": {"1.x": 90, "2.x": 10}}),
            json!({"tag_prefix": "release-", "split": {"2.0.0": 3, "1.5.x": 1}}),
        ],
    );
    let seen = bed.seen("0.test", 2_000);
    assert_share(&seen, "v1", 90.0);
    assert_share(&seen, "v2", 10.0);
    assert_share(&seen, "v1-a", 45.0);
    assert_eq!(seen.len(), 4, "{seen:?}");

    let seen = bed.seen("1.test", 1_000);
    assert_share(&seen, "v2-a", 75.0);
    assert_share(&seen, "v1-b", 25.0);
    assert_eq!(seen.len(), 2, "{seen:?}");
    bed.assert_no_crash();
}

#[test]
fn a_client_stays_with_its_share_of_a_split() {
    let Some(consul) = Consul::start_or_skip("versions: sticky split") else {
        return;
    };
    let split = json!({"split": {"1.x": 70, "2.x": 30}, "hash_on": {"header": "x-user"}});
    let (_backends, bed) = start(&consul, &[split]);
    bed.await_routed("0.test", &NAMES);
    let as_user = |user: usize| {
        let request = bed.request("GET", "/", "0.test").header("x-user", &format!("user-{user}"));
        who(&request.send().expect("an answer"))
    };
    for user in 0..30 {
        // Over both workers: they agree without having talked.
        let versions: BTreeSet<String> = (0..10).map(|_| as_user(user)[..2].to_owned()).collect();
        assert_eq!(versions.len(), 1, "user {user} got {versions:?}");
    }
    let mut seen = Seen::new();
    for user in 0..1_000 {
        *seen.entry(as_user(user)).or_default() += 1;
    }
    assert_share(&seen, "v1", 70.0);
    assert_share(&seen, "v2", 30.0);
    bed.assert_no_crash();
}

#[test]
fn header_names_a_version_or_the_beginning_of_one() {
    let Some(consul) = Consul::start_or_skip("versions: header") else {
        return;
    };
    let by_header = json!({"header": "x-version", "split": {"1.x": 1}});
    let (backends, bed) = start(&consul, &[by_header]);
    bed.await_routed("0.test", &["v1-a", "v1-b"]);
    for (version, expected) in [
        ("2.1.0", set(&["v2-b"])),
        ("1.4.0", set(&["v1-a"])),
        ("2.x", set(&["v2-a", "v2-b"])),
        ("1.5.x", set(&["v1-b"])),
    ] {
        assert_eq!(all_of_version(&bed, "0.test", version), expected, "{version}");
    }

    // An instance that says another version is of that one from then on.
    consul.register(&instance("web-0", &backends[1], "2.2.0")).expect("registered");
    bed.await_routed("0.test", &["v1-a"]);
    let joined = wait_until(SOON, || all_of_version(&bed, "0.test", "2.x").contains("v1-b"));
    assert!(joined, "2.x is still {:?}", all_of_version(&bed, "0.test", "2.x"));
    assert_eq!(all_of_version(&bed, "0.test", "2.2.0"), set(&["v1-b"]));
    bed.assert_no_crash();
}

#[test]
fn a_version_that_nobody_has_goes_to_all_or_to_none() {
    let Some(consul) = Consul::start_or_skip("versions: fallback") else {
        return;
    };
    let (_backends, bed) = start(
        &consul,
        &[
            json!({"header": "x-version", "split": {"3.x": 1}, "fallback": "any"}),
            json!({"header": "x-version", "fallback": "none"}),
            json!({"split": {"3.x": 1}, "fallback": "none"}),
        ],
    );
    bed.await_routed("0.test", &NAMES);
    bed.await_routed("1.test", &NAMES);
    assert_eq!(all_of_version(&bed, "0.test", "3.1.0"), set(&NAMES));
    for odd in ["3.1.0", "3.x", "not a version", "", "99999999999999999999.0.0"] {
        let request = bed.request("GET", "/", "1.test").header("x-version", odd);
        let answer = request.send().expect("an answer");
        assert_eq!(answer.status, 503, "{odd:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.json(), json!({"error": "no_healthy_endpoints", "service": "web-1"}));
    }
    assert_eq!(count(&bed.seen("2.test", 20), "503 "), 20);
    bed.assert_no_crash();
}
