//! A `google.protobuf.Struct` as Envoy hands it over.
//!
//! Envoy's documentation says that a `Struct` becomes JSON on its way to the plugin; Envoy
//! 1.40 hands over its protobuf encoding instead. It is read here, so that a configuration
//! can be written as YAML in Envoy's own file. The messages are those of
//! <https://protobuf.dev/reference/protobuf/google.protobuf/#struct>.

use core::fmt;

use serde_json::{Map, Number, Value};

/// Deepest nesting of values.
const MAX_DEPTH: u8 = 32;

/// Why bytes are no `google.protobuf.Struct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructError {
    /// The bytes end inside a field.
    Truncated,
    /// A field has a wire type that this message does not have there.
    WireType {
        /// The field's number.
        field: u64,
        /// The wire type.
        wire_type: u8,
    },
    /// A text is not UTF-8.
    NotUtf8,
    /// A number is infinite or none.
    NotANumber,
    /// Values are nested deeper than the limit.
    TooDeep {
        /// The limit.
        limit: u8,
    },
}

impl fmt::Display for StructError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the protobuf Struct ends inside a field"),
            Self::WireType { field, wire_type } => {
                write!(f, "the protobuf Struct has wire type {wire_type} in its field {field}")
            }
            Self::NotUtf8 => write!(f, "a text of the protobuf Struct is not UTF-8"),
            Self::NotANumber => write!(f, "a number of the protobuf Struct is not finite"),
            Self::TooDeep { limit } => {
                write!(f, "the protobuf Struct is nested deeper than {limit} values")
            }
        }
    }
}

impl core::error::Error for StructError {}

impl StructError {
    /// Tells if the bytes are a `Struct` all the same, and not something else altogether.
    pub(super) const fn is_about_a_struct(self) -> bool {
        matches!(self, Self::NotANumber | Self::TooDeep { .. })
    }
}

/// Reads a `Struct` as a JSON object. Of fields with the same name the last one counts.
pub(super) fn read_struct(bytes: &[u8]) -> Result<Value, StructError> {
    object(bytes, MAX_DEPTH)
}

/// `Struct { map<string, Value> fields = 1 }`
fn object(bytes: &[u8], depth: u8) -> Result<Value, StructError> {
    let mut object = Map::new();
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        if let (1, Payload::Bytes(entry)) = field.known(&[1])? {
            let (name, value) = entry_of(entry, depth)?;
            object.insert(name, value);
        }
    }
    Ok(Value::Object(object))
}

/// A map's entry: `{ string key = 1; Value value = 2 }`
fn entry_of(bytes: &[u8], depth: u8) -> Result<(String, Value), StructError> {
    let (mut name, mut value) = (String::new(), Value::Null);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field.known(&[1, 2])? {
            (1, Payload::Bytes(bytes)) => name = text(bytes)?,
            (2, Payload::Bytes(bytes)) => value = value_of(bytes, depth)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// `Value { oneof { NullValue null = 1; double number = 2; string string = 3; bool bool = 4;
/// Struct struct = 5; ListValue list = 6 } }`
fn value_of(bytes: &[u8], depth: u8) -> Result<Value, StructError> {
    let deeper = depth.checked_sub(1).ok_or(StructError::TooDeep { limit: MAX_DEPTH })?;
    let mut value = Value::Null;
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        value = match (field.number, field.payload) {
            (1, Payload::Varint(_)) => Value::Null,
            (2, Payload::Fixed64(bits)) => number(f64::from_bits(bits))?,
            (3, Payload::Bytes(bytes)) => Value::String(text(bytes)?),
            (4, Payload::Varint(flag)) => Value::Bool(flag != 0),
            (5, Payload::Bytes(bytes)) => object(bytes, deeper)?,
            (6, Payload::Bytes(bytes)) => list(bytes, deeper)?,
            (1..=6, _) => return Err(field.wrong_type()),
            _ => value,
        };
    }
    Ok(value)
}

/// `ListValue { repeated Value values = 1 }`
fn list(bytes: &[u8], depth: u8) -> Result<Value, StructError> {
    let mut items = Vec::new();
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        if let (1, Payload::Bytes(bytes)) = field.known(&[1])? {
            items.push(value_of(bytes, depth)?);
        }
    }
    Ok(Value::Array(items))
}

fn text(bytes: &[u8]) -> Result<String, StructError> {
    core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| StructError::NotUtf8)
}

fn number(number: f64) -> Result<Value, StructError> {
    Number::from_f64(number).map(Value::Number).ok_or(StructError::NotANumber)
}

/// The fields of a message that are not read yet.
struct Fields<'a>(&'a [u8]);

