//! Responses of Consul.

use consul_resolver::registry::http::{Header, HttpResponse};

/// A response that owns what it says.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub from_envoy: bool,
    pub headers: Vec<Header<'static>>,
    pub body: Vec<u8>,
}

impl Reply {
    /// A response without an index.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// A good response.
    pub fn ok(index: u64, body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body).at(index)
    }

    /// The same with an index.
    pub fn at(self, index: u64) -> Self {
        self.with("x-consul-index", &index.to_string())
    }

    /// The same with another header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.as_bytes().to_vec().into()));
        self
    }

    /// The same from Envoy itself.
    pub fn sent_by_envoy(self) -> Self {
        Self { from_envoy: true, ..self }
    }

    /// The response as a host lends it.
    pub fn as_response(&self) -> HttpResponse<'_> {
        HttpResponse {
            status: self.status,
            from_envoy: self.from_envoy,
            headers: &self.headers,
            body: &self.body,
        }
    }
}
