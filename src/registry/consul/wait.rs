//! The wait of a blocking query.

use core::fmt;
use core::time::Duration;

/// A duration as Consul reads it. There is always a unit (a bare number is a 400), and
/// never a zero, which would stand for Consul's default of 5 minutes.
pub(super) struct Wait(pub(super) Duration);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 && !self.0.is_zero() {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis().max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_wait_always_has_a_unit_and_is_never_zero() {
        let text = |wait| Wait(wait).to_string();
        assert_eq!(text(Duration::from_secs(600)), "600s");
        assert_eq!(text(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(text(Duration::from_micros(10)), "1ms");
        assert_eq!(text(Duration::ZERO), "1ms");
    }
}
