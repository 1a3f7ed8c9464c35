//! Reading and writing the small binary forms of this floor: little endian, fixed width.

use core::fmt;

/// Why bytes from shared data could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecError {
    /// Nothing is stored: shared data has no way to remove a key but to empty it.
    Empty,
    /// The bytes end inside a field.
    Truncated {
        /// Where the field begins.
        at: usize,
    },
    /// Bytes are left over after the last field.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A field holds a value that no writer of this version writes.
    Invalid {
        /// What the field is.
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
    /// Starts at the first byte; no bytes at all are [`CodecError::Empty`].
    pub(super) const fn new(bytes: &'a [u8]) -> Result<Self, CodecError> {
        if bytes.is_empty() { Err(CodecError::Empty) } else { Ok(Self { bytes, at: 0 }) }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let field = rest.first_chunk::<N>().ok_or(CodecError::Truncated { at: self.at })?;
        self.at = self.at.saturating_add(N);
        Ok(*field)
    }

    /// The next byte.
    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// The next two bytes.
    pub(super) fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that is usually small, as [`push_number`] writes it; one in a longer form than it
    /// needs is refused.
    pub(super) fn number(&mut self) -> Result<u32, CodecError> {
        let (number, least) = match self.u8()? {
            SHORT => (u32::from(self.u16()?), u32::from(SHORT)),
            LONG => (self.u32()?, 1 << 16),
            byte => (u32::from(byte), 0),
        };
        if number < least { Err(CodecError::Invalid { field: "number" }) } else { Ok(number) }
    }

    /// The next byte as a flag.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid { field }),
        }
    }

    /// A text after its length in four bytes, as [`push_text`] writes it; it stays where it
    /// is, so a length that the bytes cannot hold allocates nothing.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let length = self.u32()? as usize;
        self.text_of(length, field)
    }

    /// A text of that many bytes.
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

    /// How many bytes are left.
    pub(super) const fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Makes sure that nothing is left.
    pub(super) const fn finish(self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(CodecError::Trailing { bytes }),
        }
    }
}

/// In place of a number: it follows in two bytes, or in four.
const SHORT: u8 = 254;
const LONG: u8 = 255;

/// Writes a number in one byte where it is below 254, in three below 65,536, else in five.
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

/// Writes a text that [`Reader::text`] reads. One of 4 GiB, which no VM of 32 bits can hold,
/// would not read back.
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
    fn a_number_takes_as_few_bytes_as_it_needs() {
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
    fn a_number_in_a_longer_form_than_it_needs_is_refused() {
        let wrong = Err(CodecError::Invalid { field: "number" });
        for bytes in [&[254, 253, 0][..], &[255, 253, 0, 0, 0], &[255, 255, 255, 0, 0]] {
            assert_eq!(Reader::new(bytes).unwrap().number(), wrong, "{bytes:?}");
        }
        assert!(Reader::new(&[255, 0, 0]).unwrap().number().is_err(), "it is cut off");
    }
}
