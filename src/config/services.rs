//! The list of services, and the checks across them.

use hashbrown::HashMap;

use super::cursor::Cursor;
use super::dependencies::Dependencies;
use super::error::Refusals;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::service::Service;
use crate::util::excerpt::Excerpt;

/// Reads the list of services.
pub(super) fn services(node: &Cursor<'_>, finds_others: bool) -> Result<Vec<Service>, Refusals> {
    let read = node.array(Service::MAX, Service::read)?;
    let (mut services, dependencies): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    if services.is_empty() && !finds_others {
        return Err(node.error(FieldError::Empty { expected: "at least one service" }));
    }
    let mut refusals = Refusals::default();
    check_names_differ(&services, &mut refusals);
    check_hosts_differ(&services, &mut refusals);
    Dependencies::resolve(&dependencies, &mut services, &mut refusals);
    refusals.none_or(services)
}

fn check_names_differ(services: &[Service], refusals: &mut Refusals) {
    let place = |index| service_place(index).field("name");
    let mut seen = HashMap::with_capacity(services.len());
    for (index, service) in services.iter().enumerate() {
        let first = *seen.entry(service.name.to_ascii_lowercase()).or_insert(index);
        if first != index {
            let text = Excerpt::of(&service.name);
            refusals.add(place(index), FieldError::Repeated { text, first: place(first) });
        }
    }
}

fn check_hosts_differ(services: &[Service], refusals: &mut Refusals) {
    let place = |(index, host)| service_place(index).field("hosts").item(host);
    let mut seen = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        for (host, pattern) in service.hosts.iter().enumerate() {
            let first = *seen.entry(pattern).or_insert((index, host));
            if first != (index, host) {
                let text = Excerpt::of(&pattern.to_string());
                let problem = FieldError::Repeated { text, first: place(first) };
                refusals.add(place((index, host)), problem);
            }
        }
    }
}

/// The place of a service of the list.
pub(super) fn service_place(index: usize) -> FieldPath {
    FieldPath::root().field("services").item(index)
}
