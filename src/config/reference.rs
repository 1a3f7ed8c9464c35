//! The schema and the reference of the configuration, made of the declarations of its fields.

use core::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::cursor::Cursor;
use super::field_path::FieldPath;
use super::recorder::{Described, Recorder, Section, merge};
use super::whole::Config;

/// The checks that no schema can express.
const BEYOND_A_SCHEMA: &str = "The filter checks what a schema cannot: durations are within their limits and of whole \
     milliseconds, no two services have the same name or a host in common, of several services \
     each needs hosts unless route_metadata is true or xds is there, versions and ranges of \
     addresses are well formed, the weights of a split are not all 0, a table_size is a prime, \
     no minimum is above its maximum, the ages of cached are whole seconds, max_stale and \
     cached belong to their consistency, a max_age is above consul.wait, every fallback is an \
     address that endpoints admits, every depends_on names other services of the list and never \
     one that depends on the service itself, a registration depends on services of the list, a \
     discover.host has \"{service}\" once and is a host with a name in its place, a probe's \
     timeout is not above its interval, no two registrations have one id, a registration has an \
     address and a port or the metadata of Envoy's node has them, fields of Envoy's Cluster and \
     RouteAction are those of Envoy 1.36 to 1.40, of the right kind, and none that the filter \
     sets itself, without stateful_session no service with a cluster of xds.clusters has \
     peak_ewma, a split of versions, or a slow_start with another policy than round_robin and \
     least_request, stateful_session needs xds and neither dns_names nor resolve_names, a \
     service's cluster needs xds.clusters and its endpoint_metadata xds, no cluster of \
     xds.clusters has the name of consul.cluster or xds.cluster, with discover their names are \
     more than \"{service}\", and services and their datacenters are at most 65535, with those \
     that may be found.";

/// Makes `envoy/config.schema.json`.
pub fn schema() -> String {
    let sections = sections();
    let mut root = Map::new();
    let mut definitions = Map::new();
    for section in &sections {
        let mut object = object(section, &sections);
        match section.name {
            "" => {
                let description = format!(
                    "The configuration of the consul-resolver filter, as given to Envoy in \
                     PluginConfig.configuration. {BEYOND_A_SCHEMA}"
                );
                object.insert("description".into(), json!(description));
                root = object;
            }
            name => drop(definitions.insert(name.to_owned(), Value::Object(object))),
        }
    }
    definitions.insert("duration".into(), duration());
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("consul-resolver"));
    root.insert("$defs".into(), Value::Object(definitions));
    format!("{:#}\n", Value::Object(root))
}

fn duration() -> Value {
    json!({
        "type": "string",
        "pattern": "^[0-9]{1,9}(\\.[0-9]{1,9})?(ms|s|m|h)$",
        "examples": ["250ms", "5s", "1.5s", "1m"]
    })
}

fn object(section: &Section, all: &[Section]) -> Map<String, Value> {
    let mut properties = Map::new();
    for field in &section.fields {
        properties.insert(field.name.to_owned(), Value::Object(property(section, field, all)));
    }
    let required = section.fields.iter().filter(|field| field.is_required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    let mut object = Map::new();
    let head = json!({
        "description": section.about,
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    merge(&mut object, head);
    if !required.is_empty() {
        object.insert("required".into(), json!(required));
    }
    merge(&mut object, Value::Object(section.rules.clone()));
    object
}

/// A field as it is in another object already is told by a reference to that one.
fn property(section: &Section, field: &Described, all: &[Section]) -> Map<String, Value> {
    let mut property = field.schema.clone();
    if let Some(same) = same_fields(section, all) {
        let reference = format!("#/$defs/{}/properties/{}", same.name, field.name);
        return Map::from_iter([("$ref".to_owned(), json!(reference))]);
    }
    let is_duration = property.get("$ref") == Some(&json!("#/$defs/duration"));
    let limits = if is_duration { format!(" {}.", field.limits) } else { String::new() };
    property.insert("description".into(), json!(format!("{}{limits}", field.about)));
    if let Some(default) = &field.default {
        property.insert("default".into(), default.clone());
    }
    property
}

/// An earlier object that has all fields of this one.
fn same_fields<'a>(section: &Section, all: &'a [Section]) -> Option<&'a Section> {
    let earlier = all.iter().take_while(|other| other.name != section.name);
    earlier.into_iter().find(|other| {
        section.fields.len() > 2 && section.fields.iter().all(|field| other.fields.contains(field))
    })
}

/// Makes `docs/configuration.md`.
pub fn markdown() -> String {
    let sections = sections();
    let mut text = String::from(INTRODUCTION);
    for section in &sections {
        let title = if section.name.is_empty() { "The configuration" } else { section.name };
        let about = if section.name.is_empty() { "The fields at the top." } else { section.about };
        let _ = write!(text, "\n## {title}\n\n{about}\n\n");
        if let Some(same) = same_fields(section, &sections) {
            let names = section.fields.iter().map(|field| format!("`{}`", field.name));
            let names = names.collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "Of the fields of {}: {names}.", link(same.name));
            continue;
        }
        text.push_str("| field | type | default | range | meaning |\n|---|---|---|---|---|\n");
        for field in &section.fields {
            let default = match &field.default {
                _ if field.is_required => "required".to_owned(),
                Some(Value::String(text)) => format!("`{text}`"),
                Some(value) => format!("`{value}`"),
                None => String::new(),
            };
            let _ = writeln!(
                text,
                "| `{}` | {} | {default} | {} | {} |",
                field.name,
                words(&field.words),
                field.limits,
                field.about.replace('|', "\\|")
            );
        }
    }
    text
}

const INTRODUCTION: &str = "# Configuration\n\
\n\
<!-- Made by `make reference` of the declarations in src/config; edit those. -->\n\
\n\
The configuration is YAML inside Envoy's own (a `google.protobuf.Struct`), or JSON in a\n\
`google.protobuf.StringValue`. [envoy/config.schema.json](../envoy/config.schema.json) describes it for\n\
editors.\n\
\n\
- Envoy refuses a configuration with errors. Each error is a line of its log with the place of the field;\n\
\x20 the first 20 are told, and the others are counted.\n\
- An unknown field is an error.\n\
- A duration is a text of a number and one of the units `ms`, `s`, `m` and `h`, such as `250ms` or `1.5s`.\n\
- A list or an object that is left out is empty, unless the table says something else.\n\
";

/// Fills in the targets of links to objects.
fn words(words: &str) -> String {
    match words.split_once('[').and_then(|(before, rest)| Some((before, rest.split_once("](#)")?)))
    {
        Some((before, (name, after))) => format!("{before}{}{after}", link(name)),
        None => words.to_owned(),
    }
}

fn link(name: &str) -> String {
    let anchor = name.to_ascii_lowercase().replace('.', "");
    format!("[{name}](#{anchor})")
}

fn sections() -> Vec<Section> {
    let recorder = Recorder::default();
    let nothing = Value::Object(Map::new());
    // A description is no result.
    let _ = Config::read(&Cursor::new(FieldPath::root(), &nothing, Some(recorder.clone())));
    recorder.sections()
}
