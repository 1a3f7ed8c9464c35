//! Responses of Consul.

use consul_resolver::registry::consul::response::Response;

/// A response that owns what it says.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub from_envoy: bool,
    pub index: Option<String>,
    pub filtered_by_acls: bool,
    pub last_contact: Option<String>,
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
        Self { index: Some(index.to_string()), ..self }
    }

    /// The same from Envoy itself.
    pub fn sent_by_envoy(self) -> Self {
        Self { from_envoy: true, ..self }
    }

    /// The response as a host lends it.
    pub fn as_response(&self) -> Response<'_> {
        Response {
            status: self.status,
            from_envoy: self.from_envoy,
            index: self.index.as_ref().map(String::as_bytes),
            filtered_by_acls: self.filtered_by_acls,
            last_contact: self.last_contact.as_ref().map(String::as_bytes),
            age: None,
            body: &self.body,
        }
    }
}
