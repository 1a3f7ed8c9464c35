use super::*;
use crate::service::Service;

fn catalog_with(services: &[Service]) -> Catalog {
    let now = Instant::now();
    let mut catalog = Catalog::new(Node::own("dc1", BTreeMap::new()), now);
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
