//! Why a body could not be decoded.

use core::fmt;

use serde_json::error::Category;

/// Why a body could not be decoded. It names places in the body and never repeats any of
/// it, since instances may carry secrets in their metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is longer than [`MAX_BODY`](crate::registry::consul::decode::MAX_BODY).
    TooLarge {
        /// The most bytes that are read.
        limit: usize,
        /// The bytes that there were.
        found: usize,
    },
    /// The body is not JSON, from here on, or ends within a number.
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The byte in it, from 1.
        column: usize,
    },
    /// The body ends in the middle; an empty one does so at once.
    Truncated {
        /// The last line.
        line: usize,
        /// Its last byte.
        column: usize,
    },
    /// Something follows the array.
    Trailing {
        /// The line, from 1.
        line: usize,
        /// The byte in it, from 1.
        column: usize,
    },
    /// The body is JSON, but no array.
    NotAnArray,
    /// The body is JSON, but not the object that a prepared query is answered with.
    NotExecuted,
    /// More endpoints than [`MAX_ENDPOINTS`](crate::registry::decoded::MAX_ENDPOINTS).
    TooManyEndpoints {
        /// The most endpoints of a service.
        limit: usize,
    },
    /// The body is JSON, but not the object that a catalog of services is.
    NotACatalog,
    /// More services than [`MAX_LISTED`](crate::registry::consul::catalog::MAX_LISTED).
    TooManyServices {
        /// The most services of a catalog.
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
