//! The ACL token.

use core::fmt;

/// The replacement for a token in a text.
const REDACTED: &[u8] = b"<token>";

/// The ACL token. It is written only into requests to Consul: it has no `Display`, its `Debug`
/// hides it, and responses are [redacted](Token::redact) before they are quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The maximum length in bytes: far more than a UUID, and less than any server's limit of a
    /// header.
    pub const MAX_BYTES: usize = 1024;

    /// Parses a token of visible ASCII, as a header can carry it. Surrounding whitespace, such as
    /// the line end of a file, is trimmed.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// Returns the header that carries the token to Consul, for nothing else.
    pub fn header(&self) -> (&'static str, &str) {
        ("x-consul-token", &self.0)
    }

    /// Replaces the token in a text, in any case. Consul never repeats it, but a proxy between
    /// Consul and Envoy may quote it in an error page.
    pub fn redact(&self, text: &[u8]) -> Vec<u8> {
        let token = self.0.as_bytes();
        let (mut redacted, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some((&first, others)) = rest.split_first() {
            match rest.split_at_checked(token.len()) {
                Some((found, behind)) if found.eq_ignore_ascii_case(token) => {
                    redacted.extend_from_slice(REDACTED);
                    rest = behind;
                }
                _ => {
                    redacted.push(first);
                    rest = others;
                }
            }
        }
        redacted
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const TEXT: &str = "b1a8c7d6-0e4f-4a5b-9c3d-2e1f0a9b8c7d";

    #[test]
    fn a_token_is_what_a_header_can_carry() {
        assert_eq!(Token::parse(TEXT).unwrap().header().1, TEXT);
        assert_eq!(Token::parse(&format!(" {TEXT}\n")), Token::parse(TEXT));
        assert!(Token::parse(&"t".repeat(Token::MAX_BYTES)).is_some());
        for none in ["", " ", "two words", "a\nb", "é", &"t".repeat(Token::MAX_BYTES + 1)] {
            assert_eq!(Token::parse(none), None, "{none}");
        }
    }

    #[test]
    fn it_shows_in_no_debug_output() {
        assert_eq!(format!("{:?}", Token::parse(TEXT)), "Some(Token(…))");
    }

    #[test]
    fn a_text_that_repeats_it_is_redacted() {
        let token = Token::parse(TEXT).unwrap();
        let redacted = |text: &str| String::from_utf8(token.redact(text.as_bytes())).unwrap();
        let twice = format!("no rights: {TEXT}{}!", TEXT.to_uppercase());
        assert_eq!(redacted(&twice), "no rights: <token><token>!");
        assert_eq!(redacted(TEXT), "<token>");
        assert_eq!(redacted("ACL not found"), "ACL not found");
        assert_eq!(redacted(""), "");
    }

    #[test]
    fn replacement_of_a_token_is_not_searched_again() {
        assert_eq!(Token::parse("e").unwrap().redact(b"eve"), b"<token>v<token>");
    }
}
