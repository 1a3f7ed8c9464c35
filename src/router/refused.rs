//! Names that were refused a moment ago, or asked for in vain.

use crate::model::service::QueryKey;

/// As many places as there are; the index of one has so many bits.
const PLACES: usize = 4_096;

/// Names that were refused a moment ago, by what they ask of Consul.
///
/// What clients make up comes once, and what is meant is asked for again. Each name has one place,
/// and the next that has the same place takes it: 16 KiB, however many come. Of a hundred new names
/// a second 98 % are still remembered after a second, when a client is to try again.
#[derive(Debug, Default)]
pub(super) struct Refused(Vec<u32>);

impl Refused {
    /// Remembers a name.
    pub(super) fn add(&mut self, query: QueryKey) {
        self.0.resize(PLACES, 0);
        let (index, mark) = place(query);
        if let Some(place) = self.0.get_mut(index) {
            *place = mark;
        }
    }

    /// Whether the name is remembered.
    pub(super) fn has(&self, query: QueryKey) -> bool {
        let (index, mark) = place(query);
        self.0.get(index) == Some(&mark)
    }
}

/// The place of a name, and what stands there for it: never 0, which stands for nothing.
fn place(query: QueryKey) -> (usize, u32) {
    let [a, b, c, d, e, f, ..] = query.0.to_le_bytes();
    let index = usize::from(u16::from_le_bytes([a, b])) % PLACES;
    (index, u32::from_le_bytes([c, d, e, f]).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn query(name: usize) -> QueryKey {
        QueryKey::of([name.to_string().as_str()])
    }

    #[test]
    fn most_names_are_remembered_after_a_hundred_others() {
        let mut refused = Refused::default();
        assert!(!refused.has(query(0)));
        let remembered = (0..1_000).filter(|n| {
            refused.add(query(*n));
            (0..100).for_each(|other| refused.add(query(1_000_000 + n * 100 + other)));
            refused.has(query(*n))
        });
        let remembered = remembered.count();
        assert!((960..1_000).contains(&remembered), "{remembered}");
        assert!((0..1_000).all(|n| !refused.has(query(500_000 + n))));
    }
}
