//! The description of fields, recorded by the code that reads them. The module has none of this.

use core::any::Any;
use core::cell::RefCell;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::duration::Spelled;
use super::object::Field;

/// The description of one value.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    shape: Rc<RefCell<Shape>>,
    sections: Rc<RefCell<Vec<Section>>>,
}

/// The form of a value.
#[derive(Default)]
pub(super) struct Shape {
    /// Keywords of JSON Schema.
    schema: Map<String, Value>,
    /// Further ones, which precede those.
    added: Map<String, Value>,
    /// Records the shape of the names of a map's fields.
    key: Option<Value>,
    /// The type, for the reference.
    words: String,
    /// The limits, for the reference.
    limits: String,
    /// Writes a default as the configuration would.
    show: Option<Show>,
}

type Show = Rc<dyn Fn(&dyn Any) -> Option<Value>>;

/// An object of the reference, with its fields in the order of their declaration.
#[derive(Clone, Default)]
pub(super) struct Section {
    pub(super) name: &'static str,
    /// The sentence of the first field that leads to it.
    pub(super) about: &'static str,
    pub(super) fields: Vec<Described>,
    /// Keywords of JSON Schema for checks across fields.
    pub(super) rules: Map<String, Value>,
}

/// A field of the reference.
#[derive(Clone, PartialEq)]
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) is_required: bool,
    pub(super) schema: Map<String, Value>,
    pub(super) words: String,
    pub(super) limits: String,
    pub(super) default: Option<Value>,
}

impl Recorder {
    pub(super) fn record(&self, mut shape: Shape) {
        let mut slot = self.shape.borrow_mut();
        shape.added = core::mem::take(&mut slot.added);
        shape.key = slot.key.take();
        *slot = shape;
    }

    pub(super) fn add(&self, schema: &'static str) {
        if let Ok(schema) = serde_json::from_str(schema) {
            merge(&mut self.shape.borrow_mut().added, schema);
        }
    }

    pub(super) fn record_key(&self, most: usize, is_allowed: &dyn Fn(char) -> bool) {
        let mut key = Shape::text(most, is_allowed).schema;
        key.remove("type");
        self.shape.borrow_mut().key = Some(Value::Object(key));
    }

    /// The description of a part of this value.
    pub(super) fn part(&self) -> Self {
        Self { shape: Rc::default(), sections: Rc::clone(&self.sections) }
    }

    /// Begins the description of an object; one that is known by its name already is described again
    /// and not kept.
    pub(super) fn outline(&self, name: &'static str) -> Outline {
        let mut sections = self.sections.borrow_mut();
        let is_known = sections.iter().any(|section| section.name == name);
        let section = Section { name, ..Section::default() };
        let place = (!is_known).then_some(sections.len());
        if place.is_some() {
            sections.push(section.clone());
        }
        Outline { recorder: self.clone(), place, section, required: Vec::new() }
    }

    /// All objects, those that are found first first.
    pub(super) fn sections(&self) -> Vec<Section> {
        self.sections.borrow().clone()
    }

    fn schema(&self) -> Map<String, Value> {
        let shape = self.shape.borrow();
        let mut schema = shape.schema.clone();
        merge(&mut schema, Value::Object(shape.added.clone()));
        schema
    }
}

/// The description of an object in the making.
pub(super) struct Outline {
    recorder: Recorder,
    place: Option<usize>,
    section: Section,
    required: Vec<&'static str>,
}

impl Outline {
    pub(super) fn part(&self) -> Recorder {
        self.recorder.part()
    }

    pub(super) fn require(&mut self, name: &'static str) {
        self.required.push(name);
    }

