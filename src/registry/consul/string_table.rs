//! Texts that many instances share, such as zones.

use std::rc::Rc;

use hashbrown::HashSet;

/// Keeps one copy of each text. A response with 10,000 instances has few zones and few versions.
#[derive(Debug, Default)]
pub(super) struct StringTable(HashSet<Rc<str>>);

impl StringTable {
    /// The maximum length of a text, in bytes. A longer text is dropped: every VM keeps these
    /// texts, and a text of this length is not meant to be compared.
    pub(super) const MAX_BYTES: usize = 256;

    /// Returns the one copy of a text. Returns `None` if the text is empty or too long.
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
