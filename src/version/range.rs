//! A set of versions.

use core::cmp::Ordering;
use core::fmt;

use super::comparison::{interval, is_operator, is_separator};
use super::limit::Limit;
use super::number::{Version, is_number, is_wildcard, without_v};

/// A set of versions: a range of semantic versions, or one exact text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange(Kind);

/// One interval is enough for a range: its comparisons must all hold, and each of them is an
/// interval.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Interval { low: Option<Limit>, high: Option<Limit> },
    Exact(String),
}

impl VersionRange {
    /// The most bytes of a range.
    pub const MAX_BYTES: usize = 255;

    /// Reads a range: comparisons that must all hold, with blanks or commas between them.
    ///
    /// | comparison | versions |
    /// |---|---|
    /// | `*` | all |
    /// | `1.x`, `1` | 1.0.0 and above, below 2.0.0 |
    /// | `1.2.x`, `1.2`, `~1.2` | 1.2.0 and above, below 1.3.0 |
    /// | `~1.2.3` | 1.2.3 and above, below 1.3.0 |
    /// | `^1.2.3` | 1.2.3 and above, below 2.0.0: the first number that is not 0 stays |
    /// | `1.2.3`, `=1.2.3` | 1.2.3 |
    /// | `>=1.2`, `>1.2`, `<=1.2`, `<1.2` | `>1.2` begins with 1.3.0, `<=1.2` ends before it |
    ///
    /// What is none of that is an exact text, such as `blue` or `1.2.3.4`.
    ///
    /// # Errors
    ///
    /// What was meant as a range and is none: it has an operator, a wildcard, a blank, or a
    /// dot with nothing beside it, but no comparisons as above; or no version is in it.
    pub fn parse(text: &str) -> Result<Self, VersionRangeError> {
        if text.is_empty() {
            return Err(VersionRangeError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            let (limit, found) = (Self::MAX_BYTES, text.len());
            return Err(VersionRangeError::TooLong { limit, found });
        }
        match interval(text) {
            Some((Some(low), Some(high))) if !low.is_below(&high) => {
                Err(VersionRangeError::Contradiction)
            }
            Some((low, high)) => Ok(Self(Kind::Interval { low, high })),
            None if is_meant_as_range(text) => Err(VersionRangeError::Malformed),
            None => Ok(Self(Kind::Exact(text.to_owned()))),
        }
    }

    /// Takes a text for a single version, whatever it looks like.
    pub fn exact(text: &str) -> Self {
        Self(Kind::Exact(text.to_owned()))
    }

    /// Whether a version is in the range. A text that is no version is in none; it can only
    /// be the same as an exact text.
    pub fn contains(&self, version: &str) -> bool {
        let (low, high) = match &self.0 {
            Kind::Exact(text) => return text == version,
            Kind::Interval { low, high } => (low, high),
        };
        let Some(version) = Version::parse(version) else {
            return false;
        };
        let is_inside = low.as_ref().is_none_or(|low| low.has_on(Ordering::Greater, version))
            && high.as_ref().is_none_or(|high| high.has_on(Ordering::Less, version));
        is_inside
            && (version.prerelease.is_empty()
                || [low, high].into_iter().flatten().any(|limit| limit.names_prerelease(version)))
    }
}

/// Says why a text is no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRangeError {
    /// Nothing.
    Empty,
    /// More text than is read.
    TooLong {
        /// The most bytes.
        limit: usize,
        /// The bytes given.
        found: usize,
    },
    /// It has the characters of a range, but not the form.
    Malformed,
    /// No version can meet all of its comparisons.
    Contradiction,
}

impl fmt::Display for VersionRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("expected a range such as 1.x, or a text such as blue"),
            Self::TooLong { limit, found } => {
                write!(f, "it has {found} bytes; at most {limit} are allowed")
            }
            Self::Malformed => f.write_str(
                "expected comparisons such as 1.x, 1.2.3, ^1.2, ~1.2.3 or >=1.2 <2, or a text \
                 without blanks and operators, such as blue",
            ),
            Self::Contradiction => f.write_str("no version meets all of its comparisons"),
        }
    }
}

impl core::error::Error for VersionRangeError {}

