//! Detects that Envoy never shows responses to this filter.

/// The number of requests in a row that must end without a response before a warning is logged. A
/// client may leave before its response comes, but not so many in a row.
const MANY: u32 = 100;

/// Detects that responses are never shown, though a policy needs them. Envoy does not call the
/// filter for them if the plugin's `capability_restriction_config` leaves those callbacks out.
#[derive(Debug)]
pub(super) enum MissingResponses {
    /// So many requests have ended, and no response was seen.
    Since(u32),
    /// A response was seen, or the warning was logged.
    Settled,
}

impl Default for MissingResponses {
    fn default() -> Self {
        Self::Since(0)
    }
}

impl MissingResponses {
    /// Notes a response.
    pub(super) const fn on_response(&mut self) {
        *self = Self::Settled;
    }

    /// Notes a request that has ended without a response. Returns true once, when a warning is due.
    pub(super) const fn on_unanswered(&mut self) -> bool {
        if let Self::Since(count) = self {
            *count += 1;
            if *count >= MANY {
                *self = Self::Settled;
                return true;
            }
        }
        false
    }
}
