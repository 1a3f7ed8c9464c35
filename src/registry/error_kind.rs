//! The kinds of errors of a registry.

/// The kind of an error of a registry, by which it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Envoy did not send the request.
    Refused,
    /// There is no connection to Consul.
    Unreachable,
    /// Consul did not begin to answer in time, or nothing ever came back.
    Timeout,
    /// The answer broke off, or was too long.
    NoAnswer,
    /// The token is not good enough.
    Denied,
    /// Something in between ended a query that waited for a change.
    CutOff,
    /// Consul's rate limit.
    RateLimited,
    /// Another status of 500 or above.
    ServerError,
    /// Any other status.
    ClientError,
    /// Instances are hidden from the token.
    Filtered,
    /// No index, or none that can be read.
    BadIndex,
    /// A body that cannot be decoded.
    BadBody,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::NoAnswer,
        Self::Denied,
        Self::CutOff,
        Self::RateLimited,
        Self::ServerError,
        Self::ClientError,
        Self::Filtered,
        Self::BadIndex,
        Self::BadBody,
    ];

    /// Its part of a counter's name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::NoAnswer => "no_answer",
            Self::Denied => "denied",
            Self::CutOff => "cut_off",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::ClientError => "client_error",
            Self::Filtered => "filtered",
            Self::BadIndex => "bad_index",
            Self::BadBody => "bad_body",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_kind_is_listed_once_and_has_a_label_of_its_own() {
        let mut labels = ErrorKind::ALL.map(ErrorKind::label).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
        // The discriminant is the position, so a kind that is not listed shows here.
        for (position, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position);
        }
    }
}
