//! The host by which a service that was found is served.

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::host_pattern::{HostPattern, HostPatternError};
use crate::util::excerpt::Excerpt;

/// A host with the place where a service's name goes: `{service}.internal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HostTemplate {
    before: String,
    after: String,
}

impl HostTemplate {
    /// Placeholder of the name.
    pub const SERVICE: &str = "{service}";

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        node.describe(r#"{ "pattern": "^[^{}]*\\{service\\}[^{}]*$" }"#);
        let text = node.string()?;
        let template = match text.split_once(Self::SERVICE) {
            Some((before, after)) if !after.contains(Self::SERVICE) => {
                Self { before: before.to_owned(), after: after.to_owned() }
            }
            _ => return Err(node.error(FieldError::HostTemplate)),
        };
        // If the shortest name makes no host, none does.
        match template.host("a") {
            Ok(_) => Ok(template),
            Err(cause) => Err(node.error(FieldError::Host { pattern: Excerpt::of(text), cause })),
        }
    }

    /// The host of a service, in lower case; none where a host cannot have its name.
    pub fn host_of(&self, service: &str) -> Option<String> {
        self.host(service).ok()
    }

    fn host(&self, service: &str) -> Result<String, HostPatternError> {
        match format!("{}{service}{}", self.before, self.after).parse()? {
            HostPattern::Exact(host) => Ok(host),
            HostPattern::Suffix(_) => Err(HostPatternError::Star),
        }
    }
}

impl core::fmt::Display for HostTemplate {
    /// Writes the template as the configuration does.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}{}{}", self.before, Self::SERVICE, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn template(text: &str) -> Result<HostTemplate, String> {
        let value = Value::from(text);
        HostTemplate::read(&Cursor::root(&value)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_takes_its_place_in_lower_case() {
        let template = template("{service}.Internal").unwrap();
        assert_eq!(template.to_string(), "{service}.Internal");
        assert_eq!(template.host_of("Web_1").as_deref(), Some("web_1.internal"));
        assert_eq!(template.host_of("api.v2").as_deref(), Some("api.v2.internal"));
    }

    #[test]
    fn a_name_that_makes_no_host_has_none() {
        let template = template("x-{service}").unwrap();
        for name in ["a b", "a/b", "é", "a..b", "a.", "a:80", "*", &"a".repeat(62)] {
            assert_eq!(template.host_of(name), None, "{name}");
        }
        assert_eq!(self::template("{service}").unwrap().host_of("*.a"), None);
    }

    #[test]
    fn a_template_has_the_name_once_and_is_a_host_with_it() {
        for text in ["web.internal", "{service}.{service}", "{Service}.internal", ""] {
            assert!(template(text).unwrap_err().contains("{service}"), "{text}");
        }
        for text in ["{service}.internal.", "*.{service}", "{service}:80", "http://{service}"] {
            assert!(template(text).unwrap_err().contains("no host pattern"), "{text}");
        }
    }
}