    pub(super) fn add(&mut self, field: Field, part: &Recorder, default: Option<&dyn Any>) {
        let schema = part.schema();
        let reference = schema.get("$ref").or_else(|| schema.get("items")?.get("$ref"));
        let reference = reference.and_then(Value::as_str).unwrap_or_default();
        for section in self.recorder.sections.borrow_mut().iter_mut() {
            let is_it = reference.strip_prefix("#/$defs/") == Some(section.name);
            if is_it && section.about.is_empty() {
                section.about = field.about;
            }
        }
        let shape = part.shape.borrow();
        let default = default.and_then(|default| shape.show.as_ref()?(default));
        self.section.fields.push(Described {
            name: field.name,
            about: field.about,
            is_required: self.required.contains(&field.name),
            default: default.or_else(|| schema.get("default").cloned()),
            schema,
            words: shape.words.clone(),
            limits: shape.limits.clone(),
        });
    }

    pub(super) fn describe(&mut self, schema: &'static str) {
        if let Ok(schema) = serde_json::from_str(schema) {
            self.merge(schema);
        }
    }

    pub(super) fn merge(&mut self, schema: Value) {
        merge(&mut self.section.rules, schema);
    }

    pub(super) fn finish(self) {
        let name = self.section.name;
        if let Some(place) = self.place
            && let Some(section) = self.recorder.sections.borrow_mut().get_mut(place)
        {
            *section = Section { about: section.about, ..self.section };
        }
        let schema = one("$ref", json!(format!("#/$defs/{name}")));
        self.recorder.record(Shape { schema, words: format!("[{name}](#)"), ..Shape::default() });
    }
}

impl Shape {
    fn new(schema: Value, words: &str, limits: String) -> Self {
        let Value::Object(schema) = schema else { return Self::default() };
        Self { schema, words: words.to_owned(), limits, ..Self::default() }
    }

