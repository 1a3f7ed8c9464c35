//! The errors of a body that cannot be decoded.

use core::fmt;

use serde_json::error::Category;

/// An error of a body that cannot be decoded. It names places in the body and never quotes the
/// body, since instances may carry secrets in their metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is longer than [`MAX_BODY`](crate::registry::consul::decode::MAX_BODY).
    TooLarge {
        /// The maximum length, in bytes.
        limit: usize,
        /// The length of the body, in bytes.
        found: usize,
    },
    /// The body is no JSON from this place on, or ends within a number.
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The byte in it, from 1.
        column: usize,
    },
    /// The body is cut off. An empty body is cut off at its beginning.
    Truncated {
        /// The last line.
        line: usize,
        /// The last byte of that line.
        column: usize,
    },
    /// Something follows the end of the JSON value.
    Trailing {
        /// The line, from 1.
        line: usize,
        /// The byte in it, from 1.
        column: usize,
    },
    /// The body is JSON, but no array.
    NotAnArray,
    /// The body is JSON, but not the object that answers a prepared query.
    NotExecuted,
    /// More endpoints than [`MAX_ENDPOINTS`](crate::registry::query_response::MAX_ENDPOINTS).
    TooManyEndpoints {
        /// The maximum number of endpoints of a service.
        limit: usize,
    },
    /// The body is JSON, but not the object that lists the catalog.
    NotACatalog,
    /// The catalog has more services than
    /// [`MAX_LISTED`](crate::registry::consul::catalog::MAX_LISTED).
    TooManyServices {
        /// The maximum number of services of a catalog.
        limit: usize,
    },
}

impl DecodeError {
    pub(super) fn malformed(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Eof => Self::Truncated { line, column },
            Category::Io | Category::Syntax | Category::Data => Self::NotJson { line, column },
        }
    }

    pub(super) fn trailing(error: &serde_json::Error) -> Self {
        Self::Trailing { line: error.line(), column: error.column() }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("could not decode consul's answer: ")?;
        match self {
            Self::TooLarge { limit, found } => {
                write!(f, "{found} bytes; at most {limit} are read, a filter may narrow it down")
            }
            Self::NotJson { line, column } => {
                write!(f, "not JSON at line {line} column {column}; is it Consul that answers?")
            }
            Self::Truncated { line, column } => {
                write!(f, "truncated at line {line} column {column}")
            }
            Self::Trailing { line, column } => {
                write!(f, "more follows the array at line {line} column {column}")
            }
            Self::NotAnArray => f.write_str("not an array of service entries"),
            Self::NotExecuted => {
                f.write_str("not a prepared query's answer, an object with an array of Nodes")
            }
            Self::TooManyEndpoints { limit } => {
                write!(f, "more than {limit} endpoints; tags or a filter may narrow it down")
            }
            Self::NotACatalog => f.write_str("not an object of services and their tags"),
            Self::TooManyServices { limit } => {
                write!(f, "more than {limit} services; discover.tags may narrow them down")
            }
        }
    }
}

impl core::error::Error for DecodeError {}
