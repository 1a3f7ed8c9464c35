//! Where in the configuration something stands.

use core::fmt;

use crate::util::excerpt::Excerpt;

/// Names a place in the configuration as a user would write it:
/// `services[2].load_balancing.policy`.
///
/// The outermost place has no name of its own and reads `the configuration`. A field
/// whose name could be misread (dots, blanks, control characters) is quoted:
/// `consul["a.b"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    /// The whole configuration.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// A field of the object at this place.
    pub fn field(&self, name: &str) -> Self {
        let plain = !name.is_empty()
            && name.len() <= Excerpt::LIMIT
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        match (plain, self.0.is_empty()) {
            (true, true) => Self(name.to_owned()),
            (true, false) => Self(format!("{}.{name}", self.0)),
            (false, _) => Self(format!("{}[{}]", self.0, Excerpt::of(name))),
        }
    }

    /// An item of the array at this place; the first is 0.
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => f.write_str("the configuration"),
            place => f.write_str(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_place_reads_as_a_user_would_write_it() {
        let services = FieldPath::root().field("services");
        assert_eq!(FieldPath::root().to_string(), "the configuration");
        assert_eq!(services.item(2).field("name").to_string(), "services[2].name");
    }

    #[test]
    fn a_field_with_an_odd_name_is_quoted() {
        let consul = FieldPath::root().field("consul");
        assert_eq!(consul.field("a.b").to_string(), r#"consul["a.b"]"#);
        assert_eq!(consul.field("").to_string(), r#"consul[""]"#);
        assert_eq!(consul.field("a\nb").to_string(), r#"consul["a\nb"]"#);
    }
}
