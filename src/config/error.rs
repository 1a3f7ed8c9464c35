//! Why a configuration is refused.

use core::fmt;

use super::field_error::FieldError;
use super::field_path::FieldPath;
use super::protobuf::StructError;

/// Says why a configuration is refused, and where.
///
/// The text has one line for each error; a quotation from the input is escaped and cut.
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
        /// Error of the JSON reader, with line and column.
        cause: serde_json::Error,
    },
    /// The text begins as JSON but breaks off or breaks the grammar.
    Syntax {
        /// Error of the JSON reader, with line and column.
        cause: serde_json::Error,
    },
    /// The protobuf `Struct` holds what JSON cannot express, or too much of it.
    Struct {
        /// Error of the reader of `Struct`s.
        cause: StructError,
    },
    /// The JSON is well formed, but some fields are not as the contract says.
    Refused(Refusals),
}

/// All that is wrong with the fields of a configuration, in the order of their declaration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals {
    /// At most [`Refusals::MOST`].
    first: Vec<RefusedField>,
    /// The number of those that follow.
    more: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RefusedField {
    place: FieldPath,
    problem: FieldError,
}

impl Refusals {
    /// The most refusals that are told; the others are counted.
    pub const MOST: usize = 20;

    /// Refuses the value of one place.
    #[cold]
    pub(super) fn one(place: FieldPath, problem: FieldError) -> Self {
        Self { first: vec![RefusedField { place, problem }], more: 0 }
    }

    /// Refuses the value of another place, too.
    #[cold]
    pub(super) fn add(&mut self, place: FieldPath, problem: FieldError) {
        self.append(Self::one(place, problem));
    }

    /// Appends the refusals of a later part of the configuration.
    #[cold]
    pub(super) fn append(&mut self, later: Self) {
        let room = Self::MOST.saturating_sub(self.first.len());
        self.more += later.first.len().saturating_sub(room) + later.more;
        self.first.extend(later.first.into_iter().take(room));
    }

    /// Counts one that is not told, where there is no room for it.
    pub(super) fn count_if_full(&mut self) -> bool {
        let is_full = self.first.len() >= Self::MOST;
        self.more += usize::from(is_full);
        is_full
    }

    /// Gives a value where nothing is refused.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Tells if nothing is refused.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, RefusedField { place, problem }) in self.first.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{place}: {problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
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
            Self::Refused(refusals) => refusals.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NotJson { cause } | Self::Syntax { cause } => Some(cause),
            Self::Struct { cause } => Some(cause),
            Self::Empty | Self::TooLarge { .. } | Self::Refused(_) => None,
        }
    }
}
