//! A JSON object, and the declaration of its fields.

use core::any::Any;

use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::recorder::{Outline, Recorder};
use super::suggestion::suggestion;

/// The name of a field, and one sentence for the reference. The module has no sentences.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    #[cfg(not(target_family = "wasm"))]
    pub(super) about: &'static str,
}

/// Declares a field.
#[inline(always)]
#[cfg_attr(target_family = "wasm", expect(unused_variables, reason = "no sentence in the module"))]
pub(super) const fn field(name: &'static str, about: &'static str) -> Field {
    Field {
        name,
        #[cfg(not(target_family = "wasm"))]
        about,
    }
}

/// A JSON object whose fields are read one after another; [`Object::finish`] refuses those that
/// nobody has asked for, and tells all that was refused.
pub(super) struct Object<'a> {
    place: FieldPath,
    value: &'a Value,
    fields: &'a Map<String, Value>,
    known: Vec<&'static str>,
    /// The fields that were refused or are missing.
    failed: Vec<&'static str>,
    refusals: Refusals,
    missing: Refusals,
    outline: Option<Outline>,
}

impl<'a> Cursor<'a> {
    /// Reads an object; `name` is that of its section in the reference.
    pub(super) fn object(&self, name: &'static str) -> Result<Object<'a>, Refusals> {
        let Value::Object(fields) = self.value() else {
            return Err(self.wrong_type("an object"));
        };
        Ok(Object {
            place: self.place().clone(),
            value: self.value(),
            fields,
            known: Vec::new(),
            failed: Vec::new(),
            refusals: Refusals::default(),
            missing: Refusals::default(),
            outline: self.recorder().map(|recorder| recorder.outline(name)),
        })
    }
}

impl<'a> Object<'a> {
    /// Reads a field that may be absent; then `slot` keeps its default.
    pub(super) fn set<T: 'static>(
        &mut self,
        field: Field,
        slot: &mut T,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
    ) {
        let Some(node) = self.node(field.name) else { return };
        match read(&node) {
            Ok(value) => *slot = value,
            Err(refused) => self.on_refused(field, refused, node.recorder(), Some(slot)),
        }
    }

    /// Reads a field that may be absent and has no default.
    pub(super) fn set_some<T>(
        &mut self,
        field: Field,
        slot: &mut Option<T>,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
    ) {
        let Some(node) = self.node(field.name) else { return };
        match read(&node) {
            Ok(value) => *slot = Some(value),
            Err(refused) => self.on_refused(field, refused, node.recorder(), None),
        }
    }

    /// Reads a field that must be there; `expected` says what belongs there.
    pub(super) fn require<T>(
        &mut self,
        field: Field,
        expected: &'static str,
        slot: &mut T,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, Refusals>,
    ) {
        if let Some(outline) = &mut self.outline {
            outline.require(field.name);
        }
        let Some(node) = self.node(field.name) else {
            return self.refuse(field.name, FieldError::Missing { expected });
        };
        match read(&node) {
            Ok(value) => *slot = value,
            Err(refused) => self.on_refused(field, refused, node.recorder(), None),
        }
    }

