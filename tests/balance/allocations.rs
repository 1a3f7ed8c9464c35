//! What requests cost: nothing is allocated for any.

use std::time::Duration;

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::balancer::ticket::RequestOutcome;
use consul_resolver::config::Config;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::service::SourceId;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::router::Router;
use consul_resolver::router::disposition::Disposition;
use consul_resolver::router::forward::Attempt;
use consul_resolver::util::rng::Rng;
use consul_resolver::util::time::Time;

use crate::fleet::{Fleet, POLICIES, of_version, policy, weighing};

/// 100 endpoints, of three zones and four versions.
fn endpoints() -> Vec<Endpoint> {
    let weights: Vec<_> = (1..=100).map(|port| 1 + port % 7).collect();
    let label = |endpoint: Endpoint| {
        let port = endpoint.address.port();
        let version = ["1.0.0", "1.1.0", "2.0.0", "blue"][usize::from(port) % 4];
        let zone = ["a", "b", "c"][usize::from(port) % 3];
        Endpoint { version: Some(version.into()), zone: Some(zone.into()), ..endpoint }
    };
    weighing(&weights).into_iter().map(label).collect()
}

fn router(service: &str) -> Router {
    let json = format!(
        r#"{{ "consul": {{ "cluster": "consul" }}, "unmatched": "reject",
              "handoff": {{ "via": "headers", "attempts": 4 }}, "locality": {{ "zone": "a" }},
              "services": [
                  {{ "name": "web", "hosts": ["*.web.test"], {service} }},
                  {{ "name": "empty", "hosts": ["[::1]"], "datacenters": ["dc2"] }},
                  {{ "name": "unresolved", "hosts": ["unresolved.test"] }}
              ] }}"#
    );
    let config = Config::parse(json.as_bytes()).unwrap();
    let mut router = Router::new(&config, &mut Rng::new(1));
    router.install(SourceId::nth(0), &Snapshot::new(endpoints()).into(), Time::ZERO);
    router.install(SourceId::nth(1), &Snapshot::new(endpoints()).into(), Time::ZERO);
    router
}

#[test]
fn a_request_allocates_nothing() {
    for name in POLICIES {
        let mut router = router(&policy(name));
        router.install(SourceId::nth(1), &Snapshot::default().into(), Time::ZERO);
        let mut handoffs = 0;
        let cost = allocation_counter::measure(|| {
            for n in 0..1_000 {
                let hosts = ["A.web.test:80", "[0::1]:80", "unresolved.test.", "?"];
                let service = router.service_by_host(Some(hosts[n % 4].as_bytes()));
                if let Disposition::Forward(forward) =
                    router.decide(service, &PickContext::default())
                {
                    handoffs += forward.handoffs().count();
                }
            }
        });
        assert_eq!((cost.count_total, handoffs), (0, 1_000), "{name}");
    }
}

/// All that a service can want beside its policy.
const EVERYTHING: &str = r#"
    "datacenters": ["dc1", "dc2"],
    "versions": { "header": "x-version", "split": { "1.x": 60, "2.x": 30, "9.x": 10 },
                  "hash_on": { "path": true } }"#;

/// What a request says, of everything that can be said; made before anything is measured.
fn hints(n: u64, now: Time) -> PickContext {
    let names = [None, Some("1.x"), Some("blue"), Some("2"), Some("nobody"), Some("1.1.0")];
    let name = names[n as usize % names.len()];
    PickContext {
        now,
        hash: Some(n).filter(|n| !n.is_multiple_of(5)),
        version: name.map(|name| name.as_bytes().to_vec()),
        split: Some(n).filter(|n| n.is_multiple_of(3)),
        ..PickContext::default()
    }
}

#[test]
fn request_and_response_allocate_nothing_with_all_features() {
    for name in POLICIES {
        let policy = policy(name);
        let policy = policy.strip_suffix('}').unwrap();
        let more = match name {
            "ring_hash" | "maglev" => r#", "hash_balance_factor": 120 }"#,
            _ => r#", "slow_start": "10s" }"#,
        };
        let mut router = router(&format!("{policy}{more}, {EVERYTHING}"));
        let web = router.service_by_host(Some(b"a.web.test"));
        // A table of a hash policy is built by the first request that needs it, in both datacenters.
        for first in [Vec::new(), endpoints()] {
            router.install(SourceId::nth(0), &Snapshot::new(first).into(), Time::ZERO);
            for n in 0..200 {
                drop(router.decide(web, &hints(n, Time::ZERO)));
            }
        }
        let mut total = 0;
        for round in 0..200_u64 {
            let now = Time::from_start(Duration::from_millis(250 * round));
            let all: Vec<_> = (0..20).map(|n| hints(round * 20 + n, now)).collect();
            let cost = allocation_counter::measure(|| {
                for (n, hints) in all.iter().enumerate() {
                    let Disposition::Forward(forward) = router.decide(web, hints) else {
                        continue;
                    };
                    total += forward.handoffs().count();
                    let attempt = Attempt::new(1 + n as u64 % 3);
                    let latency = forward.latency(attempt, now + Duration::from_millis(3));
                    let outcome = match n % 4 {
                        0 => RequestOutcome::Failure,
                        _ => RequestOutcome::Success(latency),
                    };
                    router.on_response(&forward, attempt, now);
                    router.on_outcome(&forward, attempt, outcome, now);
                    router.on_silence(&forward, now);
                }
            });
            router.on_tick(now, |_, _| {});
            assert_eq!(cost.count_total, 0, "{name}");
        }
        assert_eq!(total, 200 * 20 * 4, "{name}: all were forwarded");
    }
}

