//! Clients for tests: plain HTTP, which the registries use too, gRPC and WebSocket.

mod grpc;
mod web_socket;

pub use grpc::{GrpcAnswer, GrpcClient, GrpcError};
pub use web_socket::{WebSocketClient, WebSocketError};

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer was had, or not one that can be read.
#[derive(Debug, thiserror::Error)]
#[error("{method} {url}")]
pub struct ClientError {
    method: String,
    url: String,
    #[source]
    source: Box<ureq::Error>,
}

/// An answer with any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in order, names in lower case; values that are not UTF-8 with replacements.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
}

impl Request {
    /// A request for `path` (with its query), as it stands, at `address`.
    pub fn new(method: &str, address: SocketAddr, path: &str) -> Self {
        Self::to_url(method, &format!("http://{address}{path}"))
    }

    /// A request for a whole URL.
    pub fn to_url(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }

    /// Adds a header; `host` replaces the one from the URL.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The time the whole answer may take; 30 s when not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends it on a connection of its own, so that a server's restart is never felt twice. Any
    /// status is an answer; redirects are not followed.
    ///
    /// # Errors
    /// No connection, no whole answer in time, or not HTTP.
    pub fn send(&self) -> Result<Answer, ClientError> {
        Session::with_idle(0).send(self)
    }

    fn try_send(&self, agent: &ureq::Agent) -> Result<Answer, ureq::Error> {
        let mut request =
            ureq::http::Request::builder().method(self.method.as_str()).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let bodiless = matches!(self.method.as_str(), "GET" | "HEAD" | "DELETE");
        let response = if self.body.is_empty() && bodiless {
            let request = request.body(())?;
            agent
                .run(agent.configure_request(request).timeout_global(Some(self.timeout)).build())?
        } else {
            let request = request.body(self.body.as_slice())?;
            agent
                .run(agent.configure_request(request).timeout_global(Some(self.timeout)).build())?
        };
        let (parts, mut body) = response.into_parts();
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = parts.headers.iter();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: headers.map(|(k, v)| (k.to_string(), text(v.as_bytes()))).collect(),
            body: body.with_config().limit(256 << 20).read_to_vec()?,
        })
    }
}

/// Keeps connections open between requests, as most clients of a proxy do.
#[derive(Debug, Clone)]
pub struct Session(ureq::Agent);

impl Default for Session {
    fn default() -> Self {
        Self::with_idle(8)
    }
}

impl Session {
    fn with_idle(connections: usize) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .proxy(None);
        Self(config.build().into())
    }

    /// Sends a request on an open connection where there is one; else as [`Request::send`].
    ///
    /// # Errors
    /// As [`Request::send`]; also when the server closed the connection meanwhile.
    pub fn send(&self, request: &Request) -> Result<Answer, ClientError> {
        request.try_send(&self.0).map_err(|source| ClientError {
            method: request.method.clone(),
            url: request.url.clone(),
            source: Box::new(source),
        })
    }
}

/// Writes bytes as they are and reads until the server closes, or is silent for `patience`: for
/// what no HTTP client would send. End requests with `Connection: close`.
///
/// # Errors
/// No connection, or it is cut.
pub fn raw(address: SocketAddr, bytes: &[u8], patience: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(bytes)?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(answer);
            }
            Err(error) => return Err(error),
        }
    }
}

/// `GET path` at an address.
///
/// # Errors
/// As [`Request::send`].
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, ClientError> {
    Request::new("GET", address, path).send()
}

/// `PUT path` with a body at an address.
///
/// # Errors
/// As [`Request::send`].
pub fn put(
    address: SocketAddr,
    path: &str,
    body: impl Into<Vec<u8>>,
) -> Result<Answer, ClientError> {
    Request::new("PUT", address, path).body(body).send()
}

/// Encodes one segment of a path or one value of a query.
pub fn encode(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}
