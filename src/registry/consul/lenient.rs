//! Reads JSON that may have any shape.

use core::fmt;
use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A visitor of one JSON value of any kind.
///
/// A type overrides the kinds that it wants. All other kinds end in [`LenientVisitor::on_other`],
/// so a value of the wrong kind costs only that value. Serde's derived shapes fail on such a value,
/// and then the whole body is lost. A visitor reads into an existing target, which can carry the
/// settings that decide which fields matter, so that no field is stored only to be dropped.
///
/// If an object contains a key twice, the last value counts, as in Go's `encoding/json`.
pub(super) trait LenientVisitor<'de>: Sized {
    /// Takes `null`.
    fn on_null(&mut self) {
        self.on_other();
    }

    /// Takes an integer. An integer beyond 64 bits saturates.
    fn on_integer(&mut self, _integer: i64) {
        self.on_other();
    }

    /// Takes a string, borrowed from the body unless it contains escapes.
    fn on_string(&mut self, _string: Cow<'de, str>) {
        self.on_other();
    }

    /// Takes an array. An override must read it to its end.
    fn on_array<A: SeqAccess<'de>>(&mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.on_other();
        Ok(())
    }

    /// Takes an object. An override must read it to its end.
    fn on_object<A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.on_other();
        Ok(())
    }

    /// Takes a boolean, a fraction, or a value of any kind that is not overridden.
    fn on_other(&mut self) {}
}

/// Reads the next value into a target.
pub(super) struct LenientSeed<'t, T>(pub(super) &'t mut T);

impl<'de, T: LenientVisitor<'de>> DeserializeSeed<'de> for LenientSeed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: LenientVisitor<'de>> Visitor<'de> for LenientSeed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.on_null();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.on_other();
        Ok(())
    }

    fn visit_i64<E>(self, integer: i64) -> Result<(), E> {
        self.0.on_integer(integer);
        Ok(())
    }

    fn visit_u64<E>(self, integer: u64) -> Result<(), E> {
        self.0.on_integer(i64::try_from(integer).unwrap_or(i64::MAX));
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.on_other();
        Ok(())
    }

    fn visit_str<E>(self, string: &str) -> Result<(), E> {
        self.0.on_string(Cow::Owned(string.to_owned()));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, string: &'de str) -> Result<(), E> {
        self.0.on_string(Cow::Borrowed(string));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.0.on_array(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<(), A::Error> {
        self.0.on_object(fields)
    }
}

impl<'de> LenientVisitor<'de> for Cow<'de, str> {
    fn on_string(&mut self, string: Self) {
        *self = string;
    }
}

impl<'de> LenientVisitor<'de> for Option<i64> {
    fn on_integer(&mut self, integer: i64) {
        *self = Some(integer);
    }
}

/// Reads the name of the next field of an object. Returns `None` at its end.
pub(super) fn next_name<'de, A: MapAccess<'de>>(
    fields: &mut A,
) -> Result<Option<Cow<'de, str>>, A::Error> {
    let mut name = Cow::Borrowed("");
    Ok(fields.next_key_seed(LenientSeed(&mut name))?.map(|()| name))
}

/// Skips the value of the field whose name was read last.
pub(super) fn skip<'de, A: MapAccess<'de>>(fields: &mut A) -> Result<(), A::Error> {
    fields.next_value::<IgnoredAny>().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ANY: [&str; 9] =
        ["null", "true", "1", "-1", "1.5", r#""a""#, "[[1,{}],2]", r#"{"a":{"b":[]}}"#, "1e9"];

    fn read<'de, T: LenientVisitor<'de>>(json: &'de str, mut target: T) -> T {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        LenientSeed(&mut target).deserialize(&mut deserializer).unwrap();
        deserializer.end().unwrap();
        target
    }

    #[test]
    fn a_value_of_another_kind_leaves_the_target_as_it_was() {
        for json in ANY {
            let string = read(json, Cow::Borrowed("before"));
            assert_eq!(string == "before", json != r#""a""#, "{json}");
            let integer = read(json, None::<i64>);
            assert_eq!(integer.is_some(), json == "1" || json == "-1", "{json}");
        }
    }

    #[test]
    fn a_string_is_borrowed_unless_it_holds_escapes() {
        assert!(matches!(read(r#""plain""#, Cow::Borrowed("")), Cow::Borrowed("plain")));
        assert_eq!(read(r#""\u0061\n""#, Cow::Borrowed("")), Cow::<str>::Owned("a\n".into()));
    }

    #[test]
    fn an_integer_beyond_its_range_saturates() {
        assert_eq!(read("18446744073709551615", None), Some(i64::MAX));
        assert_eq!(read("-9223372036854775808", None), Some(i64::MIN));
        assert_eq!(read("99999999999999999999", None), None::<i64>, "no longer an integer");
    }

    #[test]
    fn skipped_value_may_be_nested_deeply() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(read(&deep, Cow::Borrowed("before")), "before");
    }
}
