//! Fields of Envoy's own API that the configuration passes on.

mod messages;

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::error::Refusals;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::recorder::Shape;
use super::suggestion::suggestion;
use super::xds_error::XdsError;

/// Fields of a message of Envoy's API that the configuration may give, with their values.
///
/// Envoy says of a message that it rejects only that it does, so a slip is told before: a field
/// that the message does not have in any of Envoy 1.36 to 1.40, a value that it does not take
/// there, and a field that the filter sets itself. Names are those of the API, in its spelling: the
/// other one that protobuf reads (`connectTimeout`) would come beside a field that the filter sets.
pub(super) struct Template {
    /// Name of the message.
    message: &'static str,
    /// Its fields by the kind of their JSON, with blanks between them.
    fields: &'static [(Kind, &'static str)],
    /// Of these the ones that the filter sets, and the settings by which it does.
    set: &'static [(&'static str, &'static str)],
    /// Those of which at most one may be given.
    one_of: &'static [&'static [&'static str]],
    /// Those of which exactly one must be given.
    needed: &'static [&'static [&'static str]],
    /// The fields that are such messages themselves, or lists of them.
    parts: &'static [(&'static str, Self)],
}

/// Form of a field's JSON, by the rules of protobuf and by those of Envoy.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Object,
    Array,
    /// An array of such values.
    List(&'static Self),
    Bool,
    /// A whole number from 0 to this one, or its digits as a string.
    Whole(u32),
    /// A number from 0 to 100, which may have a fraction.
    Percent,
    /// A value of an enum, by its name or its number: these are numbered from 0.
    Choice(&'static [&'static str]),
    /// A duration of 0 or more.
    Duration,
    /// A duration of more than 0.
    Interval,
}

impl Template {
    /// Reads fields of the message. `null` stands for a field that is not set: it takes away what
    /// the field would have otherwise.
    pub(super) fn read(&self, node: &Cursor<'_>) -> Result<Map<String, Value>, Refusals> {
        node.record(|| Shape::fields_of(self.message))?;
        let fields = node.entries(usize::MAX, |name, node| {
            if let Some((_, by)) = self.set.iter().find(|(fields, _)| has(fields, name)) {
                return Err(node.error(FieldError::Xds(XdsError::SetElsewhere { by })));
            }
            let Some((kind, _)) = self.fields.iter().find(|(_, fields)| has(fields, name)) else {
                return Err(node.error(FieldError::Xds(XdsError::UnknownField {
                    message: self.message,
                    suggestion: suggestion(name, self.free()),
                })));
            };
            if !node.value().is_null() {
                kind.check(node)?;
                if let Some((_, part)) = self.parts.iter().find(|(field, _)| *field == name) {
                    return Ok((name.to_owned(), part.read_part(node)?));
                }
            }
            Ok((name.to_owned(), plain(node.value())))
        })?;
        let fields: Map<_, _> = fields.into_iter().collect();
        let mut refusals = Refusals::default();
        let given = |names: &[&str]| {
            names.iter().filter(|name| fields.get(**name).is_some_and(|it| !it.is_null())).count()
        };
        let needed = self.needed.iter().map(|names| (names, 1));
        for (names, least) in self.one_of.iter().map(|names| (names, 0)).chain(needed) {
            let found = given(names);
            if let ([name], 0) = (names, found) {
                let expected = "a value: without one Envoy rejects all that it is told with it";
                let place = node.place().field(name);
                refusals.add(place, FieldError::Missing { expected });
            } else if !(least..=1).contains(&found) {
                refusals.append(node.error(FieldError::NotOne { fields: names, found }));
            }
        }
        refusals.none_or(fields)
    }

    /// Reads a field that is such a message, or a list of them.
    fn read_part(&self, node: &Cursor<'_>) -> Result<Value, Refusals> {
        let message = |node: &Cursor<'_>| self.read(node).map(Value::Object);
        match node.value() {
            Value::Array(_) => node.array(usize::MAX, message).map(Value::Array),
            _ => message(node),
        }
    }

