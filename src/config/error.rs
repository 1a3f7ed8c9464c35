//! Why a configuration is refused.

use core::fmt;

use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::protobuf::StructError;

/// Says why a configuration is refused, and where. Only the first reason is reported.
///
/// Its text is one line: whatever it quotes from the input is escaped and cut.
#[derive(Debug)]
pub enum ConfigError {
    /// There is nothing but blanks: what Envoy passes where no configuration is given.
    Empty,
    /// The text is longer than is read.
    TooLarge {
        /// The most bytes.
        limit: usize,
        /// The bytes given.
        found: usize,
    },
    /// The text does not even begin as a JSON object or array.
    NotJson {
        /// What the JSON reader stumbled over, with line and column.
        cause: serde_json::Error,
    },
    /// The text begins as JSON but breaks off or breaks the grammar.
    Syntax {
        /// What the JSON reader stumbled over, with line and column.
        cause: serde_json::Error,
    },
    /// The protobuf `Struct` holds what JSON cannot express, or too much of it.
    Struct {
        /// What.
        cause: StructError,
    },
    /// The JSON is well formed, but something in it is not what the contract says.
    Refused {
        /// Where.
        place: FieldPath,
        /// What, and what would be right.
        problem: Box<FieldError>,
    },
}

impl ConfigError {
    /// Refuses what stands at a place. The problem is boxed: it is large, and every reader
    /// returns it by way of every other.
    #[cold]
    pub(super) fn refused(place: FieldPath, problem: FieldError) -> Self {
        Self::Refused { place, problem: Box::new(problem) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the configuration is empty; the least that works is \
                 {\"consul\": {\"cluster\": \"consul\"}, \"services\": [{\"name\": \"web\"}]}",
            ),
            Self::TooLarge { limit, found } => {
                write!(f, "the configuration has {found} bytes; at most {limit} are read")
            }
            Self::NotJson { cause } => write!(
                f,
                "the configuration is not JSON: {cause}; as a google.protobuf.StringValue it \
                 is JSON text, as a google.protobuf.Struct it is written as YAML"
            ),
            Self::Syntax { cause } => write!(f, "the configuration is not valid JSON: {cause}"),
            Self::Struct { cause } => cause.fmt(f),
            Self::Refused { place, problem } => write!(f, "{place}: {problem}"),
        }
    }
}

impl core::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotJson { cause } | Self::Syntax { cause } => Some(cause),
            Self::Struct { cause } => Some(cause),
            Self::Empty | Self::TooLarge { .. } | Self::Refused { .. } => None,
        }
    }
}
