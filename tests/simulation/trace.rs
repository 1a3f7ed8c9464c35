//! A number that stands for everything that has happened.

/// A hash of what has happened, in its order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Trace(u64);

impl Trace {
    /// Adds something.
    pub const fn note(&mut self, what: u64) {
        self.0 = (self.0.rotate_left(5) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Adds a text.
    pub fn note_text(&mut self, text: &str) {
        self.note(
            text.bytes().fold(0, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)),
        );
    }
}
