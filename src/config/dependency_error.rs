//! Why a service cannot be depended on.

use core::fmt;

use crate::util::excerpt::Excerpt;

/// Reason why a service cannot be depended on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencyError {
    /// No service of the list has the name.
    Unknown {
        /// The name that stands there.
        found: Excerpt,
        /// The one that was probably meant.
        suggestion: Option<Excerpt>,
    },
    /// A service names itself.
    Itself,
    /// A service depends on itself by way of others.
    Cycle {
        /// Their names, each fit to be printed; the first is also the last.
        path: Vec<String>,
    },
}

impl DependencyError {
    /// The most names of a cycle that are printed.
    const MOST_NAMES: usize = 32;
}

impl fmt::Display for DependencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { found, suggestion } => {
                write!(f, "unknown service {found}; ")?;
                if let Some(name) = suggestion {
                    write!(f, "did you mean {name}? ")?;
                }
                f.write_str("expected the name of another service of the list")
            }
            Self::Itself => f.write_str("a service cannot depend on itself; leave it out"),
            Self::Cycle { path } => {
                let (shown, rest) = path.split_at(path.len().min(Self::MOST_NAMES));
                let more = if rest.is_empty() { "" } else { " → …" };
                write!(f, "{}{more} is a cycle; leave one of them out", shown.join(" → "))
            }
        }
    }
}
