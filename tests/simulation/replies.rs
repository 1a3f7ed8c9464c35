//! A query of Consul, and the answer to it.

use consul_resolver::calls::caller::CallId;
use consul_resolver::registry::http::Header;

use crate::vm::ContextId;

/// A query.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub from: ContextId,
    /// Which of its calls it is.
    pub call: CallId,
    /// The source, by its place in [`SOURCES`](crate::sources::SOURCES).
    pub source: usize,
    /// Whether it is by a prepared query.
    pub is_executed: bool,
    /// Whether the polled registry is asked.
    pub is_polled: bool,
    /// The index that it waits on.
    pub index: Option<u64>,
    /// When Envoy gives it up.
    pub timeout: u64,
}

/// An answer that is on its way.
#[derive(Debug)]
pub struct Reply {
    /// Who asked.
    pub from: ContextId,
    /// Which of its calls it was.
    pub call: CallId,
    /// The source that it is about.
    pub source: usize,
    /// The status; none where the answer broke off.
    pub status: Option<u16>,
    /// Whether Envoy has replied itself.
    pub from_envoy: bool,
    /// The index, if it has one.
    pub index: Option<u64>,
    /// How long it holds, in seconds, if it says that.
    pub ttl: Option<u64>,
    /// Whether something was left out that the token may not see.
    pub filtered: bool,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The headers.
    pub fn headers(&self) -> Vec<Header<'static>> {
        let index = self.index.map(|index| ("x-consul-index", index.to_string()));
        let filtered = ("x-consul-results-filtered-by-acls", "true".to_owned());
        let ttl = self.ttl.map(|ttl| ("ttl", ttl.to_string()));
        let all = index.into_iter().chain(ttl).chain(self.filtered.then_some(filtered));
        all.map(|(name, value)| (name, value.into_bytes().into())).collect()
    }

    /// Whether it is whole, and says all that there is.
    pub fn is_good(&self) -> bool {
        self.status == Some(200) && !self.filtered && self.index.or(self.ttl).is_some()
    }
}

/// An answer that breaks off.
pub fn broken(to: &Ask) -> Reply {
    let Ask { from, call, source, .. } = *to;
    let body = Vec::new();
    Reply {
        from,
        call,
        source,
        status: None,
        from_envoy: false,
        index: None,
        ttl: None,
        filtered: false,
        body,
    }
}

/// An answer that is an error; 503 and 504 are Envoy's own.
pub fn failed(to: &Ask, status: u16, body: &[u8]) -> Reply {
    let from_envoy = matches!(status, 503 | 504);
    Reply { status: Some(status), from_envoy, body: body.to_vec(), ..broken(to) }
}