    /// The fields that the filter does not set.
    fn free(&self) -> impl Iterator<Item = &'static str> {
        let fields = self.fields.iter().flat_map(|(_, fields)| fields.split(' '));
        fields.filter(|name| !self.set.iter().any(|(fields, _)| has(fields, name)))
    }
}

fn has(fields: &str, name: &str) -> bool {
    fields.split(' ').any(|field| field == name)
}

impl Kind {
    const COUNT: Self = Self::Whole(u32::MAX);

    fn check(self, node: &Cursor<'_>) -> Result<(), Refusals> {
        let value = node.value();
        let (is_right, expected) = match self {
            Self::Text => (value.is_string(), "a string"),
            Self::Object => (value.is_object(), "an object"),
            Self::Array => (value.is_array(), "an array"),
            Self::List(kind) => return node.array(usize::MAX, |it| kind.check(it)).map(drop),
            Self::Bool => (value.is_boolean(), "true or false"),
            Self::Whole(most) => match number(value).filter(|it| it.fract() == 0.0) {
                Some(found) => return check_range(node, found, most),
                None => (false, "a whole number"),
            },
            Self::Percent => match number(value) {
                Some(found) => return check_range(node, found, 100),
                None => (false, "a number"),
            },
            Self::Choice(known) => {
                let nth = |name: &str| known.iter().position(|it| *it == name);
                let is_known = |n: f64| (0..known.len()).any(|nth| n == nth as f64);
                let found = match value {
                    Value::String(name) if nth(name).is_none() => name,
                    Value::Number(n) if !n.as_f64().is_some_and(is_known) => &n.to_string(),
                    Value::String(_) | Value::Number(_) => return Ok(()),
                    _ => return Err(node.wrong_type("a name of Envoy's")),
                };
                let (noun, found) = ("value", Excerpt::of(found));
                return Err(node.error(FieldError::UnknownChoice {
                    noun,
                    found,
                    known: known.to_vec(),
                }));
            }
            Self::Duration | Self::Interval => {
                let text = node.string()?;
                let expected = "a duration as Envoy reads it, in seconds, such as \"0.25s\"";
                if !is_duration(text) {
                    let text = Excerpt::of(text);
                    return Err(node.error(FieldError::Malformed { text, expected }));
                }
                let is_zero = || !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
                return match self {
                    Self::Interval if is_zero() => {
                        Err(node.error(FieldError::Zero { noun: "the duration" }))
                    }
                    _ => Ok(()),
                };
            }
        };
        if is_right { Ok(()) } else { Err(node.wrong_type(expected)) }
    }
}

fn check_range(node: &Cursor<'_>, found: f64, most: u32) -> Result<(), Refusals> {
    if (0.0..=f64::from(most)).contains(&found) {
        return Ok(());
    }
    let found = node.value().to_string();
    Err(node.error(FieldError::NumberOutOfRange { found, least: 0, most }))
}

/// Reads a number, which may stand there as a string of its digits.
fn number(value: &Value) -> Option<f64> {
    // Reading them as a float would take tables of 10 KB into the module.
    let of_digits = || value.as_str().filter(|text| is_digits(text))?.parse::<u64>().ok();
    value.as_f64().or_else(|| of_digits().map(|digits| digits as f64))
}

/// Tells whether Envoy reads it as a duration of 0 or more.
fn is_duration(text: &str) -> bool {
    /// The most nanoseconds that fit into 64 bits.
    const MOST_SECONDS: u64 = i64::MAX as u64 / 1_000_000_000;
    let Some(seconds) = text.strip_suffix('s') else { return false };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    is_digits(whole)
        && whole.parse::<u64>().is_ok_and(|whole| whole < MOST_SECONDS)
        && is_digits(fraction)
        && fraction.len() <= 9
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Copies a value, with whole numbers as such: those of a protobuf `Struct` are doubles, which
/// protobuf does not take for an integer in every form.
fn plain(value: &Value) -> Value {
    /// Up to here a double is a single whole number.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() && double.fract() == 0.0 && double.abs() <= EXACT => {
                Value::from(double as i64)
            }
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests;
