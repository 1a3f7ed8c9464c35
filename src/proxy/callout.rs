//! What a root context asks of other clusters, and what comes back.

use crate::calls::caller::CallId;
use crate::config::HealthCheck;
use crate::health_check::verdict::ProbeResponse;
use crate::host::ProbeId;
use crate::proxy::host::{self, Headers};
use crate::registry::response::{Header, HttpResponse, UPSTREAM_HEADER};
use crate::registry::token::Token;

/// How much of an error's body is looked at: more than is ever quoted.
const QUOTED: usize = 4_096;

/// What this filter calls itself towards those that it asks.
pub(super) const USER_AGENT: (&str, &str) =
    ("user-agent", concat!("consul-resolver/", env!("CARGO_PKG_VERSION")));

/// What a callout is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Callout {
    /// A call to a registry. These headers of the response are read.
    Call { id: CallId, headers: &'static [&'static str] },
    /// A probe; the body of its answer may decide, or only be quoted.
    Probe { id: ProbeId, body_decides: bool },
}

/// What a callout has brought, owned, so that nothing is borrowed from the host.
#[derive(Debug)]
pub(super) struct CalloutResponse {
    status: u16,
    from_envoy: bool,
    headers: Vec<Header<'static>>,
    body: Vec<u8>,
}

impl CalloutResponse {
    /// Reads the answer, as far as it is looked at; without headers there is none. Legal in the
    /// callout's callback.
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

    /// The answer without the token, if it is an error: of that the text is quoted, from its
    /// beginning. Of an answer that can be read nothing is, but a header that cannot.
    pub(super) fn without(self, token: &Token) -> Self {
        let redact = |(name, value): Header<'static>| (name, token.redact(&value).into());
        let headers = self.headers.into_iter().map(redact).collect();
        let body = match self.status {
            200 => self.body,
            _ => token.redact(self.body.get(..QUOTED).unwrap_or(&self.body)),
        };
        Self { headers, body, ..self }
    }

    /// The answer as one to a probe.
    pub(super) fn examined(&self) -> ProbeResponse<'_> {
        ProbeResponse { status: self.status, from_envoy: self.from_envoy, body: &self.body }
    }

    /// The answer as discovery reads it.
    pub(super) fn response(&self) -> HttpResponse<'_> {
        HttpResponse {
            status: self.status,
            from_envoy: self.from_envoy,
            headers: &self.headers,
            body: &self.body,
        }
    }
}
