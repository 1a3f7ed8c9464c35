//! The entries of `/v1/health/service/<name>`, kept as JSON: of 10,000 instances one changes at a
//! time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::catalog::ServiceRow;

/// The entries of instances that have not changed since they were asked for, by id.
#[derive(Debug, Clone, Default)]
pub struct Entries(RefCell<HashMap<String, Arc<str>>>);

impl Entries {
    /// An instance's entry, made by `encode` where there is none that is right.
    pub fn json(&self, row: &ServiceRow, encode: impl FnOnce() -> String) -> Arc<str> {
        let mut entries = self.0.borrow_mut();
        let entry = entries.entry(row.registration.id.clone());
        Arc::clone(entry.or_insert_with(|| encode().into()))
    }

    /// What an instance's entry shows has changed, or that of all: their node's.
    pub fn forget(&mut self, id: Option<&str>) {
        let entries = self.0.get_mut();
        match id {
            Some(id) => {
                entries.remove(id);
            }
            None => entries.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::catalog::Catalog;
    use crate::node::Node;
    use crate::registration::Registration;
    use crate::shape::service_entry;
    use stack::{Service, Status};

    #[test]
    fn an_entry_is_made_anew_after_whatever_it_shows_has_changed() {
        let (check, now) = (Service::check_id("a1"), Instant::now());
        let service = Service::new("a", "a1").with_status(Status::Passing);
        let register = |catalog: &mut Catalog, service: &Service| {
            let registration = Registration::from_json(&service.to_json()).expect("valid");
            catalog.register(registration, false, now);
        };
        let mut catalog = Catalog::new(Node::own(), now);
        register(&mut catalog, &service);
        let shown = |catalog: &Catalog| {
            let row = catalog.local("a1").expect("it is registered");
            let fresh = service_entry(catalog, row).to_string();
            let kept = catalog.entries().json(row, || fresh.clone());
            assert_eq!(*kept, *fresh);
            fresh
        };
        let mut seen = vec![shown(&catalog)];
        let mut after = |change: &dyn Fn(&mut Catalog)| {
            change(&mut catalog);
            let entry = shown(&catalog);
            assert!(seen.last() != Some(&entry), "nothing has changed");
            seen.push(entry);
        };
        after(&|catalog| catalog.set_status(&check, Status::Passing, "other words", now));
        after(&|catalog| catalog.set_status(&check, Status::Warning, "", now));
        after(&|catalog| catalog.set_maintenance(Some("a1"), true, "", now));
        after(&|catalog| catalog.set_maintenance(Some("a1"), false, "", now));
        after(&|catalog| catalog.set_maintenance(None, true, "", now));
        after(&|catalog| catalog.set_maintenance(None, false, "", now));
        after(&|catalog| catalog.set_status("serfHealth", Status::Critical, "", now));
        after(&|catalog| catalog.renumber(3));
        let changed = service.clone().tag("new");
        after(&|catalog| register(catalog, &changed));
    }
}
