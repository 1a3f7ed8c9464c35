//! Texts that many instances have in common, such as their zones.

use std::rc::Rc;

use hashbrown::HashSet;

/// Keeps each text once, however many instances have it: an answer with 10,000 of them has
/// few zones and few versions.
#[derive(Debug, Default)]
pub(super) struct StringTable(HashSet<Rc<str>>);

impl StringTable {
    /// The most bytes of a text. A longer one is as if absent: none that is meant to be
    /// compared is so long, and every VM keeps what comes through here.
    pub(super) const MAX_BYTES: usize = 256;

    /// The one copy of a text; `None` where there is nothing, or too much.
    pub(super) fn of(&mut self, text: &str) -> Option<Rc<str>> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return None;
        }
        Some(Rc::clone(self.0.get_or_insert_with(text, |text| text.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_text_is_kept_once() {
        let mut labels = StringTable::default();
        let (one, two) = (labels.of("eu-1a").unwrap(), labels.of("eu-1a").unwrap());
        assert!(Rc::ptr_eq(&one, &two));
        assert_eq!(&*labels.of("eu-1b").unwrap(), "eu-1b");
    }

    #[test]
    fn an_empty_text_and_one_that_is_too_long_are_none() {
        let mut labels = StringTable::default();
        let longest = "a".repeat(StringTable::MAX_BYTES);
        assert_eq!(labels.of(&longest).as_deref(), Some(longest.as_str()));
        assert_eq!(labels.of(&format!("{longest}a")), None);
        assert_eq!(labels.of(""), None);
    }
}
