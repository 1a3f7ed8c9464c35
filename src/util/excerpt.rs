//! Pieces of the input that are fit to be printed.

use core::fmt;

/// The first characters of bytes from outside, made safe to print.
///
/// An excerpt has at most [`BodyExcerpt::LIMIT`] characters, all printable ASCII. A run of other
/// bytes (line breaks, terminal escapes, other scripts) becomes one space, so a foreign text can
/// neither fill a log nor forge a line in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyExcerpt(String);

impl BodyExcerpt {
    /// The maximum number of characters; `...` follows a longer text.
    pub const LIMIT: usize = 120;

    /// Takes the beginning of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = String::new();
        let words = bytes.split(|byte| !byte.is_ascii_graphic()).filter(|word| !word.is_empty());
        for word in words {
            if !text.is_empty() {
                text.push(' ');
            }
            for byte in word {
                if text.len() >= Self::LIMIT {
                    text.truncate(Self::LIMIT);
                    text.push_str("...");
                    return Self(text);
                }
                text.push(char::from(*byte));
            }
        }
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if nothing was printable.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for BodyExcerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
    fn a_short_text_is_kept_and_its_last_line_break_dropped() {
        assert_eq!(BodyExcerpt::new(b"No cluster leader\n").as_str(), "No cluster leader");
        assert!(BodyExcerpt::new(b" \n\xff").is_empty());
    }

    #[test]
    fn unprintable_run_becomes_one_space() {
        let excerpt = BodyExcerpt::new("a\x1b[31m\r\n\0b \u{202e}c\u{e9}d".as_bytes());
        assert_eq!(excerpt.as_str(), "a [31m b c d");
    }

    #[test]
    fn a_long_text_is_cut() {
        let whole = "x".repeat(BodyExcerpt::LIMIT);
        assert_eq!(BodyExcerpt::new(whole.as_bytes()).as_str(), whole);
        let cut = BodyExcerpt::new("x".repeat(1 << 20).as_bytes());
        assert_eq!(cut.as_str(), format!("{whole}..."));
        let spaced = BodyExcerpt::new(format!("{whole} y").as_bytes());
        assert_eq!(spaced.as_str(), format!("{whole}..."));
    }

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
