//! A short text in lower case.

/// A text in lower case, on the stack, for a look into a map.
///
/// What is longer than anything that can be configured is none. Only ASCII letters are
/// lowered; other bytes stay as they are, be they text or not.
pub(super) struct LowerCase {
    bytes: [u8; Self::MOST_BYTES],
    length: u8,
}

impl LowerCase {
    /// The most bytes of a text; neither a host nor a service's name is longer.
    pub(super) const MOST_BYTES: usize = u8::MAX as usize;

    /// Copies a text.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let length = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; Self::MOST_BYTES];
        let place = bytes.get_mut(..text.len())?;
        place.copy_from_slice(text);
        place.make_ascii_lowercase();
        Some(Self { bytes, length })
    }

    /// The text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_text_of_255_bytes_is_held_and_a_longer_one_is_none() {
        let text = "X".repeat(256);
        let held = LowerCase::of(&text.as_bytes()[1..]).unwrap();
        assert_eq!(held.as_bytes(), "x".repeat(255).as_bytes());
        assert!(LowerCase::of(text.as_bytes()).is_none());
        assert_eq!(LowerCase::of(b"").unwrap().as_bytes(), b"");
        assert_eq!(LowerCase::of(b"W\xffB").unwrap().as_bytes(), b"w\xffb");
    }
}
