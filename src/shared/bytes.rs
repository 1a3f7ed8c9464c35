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
        let (at, length) = (self.at, self.u32()? as usize);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or(CodecError::Truncated { at })?;
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

/// Writes a text that [`Reader::text`] reads. One of 4 GiB, which no VM of 32 bits can hold,
/// would not read back.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(text.as_bytes());
}
