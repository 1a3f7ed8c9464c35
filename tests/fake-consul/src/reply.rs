//! An answer, and how it goes over the wire.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::server::Line;

/// The time between the last byte sent and the cut, so that what was sent arrives first.
const BEFORE_CUT: Duration = Duration::from_millis(30);

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

    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// Sends the answer with these faults. `Err` cuts the connection before any of it.
    pub async fn send(mut self, faults: Vec<Fault>, line: &Line) -> io::Result<Response<Payload>> {
        let mut delivery = Delivery::Whole;
        for fault in faults {
            match fault {
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
                Fault::Status(status, body) => {
                    self = Self::text(status, &body);
                }
                Fault::Body(body) => self.body = Bytes::from(body),
                Fault::Empty => self.body = Bytes::from_static(b"[]"),
                Fault::Index(index) => self.set("X-Consul-Index", Some(index.to_string())),
                Fault::NoIndex => self.set("X-Consul-Index", None),
                Fault::Header(name, value) => self.set(&name, Some(value)),
                Fault::ResetBeforeHeaders => {
                    line.reset_on_close();
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                Fault::ResetAfterHeaders => delivery = Delivery::Cut { part: 0, reset: true },
                Fault::ResetMidBody => {
                    delivery = Delivery::Cut { part: self.body.len() / 2, reset: true }
                }
                Fault::Truncate => {
                    delivery = Delivery::Cut { part: self.body.len() / 2, reset: false }
                }
                Fault::Drip(pause) => delivery = Delivery::Drip(pause),
                // It has befallen the registration.
                Fault::Registration(_) => {}
            }
        }
        let length = self.body.len();
        let mut response = Response::new(delivery.payload(self.body, line));
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
        Ok(response)
    }
}

fn header(name: HeaderName, value: &str) -> (String, String) {
    (name.to_string(), value.to_owned())
}

/// How a body is delivered.
#[derive(Debug, Clone, Copy)]
enum Delivery {
    Whole,
    /// Only the first `part` bytes, then the connection ends.
    Cut {
        part: usize,
        reset: bool,
    },
    /// Byte by byte.
    Drip(Duration),
}

impl Delivery {
    fn payload(self, body: Bytes, line: &Line) -> Payload {
        let (pieces, payload) = mpsc::channel(1);
        let line = line.clone();
        match self {
            Self::Whole => return Payload::Whole(Some(body)),
            Self::Cut { part, reset } => tokio::spawn(async move {
                if part > 0 {
                    let _ = pieces.send(Ok(body.slice(..part))).await;
                }
                tokio::time::sleep(BEFORE_CUT).await;
                if reset {
                    line.reset_on_close();
                }
                let _ = pieces.send(Err(io::ErrorKind::ConnectionReset.into())).await;
            }),
            Self::Drip(pause) => tokio::spawn(async move {
                for at in 0..body.len() {
                    tokio::time::sleep(pause).await;
                    if pieces.send(Ok(body.slice(at..=at))).await.is_err() {
                        return;
                    }
                }
            }),
        };
        Payload::Pieces(payload)
    }
}

/// A body as hyper takes it.
#[derive(Debug)]
pub enum Payload {
    Whole(Option<Bytes>),
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| Some(piece?.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.as_ref().is_none_or(Bytes::is_empty))
    }
}
