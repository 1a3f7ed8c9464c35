//! Fields of Envoy's own API that the configuration passes on.

mod messages;

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::recorder::Shape;
use super::suggestion::suggestion;
use super::xds_error::XdsError;
use crate::util::excerpt::Excerpt;

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
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(template: &Template, value: &Value) -> Result<Map<String, Value>, String> {
        template.read(&Cursor::root(value)).map_err(|error| error.to_string())
    }

    /// A message and those in it.
    fn with_parts(template: &Template, check: &dyn Fn(&Template)) {
        check(template);
        template.parts.iter().for_each(|(_, part)| with_parts(part, check));
    }

    #[test]
    fn each_field_has_one_kind_and_is_known_where_it_is_set() {
        let check = |template: &Template| {
            let names = || template.fields.iter().flat_map(|(_, fields)| fields.split(' '));
            for name in names() {
                assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
                let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                assert!(!name.is_empty() && name.chars().all(is_name), "{name:?}");
            }
            let set = template.set.iter().flat_map(|(fields, _)| fields.split(' '));
            let groups = template.one_of.iter().chain(template.needed);
            let parts = template.parts.iter().map(|(field, _)| *field);
            for name in set.chain(parts).chain(groups.flat_map(|group| group.iter().copied())) {
                assert!(names().any(|other| other == name), "{name}");
            }
        };
        with_parts(&Template::CLUSTER, &check);
        with_parts(&Template::ROUTE_ACTION, &check);
    }

    #[test]
    fn every_kind_takes_what_envoy_takes() {
        for (field, right, wrong) in [
            ("alt_stat_name", json!(["a", null]), json!([1, true])),
            ("outlier_detection", json!([{}, null]), json!([[], "a", { "colour": 1 }])),
            ("lb_subset_config", json!([{}, null]), json!([[], "a"])),
            ("filters", json!([[], [{}]]), json!([{}, 1])),
            ("lrs_report_endpoint_metrics", json!([[], ["a"]]), json!([{}, [1], ["a", null]])),
            ("ignore_health_on_host_removal", json!([true, false]), json!(["true", 1])),
            (
                "max_requests_per_connection",
                json!([0, 1, 2.0, "3"]),
                json!([1.5, "a", "", {}, "1e3"]),
            ),
            (
                "max_requests_per_connection",
                json!([4_294_967_295_u32, "4294967295"]),
                json!([-1, -1.0, "-1", 4_294_967_296_u64, "4294967296", 1e300]),
            ),
            (
                "dns_lookup_family",
                json!(["V4_ONLY", "ALL", 0, 4.0]),
                json!([true, 1.5, 5, -1, "v4_only"]),
            ),
            (
                "connect_timeout",
                json!(["1s", "0.25s", "0.000000001s", "9223372035s"]),
                json!([1, {}, "0s", "0.0s", "9223372036s", "99999999999999999999s"]),
            ),
            ("connect_timeout", json!([]), json!(["1", "250ms", "1m", "s", "-1s", ".5s", "1.s"])),
            ("dns_jitter", json!(["0s", "1s"]), json!(["-0.5s", "-1s", 0])),
        ] {
            for (values, is_right) in [(right, true), (wrong, false)] {
                for value in values.as_array().unwrap() {
                    let found = read(&Template::CLUSTER, &json!({ field: value }));
                    assert_eq!(found.is_ok(), is_right, "{field}: {value}");
                }
            }
        }
    }

    #[test]
    fn whole_numbers_of_a_struct_are_integers_however_deep() {
        let percent = json!({ "budget_percent": { "value": 0.5 } });
        let given = json!({ "circuit_breakers": {
            "thresholds": [{ "max_retries": 3.0, "retry_budget": percent }]
        } });
        let found = read(&Template::CLUSTER, &given).unwrap();
        let text = found["circuit_breakers"]["thresholds"][0].to_string();
        assert_eq!(text, r#"{"max_retries":3,"retry_budget":{"budget_percent":{"value":0.5}}}"#);
        let beyond = json!({ "metadata": { "a": 1e300 } });
        let found = read(&Template::CLUSTER, &beyond).unwrap();
        assert_eq!(Value::Object(found), beyond);
    }

    #[test]
    fn fields_within_are_checked_when_the_filter_sets_some() {
        for (template, value, message) in [
            (
                &Template::CLUSTER,
                json!({ "common_lb_config": { "updateMergeWindow": "1s" } }),
                "common_lb_config.updateMergeWindow: unknown field of Envoy's CommonLbConfig; did \
                 you mean update_merge_window?",
            ),
            (
                &Template::ROUTE_ACTION,
                json!({ "retry_policy": { "retryOn": "5xx" } }),
                "retry_policy.retryOn: unknown field of Envoy's RetryPolicy; did you mean \
                 retry_on?",
            ),
            (
                &Template::CLUSTER,
                json!({ "common_lb_config": { "consistent_hashing_lb_config": {} } }),
                "common_lb_config.consistent_hashing_lb_config: load_balancing of the service sets \
                 it; leave it out here",
            ),
        ] {
            assert_eq!(read(template, &value).unwrap_err(), message);
        }
    }
}
