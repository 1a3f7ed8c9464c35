//! The services that a catalog lists.

use core::cmp::Ordering;
use std::rc::Rc;

/// The names of the services that a catalog lists: sorted, each once. Names that differ only in case
/// are the same name, as in Consul.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceNames {
    names: Vec<Rc<str>>,
    left_out: u32,
}

impl ServiceNames {
    /// Sorts the names. Of names that differ only in case the first stays.
    pub fn new(mut names: Vec<Rc<str>>) -> Self {
        names.sort_unstable_by(|a, b| order(a, b).then_with(|| a.cmp(b)));
        names.dedup_by(|later, earlier| later.eq_ignore_ascii_case(earlier));
        Self { names, left_out: 0 }
    }

    /// Returns the names with this number of names left out.
    pub fn leaving_out(self, left_out: u32) -> Self {
        Self { left_out, ..self }
    }

    /// The sorted names.
    pub fn names(&self) -> &[Rc<str>] {
        &self.names
    }

    /// The number of names that are left out.
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }

    /// Returns the numbers of names that were added and removed since `earlier`.
    pub fn since(&self, earlier: &Self) -> (usize, usize) {
        let missing_in = |names: &[Rc<str>], name: &str| {
            names.binary_search_by(|other| order(other, name)).is_err()
        };
        let added = self.names.iter().filter(|name| missing_in(&earlier.names, name)).count();
        let removed = earlier.names.iter().filter(|name| missing_in(&self.names, name)).count();
        (added, removed)
    }

    /// Returns the names together with the names of `earlier`.
    pub fn keeping(&self, earlier: &Self) -> Self {
        let is_new =
            |name: &&Rc<str>| self.names.binary_search_by(|other| order(other, name)).is_err();
        let kept = earlier.names.iter().filter(is_new).cloned();
        Self::new(self.names.iter().cloned().chain(kept).collect()).leaving_out(self.left_out)
    }

    /// Leaves out the names above `most`. The names of `current` stay, then the first of the rest in
    /// their order, so that a new name never replaces a current one.
    pub fn within(self, most: usize, current: &[Rc<str>]) -> Self {
        let Some(beyond) = self.names.len().checked_sub(most).filter(|beyond| *beyond > 0) else {
            return self;
        };
        let is_kept = |name: &Rc<str>| current.binary_search_by(|its| order(its, name)).is_ok();
        let (kept, others): (Vec<_>, Vec<_>) = self.names.into_iter().partition(is_kept);
        let names = kept.into_iter().chain(others).take(most).collect();
        let left_out = self.left_out.saturating_add(u32::try_from(beyond).unwrap_or(u32::MAX));
        Self::new(names).leaving_out(left_out)
    }
}

/// Compares names without regard to case.
fn order(a: &str, b: &str) -> Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    a.bytes().map(lower).cmp(b.bytes().map(lower))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn services(names: &[&str]) -> ServiceNames {
        ServiceNames::new(names.iter().map(|name| Rc::from(*name)).collect())
    }

    #[test]
    fn names_are_sorted_and_the_same_when_only_case_differs() {
        let services = services(&["web", "Api", "WEB", "api", "db"]);
        assert_eq!(services.names().len(), 3);
        assert!(services.names()[0].eq_ignore_ascii_case("api"));
        assert_eq!(&*services.names()[1], "db");
    }

    #[test]
    fn change_counts_added_and_removed_names() {
        let (old, new) = (services(&["a", "b", "c"]), services(&["B", "d", "e", "f"]));
        assert_eq!(new.since(&old), (3, 2));
        assert_eq!(old.since(&old), (0, 0));
    }

    #[test]
    fn current_names_stay_when_there_are_too_many() {
        let current = services(&["m", "Y"]);
        let within = |most| {
            let all = services(&["a", "b", "m", "x", "y"]).leaving_out(1);
            let within = all.within(most, current.names());
            let names: Vec<String> = within.names().iter().map(|name| name.to_string()).collect();
            (names.join(" "), within.left_out())
        };
        assert_eq!(within(5), ("a b m x y".to_owned(), 1));
        assert_eq!(within(4), ("a b m y".to_owned(), 2));
        assert_eq!(within(3), ("a m y".to_owned(), 3));
        assert_eq!(within(2), ("m y".to_owned(), 4));
        assert_eq!(within(1), ("m".to_owned(), 5));
    }
}
