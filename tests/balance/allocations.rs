//! What requests cost: nothing is allocated for any.

use std::net::SocketAddr;
use std::time::Duration;

use consul_resolver::balance::hints::{Hints, Pin};
use consul_resolver::balance::outlier::outcome::Outcome;
use consul_resolver::config::Config;
use consul_resolver::model::endpoint::Endpoint;
use consul_resolver::model::service::SourceId;
use consul_resolver::model::snapshot::Snapshot;
use consul_resolver::rng::Rng;
use consul_resolver::router::Router;
use consul_resolver::router::answer::Attempt;
use consul_resolver::router::decision::Decision;
use consul_resolver::time::Time;

use crate::fleet::{POLICIES, at, policy, weighing};

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
    router.install(SourceId::nth(0), &Snapshot::new(endpoints()), Time::ZERO);
    router.install(SourceId::nth(1), &Snapshot::new(endpoints()), Time::ZERO);
    router
}

#[test]
fn a_request_allocates_nothing() {
    for name in POLICIES {
        let mut router = router(&policy(name));
        router.install(SourceId::nth(1), &Snapshot::default(), Time::ZERO);
        let mut handoffs = 0;
        let cost = allocation_counter::measure(|| {
            for n in 0..1_000 {
                let hosts = ["A.web.test:80", "[0::1]:80", "unresolved.test.", "?"];
                let service = router.service_by_host(Some(hosts[n % 4].as_bytes()));
                if let Decision::Forward(forward) = router.decide(service, &Hints::default()) {
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
    "outlier_detection": { "max_ejection_percent": 100, "base_ejection_time": "1s" },
    "versions": { "header": "x-version", "split": { "1.x": 60, "2.x": 30, "9.x": 10 },
                  "hash_on": { "path": true } },
    "retry_budget": { "percent": 20, "min_per_second": 3 }"#;

/// What a request says, of everything that can be said; made before anything is measured.
fn hints(n: u64, now: Time, pin: Pin) -> Hints {
    let names = [None, Some("1.x"), Some("blue"), Some("2"), Some("nobody"), Some("1.1.0")];
    let name = names[n as usize % names.len()];
    Hints {
        now,
        hash: Some(n).filter(|n| !n.is_multiple_of(5)),
        version: name.map(|name| name.as_bytes().to_vec()),
        split: Some(n).filter(|n| n.is_multiple_of(3)),
        pin: Some(pin).filter(|_| n.is_multiple_of(7)),
    }
}

#[test]
fn a_request_and_its_answer_allocate_nothing_with_all_features_at_once() {
    let pin = Pin::of(&at(7).address);
    for name in POLICIES {
        let policy = policy(name);
        let policy = policy.strip_suffix('}').unwrap();
        let (more, sticky) = match name {
            "ring_hash" | "maglev" => (r#", "hash_balance_factor": 120 }"#, ""),
            _ => (r#", "slow_start": "10s" }"#, r#""sticky": {},"#),
        };
        let mut router = router(&format!("{policy}{more}, {sticky} {EVERYTHING}"));
        let web = router.service_by_host(Some(b"a.web.test"));
        let mut total = 0;
        let mut ejections = 0;
        let mut allocated = 0;
        for round in 0..200_u64 {
            let now = Time::from_start(Duration::from_millis(250 * round));
            let all: Vec<_> = (0..20).map(|n| hints(round * 20 + n, now, pin)).collect();
            // One endpoint after the other is found not to be healthy.
            let sick = SocketAddr::from(([10, 0, 0, 1], 1 + (round / 5) as u16));
            router.on_health(SourceId::nth(0), &[sick], now);
            // An event of an ejection is kept for the tick, in a list that is made then.
            let mut events = 0;
            let cost = allocation_counter::measure(|| {
                for (n, hints) in all.iter().enumerate() {
                    let Decision::Forward(mut forward) = router.decide(web, hints) else {
                        continue;
                    };
                    total += forward.handoffs().count();
                    let attempt = Attempt::new(1 + n as u64 % 3);
                    let outcome = match n % 4 {
                        0 => Outcome::ServerError,
                        _ => Outcome::Success,
                    };
                    let latency = forward.latency(attempt, now + Duration::from_millis(3));
                    router.on_attempt(&mut forward, attempt, now);
                    router.on_outcome(&forward, attempt, outcome, latency, now);
                    if !sticky.is_empty() {
                        std::hint::black_box(forward.new_pin(attempt));
                    }
                }
            });
            router.on_tick(now, |_, _| events += 1);
            if events == 0 {
                allocated += cost.count_total;
            }
            ejections += events;
        }
        assert_eq!(total, 200 * 20 * 4, "{name}: all were forwarded");
        assert!(ejections > 0, "{name}: some were ejected");
        assert_eq!(allocated, 0, "{name}");
    }
}

#[test]
fn a_request_for_a_degraded_service_allocates_nothing() {
    for (reaction, forwarded) in
        [("serve", true), ("fail", false), ("prefer_other_datacenter", true)]
    {
        // Its own datacenters, one of which its dependency has; and that of its dependency.
        let mut router = router(&format!(
            r#""datacenters": ["dc1", "dc2"], "depends_on": ["empty"], "dependency_header": true,
               "on_dependency_down": "{reaction}""#
        ));
        let web = router.service_by_host(Some(b"a.web.test")).unwrap();
        assert_eq!(router.dependencies_down(web), None);
        router.install(SourceId::nth(2), &Snapshot::default(), Time::ZERO);
        let (mut told, mut handoffs) = (0, 0);
        let cost = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                if let Decision::Forward(forward) = router.decide(Some(web), &Hints::default()) {
                    handoffs += forward.handoffs().count();
                }
                told += router.dependencies_down(web).map_or(0, str::len);
            }
        });
        assert_eq!((cost.count_total, told), (0, 1_000 * "empty".len()), "{reaction}");
        assert_eq!(handoffs, if forwarded { 4_000 } else { 0 }, "{reaction}");
    }
}
