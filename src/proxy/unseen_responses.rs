//! Notices that Envoy never shows answers to this filter.

/// How many requests must end without an answer, and not one with it, before that is told: a
/// client may leave before it is answered, but not so many in a row.
const MANY: u32 = 100;

/// Whether the answers that a service wants to see are shown at all. Where the plugin's
/// `capability_restriction_config` does not let Envoy call for them, nothing fails, and nothing
/// is learned.
#[derive(Debug)]
pub(super) enum UnseenResponses {
    /// So many requests have ended, and no answer was seen.
    Since(u32),
    /// One was seen, or it was told.
    Settled,
}

impl Default for UnseenResponses {
    fn default() -> Self {
        Self::Since(0)
    }
}

impl UnseenResponses {
    /// Notes an answer.
    pub(super) const fn on_response(&mut self) {
        *self = Self::Settled;
    }

    /// Notes a request that has ended without an answer; true, once, when it is time to tell.
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
