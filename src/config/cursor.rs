//! A JSON value that knows its place.

use core::ops::RangeInclusive;
use core::time::Duration;

use serde_json::{Map, Value};

use super::duration::parse_duration;
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::removed::replacement;
use super::suggestion::suggestion;

/// A JSON value together with its place, so that every reading of it that fails can say
/// where. Nothing is converted silently: `"2"` is no number, `null` is no absent field.
pub(super) struct Cursor<'a> {
    place: FieldPath,
    value: &'a Value,
}

impl<'a> Cursor<'a> {
    /// The outermost value.
    pub(super) const fn root(value: &'a Value) -> Self {
        Self { place: FieldPath::root(), value }
    }

    /// Where it stands.
    pub(super) const fn place(&self) -> &FieldPath {
        &self.place
    }

    /// What stands here.
    pub(super) const fn value(&self) -> &'a Value {
        self.value
    }

    /// Refuses what stands here.
    pub(super) fn error(&self, problem: FieldError) -> ConfigError {
        ConfigError::refused(self.place.clone(), problem)
    }

    /// Reads an object that has none but the known fields.
    pub(super) fn object(&self, known: &'static [&'static str]) -> Result<Object<'a>, ConfigError> {
        let Value::Object(fields) = self.value else {
            return Err(self.wrong_type("an object"));
        };
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                let problem = match replacement(name) {
                    Some(instead) => FieldError::RemovedField { instead },
                    None => FieldError::UnknownField {
                        known,
                        suggestion: suggestion(name, known.iter().copied()),
                    },
                };
                Err(ConfigError::refused(self.place.field(name), problem))
            }
            None => Ok(Object { place: self.place.clone(), fields }),
        }
    }

    /// Reads an array of at most `most` items, each by `read`.
    pub(super) fn array<T>(
        &self,
        most: usize,
        read: impl Fn(&Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let Value::Array(items) = self.value else {
            return Err(self.wrong_type("an array"));
        };
        if items.len() > most {
            return Err(self.error(FieldError::TooMany { limit: most, found: items.len() }));
        }
        let node = |(index, value)| Self { place: self.place.item(index), value };
        items.iter().enumerate().map(|item| read(&node(item))).collect()
    }

    /// Refuses the second of two items of this array that are the same.
    pub(super) fn check_differ(
        &self,
        items: &[String],
        is_same: impl Fn(&str, &str) -> bool,
    ) -> Result<(), ConfigError> {
        for (index, item) in items.iter().enumerate() {
            let first = items.iter().position(|other| is_same(other, item));
            if let Some(first) = first.filter(|first| *first < index) {
                let (text, first) = (Excerpt::of(item), self.place.item(first));
                let problem = FieldError::Repeated { text, first };
                return Err(ConfigError::refused(self.place.item(index), problem));
            }
        }
        Ok(())
    }

    /// Reads an object of at most `most` fields with any names, each by `read`.
    pub(super) fn entries<T>(
        &self,
        most: usize,
        read: impl Fn(&'a str, &Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let Value::Object(fields) = self.value else {
            return Err(self.wrong_type("an object"));
        };
        if fields.len() > most {
            return Err(self.error(FieldError::TooMany { limit: most, found: fields.len() }));
        }
        let node = |name, value| Self { place: self.place.field(name), value };
        fields.iter().map(|(name, value)| read(name, &node(name, value))).collect()
    }

    /// Whether a string stands here.
    pub(super) fn is_string(&self) -> bool {
        self.value.is_string()
    }

    /// Reads a string of any content.
    pub(super) fn string(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    /// Reads a string that is not blank, has at most `most` bytes and only characters that
    /// `is_allowed`; `expected` describes these.
    pub(super) fn text(
        &self,
        most: usize,
        is_allowed: impl Fn(char) -> bool,
        expected: &'static str,
    ) -> Result<&'a str, ConfigError> {
        let text = self.string()?;
        if text.trim().is_empty() {
            return Err(self.error(FieldError::Empty { expected: "a text that is not blank" }));
        }
        self.checked(text, most, is_allowed, expected)
    }

    /// Reads the name of the field that this is the value of in the same way, where it may be any.
    pub(super) fn key(
        &self,
        key: &'a str,
        most: usize,
        is_allowed: impl Fn(char) -> bool,
        expected: &'static str,
    ) -> Result<&'a str, ConfigError> {
        if key.trim().is_empty() {
            return Err(self.error(FieldError::Empty { expected: "a key" }));
        }
        self.checked(key, most, is_allowed, expected)
    }

    fn checked(
        &self,
        text: &'a str,
        most: usize,
        is_allowed: impl Fn(char) -> bool,
        expected: &'static str,
    ) -> Result<&'a str, ConfigError> {
        if text.len() > most {
            return Err(self.error(FieldError::TooLong { limit: most, found: text.len() }));
        }
        match text.chars().find(|c| !is_allowed(*c)) {
            Some(found) => Err(self.error(FieldError::Character { found, expected })),
            None => Ok(text),
        }
    }

    /// Reads a text of at most `most` bytes without control characters.
    pub(super) fn single_line(&self, most: usize) -> Result<&'a str, ConfigError> {
        self.text(most, |c| !c.is_control(), "no control characters")
    }

    /// Reads a token of HTTP (RFC 9110, section 5.6.2), as names of headers and of cookies
    /// (RFC 6265, section 4.1.1) are.
    pub(super) fn token(&self, most: usize) -> Result<&'a str, ConfigError> {
        self.text(most, Self::is_of_token, Self::TOKEN)
    }

    /// What a token is made of, in words.
    pub(super) const TOKEN: &'static str = "only ASCII letters, digits and !#$%&'*+-.^_`|~";

    /// Whether a token may have it.
    pub(super) fn is_of_token(c: char) -> bool {
        c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    /// Reads `true`, where `false` would mean nothing.
    pub(super) fn must_be_true(&self) -> Result<(), ConfigError> {
        match self.value {
            Value::Bool(true) => Ok(()),
            _ => Err(self.wrong_type("true")),
        }
    }

    /// Reads a number within limits, which need not be whole.
    pub(super) fn number(&self, limits: RangeInclusive<u32>) -> Result<f64, ConfigError> {
        let number = self.value.as_f64().ok_or_else(|| self.wrong_type("a number"))?;
        let (least, most) = limits.into_inner();
        if (f64::from(least)..=f64::from(most)).contains(&number) {
            return Ok(number);
        }
        let found = self.value.to_string();
        Err(self.error(FieldError::NumberOutOfRange { found, least, most }))
    }

    /// Reads a whole number within limits. It may be written `2.0`: a number of a protobuf
    /// `Struct` is a double.
    pub(super) fn integer(&self, limits: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        if self.value.as_f64().is_none_or(|number| number.fract() != 0.0) {
            return Err(self.wrong_type("a whole number"));
        }
        // Between the limits, and whole, the double is that number exactly.
        self.number(limits).map(|number| number as u32)
    }

    /// Reads a whole number within limits that one byte can hold.
    pub(super) fn byte(&self, limits: RangeInclusive<u8>) -> Result<u8, ConfigError> {
        let (least, most) = limits.into_inner();
        self.integer(least.into()..=most.into()).map(|number| number as u8)
    }

    /// Reads a whole number of percent, up to 100.
    pub(super) fn percent(&self) -> Result<u8, ConfigError> {
        self.byte(0..=100)
    }

    /// Reads a duration within limits; see [`parse_duration`] for its form.
    pub(super) fn duration(
        &self,
        limits: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        const EXPECTED: &str =
            "a duration in quotes with its unit, such as \"250ms\", \"5s\" or \"1m\"";
        let text = self.value.as_str().ok_or_else(|| self.wrong_type(EXPECTED))?;
        let found = parse_duration(text).map_err(|e| self.error(FieldError::Duration(e)))?;
        if limits.contains(&found) {
            return Ok(found);
        }
        let (least, most) = limits.into_inner();
        Err(self.error(FieldError::DurationOutOfRange { found, least, most }))
    }

    /// Reads a duration within limits, or one of zero, which stands for never.
    pub(super) fn duration_or_zero(
        &self,
        limits: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        match self.duration(Duration::ZERO..=*limits.end())? {
            Duration::ZERO => Ok(Duration::ZERO),
            _ => self.duration(limits),
        }
    }

    /// Reads one of the names on a list; `noun` says what the list is of.
    pub(super) fn one_of<T: Copy>(
        &self,
        noun: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<T, ConfigError> {
        let text = self.string()?;
        choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let known = choices.iter().map(|(name, _)| *name).collect();
            self.error(FieldError::UnknownChoice { noun, found: Excerpt::of(text), known })
        })
    }

    /// Refuses what stands here for its type.
    pub(super) fn wrong_type(&self, expected: &'static str) -> ConfigError {
        let found = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => format!("the number {number}"),
            Value::String(text) => format!("the string {}", Excerpt::of(text)),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.error(FieldError::WrongType { expected, found })
    }
}

/// A JSON object whose fields are all known.
pub(super) struct Object<'a> {
    place: FieldPath,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// Reads a field that may be absent.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.field(name).map(|node| read(&node)).transpose()
    }

    fn field(&self, name: &str) -> Option<Cursor<'a>> {
        let value = self.fields.get(name)?;
        Some(Cursor { place: self.place.field(name), value })
    }

    /// Reads a field that may be absent; then `slot` keeps what it has.
    pub(super) fn set<T>(
        &self,
        name: &str,
        slot: &mut T,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<(), ConfigError> {
        if let Some(value) = self.optional(name, read)? {
            *slot = value;
        }
        Ok(())
    }

    /// Whether a field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Reads a field that must be there; `expected` says what belongs there.
    pub(super) fn required<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        self.optional(name, read)?
            .ok_or_else(|| self.error_at(name, FieldError::Missing { expected }))
    }

    /// Refuses a field, or its absence.
    pub(super) fn error_at(&self, name: &str, problem: FieldError) -> ConfigError {
        ConfigError::refused(self.place.field(name), problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_whole_number_may_be_written_as_a_double() {
        for value in [json!(2), json!(2.0)] {
            assert_eq!(Cursor::root(&value).integer(1..=4).unwrap(), 2);
        }
        for value in [json!(0), json!(-1), json!(5), json!(2.5), json!(1e300), json!("2")] {
            assert!(Cursor::root(&value).integer(1..=4).is_err(), "{value}");
        }
        let most = json!(u32::MAX);
        assert_eq!(Cursor::root(&most).integer(0..=u32::MAX).unwrap(), u32::MAX);
        let beyond = json!(u64::from(u32::MAX) + 1);
        assert!(Cursor::root(&beyond).integer(0..=u32::MAX).is_err());
    }

    #[test]
    fn an_error_names_the_place_however_deep() {
        let value = json!({ "a": [{}, { "b": 1 }] });
        let error = Cursor::root(&value)
            .object(&["a"])
            .and_then(|object| {
                object.optional("a", |a| {
                    a.array(2, |item| item.object(&["b"])?.optional("b", Cursor::string))
                })
            })
            .unwrap_err();
        assert_eq!(error.to_string(), "a[1].b: expected a string, found the number 1");
    }

    #[test]
    fn null_is_no_absent_field() {
        let value = json!({ "a": null });
        let object = Cursor::root(&value).object(&["a", "b"]).unwrap();
        assert!(object.optional("a", Cursor::string).is_err());
        assert_eq!(object.optional("b", Cursor::string).unwrap(), None);
    }
}
