//! Consul's index: the version of an answer.

use core::fmt;
use core::num::NonZeroU64;

use crate::util::excerpt::BodyExcerpt;

/// The value of `X-Consul-Index`: sent back, it makes Consul hold the next answer until
/// something has changed.
///
/// It has an order, but it is no count: it may jump, and falls back after a restored
/// snapshot or a new cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsulIndex(NonZeroU64);

impl ConsulIndex {
    /// The lowest index.
    pub const ONE: Self = Self(NonZeroU64::MIN);

    /// Wraps a number; 0 counts as 1, since `index=0` would be a query that does not wait
    /// and so a loop without a pause (Consul's documentation, "Blocking Queries").
    pub const fn new(number: u64) -> Self {
        match NonZeroU64::new(number) {
            Some(number) => Self(number),
            None => Self::ONE,
        }
    }

    /// The number; never 0.
    pub const fn number(self) -> u64 {
        self.0.get()
    }

    /// The most digits of a header.
    const MAX_DIGITS: usize = 20;

    /// Parses the header's value: decimal digits only, at most 20 and `u64::MAX`. No sign, no
    /// space, nothing else.
    pub fn parse(header: &[u8]) -> Result<Self, IndexError> {
        let error = || IndexError { found: BodyExcerpt::new(header) };
        if header.is_empty() || header.len() > Self::MAX_DIGITS {
            return Err(error());
        }
        header
            .iter()
            .try_fold(0_u64, |number, byte| {
                let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
                number.checked_mul(10)?.checked_add(digit)
            })
            .map(Self::new)
            .ok_or_else(error)
    }
}

impl fmt::Display for ConsulIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An `X-Consul-Index` that is no number of 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexError {
    /// What stood there.
    pub found: BodyExcerpt,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x-consul-index is \"{}\"; expected a decimal number of 64 bits", self.found)
    }
}

impl core::error::Error for IndexError {}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn decimal_digits_up_to_64_bits_are_an_index() {
        assert_eq!(ConsulIndex::parse(b"42"), Ok(ConsulIndex::new(42)));
        assert_eq!(ConsulIndex::parse(b"007"), Ok(ConsulIndex::new(7)));
        assert_eq!(ConsulIndex::parse(b"18446744073709551615"), Ok(ConsulIndex::new(u64::MAX)));
        assert_eq!(ConsulIndex::new(42).to_string(), "42");
    }

    #[test]
    fn zero_counts_as_one() {
        assert_eq!(ConsulIndex::parse(b"0"), Ok(ConsulIndex::ONE));
        assert_eq!(ConsulIndex::ONE.number(), 1);
    }

    #[test]
    fn anything_else_is_an_error_that_shows_what_stood_there() {
        let zeros = [b'0'; ConsulIndex::MAX_DIGITS + 1];
        assert_eq!(ConsulIndex::parse(&zeros[1..]), Ok(ConsulIndex::ONE));
        let bad: [&[u8]; 10] = [
            &zeros,
            b"",
            b" 1",
            b"1 ",
            b"+1",
            b"-1",
            b"1.0",
            b"0x1",
            b"\xff",
            b"18446744073709551616",
        ];
        for header in bad {
            assert!(ConsulIndex::parse(header).is_err(), "{header:?}");
        }
        let text = ConsulIndex::parse(b"1, 2").unwrap_err().to_string();
        assert_eq!(text, "x-consul-index is \"1, 2\"; expected a decimal number of 64 bits");
    }
}