/// Tells a range with a slip of the pen from an exact text.
fn is_meant_as_range(text: &str) -> bool {
    let is_sign = |c| is_separator(c) || is_operator(c) || matches!(c, '*' | '|');
    let mut parts = without_v(text).split('.');
    text.contains(is_sign)
        || parts.clone().all(|part| part.is_empty() || is_wildcard(part) || is_number(part))
            && parts.any(|part| part.is_empty() || is_wildcard(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Each range, what is in it, and what is not.
    fn assert_ranges(cases: &[(&str, &[&str], &[&str])]) {
        for (text, inside, outside) in cases {
            let range = VersionRange::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            for version in *inside {
                assert!(range.contains(version), "{version} is not in {text}");
            }
            for version in *outside {
                assert!(!range.contains(version), "{version} is in {text}");
            }
        }
    }

    #[test]
    fn numbers_that_are_left_out_may_be_any() {
        assert_ranges(&[
            ("*", &["0.0.0", "1.2.3", "v7"], &["blue", "", "1.2.3.4", "1.x", "*"]),
            ("1.x", &["1", "1.0.0", "v1.9", "1.2.3+b5"], &["0.9.9", "2.0.0", "10.0.0", "blue"]),
            ("1", &["1.0.0", "1.99.0"], &["2.0.0"]),
            ("v1", &["1.0.0", "v1.0.0"], &["2.0.0"]),
            ("1.2.x", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0"]),
            ("1.2", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0"]),
            ("1.X.*", &["1.0.0", "1.99.0"], &["2.0.0"]),
            ("1.2.3", &["1.2.3", "v1.2.3", "1.2.3+build.5"], &["1.2.4", "1.2", "1.2.3-rc.1"]),
            ("=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("2024.01", &["2024.1.15", "2024.01.15"], &["2024.2.0"]),
            ("0", &["0.1.2"], &["1.0.0"]),
        ]);
    }

    #[test]
    fn tilde_and_caret_keep_the_first_numbers() {
        assert_ranges(&[
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]),
            ("~1.2", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0"]),
            ("~1", &["1.0.0", "1.9.0"], &["2.0.0"]),
            ("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
            ("^1.2", &["1.2.0", "1.9.0"], &["1.1.9", "2.0.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.2.2", "0.3.0", "1.0.0"]),
            ("^0.0.3", &["0.0.3"], &["0.0.2", "0.0.4"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0.x", &["0.0.0", "0.9.0"], &["1.0.0"]),
            ("^0.0.0", &["0.0.0"], &["0.0.1"]),
            ("^*", &["7.0.0"], &["blue"]),
        ]);
    }

    #[test]
    fn comparisons_must_hold_together() {
        assert_ranges(&[
            (">=1.2 <2", &["1.2.0", "1.99.0"], &["1.1.9", "2.0.0"]),
            (">=1.2, <2", &["1.2.0"], &["2.0.0"]),
            (" >= 1.2<2 ", &["1.2.0"], &["2.0.0"]),
            ("<2 >1.2", &["1.3.0"], &["1.2.9", "2.0.0"]),
            (">1.2.3", &["1.2.4"], &["1.2.3"]),
            ("<1.2.3", &["1.2.2", "0.0.0"], &["1.2.3"]),
            ("<=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("<=1.2", &["1.2.9"], &["1.3.0"]),
            (">=*", &["0.0.0"], &["blue"]),
            (">=1 >=1.5 >1.5.0 <=3 <2.5", &["1.5.1", "2.4.9"], &["1.4.0", "1.5.0", "2.5.0"]),
            (">1.5.0 >=1.5.0", &["1.5.1"], &["1.5.0"]),
            ("<1.5.0 <=1.5.0", &["1.4.9"], &["1.5.0"]),
            ("1.x 1.2.x", &["1.2.5"], &["1.3.0"]),
        ]);
    }

    #[test]
    fn a_prerelease_is_in_a_range_that_names_one_of_the_same_numbers() {
        assert_ranges(&[
            ("*", &[], &["1.0.0-rc.1"]),
            (">=1.2", &[], &["2.0.0-beta", "1.2.0-beta"]),
            ("<2", &[], &["2.0.0-beta", "2.0.0-0", "1.0.0-beta"]),
            (">=1.2.3-beta", &["1.2.3-beta", "1.2.3-rc", "1.2.3", "2.0.0"], &["1.2.4-beta"]),
            ("^1.2.3-beta.2", &["1.2.3-beta.4", "1.9.0"], &["1.2.3-beta.1", "1.2.4-beta.4"]),
            ("<=2.0.0-rc.1", &["2.0.0-beta", "1.0.0"], &["2.0.0", "2.0.0-rc.2"]),
            ("2.0.0-rc.1", &["2.0.0-rc.1", "2.0.0-rc.1+b"], &["2.0.0", "2.0.0-rc.2"]),
            (">=1.2.0-alpha >=1.2.0-beta", &["1.2.0-beta"], &["1.2.0-alpha"]),
        ]);
    }

    #[test]
    fn what_is_no_range_is_an_exact_text() {
        for text in [
            "blue",
            "1.2.3.4",
            "v",
            "vblue",
            "xx",
            "7e3f2a1",
            "1.2-beta",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-a..b",
            "1.2.3-a_b",
            "1.x-beta",
            "1234567890123456",
            "2024-01-15",
            "ä",
        ] {
            assert_eq!(VersionRange::parse(text), Ok(VersionRange(Kind::Exact(text.into()))));
            assert_ranges(&[(text, &[text], &["", "1.2.3", "Blue", "v1.2.3.4"])]);
        }
    }

    #[test]
    fn what_looks_like_a_range_and_is_none_is_refused() {
        use VersionRangeError::{Contradiction, Empty, Malformed, TooLong};
        for (text, error) in [
            ("", Empty),
            (" ", Malformed),
            (">", Malformed),
            (">blue", Malformed),
            ("^^1", Malformed),
            ("1 || 2", Malformed),
            ("1.2 - 2.0", Malformed),
            ("light blue", Malformed),
            ("1.x.3", Malformed),
            ("1.", Malformed),
            ("1..2", Malformed),
            ("*.1", Malformed),
            ("1.*-beta", Malformed),
            ("v1.2.3.x", Malformed),
            (">*", Malformed),
            ("<x", Malformed),
            (">2 <1", Contradiction),
            (">1.2.3 <=1.2.3", Contradiction),
            ("1.x 2.x", Contradiction),
            (&"1".repeat(256), TooLong { limit: 255, found: 256 }),
        ] {
            assert_eq!(VersionRange::parse(text), Err(error), "{text}");
        }
    }
}
