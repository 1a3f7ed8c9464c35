//! Reads and writes the small binary forms of shared data: little endian, fixed width.

use core::fmt;

/// The reason why bytes from shared data could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecError {
    /// Nothing is stored. Shared data can only empty a key, not remove it.
    Empty,
    /// The bytes end inside a field.
    Truncated {
        /// The offset at which the field begins.
        at: usize,
    },
    /// Bytes are left over after the last field.
    Trailing {
        /// The number of bytes.
        bytes: usize,
    },
    /// A field holds a value that no writer of this version writes.
    Invalid {
        /// The name of the field.
        field: &'static str,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "shared data: nothing is stored under the key"),
            Self::Truncated { at } => write!(f, "shared data: the field at byte {at} is cut off"),
            Self::Trailing { bytes } => {
                write!(f, "shared data: {bytes} bytes are left over after the last field")
            }
            Self::Invalid { field } => write!(f, "shared data: {field} has an impossible value"),
        }
    }
}

impl core::error::Error for CodecError {}

/// Reads fields one after the other.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte. No bytes at all are [`CodecError::Empty`].
    pub(super) const fn new(bytes: &'a [u8]) -> Result<Self, CodecError> {
        if bytes.is_empty() { Err(CodecError::Empty) } else { Ok(Self { bytes, at: 0 }) }
    }

    /// Reads the next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let field = rest.first_chunk::<N>().ok_or(CodecError::Truncated { at: self.at })?;
        self.at = self.at.saturating_add(N);
        Ok(*field)
    }

    /// Reads the next byte.
    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Reads the next two bytes.
    pub(super) fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads the next four bytes.
    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads the next eight bytes.
    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a number that is usually small, as [`push_number`] writes it. A form that is longer
    /// than necessary is refused.
    pub(super) fn number(&mut self) -> Result<u32, CodecError> {
        let (number, least) = match self.u8()? {
            SHORT => (u32::from(self.u16()?), u32::from(SHORT)),
            LONG => (self.u32()?, 1 << 16),
            byte => (u32::from(byte), 0),
        };
        if number < least { Err(CodecError::Invalid { field: "number" }) } else { Ok(number) }
    }

    /// Reads the next byte as a flag.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid { field }),
        }
    }

    /// Reads a text after its length in four bytes, as [`push_text`] writes it. The text is
    /// borrowed, so a length beyond the bytes allocates nothing.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let length = self.u32()? as usize;
        self.text_of(length, field)
    }

    /// Reads a text of `length` bytes.
    pub(super) fn text_of(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a str, CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or(CodecError::Truncated { at: self.at })?;
        self.at = self.at.saturating_add(length);
        core::str::from_utf8(bytes).map_err(|_| CodecError::Invalid { field })
    }

    /// Returns the number of bytes that are left.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Checks that no byte is left.
    pub(super) const fn finish(self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(CodecError::Trailing { bytes }),
        }
    }
}

/// Marks a number that follows in two bytes (`SHORT`) or in four (`LONG`).
const SHORT: u8 = 254;
const LONG: u8 = 255;

/// Writes a number in one byte if it is below 254, in three below 65,536, else in five.
pub(super) fn push_number(out: &mut Vec<u8>, number: u32) {
    match (u8::try_from(number), u16::try_from(number)) {
        (Ok(byte), _) if byte < SHORT => out.push(byte),
        (_, Ok(short)) => {
            out.push(SHORT);
            out.extend(short.to_le_bytes());
        }
        _ => {
            out.push(LONG);
            out.extend(number.to_le_bytes());
        }
    }
}

/// Writes a text that [`Reader::text`] reads. A text of 4 GiB would not read back, but no VM of 32
/// bits can hold one.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn number_takes_as_few_bytes_as_possible() {
        for (number, length) in
            [(0, 1), (253, 1), (254, 3), (255, 3), (65_535, 3), (65_536, 5), (u32::MAX, 5)]
        {
            let mut bytes = Vec::new();
            push_number(&mut bytes, number);
            assert_eq!(bytes.len(), length, "{number}");
            let mut reader = Reader::new(&bytes).unwrap();
            assert_eq!(reader.number(), Ok(number));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn number_is_refused_when_a_shorter_form_exists() {
        let wrong = Err(CodecError::Invalid { field: "number" });
        for bytes in [&[254, 253, 0][..], &[255, 253, 0, 0, 0], &[255, 255, 255, 0, 0]] {
            assert_eq!(Reader::new(bytes).unwrap().number(), wrong, "{bytes:?}");
        }
        assert!(Reader::new(&[255, 0, 0]).unwrap().number().is_err(), "it is cut off");
    }
}
