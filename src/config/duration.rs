//! Durations as the configuration writes them.

use core::fmt;
use core::time::Duration;

use crate::util::excerpt::Excerpt;

/// The units and their milliseconds; `ms` comes before `s`, in which it ends, so that the
/// first match is the right one.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a number followed by one unit: `250ms`, `5s`, `1.5s`, `1m`, `1h`.
///
/// Digits (at most 9 on either side of the decimal point), no sign, no blanks, one unit.
/// The result is a whole number of milliseconds, because that is what Envoy's timers and
/// timeouts can tell apart: a part of one would silently become 0, which means *never* to
/// some of them.
pub(super) fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed { text: Excerpt::of(text) };
    let Some((number, scale)) =
        UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
    else {
        return Err(match Decimal::parse(text) {
            Some(_) => DurationError::NoUnit { text: Excerpt::of(text) },
            None => malformed(),
        });
    };
    let milliseconds = Decimal::parse(number).ok_or_else(malformed)?.scaled(scale);
    let milliseconds =
        milliseconds.ok_or_else(|| DurationError::TooFine { text: Excerpt::of(text) })?;
    Ok(Duration::from_millis(milliseconds))
}

/// A number with a decimal point, exactly.
struct Decimal {
    whole: u64,
    fraction: u64,
    /// Denominator of `fraction`, a power of ten.
    out_of: u64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (text, "0"),
        };
        Some(Self {
            whole: digits(whole)?,
            fraction: digits(fraction)?,
            out_of: 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?,
        })
    }

    /// Multiplies; none where the result is not whole. With 9 digits on either side and
    /// the scale of an hour nothing comes near the end of the type.
    fn scaled(&self, scale: u64) -> Option<u64> {
        let fraction = self.fraction.checked_mul(scale)?;
        if !fraction.is_multiple_of(self.out_of) {
            return None;
        }
        self.whole.checked_mul(scale)?.checked_add(fraction / self.out_of)
    }
}

fn digits(text: &str) -> Option<u64> {
    let is_number = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Says why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DurationError {
    /// A number alone.
    NoUnit {
        /// Text that was given.
        text: Excerpt,
    },
    /// A part of a millisecond.
    TooFine {
        /// Text that was given.
        text: Excerpt,
    },
    /// Anything else.
    Malformed {
        /// Text that was given.
        text: Excerpt,
    },
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUnit { text } => write!(
                f,
                "{text} has no unit; add ms, s, m or h, such as \"250ms\", \"5s\" or \"1m\""
            ),
            Self::TooFine { text } => {
                write!(f, "{text} is finer than a millisecond; expected whole milliseconds")
            }
            Self::Malformed { text } => write!(
                f,
                "{text} is not a duration; expected a number and one of the units ms, s, m \
                 and h, such as \"250ms\", \"5s\" or \"1m\""
            ),
        }
    }
}

impl core::error::Error for DurationError {}

/// Writes a duration of whole milliseconds in its largest whole unit.
pub(super) struct Spelled(pub(super) Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let whole = |scale: u64| milliseconds.is_multiple_of(u128::from(scale));
        match UNITS.iter().rev().find(|(_, scale)| whole(*scale)) {
            _ if milliseconds == 0 => f.write_str("0s"),
            Some((unit, scale)) => write!(f, "{}{unit}", milliseconds / u128::from(*scale)),
            None => write!(f, "{milliseconds}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_unit_and_decimals_are_understood() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("0.250s", 250),
            ("1m", 60_000),
            ("1.50m", 90_000),
            ("1h", 3_600_000),
            ("999999999h", 3_599_999_996_400_000),
            ("000000001s", 1_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "s",
            "soon",
            "-5s",
            "+5s",
            " 5s",
            "5 s",
            "5s ",
            "5S",
            "5us",
            "1m30s",
            "1.s",
            ".5s",
            "1.2.3s",
            "1e3s",
            "٣s",
            "1000000000s",
            "1.0000000000s",
            "5d",
        ] {
            let malformed = DurationError::Malformed { text: Excerpt::of(text) };
            assert_eq!(parse_duration(text), Err(malformed), "{text}");
        }
    }

    #[test]
    fn duration_names_the_error_when_unit_is_missing_or_too_fine() {
        for text in ["5", "1.5", "0"] {
            let no_unit = DurationError::NoUnit { text: Excerpt::of(text) };
            assert_eq!(parse_duration(text), Err(no_unit), "{text}");
        }
        for text in ["0.5ms", "1.0001s", "0.000000001h"] {
            let too_fine = DurationError::TooFine { text: Excerpt::of(text) };
            assert_eq!(parse_duration(text), Err(too_fine), "{text}");
        }
    }

    #[test]
    fn durations_are_spelled_in_their_largest_whole_unit() {
        for text in ["0s", "1ms", "1500ms", "90s", "10m", "1h"] {
            assert_eq!(Spelled(parse_duration(text).unwrap()).to_string(), text);
        }
    }
}