    fn shown<T: 'static>(self, show: impl Fn(&T) -> Option<Value> + 'static) -> Self {
        Self { show: Some(Rc::new(move |any| show(any.downcast_ref()?))), ..self }
    }

    pub(super) fn string() -> Self {
        let text = |text: &String| (!text.is_empty()).then(|| json!(text));
        Self::new(json!({ "type": "string" }), "text", String::new()).shown(text)
    }

    pub(super) fn text(most: usize, is_allowed: &dyn Fn(char) -> bool) -> Self {
        let mut shape = Self::string();
        shape.limits = format!("at most {most} bytes");
        let pattern = format!("^{}+$", class(is_allowed));
        let limits = json!({ "minLength": 1, "maxLength": most, "pattern": pattern });
        merge(&mut shape.schema, limits);
        shape
    }

    pub(super) fn boolean() -> Self {
        let shape = Self::new(json!({ "type": "boolean" }), "true or false", String::new());
        shape.shown(|value: &bool| Some(json!(value)))
    }

    pub(super) fn only_true() -> Self {
        Self::new(json!({ "const": true }), "true", String::new())
    }

    pub(super) fn number(limits: &RangeInclusive<u32>) -> Self {
        let (least, most) = (*limits.start(), *limits.end());
        let schema = json!({ "type": "number", "minimum": least, "maximum": most });
        let shape = Self::new(schema, "number", format!("{least} to {most}"));
        shape.shown(|value: &f64| Some(json!(value)))
    }

    pub(super) fn integer(limits: &RangeInclusive<u32>) -> Self {
        let (least, most) = (*limits.start(), *limits.end());
        let schema = json!({ "type": "integer", "minimum": least, "maximum": most });
        let shape = Self::new(schema, "whole number", format!("{least} to {most}"));
        let show: Show = Rc::new(move |any| {
            let number = any.downcast_ref::<u32>().copied();
            let number = number.or_else(|| any.downcast_ref::<u16>().copied().map(u32::from));
            let number = number.or_else(|| any.downcast_ref::<u8>().copied().map(u32::from));
            number.filter(|number| (least..=most).contains(number)).map(|number| json!(number))
        });
        Self { show: Some(show), ..shape }
    }

    pub(super) fn duration(limits: &RangeInclusive<Duration>, or_zero: bool) -> Self {
        let zero = if or_zero { ", or 0s" } else { "" };
        let limits = format!("{} to {}{zero}", Spelled(*limits.start()), Spelled(*limits.end()));
        let shape = Self::new(json!({ "$ref": "#/$defs/duration" }), "duration", limits);
        let show: Show = Rc::new(|any| {
            let duration = any.downcast_ref::<Duration>().copied();
            let duration = duration.or_else(|| *any.downcast_ref::<Option<Duration>>()?);
            duration.map(|duration| json!(Spelled(duration).to_string()))
        });
        Self { show: Some(show), ..shape }
    }

    pub(super) fn one_of<T: PartialEq + 'static>(choices: &'static [(&'static str, T)]) -> Self {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let words: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let shape = Self::new(json!({ "enum": names }), &words.join(", "), String::new());
        shape.shown(|value: &T| {
            let choice = choices.iter().find(|(_, choice)| choice == value);
            choice.map(|(name, _)| json!(name))
        })
    }

    /// Fields of a message of Envoy's API.
    pub(super) fn fields_of(message: &'static str) -> Self {
        let words = format!("fields of Envoy's `{message}`");
        Self::new(json!({ "type": "object" }), &words, String::new())
    }

    pub(super) fn array<T: 'static>(most: usize, item: Recorder) -> Self {
        let words = format!("list of {}", item.shape.borrow().words);
        let schema = json!({ "type": "array", "maxItems": most, "items": item.schema() });
        let show = item.shape.borrow_mut().show.take();
        let shape = Self::new(schema, &words, format!("at most {most}"));
        shape.shown(move |items: &Vec<T>| {
            let items = items.iter().map(|item| show.as_ref()?(item)).collect::<Option<Vec<_>>>();
            items.filter(|items| !items.is_empty()).map(Value::Array)
        })
    }

    pub(super) fn map(most: usize, value: Recorder) -> Self {
        let words = format!("names with {}", value.shape.borrow().words);
        let schema = json!({ "type": "object", "maxProperties": most });
        let mut shape = Self::new(schema, &words, format!("at most {most}"));
        shape.schema.insert("additionalProperties".into(), Value::Object(value.schema()));
        if let Some(key) = value.shape.borrow_mut().key.take() {
            shape.schema.insert("propertyNames".into(), key);
        }
        shape
    }

    pub(super) fn either(first: Recorder, second: Recorder) -> Self {
        let schema = json!({ "oneOf": [first.schema(), second.schema()] });
        let (first, second) = (first.shape.borrow(), second.shape.borrow());
        let words = format!("{} or {}", first.words, second.words);
        Self::new(schema, &words, first.limits.clone())
    }
}

/// Merges keywords into others; objects are merged, and all else is replaced.
pub(super) fn merge(into: &mut Map<String, Value>, from: Value) {
    let Value::Object(from) = from else { return };
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), new @ Value::Object(_)) => merge(old, new),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

fn one(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

/// Writes the characters that are allowed as a class of a regular expression.
fn class(is_allowed: &dyn Fn(char) -> bool) -> String {
    /// Beyond it nobody tells characters apart.
    const LAST: u32 = 0xff;
    let beyond = char::from_u32(LAST + 1).is_some_and(is_allowed);
    let mut ranges: Vec<(char, char)> = Vec::new();
    for c in (0..=LAST).filter_map(char::from_u32).filter(|c| is_allowed(*c) != beyond) {
        match ranges.last_mut() {
            Some((_, last)) if u32::from(*last) + 1 == u32::from(c) => *last = c,
            _ => ranges.push((c, c)),
        }
    }
    let spelled = |c: char| match c {
        '\\' | ']' | '[' | '^' | '-' => format!("\\{c}"),
        c if c.is_ascii_graphic() || c == ' ' => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    let ranges = ranges.into_iter().map(|(first, last)| match u32::from(last) - u32::from(first) {
        0 => spelled(first),
        1 => spelled(first) + &spelled(last),
        _ => format!("{}-{}", spelled(first), spelled(last)),
    });
    format!("[{}{}]", if beyond { "^" } else { "" }, ranges.collect::<String>())
}
