//! Which version a request goes to.

use consul_resolver::balancer::pick_context::PickContext;

use crate::fleet::{Fleet, POLICIES, at, of_version, policy};

fn named(name: &str) -> PickContext {
    PickContext { version: Some(name.as_bytes().to_vec()), ..PickContext::default() }
}

/// Versions on ports 1, 2, 3 …, and one endpoint more that has none.
fn fleet(versions: &str, found: &[&str]) -> Fleet {
    let versions = format!(r#""versions": {versions}"#);
    let endpoints = found.iter().zip(1..).map(|(version, port)| of_version(port, version));
    Fleet::new(&versions).of(endpoints.chain([at(found.len() as u16 + 1)]).collect())
}

/// The ports that some requests go to; none where one is refused.
fn reached(fleet: &mut Fleet, hints: &PickContext) -> Vec<u16> {
    let mut ports: Vec<_> = (0..200).filter_map(|_| fleet.port_for(hints)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn header_names_a_version_or_the_beginning_of_one() {
    let found = ["1.4.2", "1.4.3", "1.5.0", "2.0.0", "blue", "1.4"];
    let mut fleet = fleet(r#"{ "header": "x-version", "fallback": "none" }"#, &found);
    for (name, ports) in [
        ("1.4.2", &[1][..]),
        ("1.x", &[1, 2, 3, 6]),
        ("1", &[1, 2, 3, 6]),
        ("1.4.x", &[1, 2, 6]),
        ("1.4", &[1, 2, 6]),
        (" 1.5 ", &[3]),
        ("2", &[4]),
        ("blue", &[5]),
        ("Blue", &[]),
        ("3.x", &[]),
        ("", &[]),
        ("1.4.", &[]),
        (">=1.0", &[]),
        ("*", &[]),
    ] {
        assert_eq!(reached(&mut fleet, &named(name)), ports, "{name:?}");
    }
    assert_eq!(reached(&mut fleet, &PickContext::default()), [1, 2, 3, 4, 5, 6, 7]);
    let odd = PickContext { version: Some(b"\xff\x00".to_vec()), ..PickContext::default() };
    assert!(reached(&mut fleet, &odd).is_empty());
}

#[test]
fn a_header_may_name_a_share_of_the_split_and_comes_before_it() {
    let versions = r#"{ "header": "x-version", "split": { "v2": 0, "1.x": 1 } }"#;
    let mut fleet = fleet(versions, &["1.0.0", "2.0.0", "3.0.0"]);
    assert_eq!(reached(&mut fleet, &named("v2")), [2]);
    assert_eq!(reached(&mut fleet, &named("3.x")), [3]);
    assert_eq!(reached(&mut fleet, &PickContext::default()), [1]);
}

#[test]
fn without_a_header_nothing_that_a_client_says_is_a_version() {
    let mut fleet = fleet(r#"{ "split": { "1.x": 1 }, "fallback": "none" }"#, &["1.0.0", "2.0.0"]);
    assert!(reached(&mut fleet, &named("2.0.0")).is_empty());
    assert_eq!(reached(&mut fleet, &PickContext::default()), [1]);
}

#[test]
fn a_version_that_nobody_has_is_any_or_none() {
    for (fallback, ports) in [("any", &[1, 2, 3][..]), ("none", &[])] {
        let versions =
            format!(r#"{{ "header": "v", "split": {{ "9.x": 1 }}, "fallback": "{fallback}" }}"#);
        let mut fleet = fleet(&versions, &["1.0.0", "2.0.0"]);
        for hints in [named("3.x"), named("9.x"), PickContext::default()] {
            assert_eq!(reached(&mut fleet, &hints), ports, "{fallback}, {hints:?}");
        }
        assert_eq!(reached(&mut fleet, &named("2.x")), [2]);
    }
}

#[test]
fn versions_come_and_go_with_their_endpoints() {
    let mut fleet = fleet(r#"{ "header": "v", "fallback": "none" }"#, &["1.0.0", "2.0.0"]);
    assert!(reached(&mut fleet, &named("3")).is_empty());
    fleet.install(vec![of_version(1, "1.0.0"), of_version(2, "3.1.0")]);
    assert_eq!(reached(&mut fleet, &named("3")), [2]);
    assert!(reached(&mut fleet, &named("2")).is_empty());
    fleet.install(vec![at(1), at(2)]);
    assert!(reached(&mut fleet, &named("3")).is_empty());
    assert_eq!(reached(&mut fleet, &PickContext::default()), [1, 2]);
}

#[test]
fn a_client_keeps_its_share_of_the_split_while_weights_stay() {
    let versions = r#"{ "split": { "1.x": 1, "2.x": 1 }, "hash_on": { "path": true } }"#;
    let mut fleet = fleet(versions, &["1.0.0", "2.0.0"]);
    let mut shares = [0; 3];
    for user in 0..100 {
        let hints = PickContext { split: Some(user), ..PickContext::default() };
        let ports = reached(&mut fleet, &hints);
        assert_eq!(ports.len(), 1, "user {user}");
        shares[usize::from(ports[0])] += 1;
    }
    assert!((30..=70).contains(&shares[1]), "{shares:?}");
}

#[test]
fn retries_stay_within_the_version() {
    for name in POLICIES {
        let service = format!(r#"{}, "versions": {{ "header": "v" }}"#, policy(name));
        let versions = ["1.0.0", "2.0.0", "2.1.0", "1.1.0", "2.2.0"];
        let endpoints = versions.iter().zip(1..).map(|(version, port)| of_version(port, version));
        let mut fleet = Fleet::new(&service).of(endpoints.collect());
        for hash in 0..50 {
            let hints = PickContext { hash: Some(hash), ..named("2") };
            let mut attempts = fleet.attempts_for(&hints, 3);
            attempts.sort_unstable();
            assert_eq!(attempts, [2, 3, 5], "{name}");
        }
    }
}

#[test]
fn every_endpoint_may_have_a_version_of_its_own() {
    let endpoints = (1..=64).map(|port| of_version(port, &format!("{port:x}abcdef")));
    let service = r#""versions": { "header": "v", "fallback": "none" }"#;
    let mut fleet = Fleet::new(service).of(endpoints.collect());
    assert_eq!(reached(&mut fleet, &named("7abcdef")), [7]);
    assert!(reached(&mut fleet, &named("7")).is_empty());
}

#[test]
fn most_common_versions_can_be_named_when_there_are_too_many() {
    let alone: Vec<_> = (0..300).map(|n| format!("build-{n:03}")).collect();
    let found: Vec<_> = alone.iter().map(String::as_str).chain(["main", "main"]).collect();
    for (policy, most) in [("round_robin", 64), ("maglev", 16)] {
        let hash_on = if policy == "maglev" { r#", "hash_on": { "path": true }"# } else { "" };
        let service = format!(
            r#""versions": {{ "header": "x-version", "fallback": "none" }},
               "load_balancing": {{ "policy": "{policy}"{hash_on} }}"#
        );
        let endpoints = found.iter().zip(1..).map(|(version, port)| of_version(port, version));
        let mut fleet = Fleet::new(&service).of(endpoints.collect());
        let reachable = alone.iter().filter(|name| fleet.port_for(&named(name)).is_some()).count();
        assert_eq!(reachable, most - 1, "{policy}");
        assert_eq!(reached(&mut fleet, &named("main")), [301, 302], "{policy}");
        let told = [(); 2].map(|()| fleet.pool.take_too_many_versions());
        assert_eq!(told, [Some(301), None], "{policy}");
    }
}
