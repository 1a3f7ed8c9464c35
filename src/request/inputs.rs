//! The inputs of a request: the stream that has them, and those that a service requires.

use crate::balancer::pick_context::PickContext;
use crate::config::HashOn;
use crate::handoff::encoded_handoff::HandoffStream;
use crate::router::route::RequiredInputs;
use crate::util::hash::xxh64;
use crate::util::time::Time;

/// Reads the inputs that a service requires, and nothing else.
pub(super) fn read(required: &RequiredInputs, stream: &mut impl Stream) -> PickContext {
    let version = required.version_header.as_deref().and_then(|name| stream.header(name));
    let split = match &version {
        // A request that names its version is not split.
        Some(_) => None,
        None => required.split_on.as_ref().and_then(|on| hash(on, stream)),
    };
    let needs_time = required.responses.is_some();
    PickContext {
        now: if needs_time { stream.now() } else { Time::ZERO },
        has_body: needs_time && stream.has_body(),
        hash: required.hash_on.as_ref().and_then(|on| hash(on, stream)),
        version,
        split,
    }
}

/// Returns the hash of an input. Returns `None` if the request does not have it.
fn hash(on: &HashOn, stream: &mut impl Stream) -> Option<u64> {
    let of = |value: &[u8]| xxh64(value, 0);
    match on {
        HashOn::Header(name) => stream.values(name).map(|values| of(&values)),
        HashOn::Cookie(name) => of_part(stream.values("cookie"), |all| cookie(all, name)),
        HashOn::Query(name) => of_part(stream.header(":path"), |all| query(all, name)),
        HashOn::Path => of_part(stream.header(":path"), |all| Some(path(all))),
        HashOn::SourceAddress => of_part(stream.source_address(), |all| Some(without_port(all))),
    }
}

fn of_part(value: Option<Vec<u8>>, part: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<u64> {
    value.as_deref().and_then(part).map(|part| xxh64(part, 0))
}

/// Returns the address of `10.0.0.7:8080` or `[::1]:8080`.
fn without_port(address: &[u8]) -> &[u8] {
    let colon = address.iter().rposition(|byte| *byte == b':').unwrap_or(address.len());
    address.get(..colon).unwrap_or(address)
}

/// Returns the value of the first cookie of a name in the `cookie` fields of a request (RFC 6265, 4.2), which have
/// commas between them. Quotes round the value are left out.
///
/// A cookie should have no comma, but some have. A comma belongs to the value if no other cookie begins behind it:
/// else clients with different values would count as one.
fn cookie<'a>(fields: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = fields.split(|byte| *byte == b';').find_map(|pairs| value_of(pairs, name))?;
    let value = value.trim_ascii_end();
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(inner.unwrap_or(value))
}

/// Returns the value of a name in pairs with commas between them.
fn value_of<'a>(mut pairs: &'a [u8], name: &str) -> Option<&'a [u8]> {
    loop {
        let (key, rest) = split_once(pairs, b'=')?;
        // The text before a comma is no pair here.
        let key = key.rsplit(|byte| *byte == b',').next().unwrap_or(key).trim_ascii_start();
        let commas = rest.iter().enumerate().filter(|(_, byte)| **byte == b',');
        let end = commas.map(|(at, _)| at).find(|at| begins_pair(rest.get(at + 1..)));
        if key == name.as_bytes() {
            return rest.get(..end.unwrap_or(rest.len()));
        }
        pairs = rest.get(end? + 1..)?;
    }
}

/// Returns true if a pair begins here.
fn begins_pair(text: Option<&[u8]>) -> bool {
    let mut text = text.unwrap_or_default().iter();
    text.find(|byte| matches!(byte, b'=' | b',')) == Some(&b'=')
}

/// Returns the first query parameter of a name in a `:path`, not decoded. Returns an empty value if the parameter
/// has no `=`.
fn query<'a>(path: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (_, query) = split_once(without_fragment(path), b'?')?;
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        (key == name.as_bytes()).then_some(value)
    })
}

