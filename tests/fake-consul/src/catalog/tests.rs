use std::time::Duration;

use super::*;
use stack::Service;

fn catalog_with(services: &[Service]) -> Catalog {
    let now = Instant::now();
    let mut catalog = Catalog::new(Node::own(), now);
    for service in services {
        let registration = Registration::from_json(&service.to_json()).expect("valid");
        catalog.register(registration, false, now);
    }
    catalog
}

#[test]
fn a_services_index_moves_with_its_own_changes_only() {
    let mut catalog = catalog_with(&[Service::new("a", "a1"), Service::new("b", "b1")]);
    let before = (catalog.service_index("a"), catalog.service_index("b"));
    catalog.set_maintenance(Some("b1"), true, "", Instant::now());
    assert_eq!(catalog.service_index("a"), before.0);
    assert!(catalog.service_index("b") > before.1);
    catalog.set_maintenance(None, true, "", Instant::now());
    assert!(catalog.service_index("a") > before.0);
}

#[test]
fn registering_the_same_again_moves_no_index() {
    let service = Service::new("a", "a1").with_status(Status::Passing);
    let once = catalog_with(std::slice::from_ref(&service));
    let twice = catalog_with(&[service.clone(), service]);
    assert_eq!(once.index(), twice.index());
}

#[test]
fn an_unknown_service_has_the_index_of_the_last_extinction() {
    let mut catalog = catalog_with(&[Service::new("a", "a1"), Service::new("b", "b1")]);
    assert_eq!(catalog.service_index("nope"), catalog.index());
    assert!(catalog.deregister("a1"));
    let extinct = catalog.index();
    catalog.set_maintenance(Some("b1"), true, "", Instant::now());
    assert_eq!(catalog.service_index("nope"), extinct);
}

/// An instance whose TTL check is removed with it after so many seconds.
fn reaped_after(seconds: u64) -> Registration {
    let body = serde_json::json!({"Name": "a", "ID": "a1", "Check": {
        "TTL": "10s", "DeregisterCriticalServiceAfter": format!("{seconds}s"),
    }});
    Registration::from_json(&body).expect("valid")
}

#[test]
fn an_instance_is_removed_once_it_has_been_critical_for_long() {
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    let mut catalog = Catalog::new(Node::own(), begin);
    catalog.register(reaped_after(30), false, begin);
    // Registered as critical is not yet said to be critical.
    assert!(catalog.expired(at(9)).is_empty() && catalog.due(at(9)).is_empty());
    assert_eq!(catalog.due(at(10)).len(), 1);
    catalog.expire("service:a1", at(10));
    assert!(catalog.due(at(99)).is_empty(), "it runs out once");
    assert!(catalog.expired(at(39)).is_empty());
    assert_eq!(catalog.expired(at(40)), ["a1"]);
    // What is said again does not put it off, what is said otherwise does.
    assert!(catalog.report("service:a1", Status::Critical, "still", at(20)));
    assert_eq!(catalog.expired(at(40)), ["a1"]);
    assert!(catalog.report("service:a1", Status::Warning, "", at(25)));
    assert!(catalog.report("service:a1", Status::Critical, "", at(26)));
    assert!(catalog.expired(at(55)).is_empty());
    assert_eq!(catalog.expired(at(56)), ["a1"]);
}

#[test]
fn who_registers_again_and_again_is_not_removed() {
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    let mut catalog = Catalog::new(Node::own(), begin);
    for round in 0..10 {
        catalog.register(reaped_after(5), false, at(round * 12));
        catalog.expire("service:a1", at(round * 12 + 10));
        assert_eq!(catalog.checks["service:a1"].output, "TTL expired");
        assert!(catalog.expired(at(round * 12 + 11)).is_empty());
    }
    assert_eq!(catalog.expired(at(9 * 12 + 15)), ["a1"]);
}

#[test]
fn a_report_at_the_last_moment_keeps_a_ttl_from_running_out() {
    let begin = Instant::now();
    let mut catalog = Catalog::new(Node::own(), begin);
    catalog.register(reaped_after(60), false, begin);
    let end = begin + Duration::from_secs(10);
    assert!(catalog.report("service:a1", Status::Passing, "", end));
    catalog.expire("service:a1", end);
    assert_eq!(catalog.checks["service:a1"].status, Status::Passing);
}
