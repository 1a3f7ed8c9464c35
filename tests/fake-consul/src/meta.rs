//! What metadata of a service Consul takes.

use std::collections::BTreeMap;

/// Why metadata is refused; the texts are Consul's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Too many pairs.
    #[error("Node metadata cannot contain more than 64 key/value pairs")]
    TooMany,
    /// One pair.
    #[error("Couldn't load metadata pair ('{key}', '{value}'): {reason}")]
    Pair {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Looks at all of it.
pub fn check(meta: &BTreeMap<String, String>) -> Result<(), MetaError> {
    if meta.len() > 64 {
        return Err(MetaError::TooMany);
    }
    let wrong = |(key, value): (&String, &String)| {
        let (key, value) = (key.clone(), value.clone());
        fault(&key, &value).map(|reason| MetaError::Pair { key, value, reason })
    };
    meta.iter().find_map(wrong).map_or(Ok(()), Err)
}

fn fault(key: &str, value: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match () {
        () if key.is_empty() => Some("Key cannot be blank"),
        () if !key.chars().all(is_plain) => Some("Key contains invalid characters"),
        () if key.len() > 128 => Some("Key is too long (limit: 128 characters)"),
        () if key.starts_with("consul-") => {
            Some("Key prefix 'consul-' is reserved for internal use")
        }
        () if value.len() > 512 => Some("Value is too long (limit: 512 characters)"),
        () => None,
    }
}