/// Returns a `:path` without its query and fragment.
fn path(path: &[u8]) -> &[u8] {
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

/// A request in its header phase, or paused in it.
pub trait Stream: HandoffStream {
    /// Reads `:authority`.
    fn authority(&mut self) -> Option<Vec<u8>>;
    /// Reads the service's name from the route's metadata. The name is that of no service if Envoy does not
    /// let the metadata be read.
    fn route_service(&mut self) -> Option<Vec<u8>>;
    /// Reads a header's first value.
    fn header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Reads all values of a header in order, with commas between them.
    fn values(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Returns true if a body is still to come behind the headers.
    fn has_body(&self) -> bool;
    /// Reads the address and port that the request came from.
    fn source_address(&mut self) -> Option<Vec<u8>>;
    /// Reads the clock.
    fn now(&mut self) -> Time;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::counted::Counted;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn hash_on(on: HashOn) -> RequiredInputs {
        RequiredInputs { hash_on: Some(on), ..RequiredInputs::default() }
    }

    fn hashed(on: HashOn, stream: Counted) -> Option<u64> {
        read(&hash_on(on), &mut { stream }).hash
    }

    #[test]
    fn equal_values_have_equal_hashes_and_others_have_others() {
        let of = |name: &str, value: &str| {
            hashed(HashOn::Header("x-user".into()), Counted::default().with(name, value))
        };
        assert!(of("x-user", "7").is_some());
        assert_eq!(of("x-user", "7"), of("x-user", "7"));
        assert_ne!(of("x-user", "7"), of("x-user", "8"));
        assert_eq!(of("x-other", "7"), None);
    }

    #[test]
    fn the_part_that_is_named_is_hashed_and_nothing_else() {
        let cookie = |value: &str| {
            hashed(HashOn::Cookie("id".into()), Counted::default().with("cookie", value))
        };
        assert_eq!(cookie("a=1; id=7"), cookie("id=7; b=2"));
        assert_eq!(cookie("a=1; ids=7"), None);

        let path =
            |on: &HashOn, value: &str| hashed(on.clone(), Counted::default().with(":path", value));
        let query = HashOn::Query("id".into());
        assert_eq!(path(&query, "/a?id=7"), path(&query, "/b?x=1&id=7#end"));
        assert_eq!(path(&query, "/id=7"), None);
        assert_eq!(path(&HashOn::Path, "/a?id=7"), path(&HashOn::Path, "/a"));
        assert_ne!(path(&HashOn::Path, "/a"), path(&HashOn::Path, "/b"));
    }

    #[test]
    fn all_values_of_a_header_are_hashed() {
        let of = |values: &[&str]| {
            let add = |stream: Counted, value: &&str| stream.with("x-user", value);
            hashed(HashOn::Header("x-user".into()), values.iter().fold(Counted::default(), add))
        };
        assert_ne!(of(&["all", "7"]), of(&["all", "8"]));
        assert_ne!(of(&["all", "7"]), of(&["all"]));
        assert_eq!(of(&["all", "7"]), of(&["all", "7"]));
    }

    #[test]
    fn a_cookie_is_found_in_any_field() {
        let of = |fields: &[&str]| {
            let add = |stream: Counted, field: &&str| stream.with("cookie", field);
            hashed(HashOn::Cookie("id".into()), fields.iter().fold(Counted::default(), add))
        };
        let alone = of(&["id=7"]);
        assert!(alone.is_some());
        assert_eq!(of(&["a=1", "id=7"]), alone);
        assert_eq!(of(&["a=1; b=2", "c=3; id=7", "d=4"]), alone);
        assert_eq!(of(&["id=7", "b=2"]), alone);
    }

    #[test]
    fn a_source_address_counts_without_its_port() {
        let from = |address| {
            let stream = Counted { source_address: Some(address), ..Counted::default() };
            hashed(HashOn::SourceAddress, stream)
        };
        assert_eq!(from("10.0.0.7:1"), from("10.0.0.7:2"));
        assert_eq!(from("[::1]:1"), from("[::1]:2"));
        assert_ne!(from("10.0.0.7:1"), from("10.0.0.8:1"));
    }

    #[test]
    fn a_request_that_names_its_version_is_not_split() {
        let required = RequiredInputs {
            version_header: Some("x-version".into()),
            split_on: Some(HashOn::Header("x-user".into())),
            ..RequiredInputs::default()
        };
        let user = Counted::default().with("x-user", "7");
        assert!(read(&required, &mut { user }).split.is_some());
        let mut named = Counted::default().with("x-user", "7").with("x-version", "2.x");
        let context = read(&required, &mut named);
        assert_eq!((context.version.as_deref(), context.split), (Some(&b"2.x"[..]), None));
        assert_eq!(named.calls, 1);
    }

    #[test]
    fn what_is_not_wanted_is_not_read() {
        let mut stream = Counted::default().with("cookie", "a=1").with(":path", "/");
        read(&RequiredInputs::default(), &mut stream);
        assert_eq!(stream.calls, 0);
    }

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
