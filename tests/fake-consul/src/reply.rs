//! An answer, and the response that it becomes.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::fault::Fault;

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    /// Plain text, as Consul's errors are.
    pub fn text(status: u16, text: &str) -> Self {
        let body = Bytes::from(text.to_owned());
        let headers = if body.is_empty() {
            Vec::new()
        } else {
            vec![header(CONTENT_TYPE, "text/plain; charset=utf-8")]
        };
        Self { status, headers, body }
    }

    /// 200 with JSON.
    pub fn json(value: &Value) -> Self {
        Self::json_text(value.to_string())
    }

    /// 200 with JSON that is text already.
    pub fn json_text(text: String) -> Self {
        let headers = vec![header(CONTENT_TYPE, "application/json")];
        Self { status: 200, headers, body: Bytes::from(text) }
    }

    /// 200 without a body.
    pub fn done() -> Self {
        Self::text(200, "")
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// Makes the response, with these faults.
    pub async fn response(mut self, faults: Vec<Fault>) -> Response<Full<Bytes>> {
        for fault in faults {
            match fault {
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
                Fault::Status(status, body) => self = Self::text(status, &body),
                Fault::Body(body) => self.body = Bytes::from(body),
                Fault::Empty => self.body = Bytes::from_static(b"[]"),
                Fault::Index(index) => self.set("X-Consul-Index", Some(index.to_string())),
                Fault::NoIndex => self.set("X-Consul-Index", None),
                Fault::Header(name, value) => self.set(&name, Some(value)),
                // It has befallen the registration.
                Fault::WithoutChecks => {}
            }
        }
        let length = self.body.len();
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                headers.insert(name, value);
            }
        }
        response
    }
}

fn header(name: HeaderName, value: &str) -> (String, String) {
    (name.to_string(), value.to_owned())
}
