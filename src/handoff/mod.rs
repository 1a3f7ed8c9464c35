//! The ways in which a pick reaches Envoy's router.
//!
//! Each way has a file of its own. It encodes the address of an endpoint when that is installed, so that
//! nothing is formatted for a request, and applies the encoded address to a request. A further way is a
//! file, a [`HandoffMethod`], and a [`Handoff`] of the configuration.

use crate::config::Handoff;
use crate::handoff::encoded_handoff::{EncodedHandoff, HandoffStream};
use crate::handoff::headers::HANDOFF_HEADERS;
use crate::model::endpoint::Address;

mod dynamic_host;
pub mod encoded_handoff;
pub mod filter_state;
pub mod headers;
mod stateful_session;

/// The way in which the picks of a service reach Envoy's router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoffMethod {
    /// One address in the filter state, for an `ORIGINAL_DST` cluster.
    FilterState,
    /// An address for each attempt, in one of [`HANDOFF_HEADERS`] each.
    Headers {
        /// The number of attempts.
        attempts: u8,
    },
    /// One address in [`Handoff::SESSION_HEADER`].
    StatefulSession,
    /// One host and its port in the filter state, for Envoy's dynamic forward proxy, which resolves names
    /// itself.
    DynamicHost,
}

impl HandoffMethod {
    /// Returns the method of a configuration. Fewer than one attempt count as one, and more than
    /// [`Handoff::MAX_ATTEMPTS`] as that.
    pub fn new(handoff: &Handoff) -> Self {
        match *handoff {
            Handoff::FilterState => Self::FilterState,
            Handoff::StatefulSession => Self::StatefulSession,
            Handoff::Headers { attempts } => {
                Self::Headers { attempts: attempts.clamp(1, Handoff::MAX_ATTEMPTS) }
            }
        }
    }

    /// Returns the number of attempts that need an address.
    pub const fn attempts(self) -> u8 {
        match self {
            Self::FilterState | Self::StatefulSession | Self::DynamicHost => 1,
            Self::Headers { attempts } => attempts,
        }
    }

    /// Encodes the address of an endpoint.
    pub fn encode(self, address: &Address) -> EncodedHandoff {
        match self {
            Self::FilterState => filter_state::encode(address),
            Self::Headers { .. } => headers::encode(address),
            Self::StatefulSession => stateful_session::encode(address),
            Self::DynamicHost => dynamic_host::encode(address),
        }
    }

    /// Applies the encoded addresses of all attempts to a request. Returns false if Envoy refuses one: Envoy
    /// would then go by what the client has sent.
    pub fn apply<'a>(
        self,
        mut attempts: impl Iterator<Item = &'a EncodedHandoff>,
        stream: &mut impl HandoffStream,
    ) -> bool {
        match self {
            Self::Headers { .. } => headers::apply(attempts, stream),
            Self::StatefulSession => {
                attempts.next().is_some_and(|first| stateful_session::apply(first, stream))
            }
            Self::FilterState | Self::DynamicHost => {
                attempts.next().is_some_and(|first| filter_state::apply(first, stream))
            }
        }
    }

    /// Removes from a request what a client has put in the place of a pick. Returns false if Envoy
    /// refuses.
    ///
    /// A header that is not there is not removed: a removal clears Envoy's route cache, and a request that
    /// passes is not to be routed anew for nothing.
    pub fn strip(self, stream: &mut impl HandoffStream) -> bool {
        let names: &[&str] = match self {
            Self::FilterState | Self::DynamicHost => &[],
            Self::Headers { .. } => &HANDOFF_HEADERS,
            Self::StatefulSession => &[Handoff::SESSION_HEADER],
        };
        names.iter().all(|name| !stream.has_header(name) || stream.remove_header(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn attempts_stay_within_the_number_of_headers() {
        for (attempts, want) in [(0, 1), (1, 1), (2, 2), (4, 4), (200, 4)] {
            let method = HandoffMethod::new(&Handoff::Headers { attempts });
            assert_eq!(method.attempts(), want);
        }
        assert_eq!(HandoffMethod::new(&Handoff::FilterState).attempts(), 1);
    }
}
