//! A JSON value that knows its place.

use core::ops::RangeInclusive;
use core::time::Duration;

use serde_json::Value;

use super::duration::parse_duration;
use super::error::Refusals;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::recorder::{Recorder, Shape};
use crate::util::excerpt::Excerpt;

/// A JSON value together with its place, so that every reading of it that fails can say
/// where. Nothing is converted silently: `"2"` is no number, `null` is no absent field.
///
/// With a recorder there is no value: each method records what it would read, and fails without
/// a refusal. So the code that reads a field is the code that describes it.
pub(super) struct Cursor<'a> {
    place: FieldPath,
    value: &'a Value,
    recorder: Option<Recorder>,
}

impl<'a> Cursor<'a> {
    /// The outermost value.
    pub(super) const fn root(value: &'a Value) -> Self {
        Self { place: FieldPath::root(), value, recorder: None }
    }

    /// A value at a place, or the description of one.
    pub(super) const fn new(
        place: FieldPath,
        value: &'a Value,
        recorder: Option<Recorder>,
    ) -> Self {
        Self { place, value, recorder }
    }

    /// The recorder of the description, where no value is read.
    pub(super) const fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Records the form of the value, where no value is read.
    pub(super) fn record(&self, shape: impl FnOnce() -> Shape) -> Result<(), Refusals> {
        match &self.recorder {
            Some(recorder) => {
                recorder.record(shape());
                Err(Refusals::default())
            }
            None => Ok(()),
        }
    }

    /// Adds keywords of JSON Schema to the description of this value: for rules that only code
    /// expresses. They precede those of the methods that read it.
    #[inline(always)]
    pub(super) fn describe(&self, schema: &'static str) {
        if let Some(recorder) = &self.recorder {
            recorder.add(schema);
        }
    }

    /// Place of the value.
    pub(super) const fn place(&self) -> &FieldPath {
        &self.place
    }