    /// Takes note of a field, and finds its value.
    fn node(&mut self, name: &'static str) -> Option<Cursor<'a>> {
        self.known.push(name);
        let recorder = self.outline.as_ref().map(Outline::part);
        let value = if recorder.is_some() { self.value } else { self.fields.get(name)? };
        Some(Cursor::new(self.place.field(name), value, recorder))
    }

    #[cold]
    fn on_refused(
        &mut self,
        field: Field,
        refused: Refusals,
        recorder: Option<&Recorder>,
        default: Option<&dyn Any>,
    ) {
        if let (Some(outline), Some(recorder)) = (&mut self.outline, recorder) {
            return outline.add(field, recorder, default);
        }
        self.failed.push(field.name);
        self.refusals.append(refused);
    }

    /// Tells if a field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Tells if none of these fields is refused or missing: only then a check
    /// that compares them says something.
    pub(super) fn are_read(&self, names: &[&str]) -> bool {
        self.outline.is_none() && !names.iter().any(|name| self.failed.contains(name))
    }

    /// Refuses a field, or its absence.
    #[cold]
    pub(super) fn refuse(&mut self, name: &'static str, problem: FieldError) {
        self.failed.push(name);
        let list = match problem {
            FieldError::Missing { .. } => &mut self.missing,
            _ => &mut self.refusals,
        };
        list.add(self.place.field(name), problem);
    }

    /// Refuses a field in place of reading it.
    #[cold]
    pub(super) fn refuse_known(&mut self, field: Field, problem: FieldError) {
        self.known.push(field.name);
        self.refuse(field.name, problem);
    }

    /// Refuses the object as a whole.
    #[cold]
    pub(super) fn refuse_whole(&mut self, problem: FieldError) {
        self.refusals.add(self.place.clone(), problem);
    }

    /// Adds keywords of JSON Schema to the description of the object: for checks across fields.
    #[inline(always)]
    pub(super) fn describe(&mut self, schema: &'static str) {
        if let Some(outline) = &mut self.outline {
            outline.describe(schema);
        }
    }

    /// Adds such keywords that are made of what the code knows.
    #[inline(always)]
    pub(super) fn describe_with(&mut self, schema: impl FnOnce() -> Value) {
        if let Some(outline) = &mut self.outline {
            outline.merge(schema());
        }
    }

    /// Gives what was read, or all that is refused. A missing field is no error beside an unknown
    /// one, which is probably the missing field misspelt.
    pub(super) fn finish<T>(self, found: T) -> Result<T, Refusals> {
        self.close().map(|()| found)
    }

    fn close(mut self) -> Result<(), Refusals> {
        if let Some(outline) = self.outline {
            outline.finish();
            return Err(Refusals::default());
        }
        let mut all = Refusals::default();
        for name in self.fields.keys() {
            if self.known.contains(&name.as_str()) || all.count_if_full() {
                continue;
            }
            let problem = match replacement(name) {
                Some(instead) => FieldError::RemovedField { instead },
                None => FieldError::UnknownField {
                    suggestion: suggestion(name, self.known.iter().copied()),
                    known: self.known.clone(),
                },
            };
            all.add(self.place.field(name), problem);
        }
        if !all.is_empty() {
            self.missing = Refusals::default();
        }
        all.append(self.refusals);
        all.append(self.missing);
        all.none_or(())
    }
}

/// The fields of earlier versions, each with what takes its place.
const REMOVED: &[(&str, &str)] = &[
    (
        "active_health_check",
        "health_checks of Envoy's cluster (xds.clusters.template, or services[].cluster)",
    ),
    ("dependency_header", "the gauge service.<name>.dependencies_down"),
    (
        "outlier_detection",
        "outlier_detection of Envoy's cluster (xds.clusters.template, or services[].cluster)",
    ),
    (
        "panic_threshold",
        "common_lb_config.healthy_panic_threshold of Envoy's cluster (xds.clusters.template, or \
         services[].cluster)",
    ),
    (
        "retry_budget",
        "circuit_breakers.thresholds[].retry_budget of Envoy's cluster (xds.clusters.template, or \
         services[].cluster)",
    ),
    ("sticky", "Envoy's stateful_session filter with a cookie"),
];

/// Replacement of a field of earlier versions; none of any other field.
fn replacement(field: &str) -> Option<&'static str> {
    REMOVED.iter().find(|(name, _)| *name == field).map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(value: &Value) -> Result<(String, Option<String>), Refusals> {
        read_at(&Cursor::root(value))
    }

    fn read_at(node: &Cursor<'_>) -> Result<(String, Option<String>), Refusals> {
        let mut object = node.object("")?;
        let mut found = (String::new(), None);
        let text = |node: &Cursor<'_>| node.string().map(str::to_owned);
        object.require(field("a", ""), "a text", &mut found.0, text);
        object.set_some(field("b", ""), &mut found.1, text);
        object.finish(found)
    }

    #[test]
    fn error_names_the_place_however_deep() {
        let value = json!([{ "a": "" }, { "a": "", "b": 1 }]);
        let error = Cursor::root(&value).array(2, read_at).unwrap_err();
        assert_eq!(error.to_string(), "[1].b: expected a string, found the number 1");
    }

    #[test]
    fn null_is_no_absent_field() {
        assert!(read(&json!({ "a": "", "b": null })).is_err());
        assert_eq!(read(&json!({ "a": "" })).unwrap(), (String::new(), None));
    }

    #[test]
    fn errors_are_all_told_and_unknown_fields_first() {
        let error = |value| read(&value).unwrap_err().to_string();
        assert_eq!(
            error(json!({ "b": 1 })),
            "b: expected a string, found the number 1\na: missing; expected a text"
        );
        let text = error(json!({ "aa": 1, "b": 1 }));
        let places: Vec<_> = text.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(places, ["aa", "b"], "{text}");
    }

    #[test]
    fn errors_beyond_the_limit_are_counted() {
        let value = Value::Object((0..25).map(|n| (format!("x{n}"), json!(1))).collect());
        let text = read(&value).unwrap_err().to_string();
        assert_eq!(text.lines().count(), Refusals::MOST + 1);
        assert_eq!(text.lines().last(), Some("and 5 more"));
    }
}
