//! A piece of the input that is fit to be printed.

use core::fmt;

/// Quotes the beginning of a text from the input: escaped, so that it stays on one line
/// of a log, and cut, so that a huge value does not fill it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    text: String,
    is_cut: bool,
}

impl Excerpt {
    /// The characters that are shown at most.
    pub const LIMIT: usize = 64;

    /// Keeps the first [`Self::LIMIT`] characters.
    pub fn of(text: &str) -> Self {
        let mut rest = text.chars();
        Self { text: rest.by_ref().take(Self::LIMIT).collect(), is_cut: rest.next().is_some() }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.text, if self.is_cut { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_short_text_is_quoted_and_escaped() {
        assert_eq!(Excerpt::of("a\n\"b\"").to_string(), r#""a\n\"b\"""#);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(Excerpt::of(&"ä".repeat(64)).to_string(), format!("\"{}\"", "ä".repeat(64)));
        assert_eq!(Excerpt::of(&"ä".repeat(65)).to_string(), format!("\"{}\"…", "ä".repeat(64)));
    }
}
