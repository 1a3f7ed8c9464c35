//! A set of versions: those that begin with the same numbers, or one exact text.

use core::fmt;

/// A set of versions: those that begin with the same numbers, or one exact text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPattern {
    /// The first numbers, at most three. None at all stands for all releases.
    Prefix(Vec<u64>),
    /// The text of a version.
    Exact(Box<str>),
}

impl VersionPattern {
    /// The most bytes of a pattern.
    pub const MAX_BYTES: usize = 255;

    /// Reads up to three numbers, of which the last ones may be wildcards, or an exact text.
    ///
    /// | pattern | versions |
    /// |---|---|
    /// | `*` | all releases |
    /// | `1.x`, `1` | `1`, `1.0.0`, `v1.9`, `1.4.2+build.5` |
    /// | `1.4.x`, `1.4` | `1.4`, `1.4.0`, `v1.4.2` |
    /// | `1.4.2` | `1.4.2`, `v1.4.2`, `1.4.2+build.5` |
    /// | `2.0.0-rc.1`, `blue`, `1.2.3.4` | that text alone |
    ///
    /// # Errors
    ///
    /// Refuses a text with an operator, a blank or a comma, and numbers with a wildcard or
    /// nothing between them: they were meant as a range.
    pub fn parse(text: &str) -> Result<Self, VersionPatternError> {
        if text.is_empty() {
            return Err(VersionPatternError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            let (limit, found) = (Self::MAX_BYTES, text.len());
            return Err(VersionPatternError::TooLong { limit, found });
        }
        match prefix(text) {
            Some(numbers) => Ok(Self::Prefix(numbers)),
            None if is_meant_as_range(text) => Err(VersionPatternError::Range),
            None => Ok(Self::exact(text)),
        }
    }

    /// Makes a pattern of one text, even if that looks like numbers.
    pub fn exact(text: &str) -> Self {
        Self::Exact(text.into())
    }

    /// Returns true if the version is in the set. Numbers that the version leaves out are 0.
    ///
    /// Of pre-releases only an exact text is true: nobody comes to `2.0.0-beta` by `2.x`.
    pub fn contains(&self, version: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *version,
            Self::Prefix(numbers) => {
                release(version).is_some_and(|version| version.starts_with(numbers))
            }
        }
    }
}

/// Says why a text is no pattern of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionPatternError {
    /// No text.
    Empty,
    /// More text than is read.
    TooLong {
        /// The most bytes.
        limit: usize,
        /// The bytes given.
        found: usize,
    },
    /// A range of versions, or a slip in a prefix.
    Range,
}

impl fmt::Display for VersionPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("expected a version, such as 1.4.2, 1.x or blue"),
            Self::TooLong { limit, found } => {
                write!(f, "it has {found} bytes; at most {limit} are allowed")
            }
            Self::Range => f.write_str(
                "ranges are not read; expected the first numbers, such as 1.x or 1.4.x, or a whole \
                 version, such as 1.4.2 or blue",
            ),
        }
    }
}

impl core::error::Error for VersionPatternError {}

/// Reads the numbers before the wildcards.
fn prefix(text: &str) -> Option<Vec<u64>> {
    let mut parts: Vec<_> = without_v(text).split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    while parts.last().is_some_and(|part| is_wildcard(part)) {
        parts.pop();
    }
    parts.into_iter().map(number).collect()
}

/// Reads the numbers of a version that is no pre-release; the build after `+` is not compared.
fn release(version: &str) -> Option<[u64; 3]> {
    let release = version.split_once('+').map_or(version, |(release, _)| release);
    let mut numbers = [0; 3];
    let mut parts = without_v(release).split('.');
    for (to, part) in numbers.iter_mut().zip(&mut parts) {
        *to = number(part)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Takes the `v` off that stands before a number.
fn without_v(text: &str) -> &str {
    let number = text.strip_prefix(['v', 'V']);
    number.filter(|number| number.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(text)
}

/// Reads decimal digits; leading zeros mean nothing (`2024.01`).
fn number(part: &str) -> Option<u64> {
    part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_wildcard(part: &str) -> bool {
    matches!(part, "x" | "X" | "*")
}

/// Tells a range, or a prefix with a slip, from an exact text.
fn is_meant_as_range(text: &str) -> bool {
    let is_sign = |c: char| c.is_whitespace() || "<>=~^|,*".contains(c);
    let mut parts = without_v(text).split('.');
    let is_odd = |part: &str| part.is_empty() || is_wildcard(part);
    text.contains(is_sign)
        || parts.clone().all(|part| is_odd(part) || number(part).is_some()) && parts.any(is_odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn prefix_contains_the_releases_that_begin_with_its_numbers() {
        for (text, inside, outside) in [
            (
                "*",
                &["0.0.0", "1.2.3", "v7"][..],
                &["blue", "", "1.2.3.4", "1.x", "*", "1.0.0-rc.1"][..],
            ),
            (
                "1.x",
                &["1", "1.0.0", "v1.9", "1.2.3+b5"],
                &["0.9.9", "2.0.0", "10.0.0", "blue", "1.0.0-beta", "+1"],
            ),
            ("1", &["1.0.0", "1.99.0"], &["2.0.0"]),
            ("v1", &["1.0.0", "v1.0.0"], &["2.0.0"]),
            ("1.2.x", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0"]),
            ("1.2", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0"]),
            ("1.0.x", &["1"], &["1.1"]),
            ("1.X.*", &["1.0.0", "1.99.0"], &["2.0.0"]),
            ("1.2.3", &["1.2.3", "v1.2.3", "1.2.3+build.5"], &["1.2.4", "1.2", "1.2.3-rc.1"]),
            ("2024.01", &["2024.1.15", "2024.01.15"], &["2024.2.0"]),
            ("0", &["0.1.2"], &["1.0.0"]),
        ] {
            let pattern = VersionPattern::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            for version in inside {
                assert!(pattern.contains(version), "{version} is not in {text}");
            }
            for version in outside {
                assert!(!pattern.contains(version), "{version} is in {text}");
            }
        }
    }

    #[test]
    fn text_is_exact_when_it_is_no_prefix() {
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
            "2.0.0-rc.1",
            "1.x-beta",
            "99999999999999999999",
            "2024-01-15",
            "+1",
            "ä",
        ] {
            let pattern = VersionPattern::parse(text).unwrap();
            assert_eq!(pattern, VersionPattern::exact(text));
            assert!(pattern.contains(text));
            for other in ["", "1.2.3", "Blue", "v1.2.3.4", "2.0.0", "v2.0.0-rc.1"] {
                assert!(!pattern.contains(other), "{other} is in {text}");
            }
        }
    }

    #[test]
    fn text_is_refused_when_it_is_meant_as_a_range() {
        use VersionPatternError::{Empty, Range, TooLong};
        for (text, error) in [
            ("", Empty),
            (" ", Range),
            ("^1.2", Range),
            ("~1.2.3", Range),
            ("=1.2.3", Range),
            (">=1.2 <2", Range),
            ("1.2, 1.3", Range),
            ("1 || 2", Range),
            ("1.2 - 2.0", Range),
            ("light blue", Range),
            ("1.x.3", Range),
            ("1.", Range),
            ("1..2", Range),
            ("*.1", Range),
            ("1.*-beta", Range),
            ("v1.2.3.x", Range),
            (&"1".repeat(256), TooLong { limit: 255, found: 256 }),
        ] {
            assert_eq!(VersionPattern::parse(text), Err(error), "{text}");
        }
    }
}