    /// JSON of the value.
    pub(super) const fn value(&self) -> &'a Value {
        self.value
    }

    /// Refuses what stands here.
    pub(super) fn error(&self, problem: FieldError) -> Refusals {
        Refusals::one(self.place.clone(), problem)
    }

    /// Reads an array of at most `most` items, each by `read`.
    pub(super) fn array<T: 'static>(
        &self,
        most: usize,
        read: impl Fn(&Cursor<'a>) -> Result<T, Refusals>,
    ) -> Result<Vec<T>, Refusals> {
        if let Some(recorder) = &self.recorder {
            let item = recorder.part();
            let _ = read(&Self::new(self.place.clone(), self.value, Some(item.clone())));
            self.record(|| Shape::array::<T>(most, item))?;
        }
        let Value::Array(items) = self.value else {
            return Err(self.wrong_type("an array"));
        };
        if items.len() > most {
            return Err(self.error(FieldError::TooMany { limit: most, found: items.len() }));
        }
        let mut found = Vec::with_capacity(items.len());
        let mut refusals = Refusals::default();
        for (index, value) in items.iter().enumerate() {
            match read(&Self::new(self.place.item(index), value, None)) {
                Ok(item) => found.push(item),
                Err(refused) => refusals.append(refused),
            }
        }
        refusals.none_or(found)
    }

    /// Refuses the second of two items of this array that are the same.
    pub(super) fn check_differ(
        &self,
        items: &[String],
        is_same: impl Fn(&str, &str) -> bool,
    ) -> Result<(), Refusals> {
        let mut refusals = Refusals::default();
        for (index, item) in items.iter().enumerate() {
            let first = items.iter().position(|other| is_same(other, item));
            if let Some(first) = first.filter(|first| *first < index) {
                let (text, first) = (Excerpt::of(item), self.place.item(first));
                refusals.add(self.place.item(index), FieldError::Repeated { text, first });
            }
        }
        refusals.none_or(())
    }

    /// Reads an object of at most `most` fields with any names, each by `read`.
    pub(super) fn entries<T>(
        &self,
        most: usize,
        read: impl Fn(&'a str, &Cursor<'a>) -> Result<T, Refusals>,
    ) -> Result<Vec<T>, Refusals> {
        if let Some(recorder) = &self.recorder {
            let value = recorder.part();
            let _ = read("", &Self::new(self.place.clone(), self.value, Some(value.clone())));
            self.record(|| Shape::map(most, value))?;
        }
        let Value::Object(fields) = self.value else {
            return Err(self.wrong_type("an object"));
        };
        if fields.len() > most {
            return Err(self.error(FieldError::TooMany { limit: most, found: fields.len() }));
        }
        let mut found = Vec::with_capacity(fields.len());
        let mut refusals = Refusals::default();
        for (name, value) in fields {
            match read(name, &Self::new(self.place.field(name), value, None)) {
                Ok(entry) => found.push(entry),
                Err(refused) => refusals.append(refused),
            }
        }
        refusals.none_or(found)
    }

    /// Reads a string by the first reader, and any other value by the second.
    pub(super) fn string_or<T>(
        &self,
        string: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
        other: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
    ) -> Result<T, Refusals> {
        if let Some(recorder) = &self.recorder {
            let [first, second] = [recorder.part(), recorder.part()];
            let node = |part| Self::new(self.place.clone(), self.value, Some(part));
            let _ = string(&node(first.clone()));
            let _ = other(&node(second.clone()));
            self.record(|| Shape::either(first, second))?;
            return Err(Refusals::default());
        }
        if self.value.is_string() { string(self) } else { other(self) }
    }

    /// Reads a string of any content.
    pub(super) fn string(&self) -> Result<&'a str, Refusals> {
        self.record(Shape::string)?;
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    /// Reads a string that is not blank, has at most `most` bytes and only characters that
    /// `is_allowed`; `expected` describes these.
    pub(super) fn text(
        &self,
        most: usize,
        is_allowed: impl Fn(char) -> bool,
        expected: &'static str,
    ) -> Result<&'a str, Refusals> {
        self.record(|| Shape::text(most, &is_allowed))?;
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
    ) -> Result<&'a str, Refusals> {
        if let Some(recorder) = &self.recorder {
            recorder.record_key(most, &is_allowed);
            return Ok("");
        }
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
    ) -> Result<&'a str, Refusals> {
        if text.len() > most {
            return Err(self.error(FieldError::TooLong { limit: most, found: text.len() }));
        }
        match text.chars().find(|c| !is_allowed(*c)) {
            Some(found) => Err(self.error(FieldError::Character { found, expected })),
            None => Ok(text),
        }
    }

    /// Reads a text of at most `most` bytes without control characters.
    pub(super) fn single_line(&self, most: usize) -> Result<&'a str, Refusals> {
        self.text(most, |c| !c.is_control(), "no control characters")
    }

    /// Reads a token of HTTP (RFC 9110, section 5.6.2), as names of headers and of cookies
    /// (RFC 6265, section 4.1.1) are.
    pub(super) fn token(&self, most: usize) -> Result<&'a str, Refusals> {
        self.text(most, Self::is_of_token, Self::TOKEN)
    }

    /// Characters of a token, in words.
    pub(super) const TOKEN: &'static str = "only ASCII letters, digits and !#$%&'*+-.^_`|~";

    /// Tells if a token may have a character.
    pub(super) fn is_of_token(c: char) -> bool {
        c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, Refusals> {
        self.record(Shape::boolean)?;
        self.value.as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    /// Reads `true`, where `false` would mean nothing.
    pub(super) fn must_be_true(&self) -> Result<(), Refusals> {
        self.record(Shape::only_true)?;
        match self.value {
            Value::Bool(true) => Ok(()),
            _ => Err(self.wrong_type("true")),
        }
    }

    /// Reads a number within limits, which need not be whole.
    pub(super) fn number(&self, limits: RangeInclusive<u32>) -> Result<f64, Refusals> {
        self.record(|| Shape::number(&limits))?;
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
    pub(super) fn integer(&self, limits: RangeInclusive<u32>) -> Result<u32, Refusals> {
        self.record(|| Shape::integer(&limits))?;
        if self.value.as_f64().is_none_or(|number| number.fract() != 0.0) {
            return Err(self.wrong_type("a whole number"));
        }
        // Between the limits, and whole, the double is that number exactly.
        self.number(limits).map(|number| number as u32)
    }

    /// Reads a whole number within limits that one byte can hold.
    pub(super) fn byte(&self, limits: RangeInclusive<u8>) -> Result<u8, Refusals> {
        let (least, most) = limits.into_inner();
        self.integer(least.into()..=most.into()).map(|number| number as u8)
    }

    /// Reads a whole number of percent, up to 100.
    pub(super) fn percent(&self) -> Result<u8, Refusals> {
        self.byte(0..=100)
    }

    /// Reads a duration within limits; see [`parse_duration`] for its form.
    pub(super) fn duration(&self, limits: RangeInclusive<Duration>) -> Result<Duration, Refusals> {
        const EXPECTED: &str =
            "a duration in quotes with its unit, such as \"250ms\", \"5s\" or \"1m\"";
        self.record(|| Shape::duration(&limits, false))?;
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
    ) -> Result<Duration, Refusals> {
        self.record(|| Shape::duration(&limits, true))?;
        match self.duration(Duration::ZERO..=*limits.end())? {
            Duration::ZERO => Ok(Duration::ZERO),
            _ => self.duration(limits),
        }
    }

    /// Reads one of the names on a list; `noun` says what the list is of.
    pub(super) fn one_of<T: Copy + PartialEq + 'static>(
        &self,
        noun: &'static str,
        choices: &'static [(&'static str, T)],
    ) -> Result<T, Refusals> {
        self.record(|| Shape::one_of(choices))?;
        let text = self.string()?;
        choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let known = choices.iter().map(|(name, _)| *name).collect();
            self.error(FieldError::UnknownChoice { noun, found: Excerpt::of(text), known })
        })
    }

    /// Refuses what stands here for its type.
    pub(super) fn wrong_type(&self, expected: &'static str) -> Refusals {
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
}
