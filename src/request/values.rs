//! Parts of header values, as bytes: a client may send anything.

/// A cookie's value in the `cookie` fields of a request (RFC 6265, 4.2), which have commas between
/// them: the first of that name, as it stands, but for the quotes that may be round it.
///
/// No cookie should have a comma in it, and some have. One behind which no other cookie begins is
/// part of the value: clients that differ behind it are not to be taken for one.
pub(super) fn cookie<'a>(fields: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = fields.split(|byte| *byte == b';').find_map(|pairs| value_of(pairs, name))?;
    let value = value.trim_ascii_end();
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(inner.unwrap_or(value))
}

/// The value of that name in pairs with commas between them.
fn value_of<'a>(mut pairs: &'a [u8], name: &str) -> Option<&'a [u8]> {
    loop {
        let (key, rest) = split_once(pairs, b'=')?;
        // What is before a comma here is no pair.
        let key = key.rsplit(|byte| *byte == b',').next().unwrap_or(key).trim_ascii_start();
        let commas = rest.iter().enumerate().filter(|(_, byte)| **byte == b',');
        let end = commas.map(|(at, _)| at).find(|at| begins_pair(rest.get(at + 1..)));
        if key == name.as_bytes() {
            return rest.get(..end.unwrap_or(rest.len()));
        }
        pairs = rest.get(end? + 1..)?;
    }
}

/// Whether a pair begins here.
fn begins_pair(text: Option<&[u8]>) -> bool {
    let mut text = text.unwrap_or_default().iter();
    text.find(|byte| matches!(byte, b'=' | b',')) == Some(&b'=')
}

/// The first query parameter of that name in a `:path`, as it stands: not decoded, and empty where
/// it has no `=`.
pub(super) fn query<'a>(path: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (_, query) = split_once(without_fragment(path), b'?')?;
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        (key == name.as_bytes()).then_some(value)
    })
}

/// A `:path` without its query and fragment.
pub(super) fn path(path: &[u8]) -> &[u8] {
    let path = without_fragment(path);
    split_once(path, b'?').map_or(path, |(path, _)| path)
}

fn without_fragment(path: &[u8]) -> &[u8] {
    split_once(path, b'#').map_or(path, |(path, _)| path)
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == at)?;
    Some((bytes.get(..position)?, bytes.get(position + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let of = |header: &'static str| cookie(header.as_bytes(), "id");
        assert_eq!(of("id=7"), Some(&b"7"[..]));
        assert_eq!(of("a=id=7;  id=\"8\" ; id=9"), Some(&b"8"[..]));
        assert_eq!(of("id=a=b"), Some(&b"a=b"[..]));
        assert_eq!(of("a=1,id=7,b=2"), Some(&b"7"[..]));
        assert_eq!(of("a=1,2, id=7 ; b=2"), Some(&b"7"[..]));
        assert_eq!(of("a,id=7"), Some(&b"7"[..]));
        assert_eq!(of("id="), Some(&b""[..]));
        for none in ["", ";", "id", "xid=7", "id =7", "ID=7"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_comma_in_a_cookie_is_part_of_its_value() {
        let of = |header: &'static str| cookie(header.as_bytes(), "id");
        assert_eq!(of("a=1; id=v1,7; b=2"), Some(&b"v1,7"[..]));
        assert_eq!(of("id=v1,7,b=2"), Some(&b"v1,7"[..]));
        assert_eq!(of(r#"id={"user":7,"x":1},b=2"#), Some(&br#"{"user":7,"x":1}"#[..]));
        assert_eq!(of("id=7,"), Some(&b"7,"[..]));
    }

    #[test]
    fn a_query_parameter_is_found_by_its_whole_name() {
        let of = |path: &'static str| query(path.as_bytes(), "id");
        assert_eq!(of("/?id=7&id=8"), Some(&b"7"[..]));
        assert_eq!(of("/a?b&id#id=9"), Some(&b""[..]));
        for none in ["/id=7", "/?ids=7", "/#?id=7", "", "?"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_path_ends_at_its_query_or_fragment() {
        assert_eq!(path(b"/a?b#c"), b"/a");
        assert_eq!(path(b"/a#b?c"), b"/a");
        assert_eq!(path(b"/a"), b"/a");
        assert_eq!(path(b""), b"");
    }
}
