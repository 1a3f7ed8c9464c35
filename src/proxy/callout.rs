//! The callouts of a root context to other clusters, and their responses.

use crate::calls::caller::CallId;
use crate::config::HealthCheck;
use crate::health_check::verdict::ProbeResponse;
use crate::host::ProbeId;
use crate::proxy::host::{self, Headers};
use crate::registry::http::{Header, HttpResponse, UPSTREAM_HEADER};
use crate::registry::token::Token;

/// The maximum size of an error's body that is read: more than is ever quoted.
const QUOTED: usize = 4_096;

/// The user agent of callouts.
pub(super) const USER_AGENT: (&str, &str) =
    ("user-agent", concat!("consul-resolver/", env!("CARGO_PKG_VERSION")));

/// The purpose of a callout.
#[derive(Debug, Clone, Copy)]
pub(super) enum Callout {
    /// A call to a registry. These headers of the response are read.
    Call { id: CallId, headers: &'static [&'static str] },
    /// A probe. The body of its response decides, or is only quoted.
    Probe { id: ProbeId, body_decides: bool },
}

/// The response to a callout, owned so that nothing is borrowed from the host.
#[derive(Debug)]
pub(super) struct CalloutResponse {
    status: u16,
    from_envoy: bool,
    headers: Vec<Header<'static>>,
    body: Vec<u8>,
}

impl CalloutResponse {
    /// Reads the response. Returns `None` if it has no headers. Legal in the callout's callback.
    pub(super) fn read(callout: Callout, headers: usize, body_size: usize) -> Option<Self> {
        if headers == 0 {
            return None;
        }
        let (body_size, wanted) = match callout {
            Callout::Probe { body_decides, .. } => {
                let most = if body_decides { HealthCheck::MAX_BODY_BYTES } else { QUOTED };
                (body_size.min(most), [].as_slice())
            }
            Callout::Call { headers, .. } => (body_size, headers),
        };
        let header = |name| host::header(Headers::CalloutAnswer, name);
        let status =
            header(":status").and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        Some(Self {
            status: status.unwrap_or(0),
            from_envoy: header(UPSTREAM_HEADER).is_none(),
            headers: wanted.iter().filter_map(|name| Some((*name, header(name)?.into()))).collect(),
            body: host::callout_body(body_size),
        })
    }

    /// Removes the token from the texts that errors quote: the headers of a registry's positions,
    /// and the beginning of an error's body.
    pub(super) fn without(self, token: &Token) -> Self {
        let redact = |(name, value): Header<'static>| (name, token.redact(&value).into());
        let headers = self.headers.into_iter().map(redact).collect();
        let body = match self.status {
            200 => self.body,
            _ => token.redact(self.body.get(..QUOTED).unwrap_or(&self.body)),
        };
        Self { headers, body, ..self }
    }

    /// Returns the response as that to a probe.
    pub(super) fn examined(&self) -> ProbeResponse<'_> {
        ProbeResponse { status: self.status, from_envoy: self.from_envoy, body: &self.body }
    }

    /// Returns the response as that to a call.
    pub(super) fn response(&self) -> HttpResponse<'_> {
        HttpResponse {
            status: self.status,
            from_envoy: self.from_envoy,
            headers: &self.headers,
            body: &self.body,
        }
    }
}
