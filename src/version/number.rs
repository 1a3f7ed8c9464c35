//! One version.

use core::cmp::Ordering;

use super::limit::Limit;

/// A version. No pre-release is the empty text.
#[derive(Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) numbers: [u64; 3],
    pub(super) prerelease: &'a str,
}

impl<'a> Version<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        Partial::parse(text).filter(|partial| !partial.has_wildcard).map(|partial| partial.version)
    }

    /// Compares by precedence (Semantic Versioning, section 11).
    pub(super) fn cmp(self, other: Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            let (mine, theirs) = (self.prerelease, other.prerelease);
            match (mine.is_empty(), theirs.is_empty()) {
                (false, false) => identifiers(mine).cmp(identifiers(theirs)),
                (mine, theirs) => mine.cmp(&theirs),
            }
        })
    }
}

/// One identifier of a pre-release: numbers come before texts, and the longer number is the
/// greater one, however long.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    Number(usize, &'a str),
    Text(&'a str),
}

fn identifiers(prerelease: &str) -> impl Iterator<Item = Identifier<'_>> {
    prerelease.split('.').map(|text| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let digits = text.trim_start_matches('0');
            Identifier::Number(digits.len(), digits)
        } else {
            Identifier::Text(text)
        }
    })
}

/// A version of which only the first numbers may be given; the others are 0.
pub(super) struct Partial<'a> {
    pub(super) version: Version<'a>,
    /// How many numbers are given.
    pub(super) given: usize,
    /// Whether the others are, by `x` or `*`.
    pub(super) has_wildcard: bool,
}

impl<'a> Partial<'a> {
    /// Reads up to three numbers of at most 15 digits; pre-release and build follow three.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (text, build) = split_once(without_v(text), '+');
        let (text, prerelease) = split_once(text, '-');
        let mut partial = Self {
            version: Version { numbers: [0; 3], prerelease: prerelease.unwrap_or_default() },
            given: 0,
            has_wildcard: false,
        };
        let mut parts = text.split('.');
        for (number, part) in partial.version.numbers.iter_mut().zip(&mut parts) {
            if is_wildcard(part) {
                partial.has_wildcard = true;
            } else if is_number(part) && part.len() <= 15 && !partial.has_wildcard {
                *number = part.parse().ok()?;
                partial.given += 1;
            } else {
                return None;
            }
        }
        let is_whole = partial.given == 3;
        let may_follow = |tail: &str| is_whole && tail.split('.').all(is_identifier);
        let is_version = parts.next().is_none()
            && prerelease.is_none_or(may_follow)
            && build.is_none_or(may_follow);
        is_version.then_some(partial)
    }

    /// The first version after all that begin with the same numbers, up to the one `at`:
    /// the next release is beyond them, and so are its pre-releases.
    pub(super) fn end(&self, at: usize) -> Limit {
        let mut numbers = [0; 3];
        for (index, (to, from)) in numbers.iter_mut().zip(self.version.numbers).enumerate() {
            *to = match index.cmp(&at) {
                Ordering::Less => from,
                Ordering::Equal => from.saturating_add(1),
                Ordering::Greater => 0,
            };
        }
        Limit { numbers, prerelease: "0".into(), is_inclusive: false }
    }

    pub(super) fn limit(&self, is_inclusive: bool) -> Limit {
        let Version { numbers, prerelease } = self.version;
        Limit { numbers, prerelease: prerelease.into(), is_inclusive }
    }
}

/// Takes the `v` off that stands before a number.
pub(super) fn without_v(text: &str) -> &str {
    let number = text.strip_prefix(['v', 'V']);
    number.filter(|number| number.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(text)
}

fn split_once(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

pub(super) fn is_wildcard(part: &str) -> bool {
    matches!(part, "x" | "X" | "*")
}

pub(super) fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_identifier(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn versions_have_the_order_that_semantic_versioning_lists() {
        let ascending = [
            "0.9.0",
            "1.0.0-0",
            "1.0.0-9",
            "1.0.0-10",
            "1.0.0-99999999999999999999999999",
            "1.0.0-100000000000000000000000000",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.1.0",
            "2.0.0",
            "999999999999999.0.0",
        ];
        for (m, low) in ascending.iter().enumerate() {
            for (n, high) in ascending.iter().enumerate() {
                let [low, high] = [low, high].map(|text| Version::parse(text).unwrap());
                assert_eq!(low.cmp(high), m.cmp(&n));
            }
        }
    }
}
