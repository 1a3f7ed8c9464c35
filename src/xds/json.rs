//! Writes JSON piece by piece, without a tree in between: a response may be of 10,000 endpoints.

use core::fmt::Write;

/// Appends a string, in quotes and escaped.
pub(super) fn put_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    // What needs an escape is one byte, so that the text is cut between characters.
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let mut after = escaped.chars();
        match after.next() {
            Some(char @ ('"' | '\\')) => out.extend(['\\', char]),
            // Writing to a string does not fail.
            char => drop(write!(out, "\\u{:04x}", char.map_or(0, u32::from))),
        }
        rest = after.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends a number.
pub(super) fn put_number(out: &mut String, number: u32) {
    let mut divisor = 1;
    while number / divisor >= 10 {
        divisor *= 10;
    }
    while divisor > 0 {
        out.push(char::from(b'0' + (number / divisor % 10) as u8));
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn any_text_reads_back_as_it_was() {
        let controls: String = (0..0x30).map(char::from).collect();
        for text in ["", "web", "a\"b\\c\n", "\\\\\"", "ä\u{2028}\u{10ffff}\u{7f}", &controls] {
            let mut out = String::new();
            put_string(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text, "{out}");
        }
    }

    #[test]
    fn a_number_is_written_without_leading_zeros() {
        for number in [0, 1, 9, 10, 100, 8080, 65_535, u32::MAX] {
            let mut out = String::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