struct WireField<'a> {
    number: u64,
    wire_type: u8,
    payload: Payload<'a>,
}

#[derive(Clone, Copy)]
enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> WireField<'a> {
    /// The field, where those of these numbers hold bytes.
    fn known(&self, numbers: &[u64]) -> Result<(u64, Payload<'a>), StructError> {
        if numbers.contains(&self.number) && !matches!(self.payload, Payload::Bytes(_)) {
            return Err(self.wrong_type());
        }
        Ok((self.number, self.payload))
    }

    const fn wrong_type(&self) -> StructError {
        StructError::WireType { field: self.number, wire_type: self.wire_type }
    }
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<WireField<'a>>, StructError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, wire_type) = (tag >> 3, (tag & 7) as u8);
        let payload = match wire_type {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| StructError::Truncated)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => {
                self.array::<4>()?;
                Payload::Fixed32
            }
            _ => {
                return Err(StructError::WireType { field: number, wire_type });
            }
        };
        Ok(Some(WireField { number, wire_type, payload }))
    }

    fn varint(&mut self) -> Result<u64, StructError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(StructError::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], StructError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(StructError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StructError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(StructError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128, "one byte of length is enough for the tests");
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn encode_struct(fields: &Map<String, Value>) -> Vec<u8> {
        fields
            .iter()
            .flat_map(|(name, value)| {
                let name = bytes_field(1, name.as_bytes());
                bytes_field(1, &[name, bytes_field(2, &encode(value))].concat())
            })
            .collect()
    }

    fn encode(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => vec![1 << 3, 0],
            Value::Number(number) => {
                [&[2 << 3 | 1][..], &number.as_f64().unwrap().to_le_bytes()].concat()
            }
            Value::String(text) => bytes_field(3, text.as_bytes()),
            Value::Bool(flag) => vec![4 << 3, u8::from(*flag)],
            Value::Object(fields) => bytes_field(5, &encode_struct(fields)),
            Value::Array(items) => {
                let items: Vec<u8> =
                    items.iter().flat_map(|item| bytes_field(1, &encode(item))).collect();
                bytes_field(6, &items)
            }
        }
    }

    fn example() -> Value {
        json!({ "a": "text", "b": [1.5, true, null], "c": { "d": {}, "e": [] } })
    }

    #[test]
    fn a_struct_reads_as_the_json_that_it_stands_for() {
        let bytes = encode_struct(example().as_object().unwrap());
        assert_eq!(read_struct(&bytes), Ok(example()));
        assert_eq!(read_struct(&[]), Ok(json!({})));
    }

    #[test]
    fn what_is_cut_off_or_of_another_shape_is_refused() {
        let bytes = encode_struct(&Map::from_iter([("a".to_owned(), json!("text"))]));
        for length in 1..bytes.len() {
            assert_eq!(read_struct(&bytes[..length]), Err(StructError::Truncated), "{length}");
        }
        let wrong = StructError::WireType { field: 1, wire_type: 0 };
        assert_eq!(read_struct(&[1 << 3, 0]), Err(wrong));
        assert_eq!(read_struct(&[0xff; 20]), Err(StructError::Truncated));
    }

    #[test]
    fn a_configuration_of_any_length_is_told_from_json() {
        // 91 and 123 are the lengths that look like a bracket and a brace.
        for length in 1..=95 {
            let config = json!({
                "consul": { "cluster": "c".repeat(length) },
                "services": [{ "name": "web" }],
            });
            let bytes = encode_struct(config.as_object().unwrap());
            let read = Config::parse(&bytes).unwrap_or_else(|error| panic!("{length}: {error}"));
            assert_eq!(read.consul.cluster.len(), length);
        }
    }

    #[test]
    fn what_json_cannot_express_is_said() {
        let mut bytes = encode_struct(&Map::from_iter([("a".to_owned(), json!(1.0))]));
        let at = bytes.len() - 8;
        bytes[at..].copy_from_slice(&f64::NAN.to_le_bytes());
        let error = Config::parse(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "a number of the protobuf Struct is not finite");
    }

    #[test]
    fn nesting_has_a_limit() {
        let mut value = vec![1 << 3, 0];
        for _ in 0..200 {
            // The length takes two bytes here, so it is written by hand.
            let mut list = vec![1 << 3 | 2];
            push_length(&mut list, value.len());
            list.extend(value);
            let mut outer = vec![6 << 3 | 2];
            push_length(&mut outer, list.len());
            outer.extend(list);
            value = outer;
        }
        assert_eq!(value_of(&value, MAX_DEPTH), Err(StructError::TooDeep { limit: MAX_DEPTH }));
    }

    fn push_length(out: &mut Vec<u8>, mut length: usize) {
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
    }
}