/// 16 versions of 25 instances each, with a hash policy; the last instance of each of the first
/// `short` versions is missing.
fn versions(short: u16) -> Vec<Endpoint> {
    let instance = |n: u16| of_version(n + 1, &format!("{}.1.0", n / 25));
    (0..400).filter(|n| n % 25 < 24 || n / 25 >= short).map(instance).collect()
}

fn of_versions(policy: &str) -> Fleet {
    let versions = r#""versions": { "header": "x-version", "fallback": "none" }"#;
    Fleet::new(&format!("{policy}, {versions}"))
}

/// What a request with a key for that version allocates, in bytes.
fn bytes_for(fleet: &mut Fleet, version: &str) -> u64 {
    let hints =
        PickContext { hash: Some(7), version: Some(version.into()), ..PickContext::default() };
    let hints = PickContext { now: fleet.now, ..hints };
    let pick = || assert!(fleet.pool.pick(&hints, &mut []).is_some());
    allocation_counter::measure(pick).bytes_total
}

/// What the installation of these allocates, in bytes.
fn bytes_to_install(fleet: &mut Fleet, endpoints: Vec<Endpoint>) -> u64 {
    allocation_counter::measure(|| fleet.install(endpoints)).bytes_total
}

/// The bytes of Maglev's table by default, without what it takes to build it.
const TABLE: u64 = 4 * 65_537;

#[test]
fn a_version_has_its_table_built_at_first_use() {
    let mut plain = of_versions(&policy("random"));
    let without = bytes_to_install(&mut plain, versions(0));
    let mut fleet = of_versions(&policy("maglev"));
    let with = bytes_to_install(&mut fleet, versions(0));
    assert!(with < without + TABLE / 2, "{with} bytes, {without} without tables");
    assert!(bytes_for(&mut fleet, "3.1.0") > TABLE);
    // It is that of `3`, `3.x` and `3.1` as well: they are the same instances.
    for name in ["3.1.0", "3", "3.x", "3.1", "3.1.x"] {
        assert_eq!(bytes_for(&mut fleet, name), 0, "{name}");
    }
}

#[test]
fn a_version_keeps_its_table_while_its_instances_stay() {
    for name in ["maglev", "ring_hash"] {
        let mut fleet = of_versions(&policy(name)).of(versions(0));
        let names: Vec<_> = (0..16).map(|n| format!("{n}.x")).collect();
        assert!(names.iter().all(|name| bytes_for(&mut fleet, name) > 0), "{name}");
        fleet.install(versions(2));
        for (version, changed) in names.iter().zip([true, true].into_iter().chain([false; 14])) {
            assert_eq!(bytes_for(&mut fleet, version) > 0, changed, "{name} {version}");
        }
        // A version that comes or goes moves the places of all others.
        fleet.install(versions(2).into_iter().skip(24).collect());
        assert!(names[1..].iter().all(|name| bytes_for(&mut fleet, name) == 0), "{name}");
    }
}

#[test]
fn the_largest_table_is_not_that_of_each_version() {
    let maglev = policy("maglev");
    let maglev = maglev.strip_suffix('}').unwrap();
    let mut fleet = of_versions(&format!(r#"{maglev}, "table_size": 5000011 }}"#)).of(versions(0));
    for n in 0..16 {
        let bytes = bytes_for(&mut fleet, &format!("{n}.x"));
        assert!((TABLE..5 * TABLE).contains(&bytes), "{bytes} for version {n}");
    }
    let changed = bytes_to_install(&mut fleet, versions(1));
    // One of all, with what it takes to build it.
    assert!((20_000_000..70_000_000).contains(&changed), "{changed}");
}

#[test]
fn a_request_for_a_degraded_service_allocates_nothing() {
    for (reaction, forwarded) in [("serve", true), ("fail", false)] {
        // Its own datacenters, and that of its dependency.
        let mut router = router(&format!(
            r#""datacenters": ["dc1", "dc2"], "depends_on": ["empty"],
               "on_dependency_down": "{reaction}""#
        ));
        let web = router.service_by_host(Some(b"a.web.test")).unwrap();
        router.install(SourceId::nth(2), &Snapshot::default().into(), Time::ZERO);
        let (mut replies, mut handoffs) = (0, 0);
        let cost = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                match router.decide(Some(web), &PickContext::default()) {
                    Disposition::Forward(forward) => handoffs += forward.handoffs().count(),
                    Disposition::Reply(_) => replies += 1,
                    Disposition::Wait { .. } | Disposition::Pass => {}
                }
            }
        });
        assert_eq!(cost.count_total, 0, "{reaction}");
        assert_eq!(
            (handoffs, replies),
            if forwarded { (4_000, 0) } else { (0, 1_000) },
            "{reaction}"
        );
    }
}
